"""Markup from what a post keeps of its media."""

from html.parser import HTMLParser
from typing import Any

import pytest

from backbeat.app.markup import img_srcset, media_url, picture_html

ENTRY: dict[str, Any] = {
    "renditions": [
        {
            "key": f"posts/a b/abc-1/{name}.{extension}",
            "role": "square" if name == "square" else "picture",
            "content_type": f"image/{form}",
            "width": width,
            "height": width * 3 // 4,
            "bytes": 1,
        }
        for name, width in (("1600", 1600), ("800", 800), ("320", 320), ("square", 150))
        for form, extension in (("webp", "webp"), ("jpeg", "jpg"))
    ]
}
BASE = "https://media.example.org/"


def test_a_srcset_offers_each_width_and_leaves_out_the_square() -> None:
    where = "https://media.example.org/posts/a%20b/abc-1"
    assert img_srcset(ENTRY, base_url=BASE) == (
        f"{where}/320.webp 320w, {where}/800.webp 800w, {where}/1600.webp 1600w"
    )
    assert img_srcset(ENTRY, "image/jpeg", BASE).startswith(f"{where}/320.jpg 320w")


def test_markup_names_size_and_words_and_escapes_them() -> None:
    tags = {}

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: Any) -> None:
            tags[tag] = dict(attrs)

    Parser().feed(picture_html(ENTRY, '"Look" <here>', "(min-width: 40em) 50vw, 100vw", BASE))
    assert tags["source"]["srcset"] == img_srcset(ENTRY, base_url=BASE)
    image = tags["img"]
    assert (image["alt"], image["width"], image["height"]) == ('"Look" <here>', "1600", "1200")
    assert image["src"].endswith("/1600.jpg")
    assert image["srcset"] == img_srcset(ENTRY, "image/jpeg", BASE)


def test_the_address_comes_from_the_environment_or_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="MEDIA_BASE_URL"):
        media_url("k")
    monkeypatch.setenv("MEDIA_BASE_URL", "https://cdn.example.org")
    assert media_url("posts/1/é.webp") == "https://cdn.example.org/posts/1/%C3%A9.webp"
