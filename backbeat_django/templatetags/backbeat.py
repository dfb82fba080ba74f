"""`{% load backbeat %}`: pictures and videos, as `process_media_upload` has made them."""

from collections.abc import Mapping
from html import escape
from typing import Any

from django import template
from django.utils.safestring import SafeString, mark_safe

from backbeat.app.markup import media_url, picture_html
from backbeat_django.connecting import connected

register = template.Library()


@register.simple_tag
def picture(entry: Mapping[str, Any], alt: str = "", sizes: str = "100vw") -> SafeString:
    """One entry of `post.media`: a `<picture>`, or a `<video>` with its poster.

    Args:
        entry: The entry.
        alt: What it shows, in words.
        sizes: How wide it is shown, in the terms of the `sizes` attribute.
    """
    base_url = connected().get("MEDIA_BASE_URL")
    videos = [each for each in entry["renditions"] if each["content_type"].startswith("video/")]
    if not videos:
        return mark_safe(picture_html(entry, alt, sizes, base_url))  # noqa: S308 - it escapes what it is given
    pictures = [each for each in entry["renditions"] if each["role"] == "picture"]
    poster = f' poster="{escape(media_url(pictures[-1]["key"], base_url))}"' if pictures else ""
    sources = "".join(
        f'<source src="{escape(media_url(each["key"], base_url))}" type="{escape(each["content_type"])}">'
        for each in videos
    )
    return mark_safe(f'<video controls preload="none"{poster} aria-label="{escape(alt)}">{sources}</video>')  # noqa: S308


@register.simple_tag
def pictures(media: Mapping[str, Mapping[str, Any]] | None, alt: str = "", sizes: str = "100vw") -> SafeString:
    """All entries of `post.media`, in the order of their uploads' names."""
    entries = sorted((media or {}).values(), key=lambda entry: entry["upload"])
    return mark_safe("".join(picture(entry, alt, sizes) for entry in entries))  # noqa: S308 - each is escaped
