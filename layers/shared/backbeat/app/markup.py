"""How an application shows a post's media: markup from an entry of `post.media`, without another look-up."""

import os
from collections.abc import Mapping
from html import escape
from typing import Any
from urllib.parse import quote


def media_url(key: str, base_url: str | None = None) -> str:
    """The address of a rendition.

    Args:
        key: Its key, as `post.media` holds it.
        base_url: Where the media bucket is served; `MEDIA_BASE_URL` where it is not given.

    Raises:
        ValueError: Neither is set.
    """
    base_url = base_url or os.environ.get("MEDIA_BASE_URL")
    if not base_url:
        raise ValueError("no address to serve media from: give base_url, or set MEDIA_BASE_URL")
    return f"{base_url.rstrip('/')}/{quote(key)}"


def img_srcset(entry: Mapping[str, Any], content_type: str = "image/webp", base_url: str | None = None) -> str:
    """The `srcset` of a picture, or of a video's poster: each width once, the smallest first.

    Args:
        entry: An entry of `post.media`.
        content_type: `image/webp`, or `image/jpeg` for programs that know no WebP, such as mail readers.
        base_url: Where the media bucket is served; `MEDIA_BASE_URL` where it is not given.

    Returns:
        `https://.../320.webp 320w, https://.../800.webp 800w`, not yet escaped for HTML.

    Raises:
        ValueError: There is no address to serve media from.
    """
    return ", ".join(
        f"{media_url(rendition['key'], base_url)} {rendition['width']}w" for rendition in _pictures(entry, content_type)
    )


def picture_html(entry: Mapping[str, Any], alt: str, sizes: str = "100vw", base_url: str | None = None) -> str:
    """A `<picture>` that lets the browser choose: WebP where it can, the width it needs, its place kept meanwhile.

    Args:
        entry: An entry of `post.media`.
        alt: What the picture shows, in words.
        sizes: How wide it is shown, in the terms of the `sizes` attribute.
        base_url: Where the media bucket is served; `MEDIA_BASE_URL` where it is not given.

    Returns:
        Markup, escaped.

    Raises:
        ValueError: There is no address to serve media from.
    """
    largest = _pictures(entry, "image/jpeg")[-1]
    return (
        f'<picture><source type="image/webp" srcset="{escape(img_srcset(entry, "image/webp", base_url))}"'
        f' sizes="{escape(sizes)}"><img src="{escape(media_url(largest["key"], base_url))}"'
        f' srcset="{escape(img_srcset(entry, "image/jpeg", base_url))}" sizes="{escape(sizes)}"'
        f' width="{int(largest["width"])}" height="{int(largest["height"])}" alt="{escape(alt)}"'
        f' loading="lazy" decoding="async"></picture>'
    )


def _pictures(entry: Mapping[str, Any], content_type: str) -> list[Mapping[str, Any]]:
    """The renditions that show the whole picture, the smallest first."""
    found = [r for r in entry["renditions"] if r["role"] == "picture" and r["content_type"] == content_type]
    return sorted(found, key=lambda rendition: rendition["width"])
