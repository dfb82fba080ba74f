"""Emails as a mail client gets them: both parts, safe headers, the right language."""

import email
import email.policy
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backbeat.mail import deliveries, names, sending
from backbeat.mail.addresses import InvalidAddress
from backbeat.mail.digest import Entry, Picture
from backbeat.mail.sending import Rendered, Site, compose, locale_of, render
from backbeat.models import User
from backbeat.runtime import Rejected

SITE = Site("Backbeat", "hello@example.com", "help@example.com", "https://example.com", "https://u.example/", "mail")
LINK = "https://abcdefghijklmnopqrstuvwxyz012345.lambda-url.us-east-1.on.aws/?token=" + "x" * 120
PICTURE = Picture("https://media.example/posts/1/320.jpg?a&b", 320, 240, of_video=False)
POSTS = [
    Entry("Bo <b>", "One & two", 1, 1, followed=True, url="https://e.example/1", picture=None),
    Entry("Cy", "Two", 5, 0, followed=False, url="https://e.example/2", picture=None),
]
NASTY = 'Zoë "Zo"\r\nBcc: all\n🦊 <script>alert(1)</script>'


def user(**more: Any) -> User:
    return User("user-1", **{"name": "Ada", "email": "ada@example.net", "created_at": datetime.now(UTC), **more})


def parsed(to: User, kind: str = "welcome", locale: str = "en", posts: list[Entry] = POSTS) -> Any:
    rendered = render(kind, locale, SITE, to, LINK, posts=posts)
    return email.message_from_bytes(compose(SITE, to, rendered, LINK).as_bytes(), policy=email.policy.default)


class Elements(HTMLParser):
    """The elements and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.text = ""
        self.of_members: list[str] = []
        """What stands in elements whose direction is that of their own text."""
        self._open: list[bool] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name == "href"]
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in ("img", "meta", "br"):
            self._open.append(("dir", "auto") in attrs)

    def handle_endtag(self, tag: str) -> None:
        self._open.pop()

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._open and self._open[-1]:
            self.of_members.append(data)


@pytest.mark.parametrize("locale", sending.LOCALES)
@pytest.mark.parametrize("kind", sending.EMAILS)
def test_every_email_has_both_parts_and_both_headers(kind: str, locale: str) -> None:
    message = parsed(user(name=NASTY), kind, locale)
    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    assert message["List-Unsubscribe"] == f"<{LINK}>"
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert message["From"] == "Backbeat <hello@example.com>"
    assert message["Reply-To"] == "help@example.com"
    assert message["Bcc"] is None
    (to,) = message["To"].addresses
    assert (to.addr_spec, to.display_name) == ("ada@example.net", "")
    text = message.get_body(("plain",)).get_content()
    page = Elements(message.get_body(("html",)).get_content())
    assert LINK in text
    assert LINK in page.links
    assert "script" not in page.tags
    assert {"en": "Hello", "fr": "Bonjour"}[locale] + ' Zoë "Zo" Bcc: all 🦊 <script>alert' in page.text
    assert any(text.startswith('Zoë "Zo"') for text in page.of_members)
    assert all(len(line) <= 998 for line in message.as_bytes().splitlines())  # RFC 5322, section 2.1.1


def test_the_digest_shows_its_posts_escaped() -> None:
    message = parsed(user(), "content_digest")
    assert message["Subject"] == "Your week on Backbeat: 2 posts worth a look"
    page = Elements(message.get_body(("html",)).get_content())
    assert "b" not in page.tags
    for expected in ("Bo <b>", "One & two", "you follow them"):
        assert expected in page.text
    assert [link for link in page.links if "e.example" in link] == ["https://e.example/1", "https://e.example/2"]
    text = message.get_body(("plain",)).get_content().replace("\r\n", "\n")
    assert "Bo <b> (you follow them):\nOne & two\n1 like, 1 comment\nhttps://e.example/1\n" in text


@settings(max_examples=100)
@given(text=st.text(max_size=300) | st.text("a =\t\r\n_-é🦊\x0b\x85\u2028", max_size=300))
def test_any_text_comes_through_in_both_parts(text: str) -> None:
    raw = compose(SITE, user(), Rendered("Hello", text, text), LINK).as_bytes()
    message = email.message_from_bytes(raw, policy=email.policy.default)
    lines = [line.decode() for line in text.encode().splitlines()]
    for part in message.iter_parts():
        assert part.get_content_charset() == "utf-8"
        assert [line.decode() for line in part.get_payload(decode=True).splitlines()] == lines
    assert message.defects == []
    body = raw.split(b"\r\n\r\n", 1)[1]
    assert max(map(len, body.split(b"\r\n"))) <= 76  # RFC 2045, section 6.7
    assert b"\n" not in raw.replace(b"\r\n", b"")


@settings(max_examples=60)
@given(name=st.text(max_size=80))
def test_no_name_gets_out_of_its_header(name: str) -> None:
    message = parsed(user(name=name))
    assert sorted(message.keys()) == sorted(
        [
            "To",
            "From",
            "Reply-To",
            "Subject",
            "List-Unsubscribe",
            "List-Unsubscribe-Post",
            "MIME-Version",
            "Content-Type",
        ]
    )
    (to,) = message["To"].addresses
    assert to.addr_spec == "ada@example.net"
    shown = names.shown(name)
    assert message["Subject"] == (
        f"Welcome to Backbeat, {shown.replace('=?', '= ?')}" if shown else "Welcome to Backbeat"
    )
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]


@pytest.mark.parametrize("name", ["=?utf-8?q?=0D=0ABcc:_x?=", "=?utf-8?b?DQpCY2M6IHhAeS56?="])
def test_an_encoded_line_break_in_a_name_stays_encoded(name: str) -> None:
    message = parsed(user(name=name))
    assert message["Subject"] == f"Welcome to Backbeat, {name.replace('=?', '= ?')}"
    assert message["Bcc"] is None


@pytest.mark.parametrize(
    ("locale", "language"),
    [
        ("en", "en"),
        ("fr", "fr"),
        ("fr-CA", "fr"),
        ("FR_be", "fr"),
        ("fr-Latn-CA", "fr"),
        (" fr ", "fr"),
        ("fr_FR.UTF-8", "fr"),
        ("fr;q=0.9", "fr"),
        ("fro", "en"),  # Old French is another language
        ("de", "en"),
        ("tlh-Latn", "en"),
        ("", "en"),
        ("-fr", "en"),
    ],
)
def test_a_language_without_emails_falls_back_to_the_nearest_that_has_them(locale: str, language: str) -> None:
    assert locale_of(user(locale=locale)) == language


def test_emails_in_a_language_of_a_region_would_be_found_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "LOCALES", ("en", "fr", "fr-CA", "zh-Hant"))
    found = [locale_of(user(locale=locale)) for locale in ("fr-ca", "fr-BE", "zh-Hant-TW", "zh-TW")]
    assert found == ["fr-CA", "fr", "zh-Hant", "en"]


@pytest.mark.parametrize("name", ["\u202e\n", "\u3164", "\u200b\u200d", "You won! https://evil.example/x", None])
@pytest.mark.parametrize("kind", sending.EMAILS)
def test_who_has_no_name_to_show_is_greeted_without_one(name: str, kind: str) -> None:
    message = parsed(User("user-1", name=name, email="ada@example.net"), kind)
    assert message["Subject"] in ("Welcome to Backbeat", "Your week on Backbeat: 2 posts worth a look")
    assert message.get_body(("plain",)).get_content().startswith("Hello,\r\n")
    page = Elements(message.get_body(("html",)).get_content())
    assert "Hello," in page.text
    assert "evil" not in page.text


@pytest.mark.parametrize(
    ("stored", "sent_to"),
    [("ada@bücher.example", "ada@xn--bcher-kva.example"), (" max@straße.de", "max@xn--strae-oqa.de")],
)
def test_a_mail_is_addressed_in_the_form_that_ses_takes(stored: str, sent_to: str) -> None:
    assert parsed(user(email=stored))["To"].addresses[0].addr_spec == sent_to


def test_a_site_that_could_not_send_says_so_before_it_is_taken_for_a_members_fault() -> None:
    environment = {
        "SENDER_NAME": "Backbeat",
        "SENDER": "hello@example.com.",
        "BASE_URL": "https://example.com",
        "UNSUBSCRIBE_URL": "https://u.example/",
        "CONFIGURATION_SET": "mail",
    }
    with pytest.raises(
        InvalidAddress, match=r"SENDER is 'hello@example\.com\.', and SES takes only 'hello@example\.com'"
    ):
        Site.of(environment)
    with pytest.raises(InvalidAddress, match=r"^REPLY_TO is 'help': it has no @$"):
        Site.of({**environment, "SENDER": "hello@example.com", "REPLY_TO": "help"})
    assert Site.of({**environment, "SENDER": "Hello@Example.com"}).sender == "Hello@Example.com"


# ---- What members wrote and showed -----------------------------------------------------------------------------------


@pytest.mark.parametrize("locale", sending.LOCALES)
def test_what_members_wrote_runs_in_its_own_direction(locale: str) -> None:
    posts = [Entry("ليلى", "صباح الخير", 1, 1, followed=False, url="https://e.example/1", picture=None)]
    page = Elements(parsed(user(name="נועה"), "content_digest", locale, posts).get_body(("html",)).get_content())
    assert page.of_members == ["ليلى", "صباح الخير", "נועה", "ليلى", "صباح الخير"]  # first in what the inbox previews


@pytest.mark.parametrize(
    ("locale", "words"),
    [("en", ("A picture", "A picture by Bo", "Someone")), ("fr", ("Une photo", "Une photo publiée par Bo", "Quelqu"))],
)
def test_a_post_that_is_a_picture_only_is_shown_or_said(locale: str, words: tuple[str, str, str]) -> None:
    told, alt, someone = words
    posts = [
        Entry("Bo", "", 1, 1, followed=False, url="https://e.example/1", picture=PICTURE),
        Entry("", "", 1, 1, followed=False, url="https://e.example/2", picture=Picture("", 9, 9, of_video=False)),
    ]
    message = parsed(user(), "content_digest", locale, posts)
    page = Elements(message.get_body(("html",)).get_content())
    (image,) = page.images
    assert {name: image[name] for name in ("src", "alt", "width", "height")} == {
        "src": PICTURE.source,
        "alt": alt,
        "width": "320",
        "height": "240",
    }
    assert page.links.count("https://e.example/1") == 2
    assert page.text.count(told) == 2  # in what the inbox previews, and in place of the second one's picture
    assert someone in page.text
    text = message.get_body(("plain",)).get_content().replace("\r\n", "\n")
    assert text.count(f":\n[{told}]\n") == 2


@pytest.mark.parametrize(("locale", "word"), [("en", "A video"), ("fr", "Une vidéo")])
def test_a_video_is_called_one(locale: str, word: str) -> None:
    video = Picture(PICTURE.source, 320, 180, of_video=True)
    posts = [Entry("Bo", "Look", 1, 1, followed=False, url="https://e.example/1", picture=video)]
    message = parsed(user(), "content_digest", locale, posts)
    assert str(Elements(message.get_body(("html",)).get_content()).images[0]["alt"]).startswith(word)
    assert f"Look\n[{word}]\n" in message.get_body(("plain",)).get_content().replace("\r\n", "\n")


@given(delivery_id=st.text(min_size=1, max_size=45))
def test_a_tag_is_made_of_what_ses_allows_and_leads_back(delivery_id: str) -> None:
    tag = deliveries.tag(delivery_id)
    assert tag.isascii() and tag.replace("-", "").replace("_", "").isalnum()
    assert deliveries.of_tag(tag) == delivery_id


def test_a_foreign_tag_names_nothing() -> None:
    for value in ("ünicode", "a", "____", "/+", "", "YWFh" * 65):
        with pytest.raises(ValueError, match="names no delivery"):
            deliveries.of_tag(value)
    with pytest.raises(Rejected, match="does not fit"):
        deliveries.tag("x" * 193)
