"""Pictures in templates and serializers: what is a user's is escaped, what is markup is not."""

from typing import Any

import pytest
from django.template import Context, Template

from backbeat_django import connecting
from backbeat_django.serializers import MediaField

HOSTILE = '"><script>alert(1)</script>'


def rendition(role: str, content_type: str, width: int, name: str) -> dict[str, Any]:
    return {"key": f"posts/1/x/{name}", "role": role, "content_type": content_type, "width": width, "height": width}


PICTURE = {
    "upload": "posts/1/a.jpg", "width": 640, "height": 640, "blurhash": "L00",
    "renditions": [
        rendition("picture", "image/webp", 320, "320.webp"), rendition("picture", "image/jpeg", 320, "320.jpg"),
        rendition("picture", "image/webp", 640, "640.webp"), rendition("picture", "image/jpeg", 640, "640.jpg"),
    ],
}  # fmt: skip
VIDEO = {
    "upload": "posts/1/b.mp4", "width": 640, "height": 640, "blurhash": "L00",
    "renditions": [rendition("picture", "image/jpeg", 640, "poster.jpg"), rendition("film", "video/mp4", 640, "v.mp4")],
}  # fmt: skip


@pytest.fixture(autouse=True)
def _served(monkeypatch: pytest.MonkeyPatch) -> None:
    connecting.connected.cache_clear()
    for module in ("templatetags.backbeat", "media"):
        monkeypatch.setattr(f"backbeat_django.{module}.connected", lambda: {"MEDIA_BASE_URL": "https://m.example"})


def render(source: str, **values: Any) -> str:
    return Template("{% load backbeat %}" + source).render(Context(values))


def test_pictures_and_videos_are_markup_and_their_words_are_not() -> None:
    html = render("{% pictures media alt=alt %}", media={"h2": VIDEO, "h1": PICTURE}, alt=HOSTILE)
    assert html.startswith('<picture><source type="image/webp" srcset="https://m.example/posts/1/x/320.webp 320w')
    assert '<video controls preload="none" poster="https://m.example/posts/1/x/poster.jpg"' in html
    assert '<source src="https://m.example/posts/1/x/v.mp4" type="video/mp4">' in html
    assert "<script>" not in html
    assert html.index("<picture>") < html.index("<video")


def test_a_post_without_media_shows_none() -> None:
    assert render("{% pictures media %}", media={}) == render("{% pictures media %}", media=None) == ""


def test_a_serializers_field_says_all_that_a_client_needs() -> None:
    (shown,) = MediaField().to_representation({"h1": PICTURE})
    assert (shown["width"], shown["blurhash"]) == (640, "L00")
    assert shown["src"] == "https://m.example/posts/1/x/640.webp"
    assert shown["srcset"].endswith("https://m.example/posts/1/x/640.webp 640w")
