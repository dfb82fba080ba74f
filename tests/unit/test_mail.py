"""Emails as a mail client gets them: both parts, safe headers, the right language."""

import email
import email.policy
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backbeat.mail import deliveries, sending
from backbeat.mail.sending import Site, compose, locale_of, one_line, render
from backbeat.models import User
from backbeat.runtime import Rejected

SITE = Site("Backbeat", "hello@example.com", "help@example.com", "https://example.com", "https://u.example/", "mail")
LINK = "https://abcdefghijklmnopqrstuvwxyz012345.lambda-url.us-east-1.on.aws/?token=" + "x" * 120
POSTS = [
    {
        "author": "Bo <b>",
        "text": "One & two",
        "likes": 1,
        "comments": 1,
        "followed": True,
        "url": "https://e.example/1",
    },
    {"author": "Cy", "text": "Two", "likes": 5, "comments": 0, "followed": False, "url": "https://e.example/2"},
]
NASTY = 'Zoë "Zo"\r\nBcc: all@example.net\n🦊 <script>alert(1)</script>'


def user(**more: Any) -> User:
    return User("user-1", **{"name": "Ada", "email": "ada@example.net", "created_at": datetime.now(UTC), **more})


def parsed(to: User, kind: str = "welcome", locale: str = "en") -> Any:
    rendered = render(kind, locale, SITE, to, LINK, posts=POSTS)
    return email.message_from_bytes(compose(SITE, to, rendered, LINK).as_bytes(), policy=email.policy.default)


class Elements(HTMLParser):
    """The elements and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name == "href"]

    def handle_data(self, data: str) -> None:
        self.text += data


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
    assert {"en": "Hello", "fr": "Bonjour"}[locale] + ' Zoë "Zo" Bcc: all@example.net 🦊 <script>alert' in page.text
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
    assert message["Subject"] == one_line(
        f"Welcome to Backbeat{', ' if one_line(name) else ''}{one_line(name)[: sending.LONGEST_NAME]}"
    )
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]


@pytest.mark.parametrize("name", ["=?utf-8?q?=0D=0ABcc:_x@y.z?=", "=?utf-8?b?DQpCY2M6IHhAeS56?="])
def test_an_encoded_line_break_in_a_name_stays_encoded(name: str) -> None:
    message = parsed(user(name=name))
    assert message["Subject"] == f"Welcome to Backbeat, {name.replace('=?', '= ?')}"
    assert message["Bcc"] is None


@pytest.mark.parametrize(
    ("locale", "language"), [("en", "en"), ("fr", "fr"), ("fr-CA", "fr"), ("FR_be", "fr"), ("de", "en"), ("", "en")]
)
def test_other_languages_fall_back_to_english(locale: str, language: str) -> None:
    assert locale_of(user(locale=locale)) == language


def test_who_has_no_name_is_greeted_without_one() -> None:
    message = parsed(user(name="\u202e\n"))
    assert message["Subject"] == "Welcome to Backbeat"
    assert message.get_body(("plain",)).get_content().startswith("Hello,\r\n")


def test_a_domain_is_written_in_ascii() -> None:
    assert parsed(user(email="ada@bücher.example"))["To"].addresses[0].addr_spec == "ada@xn--bcher-kva.example"


@given(delivery_id=st.text(min_size=1, max_size=45))
def test_a_tag_is_made_of_what_ses_allows_and_leads_back(delivery_id: str) -> None:
    tag = deliveries.tag(delivery_id)
    assert tag.isascii() and tag.replace("-", "").replace("_", "").isalnum()
    assert deliveries.of_tag(tag) == delivery_id


def test_a_foreign_tag_names_nothing() -> None:
    for value in ("ünicode", "a", "____", "/+"):
        with pytest.raises(ValueError, match="names no delivery"):
            deliveries.of_tag(value)
    with pytest.raises(Rejected, match="does not fit"):
        deliveries.tag("x" * 193)
