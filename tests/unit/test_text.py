"""What people write, cut and judged by what they see."""

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from backbeat.text import cut, shows

SEEN_AS_ONE = ["👨‍👩‍👧‍👦", "🇫🇷", "e\u0301", "👍🏽", "क्षि", "각", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "n̈", "1️⃣", "ก็"]


@pytest.mark.parametrize("one", SEEN_AS_ONE)
def test_nothing_that_is_seen_as_one_is_cut(one: str) -> None:
    text = "x" + one * 40
    for longest in range(2, len(text) + 1):
        kept = cut(text, longest)
        assert len(kept) <= longest
        if kept != text:
            assert kept[-1] == "…" and kept[1:-1] == one * ((len(kept) - 2) // len(one))
        assert longest - len(kept) < len(one) + 1


def test_a_short_text_stays_and_a_long_one_says_that_it_goes_on() -> None:
    assert cut("abc", 3) == "abc"
    assert cut("abcd", 3) == "ab…"
    assert cut("ab cd", 4) == "ab…"


def test_what_does_not_fit_at_all_is_left_out() -> None:
    assert cut("Z" + "\u0335" * 500, 60) == ""


@given(st.text(alphabet=st.sampled_from([*"".join(SEEN_AS_ONE), "a", " ", "\n"])), st.integers(1, 30))
def test_a_cut_is_where_a_character_ends(text: str, longest: int) -> None:
    kept = cut(text, longest)
    assert len(kept) <= longest
    if kept and kept != text:
        characters = regex.findall(r"\X", text)
        assert any("".join(characters[:number]).rstrip() == kept[:-1] for number in range(len(characters)))


@pytest.mark.parametrize("text", ["a", "1", "!", "🦊", "नमस्ते", "❤️", "＃", "é"])
def test_there_is_something_to_see(text: str) -> None:
    assert shows(f"\u200b{text}\u3164")


@pytest.mark.parametrize(
    "character", ["\u3164", "\u2800", "\u200b", "\ufe0f", "\u00a0", "\u0301", "\n", "\U000e0100", "\ue000"]
)
def test_there_is_nothing_to_see(character: str) -> None:
    assert not shows(character * 3)


def test_everything_that_unicode_says_to_ignore_shows_nothing() -> None:
    ignored = regex.findall(r"\p{Default_Ignorable_Code_Point}", "".join(map(chr, range(0x110000))))
    assert len(ignored) > 4_000
    assert [f"{ord(char):x}" for char in ignored if shows(char)] == []
