"""Names: what an email calls somebody. A name is a stranger's text in a mail that bears the network's name."""

import re
import unicodedata

from backbeat.text import INVISIBLE, cut, one_line, shows

LONGEST_NAME = 60
"""Characters of a name that an email shows."""


def shown(name: str | None) -> str:
    """A name as an email may show it: one line, at most 60 characters.

    A name that mail clients could turn into a link, or that asks to be called, is left out whole: whoever signs up
    another's address with it would have the network send their words there.

    Returns:
        The name; nothing where it is left out, or where there is nothing to see in it.
    """
    line = one_line(name or "")
    return cut(line, LONGEST_NAME) if shows(line) and not looks_like_an_address(line) else ""


def looks_like_an_address(text: str) -> bool:
    """Whether a text holds what a mail client may make a link of: a URL, a domain, an address, a telephone number."""
    return bool(_ADDRESS.search(INVISIBLE.sub("", unicodedata.normalize("NFKC", text))))


_ADDRESS = re.compile(
    r"""
      @ | // | \\\\                                  # an address or a handle, what follows a protocol, a share
    | \b [a-z][a-z0-9+.\-]{2,} : \S                  # a protocol, or a host with a port
    | \b (?: \d{1,3} \. ){3} \d                       # a network address
    | [^\s.] [.\u3002] [^\W_] [^\s.]                 # a domain: after its dot stand two characters, as in no initials
    | (?<! \w ) \d (?: [\s().\-\u2010-\u2015/]* \d ){6,} (?! \w )   # seven digits or more: a telephone number
    """,
    re.VERBOSE | re.IGNORECASE,
)
