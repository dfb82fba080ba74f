"""What people write, made fit to show: in one line, cut between characters as they see them, or found to be blank."""

import re
import unicodedata

INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff\u2800]"
)
"""What shows nothing: Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties.txt), and the blank of Braille."""

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, line separators, marks that turn the direction of text, and halves of characters."""


def one_line(text: str) -> str:
    """A text that a header or a greeting can hold: one line, without control characters or marks that turn it round."""
    return " ".join(_UNPRINTABLE.sub(" ", text).split())


def shows(text: str) -> bool:
    """Whether there is anything to see in a text: a letter, a digit, a sign or a symbol."""
    return any(unicodedata.category(character)[0] in "LNPS" for character in INVISIBLE.sub("", text))


def cut(text: str, longest: int) -> str:
    """A text that is too long, up to where a character as people see it ends, and an ellipsis.

    What people see as one may be several of Unicode's: an accent, a flag, a family (UAX #29, "extended grapheme
    cluster").

    Args:
        text: The text.
        longest: How many of Unicode's characters it may have, the ellipsis included.

    Returns:
        The text, or its beginning; nothing where not even the first character fits.
    """
    if len(text) <= longest:
        return text
    import regex  # here, as it takes 60 ms, and few texts are that long

    end = 0
    for character in regex.finditer(r"\X", text):
        if character.end() >= longest:
            break
        end = character.end()
    beginning = text[:end].rstrip()
    return f"{beginning}…" if beginning else ""
