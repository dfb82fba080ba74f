"""Hashtags: what in a text is one, by the published rules of twitter-text, and which of them are the same.

The rules are those of twitter-text 3 (github.com/twitter/twitter-text, its conformance suite's `extract.yml`):

- A tag is `#` or `＃` and then letters, marks and decimal digits of any script, `_`, and a few characters that words
  of some scripts hold; at least one of them is a letter or a mark, so that `#16` is a number.
- Before it stands none of these, and no `&`, which would make it an HTML entity. After it stands neither another `#`
  nor `://`.
- A `#` in the path or query of a URL belongs to the URL.

Two differences, on purpose. twitter-text has a list of top-level domains, which is out of date within weeks; here any
name of letters will do. And whatever follows `http://` or `https://` is a URL, also where it has no dot.
"""

import re
import unicodedata
from collections.abc import Iterable

LONGEST = 100
"""Characters of a tag; longer ones are none. Tags are keys of tables, and keys are bounded."""

# Zero-width joiners, and what Hebrew, Tibetan, Catalan, Japanese and Cyrillic words are written with.
_SPECIAL = frozenset(
    "_\u200c\u200d\ua67e\u05be\u05f3\u05f4\uff5e\u301c\u309b\u309c\u30a0\u30fb\u3003\u0f0b\u0f0c\u00b7"
)
_EMOJI_STYLES = "\ufe0e\ufe0f"
_KEYCAP = "\u20e3"

_NAME = r"A-Za-z0-9\u00c0-\u024f"
_PATH = rf"{_NAME}\u0400-\u04ff!*';:=+,.$/%#\[\]\-\u2013_~@|&"
# Every repetition is possessive and no URL starts within another's name, so that time grows with length alone.
_URL = re.compile(
    rf"""(?<! [{_NAME}@＠$\#＃_./-] )
    (?: https?:// [^\s/?\#＃]++                                                # any host after a protocol,
      | ( [{_NAME}] [{_NAME}_.-]*+ ) (?: :[0-9]{{1,5}}+ )? (?=[/?]) )           # else a name (group 1)
    (?: / (?: [{_PATH}] | \( (?: [{_PATH}] | \( [{_PATH}]*+ \) )*+ \) )*+ )?   # closed brackets are part of a path
    (?: \? [{_PATH}?()]*+ )?""",
    re.VERBOSE | re.IGNORECASE,
)
_TOP_LEVEL = re.compile(r"\.(?:[a-z]{2,63}|xn--[a-z0-9-]{1,59})\Z", re.IGNORECASE)


def find(text: str) -> list[str]:
    """The hashtags of a text as they are written, without their `#`, in order, repetitions included.

    Takes time in proportion to the text's length, whatever is in it.
    """
    signs = [match.start() for match in re.finditer("[#＃]", text)]
    if not signs:
        return []
    urls = _url_spans(text)
    found = []
    for sign in signs:
        while urls and urls[-1][1] <= sign:
            urls.pop()
        if urls and urls[-1][0] <= sign:
            continue
        if sign and (text[sign - 1] == "&" or (_belongs(text[sign - 1]) and text[sign - 1] not in _EMOJI_STYLES)):
            continue
        end = sign + 1
        while end < len(text) and _belongs(text[end]):
            end += 1
        tag = text[sign + 1 : end]
        if (
            any(unicodedata.category(character)[0] in "LM" for character in tag)
            and tag[0] not in (*_EMOJI_STYLES, _KEYCAP)  # the keycap emoji `#️⃣`
            and not text.startswith(("#", "＃", "://"), end)
            and len(fold(tag)) <= LONGEST
        ):
            found.append(tag)
    return found


def fold(tag: str) -> str:
    """The form in which tags are compared: two are the same where this is.

    It is Unicode's compatibility caseless match (The Unicode Standard, section 3.13, D146), composed: widths, ligatures
    and case do not count, accents do.
    """
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFD", tag).casefold())
    return unicodedata.normalize("NFKC", decomposed.casefold())


def distinct(text: str) -> dict[str, str]:
    """The different hashtags of a text: by folded form, as first written."""
    tags: dict[str, str] = {}
    for tag in find(text):
        tags.setdefault(fold(tag), tag)
    return tags


def distinct_tags(text: str, given: Iterable[str] | None = None) -> set[str]:
    """The different hashtags of a post, as written: those of its text, or those that are given in their stead.

    Raises:
        ValueError: A given one is no hashtag.
    """
    if given is None:
        return set(distinct(text).values())
    tags: dict[str, str] = {}
    for tag in given:
        bare = tag.removeprefix("#") if isinstance(tag, str) else ""
        if find(f"#{bare}") != [bare]:
            raise ValueError(f"hashtags: {tag!r} is none")
        tags.setdefault(fold(bare), bare)
    return set(tags.values())


def _belongs(character: str) -> bool:
    """Whether a character can be part of a tag."""
    category = unicodedata.category(character)
    return category[0] in "LM" or category == "Nd" or character in _SPECIAL


def _url_spans(text: str) -> list[tuple[int, int]]:
    """Where the text's URLs begin and end, the last one first."""
    spans = [match.span() for match in _URL.finditer(text) if match[1] is None or _TOP_LEVEL.search(match[1])]
    return spans[::-1]
