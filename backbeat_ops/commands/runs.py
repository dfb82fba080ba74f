"""`backbeat runs` and `run`: look at the ledger, and run a task by hand."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.markup import escape
from rich.padding import Padding

from backbeat.ledger import FAILED, Outcome
from backbeat.tasks import TASKS
from backbeat_ops import runs as ledger
from backbeat_ops.terminal import (
    AsJson,
    At,
    Day,
    Force,
    Timeout,
    Wait,
    answer,
    console,
    counted,
    errors,
    fail,
    not_ahead,
    outcome,
    print_json,
    the_stack,
)


def runs(
    context: typer.Context,
    task: Annotated[str | None, typer.Option(metavar="TASK", help="Only this task's.")] = None,
    day: Day = None,
    days: Annotated[
        int | None, typer.Option(min=1, max=366, help="So many days up to that day, or to today.", show_default="2")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many of each task.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the runs of today and yesterday, or of other days, those that started last first.

    A run belongs to the day of its logical time: one that was made or played as if at another time is found there.
    """
    names = list(TASKS) if task is None else [ledger.the_task(task).name]
    the_stack(context)
    last, span = (day or datetime.now(UTC)).date(), days or (1 if day else 2)
    found = [run for name in names for run in ledger.recent(name, limit, last, span)]
    if day is None:
        found += ledger.not_recorded(found, task)
    found.sort(key=lambda run: run.started, reverse=True)
    shown = Counter(run.task for run in found)
    partly = [said for name in names if shown[name] >= limit and (said := ledger.left_out(name, limit, last, span))]
    if partly:
        errors.print(f"{'; '.join(partly)}: --limit shows more.", soft_wrap=True)
    if as_json:
        print_json([ledger.shown(run) for run in found])
        return
    for run in found:
        took = "" if run.duration_ms is None else f"{run.duration_ms / 1000:.2f} s"
        tries = counted(run.attempts, "try", "tries")
        ended = outcome(run.outcome) + " " * (10 - len(run.outcome))
        console.print(
            f"{run.logical_time:%m-%d %H:%M:%S}  {run.task:<29}  {ended}  {tries:>7}  {took:>8}", soft_wrap=True
        )
        parts = [run.about, run.reason, run.error or ledger.words(run.result)]
        result = ": ".join(word for word in parts if word)
        if result:
            below = Padding(f"[dim]{escape(result)}[/]", (0, 0, 0, 4), expand=False)
            console.print(below, soft_wrap=not console.is_terminal)
    if not found:
        when = f"on {last}" if span == 1 else f"from {last - timedelta(days=span - 1)} to {last}"
        console.print(f"There are no runs {when}, by their logical times (UTC); --day and --days show other days.")


def run(
    context: typer.Context,
    task: Annotated[str, typer.Argument(metavar="TASK", help="The task's name.")],
    given: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Its arguments.")] = None,
    at: At = None,
    force: Force = False,
    wait: Wait = False,
    timeout: Timeout = 300,
    as_json: AsJson = False,
) -> None:
    """Run a task now, as if at any time: a new run, whatever ran before."""
    declared = ledger.the_task(task)
    kwargs = ledger.arguments(declared, given or [])
    time = not_ahead(context, at, force) or datetime.now(UTC)
    message = ledger.by_hand(the_stack(context).name, declared, kwargs, time)
    if not wait:
        answer(ledger.on_its_queue(message), f"{message.id} is on its queue.", as_json)
        return
    with errors.status(f"{message.id} is on its way"):
        (made,) = ledger.wait([message], timeout)
    if as_json:
        print_json(ledger.shown(made))
    else:
        why = f": {escape(made.error)}" if made.outcome == Outcome.SKIPPED and made.error else ""
        console.print(f"{made.run_id} {outcome(made.outcome)}{why}", soft_wrap=True)
        if made.result is not None:
            print_json(made.result)
    if made.outcome in FAILED:
        fail(f"{made.run_id} is {made.outcome}: {made.reason}: {made.error}")
