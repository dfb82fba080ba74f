"""How a log line looks, whichever command shows it."""

import json
from typing import Any

from rich.text import Text

from backbeat.tasks import TASKS
from backbeat_ops.logs import Entry
from backbeat_ops.terminal import COLOURS

LEVELS = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "bold red"}
KNOWN = ("run_id", "logical_time")
"""Fields that each line of a run has."""
LONGEST_NAME = max(map(len, [*TASKS, "unsubscribe"]))


def shown(entry: Entry, *, of_run: bool = False) -> Text:
    """An entry as lines for people: what it says and its fields in one, then what belongs to it.

    Args:
        entry: The entry.
        of_run: Whether all lines are of one run, so that its task, id and time need not be said.
    """
    colour = LEVELS.get(entry.level, "")
    text = Text().append(f"{entry.time:%H:%M:%S}  ", "dim")
    if entry.task is None:
        text.append(entry.message, colour or "bold")
    else:
        if not of_run:
            text.append(f"{entry.task:<{LONGEST_NAME}}  ", "none")
        text.append(f"{entry.level:<7}  ", colour or "none")
        text.append(entry.message, COLOURS.get(entry.message, colour or "none"))
    for name, value in _flat(entry.fields):
        if of_run and name in KNOWN:
            continue
        text.append(f"  {name}=", "dim").append(value if isinstance(value, str) else json.dumps(value), "none")
    for line in entry.more:
        text.append(f"\n    {line}", colour or "none")
    return text


def _flat(fields: dict[str, Any]) -> list[tuple[str, Any]]:
    """A run's fields, and for its result those that it has itself."""
    result = fields.get("result")
    if not isinstance(result, dict):
        return list(fields.items())
    return [*((name, value) for name, value in fields.items() if name != "result"), *result.items()]
