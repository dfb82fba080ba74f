"""Hashtags: what in a text is one, by the published rules of twitter-text, and which of them are the same.

The rules are those of twitter-text 3 (github.com/twitter/twitter-text, its conformance suite's `extract.yml`):

- A tag is `#` or `＃` and then letters, marks and decimal digits of any script, `_`, and a few characters that words
  of some scripts hold; at least one of them is a letter or a mark, so that `#16` is a number.
- Before it stands none of these, and no `&`, which would make it an HTML entity. After it stands neither another `#`
  nor `://`.
- A `#` in the path or query of a URL belongs to the URL.

A tag must show something, so one of nothing but fillers and joiners is none; what does not show at its ends is not
part of it. Of a post the first thirty different tags count.

Two differences, on purpose. twitter-text has a list of top-level domains, which is out of date within weeks; here any
name of letters will do. And whatever follows `http://` or `https://` is a URL, also where it has no dot.
"""

import re
import unicodedata
from collections.abc import Iterable

LONGEST = 100
"""Characters of a tag; longer ones are none. Tags are keys of tables, and keys are bounded."""

MOST_TAGS = 30
"""How many different hashtags of a post count: as many as Instagram takes."""

# Zero-width and word joiners, the soft hyphen, and what Hebrew, Tibetan, Catalan, Japanese and Cyrillic words are
# written with.
_SPECIAL = frozenset(
    "_\u200c\u200d\u2060\ufeff\u00ad\ua67e\u05be\u05f3\u05f4\uff5e\u301c\u309b\u309c\u30a0\u30fb\u3003\u0f0b\u0f0c\u00b7"
)
_EMOJI_STYLES = "\ufe0e\ufe0f"
_KEYCAP = "\u20e3"

_IGNORABLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Default_Ignorable_Code_Point of The Unicode Standard 16 (DerivedCoreProperties.txt): what shows nothing."""

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
        folded = fold(tag) if len(tag) <= 3 * LONGEST else ""
        if (
            folded
            and tag[0] not in (*_EMOJI_STYLES, _KEYCAP)  # the keycap emoji `#️⃣`
            and not text.startswith(("#", "＃", "://"), end)
            and any(unicodedata.category(character)[0] in "LM" for character in folded)
            and len(folded) <= LONGEST
        ):
            found.append(_trimmed(tag))
    return found


def named(name: str) -> str:
    """A tag that has a name of its own, without its `#`: what no hashtag holds becomes `_`, `two words` `two_words`."""
    return "_".join("".join(each if _belongs(each) else " " for each in name).split())


def fold(tag: str) -> str:
    """The form in which tags are compared: two are the same where this is.

    It is NFKC_Casefold (The Unicode Standard, section 3.13, R5): widths, ligatures, case, and what does not show, such
    as joiners and variation selectors, do not count; accents do.
    """
    shown = _IGNORABLE.sub("", unicodedata.normalize("NFD", tag))
    decomposed = unicodedata.normalize("NFKD", shown.casefold())
    return unicodedata.normalize("NFKC", _IGNORABLE.sub("", decomposed.casefold()))


def _trimmed(tag: str) -> str:
    """A tag without what does not show at its ends."""
    shown = [number for number, character in enumerate(tag) if not _IGNORABLE.match(character)]
    return tag[shown[0] : shown[-1] + 1]


def distinct(text: str) -> dict[str, str]:
    """The first thirty different hashtags of a text: by folded form, as first written."""
    tags: dict[str, str] = {}
    for tag in find(text):
        tags.setdefault(fold(tag), tag)
        if len(tags) == MOST_TAGS:
            break
    return tags


def distinct_tags(text: str, given: Iterable[str] | None = None) -> set[str]:
    """The different hashtags of a post, as written: those of its text, or those that are given in their stead.

    Raises:
        ValueError: A given one is no hashtag, or there are more than thirty.
    """
    if given is None:
        return set(distinct(text).values())
    tags: dict[str, str] = {}
    for tag in given:
        bare = tag.removeprefix("#") if isinstance(tag, str) else ""
        if find(f"#{bare}") != [bare]:
            raise ValueError(f"hashtags: {tag!r} is none")
        tags.setdefault(fold(bare), bare)
    if len(tags) > MOST_TAGS:
        raise ValueError(f"hashtags: there are {len(tags)}, more than {MOST_TAGS}")
    return set(tags.values())


def _belongs(character: str) -> bool:
    """Whether a character can be part of a tag."""
    category = unicodedata.category(character)
    return category[0] in "LM" or category == "Nd" or character in _SPECIAL


def _url_spans(text: str) -> list[tuple[int, int]]:
    """Where the text's URLs begin and end, the last one first."""
    spans = [match.span() for match in _URL.finditer(text) if match[1] is None or _TOP_LEVEL.search(match[1])]
    return spans[::-1]
