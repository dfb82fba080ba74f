"""`backbeat schedules` and `play`: list, switch and fire schedules, and play a stretch of them."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import typer
from rich.markup import escape
from rich.table import Table

from backbeat.ledger import Outcome
from backbeat.messages import iso
from backbeat.models import RunRecord
from backbeat_ops import runs, schedules
from backbeat_ops.runs import NotSettled
from backbeat_ops.schedules import Played
from backbeat_ops.terminal import (
    AsJson,
    At,
    Force,
    Timeout,
    answer,
    console,
    counted,
    errors,
    fail,
    moment,
    not_ahead,
    outcome,
    print_json,
    table,
    the_stack,
)

MOST_NAMED = 5

Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name, which is its task's.")]

app = typer.Typer(help="List the schedules; enable, disable or fire one.", invoke_without_command=True)


@app.callback()
def listing(context: typer.Context, as_json: AsJson = False) -> None:
    """List the schedules; enable, disable or fire one."""
    if context.invoked_subcommand is not None:
        return
    now = datetime.now(UTC)
    found = [schedules.described(schedule, now) for schedule in schedules.schedules(the_stack(context).name)]
    if as_json:
        print_json(found)
        return
    rows = table("schedule", "state", "next (UTC)", "last run (UTC)")
    for item in sorted(found, key=lambda item: (not item["next"], item["next"])):
        times = [datetime.fromisoformat(at) for at in item["next"]]
        last = item["last_run"]
        rows.add_row(
            f"{item['name']}\n[dim]{item['expression']}[/]",
            "enabled" if item["state"] == "ENABLED" else "[yellow]disabled[/]",
            escape(item["problem"]) if item["problem"] else "\n".join(f"{at:%a %d %b %H:%M}" for at in times),
            f"{outcome(last['outcome'])}\n{datetime.fromisoformat(last['logical_time']):%a %d %b %H:%M}"
            if last
            else "",
        )
    console.print(rows if found else "There are no schedules.")


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
    (schedule,) = schedules.named(stack, [name])
    schedules.switch(schedule, state)
    (schedule,) = schedules.named(stack, [name])
    found = schedules.described(schedule, datetime.now(UTC))
    answer(found, f"{name} is {found['state'].lower()}.", as_json)


@app.command("run")
def fire(context: typer.Context, name: Name, at: At = None, force: Force = False, as_json: AsJson = False) -> None:
    """Fire a schedule, enabled or not. A run that has succeeded is not made again."""
    time = not_ahead(context, at, force) or datetime.now(UTC).replace(microsecond=0)
    (schedule,) = schedules.named(the_stack(context).name, [name])
    if known := schedules.made(schedule, time):
        new = f"`backbeat run {schedule.task.name} --at {iso(time)}` makes a new one."
        answer(runs.shown(known), f"{runs.as_it_is(known)} {new}", as_json)
        return
    message = schedules.send(schedule, time)
    answer(runs.on_its_queue(message), f"{message.id} is on its queue.", as_json)


def play(
    context: typer.Context,
    start: Annotated[datetime, typer.Option("--from", parser=moment, metavar="TIME", help="The first time.")],
    end: Annotated[datetime, typer.Option("--to", parser=moment, metavar="TIME", help="The end, itself left out.")],
    names: Annotated[
        list[str] | None, typer.Argument(metavar="SCHEDULE", help="Which ones.", show_default="all that are enabled")
    ] = None,
    force: Force = False,
    timeout: Timeout = 300,
    as_json: AsJson = False,
) -> None:
    """Play a stretch of schedules at once, each run at its logical time, each tick finished before the next.

    Runs that are known already are not made again, so a stretch may be played twice, or played on.
    """
    if start >= end:
        raise typer.BadParameter(f"--from {iso(start)} is not before --to {iso(end)}.")
    not_ahead(context, end, force)
    stack = the_stack(context).name
    chosen = (
        schedules.named(stack, names) if names else [found for found in schedules.schedules(stack) if found.enabled]
    )
    answered = {schedule.name for schedule in chosen if schedules.consumed(schedule)}
    played: list[Played] = []
    ended: list[RunRecord] = []
    with errors.status("Playing") as status:
        for tick in schedules.play(chosen, start, end):
            status.update(f"Playing {iso(tick[0].message.logical_time)}: {counted(len(played), 'run')} so far")
            played += tick
            try:
                ended += runs.wait([run.message for run in tick if run.schedule.name in answered], timeout)
            except NotSettled as error:
                raise NotSettled(f"{error} Play the same stretch again to go on from there.") from error
    found = schedules.summed_up(chosen, played, ended)
    if as_json:
        print_json(found)
    else:
        console.print(_as_table(found))
        for run in ended:
            if run.outcome == Outcome.SKIPPED:
                console.print(f"[dim]{run.run_id} was skipped: {escape(run.error or 'no reason is known')}[/]")
    failed = [f"{run['run_id']} ({run['outcome']})" for item in found for run in item["failed"]]
    if failed:
        more = f" and {len(failed) - MOST_NAMED} more" if len(failed) > MOST_NAMED else ""
        fail(f"{len(failed)} of {counted(len(played), 'run')} failed: {', '.join(failed[:MOST_NAMED])}{more}.")


def _as_table(found: list[dict[str, Any]]) -> Table:
    rows = table("schedule", "runs", "sent", "known before", "ended", numbers=("runs", "sent", "known before"))
    for item in found:
        ends = ", ".join(f"{count} {outcome(name)}" for name, count in item["outcomes"].items())
        if item["waiting"]:
            ends = f"[yellow]{item['waiting']} on the queue, which no function reads[/]"
        rows.add_row(item["schedule"], str(item["runs"]), str(item["sent"]), str(item["known"]), ends)
    return rows
