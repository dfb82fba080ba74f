"""A name is a stranger's text: what of it an email shows, and what not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backbeat.mail.names import LONGEST_NAME, looks_like_an_address, shown


@pytest.mark.parametrize(
    "name",
    [
        "Ada",
        "Zoë von Grün",
        "J.R.R. Tolkien",
        "Dr. No",
        "e. e. cummings",
        "M.I.A.",
        "O'Brien-Smith",
        "Ada, Countess of Lovelace",
        "Jr., Sam (he/him)",
        "and so on...",
        "wait...what",
        "نور",
        "さくら",
        "👩‍👩‍👧",
        "R2-D2",
        "Agent 007",
        "class of 2026",
        "<b>Bo</b>",
        "C:",
    ],
)
def test_a_name_is_shown(name: str) -> None:
    assert shown(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "You won! https://evil.example/x",
        "You won! HTTPS:evil",
        "visit evil.example today",
        "evil.example",
        "evil\u200b.example",
        "evil․example",
        "ｅｖｉｌ．ｅｘａｍｐｌｅ",
        "evil。example",
        "उदाहरण.भारत",
        "bit.ly/x",
        "www.evil.example",
        "//evil",
        r"\\evil\share",
        "ada@evil.example",
        "@ada",
        "＠ada",
        "mailto:ada",
        "call +1 (800) 555-0100",
        "٠٨٠٠ ٥٥٥ ٠١٠٠",
        "0800 555 01 00",
        "1.2.3.44",
        "1.1.1.1",
        "whatsapp:call-me",
        "whatsapp:123",
        "evil:8080/x",
        "javascript:alert(1)",
    ],
)
def test_a_name_that_could_become_a_link_is_left_out(name: str) -> None:
    assert shown(name) == ""


@pytest.mark.parametrize(
    "name",
    [
        *(None, "", " ", "\n", "\u3164", "\u115f\u1160", "\uffa0", "\u2800", "\u200b\u200c\u200d\ufeff", "\ufe0f"),
        *("\u00ad", "\u202e", "\u0301", "\ud800", "\U000e0041", "\u180e", "\u034f"),
    ],
)
def test_a_name_with_nothing_to_see_is_none(name: str | None) -> None:
    assert shown(name) == ""


def test_what_would_turn_or_break_the_line_is_taken_out() -> None:
    assert shown("Ada\r\n\u202eBcc\u2066 \u2028all") == "Ada Bcc all"


@given(st.text())
def test_a_name_is_one_short_line_that_looks_like_no_address(name: str) -> None:
    found = shown(name)
    assert len(found) <= LONGEST_NAME
    assert not looks_like_an_address(found)
