"""Pictures as a client shows them, for whatever answers with them: GraphQL, Django REST framework, a view."""

from collections.abc import Mapping
from typing import Any

from backbeat.app.markup import img_srcset, media_url
from backbeat_django.connecting import connected


def shown(media: Mapping[str, Mapping[str, Any]] | None) -> list[dict[str, Any]]:
    """What to show of `post.media`, in the order of the uploads' names.

    Args:
        media: What the pull brought; nothing has come where it is None or empty.

    Returns:
        Of each upload `width` and `height` in pixels, `src` with its `content_type`, `srcset`, and a `blurhash` to show
        meanwhile.
    """
    base_url = connected().get("MEDIA_BASE_URL")
    found = []
    for entry in sorted((media or {}).values(), key=lambda entry: entry["upload"]):
        largest = max(entry["renditions"], key=lambda rendition: (rendition["width"], rendition["key"]))
        found.append(
            {
                "width": entry["width"],
                "height": entry["height"],
                "blurhash": entry["blurhash"],
                "src": media_url(largest["key"], base_url),
                "content_type": largest["content_type"],
                "srcset": img_srcset(entry, base_url=base_url),
            }
        )
    return found
