"""The commands of schedules and of runs made by hand; `backbeat_ops.cli` puts them beside the others."""

import json
from collections import Counter
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from backbeat.ledger import FAILED
from backbeat.messages import iso
from backbeat.models import RunRecord
from backbeat.tasks import TASKS
from backbeat_ops import schedules
from backbeat_ops.schedules import NotSettled, Played, described, named, run_as_json
from backbeat_ops.terminal import AsJson, console, errors, fail, outcome, print_json, the_stack


def moment(text: str) -> datetime:
    """A time that an operator gives: ISO 8601 with a time zone, or a date, which is its midnight in UTC."""
    try:
        if len(text) == len("2026-11-01"):
            return datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no time; say 2026-11-01T04:00Z, or 2026-11-01") from None
    if found.utcoffset() is None:
        raise typer.BadParameter(f"{text!r} has no time zone; say {text}Z for UTC")
    return found.astimezone(UTC)


Name = Annotated[str, typer.Argument(help="The schedule's name, which is its task's.")]
At = Annotated[datetime | None, typer.Option(parser=moment, metavar="TIME", help="The run's logical time; now.")]
Timeout = Annotated[float, typer.Option(metavar="SECONDS", help="How long to wait for an end.", min=0)]

app = typer.Typer(help="List the schedules; enable, disable or fire one.", invoke_without_command=True)


@app.callback()
def listing(context: typer.Context, as_json: AsJson = False) -> None:
    """List the schedules, or enable, disable or fire one."""
    if context.invoked_subcommand is not None:
        return
    now = datetime.now(UTC)
    found = [described(schedule, now) for schedule in schedules.schedules(the_stack(context).name)]
    if as_json:
        print_json(found)
        return
    table = Table(box=SIMPLE_HEAD)
    for column in ("schedule", "state", "next (UTC)", "last run (UTC)"):
        table.add_column(column)
    for item in sorted(found, key=lambda item: (not item["next"], item["next"])):
        times = [datetime.fromisoformat(at) for at in item["next"]]
        last = item["last_run"]
        table.add_row(
            f"{item['name']}\n[dim]{item['expression']}[/]",
            "enabled" if item["state"] == "ENABLED" else "[yellow]disabled[/]",
            escape(item["problem"]) if item["problem"] else "\n".join(f"{at:%a %d %b %H:%M}" for at in times),
            f"{outcome(last['outcome'])}\n{datetime.fromisoformat(last['logical_time']):%a %d %b %H:%M}"
            if last
            else "",
        )
    console.print(table if found else "There are no schedules.")


@app.command()
def enable(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Let a schedule fire again. What it missed stays missed; `backbeat play` makes up for it."""
    _switch(context, name, "ENABLED", as_json)


@app.command()
def disable(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Keep a schedule from firing, until it is enabled, or changed by a deployment."""
    _switch(context, name, "DISABLED", as_json)


def _switch(context: typer.Context, name: str, state: Literal["ENABLED", "DISABLED"], as_json: bool) -> None:
    stack = the_stack(context).name
    (schedule,) = named(stack, [name])
    schedules.switch(schedule, state)
    (schedule,) = named(stack, [name])
    if as_json:
        print_json(described(schedule, datetime.now(UTC)))
    else:
        console.print(f"{name} is {schedule.definition['State'].lower()}.")


@app.command("run")
def fire(context: typer.Context, name: Name, at: At = None, as_json: AsJson = False) -> None:
    """Fire a schedule, enabled or not. A run that has succeeded is not made again."""
    (schedule,) = named(the_stack(context).name, [name])
    message = schedules.send(schedule, _not_ahead(context, at) or datetime.now(UTC).replace(microsecond=0))
    _sent(as_json, message.id, message.task, message.logical_time)


def run(
    context: typer.Context,
    task: Annotated[str, typer.Argument(help="The task's name.")],
    given: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Its arguments.")] = None,
    at: At = None,
    to_its_end: Annotated[bool, typer.Option("--wait", help="Wait for its end; fail if it fails.")] = False,
    timeout: Timeout = 300,
    as_json: AsJson = False,
) -> None:
    """Run a task now, as if at any time: a new run, whatever ran before."""
    if task not in TASKS:
        fail(f"there is no task {task!r}; there is {', '.join(sorted(TASKS))}")
    stack = the_stack(context).name
    time = _not_ahead(context, at) or datetime.now(UTC)
    kwargs = schedules.arguments(TASKS[task], given or [])
    message = schedules.run_by_hand(stack, TASKS[task], kwargs, time)
    if not to_its_end:
        _sent(as_json, message.id, task, time)
        return
    with errors.status(f"{message.id} is on its way"):
        (made,) = schedules.wait([message], timeout)
    if as_json:
        print_json(run_as_json(made))
    else:
        console.print(f"{made.run_id} {outcome(made.outcome)}", soft_wrap=True)
        if made.result is not None:
            console.print_json(json.dumps(made.result))
    if made.outcome in FAILED:
        fail(f"{made.outcome}: {made.error}")


def play(
    context: typer.Context,
    start: Annotated[datetime, typer.Option("--from", parser=moment, metavar="TIME", help="The first time.")],
    end: Annotated[datetime, typer.Option("--to", parser=moment, metavar="TIME", help="The end, itself left out.")],
    names: Annotated[
        list[str] | None, typer.Argument(metavar="SCHEDULE", help="Which; else all that are enabled.")
    ] = None,
    timeout: Timeout = 300,
    as_json: AsJson = False,
) -> None:
    """Play a stretch of schedules at once, each run at its logical time, each tick finished before the next.

    Runs that are known already are not made again, so a stretch may be played twice, or played on.
    """
    stack = the_stack(context).name
    if start >= end:
        raise typer.BadParameter(f"--from {iso(start)} is not before --to {iso(end)}")
    _not_ahead(context, end)
    chosen = named(stack, names) if names else [found for found in schedules.schedules(stack) if found.enabled]
    answered = {schedule.name for schedule in chosen if schedules.consumed(schedule)}
    played: list[Played] = []
    ended: list[RunRecord] = []
    with errors.status("Playing") as status:
        for tick in schedules.play(chosen, start, end):
            status.update(f"Playing {iso(tick[0].message.logical_time)}: {len(played)} runs so far")
            played += tick
            try:
                ended += schedules.wait([run.message for run in tick if run.schedule.name in answered], timeout)
            except NotSettled as error:
                raise NotSettled(f"{error}. Play the same stretch again to go on from there.") from error
    failed = [run for run in ended if run.outcome in FAILED]
    _show_played(as_json, chosen, answered, played, ended)
    if failed:
        names_of_failed = ", ".join(f"{run.run_id} ({run.outcome})" for run in failed[:5])
        fail(f"{len(failed)} of {len(played)} runs failed: {names_of_failed}{' ...' if len(failed) > 5 else ''}")


def _show_played(
    as_json: bool,
    chosen: list[schedules.Schedule],
    answered: set[str],
    played: list[Played],
    ended: list[RunRecord],
) -> None:
    found: list[dict[str, Any]] = []
    for schedule in chosen:
        own = [run for run in played if run.schedule is schedule]
        found.append(
            {
                "schedule": schedule.name,
                "runs": len(own),
                "sent": sum(run.sent for run in own),
                "known": sum(not run.sent for run in own),
                "outcomes": Counter(run.outcome for run in ended if run.task == schedule.task.name),
                "waits_for_a_function": schedule.name not in answered,
            }
        )
    if as_json:
        print_json(found)
        return
    table = Table(box=SIMPLE_HEAD)
    for column in ("schedule", "runs", "sent", "known before", "ended"):
        table.add_column(column, justify="left" if column in ("schedule", "ended") else "right")
    for item in found:
        ends = ", ".join(f"{count} {outcome(name)}" for name, count in item["outcomes"].items())
        if item["waits_for_a_function"]:
            ends = "[yellow]no function takes its messages: they wait[/]"
        table.add_row(item["schedule"], str(item["runs"]), str(item["sent"]), str(item["known"]), ends)
    console.print(table)


def _not_ahead(context: typer.Context, time: datetime | None) -> datetime | None:
    """The time, unless it is still to come on AWS: what a run writes would hold off all others until then."""
    if time is not None and time > datetime.now(UTC) and context.find_root().params.get("stack"):
        raise typer.BadParameter(f"{iso(time)} is still to come; times to come can be played on the local cloud only")
    return time


def _sent(as_json: bool, run_id: str, task: str, time: datetime) -> None:
    if as_json:
        print_json({"id": run_id, "task": task, "logical_time": iso(time)})
    else:
        console.print(f"{run_id} is on its queue.", soft_wrap=True)
