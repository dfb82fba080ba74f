"""`backbeat capacity`: how much runs, how long it takes, and whether there is enough of everything."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.markup import escape

from backbeat_ops import capacity as load
from backbeat_ops.pausing import words
from backbeat_ops.terminal import AsJson, console, counted, errors, print_json, print_table, table, the_stack

MOST_HOURS = 15 * 24
"""CloudWatch keeps what it has by the minute for 15 days ("CloudWatch concepts", "Metrics retention")."""


def capacity(
    context: typer.Context,
    hours: Annotated[int, typer.Option(min=1, max=MOST_HOURS, help="Of so many hours up to now.")] = 24,
    as_json: AsJson = False,
) -> None:
    """Show how much each task does, how long it takes and waits, against what it is given, and what to do."""
    stack = the_stack(context)
    with errors.status(f"Looking at {stack.name}"):
        found = load.capacity(stack, hours, datetime.now(UTC))
    if as_json:
        print_json(found)
        return
    console.print(f"{found['stack']}, the last {words(timedelta(hours=hours))}, from the {found['source']}")
    numbers = ("runs", "an hour", "p50", "p95", "at once", "waited")
    rows = table("task", *numbers, numbers=numbers)
    for item in found["tasks"]:
        rows.add_row(
            item["task"],
            f"{item['runs']:,}",
            f"{item['busiest_hour']:,}",
            _seconds(item["p50_ms"]),
            _seconds(item["p95_ms"]),
            f"{'?' if item['at_once'] is None else item['at_once']} of {item['configured']['at_once']}",
            "?" if item["oldest_s"] is None else words(timedelta(seconds=item["oldest_s"])),
        )
    print_table(rows)
    console.print()
    for item in found["classes"]:
        waited = "?" if item["oldest_s"] is None else words(timedelta(seconds=item["oldest_s"]))
        console.print(
            f"{item['class']}: {counted(item['runs'], 'run')}, {item['at_once']} of {item['may_at_once']} at once, "
            f"the oldest waited {waited}",
            soft_wrap=not console.is_terminal,
        )
    console.print()
    for item in found["tasks"]:
        console.print(f"{item['task']}: {escape(item['advice'])}", soft_wrap=not console.is_terminal)


def _seconds(milliseconds: float | None) -> str:
    return "" if milliseconds is None else f"{milliseconds / 1000:.2f} s"
