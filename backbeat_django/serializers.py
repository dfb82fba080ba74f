"""For Django REST framework: pictures as a client shows them, without another look-up."""

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers

from backbeat.app.markup import img_srcset, media_url
from backbeat_django.connecting import connected


class MediaField(serializers.Field):  # type: ignore[misc]
    """`post.media` as a list: of each upload its size, its `src` and `srcset`, and its blurhash to show meanwhile."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, read_only=True)

    def to_representation(self, value: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The entries, in the order of their uploads' names."""
        base_url = connected().get("MEDIA_BASE_URL")
        shown = []
        for entry in sorted((value or {}).values(), key=lambda entry: entry["upload"]):
            largest = max(entry["renditions"], key=lambda rendition: (rendition["width"], rendition["key"]))
            shown.append(
                {
                    "width": entry["width"],
                    "height": entry["height"],
                    "blurhash": entry["blurhash"],
                    "src": media_url(largest["key"], base_url),
                    "content_type": largest["content_type"],
                    "srcset": img_srcset(entry, base_url=base_url),
                }
            )
        return shown
