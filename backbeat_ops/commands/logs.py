"""`backbeat logs`: what the functions log; and how a log line looks, whichever command shows it."""

import json
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from rich.text import Text

from backbeat.tasks import TASKS
from backbeat_ops import onerun, runs
from backbeat_ops.commands import completing
from backbeat_ops.logs import Entry, Log
from backbeat_ops.terminal import COLOURS, AsJson, console, errors, print_json, since, the_stack

LEVELS = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "bold red"}
KNOWN = ("run_id", "logical_time")
"""Fields that each line of a run has."""
LONGEST_NAME = max(map(len, [*TASKS, "unsubscribe"]))


SECONDS_BETWEEN_LOOKS = 2.0
UNSUBSCRIBE = "unsubscribe"
"""The function that is no task."""
SPAN = timedelta(minutes=15)
"""How far back is looked, unless another time is given."""


def logs(
    context: typer.Context,
    task: Annotated[
        str | None,
        typer.Argument(
            metavar="TASK", help="Only this task's.", show_default="all functions", autocompletion=completing.tasks
        ),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what comes, until Ctrl-C.")] = False,
    run: Annotated[
        str | None, typer.Option(metavar="ID", help="Only this run's.", autocompletion=completing.runs)
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(parser=since, metavar="TIME", help="From then on, as `6h` or a time.", show_default="15m"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what functions log, from CloudWatch Logs or the local cloud. With --json each line is an object."""
    if run is not None and (task or follow or since):
        raise typer.BadParameter("--run stands alone: a run's task and time are known.")
    stack, now = the_stack(context), datetime.now(UTC)
    if run is not None:
        one = onerun.look(stack, run, now)
        _print(one.log, as_json, of_run=True)
        if one.no_log:
            errors.print(one.no_log, markup=False, soft_wrap=True)
            raise typer.Exit(1)
        return
    names = [*TASKS, UNSUBSCRIBE] if task is None else [task]
    if task not in (None, UNSUBSCRIBE):
        runs.the_task(str(task))
    log = Log(stack.name, names, since or now - SPAN)
    _print(log.new(now), as_json)
    with suppress(KeyboardInterrupt):
        while follow:
            time.sleep(SECONDS_BETWEEN_LOOKS)
            _print(log.new(datetime.now(UTC)), as_json)


def _print(entries: list[Entry], as_json: bool, *, of_run: bool = False) -> None:
    for entry in entries:
        if as_json:
            print_json(entry, indent=None)
        else:
            console.print(shown(entry, of_run=of_run), soft_wrap=True)


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
