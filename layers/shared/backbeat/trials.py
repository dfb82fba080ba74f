"""Trials: what `backbeat verify` makes to see the tasks work, told by its name from all that is the network's own.

The ids of a trial's users, posts and messages begin with the trial's own, and its rows have no day: no sweep, ranking
or report finds them. A message of a trial is of no account: it is in no total and no metric, never becomes a dead
letter, and asks for nothing once the trial is over.
"""

import re
import secrets

_ID = "backbeat-verify-[0-9a-f]{16}"
_ADDRESS = re.compile(rf"[a-z]+\+({_ID})@simulator\.amazonses\.com")
"""SES's mailbox simulator, with a label (SES, "Using the mailbox simulator"). Nobody else has an address there."""


def new() -> str:
    """The id of a new trial."""
    return f"backbeat-verify-{secrets.token_hex(8)}"


def of(name: str) -> str | None:
    """The trial that a name belongs to, or None where it is the network's own."""
    found = re.match(_ID, name)
    return found and found[0]


def of_address(address: str) -> str | None:
    """The trial that a mail address belongs to, or None where it is somebody's."""
    found = _ADDRESS.fullmatch(address)
    return found and found[1]


def address(trial: str, mailbox: str) -> str:
    """A trial's address at SES's mailbox simulator: `success`, `bounce` or `complaint` says what becomes of a mail."""
    return f"{mailbox}+{trial}@simulator.amazonses.com"
