"""`backbeat schedules` and `play`: list, switch and fire schedules, and play a stretch of them."""

import itertools
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import typer
from botocore.exceptions import ClientError
from rich.markup import escape
from rich.table import Table

from backbeat.ledger import Outcome
from backbeat.messages import iso
from backbeat.models import RunRecord
from backbeat_ops import mail, runs, schedules
from backbeat_ops.commands import completing
from backbeat_ops.deployed import Deployed, NotWorkedOut
from backbeat_ops.runs import NotSettled
from backbeat_ops.schedules import Played, Schedule
from backbeat_ops.stack import NotFound, Stack
from backbeat_ops.terminal import (
    AsJson,
    At,
    Force,
    Timeout,
    Yes,
    answer,
    ask_before_mailing,
    console,
    counted,
    errors,
    fail,
    moment,
    not_ahead,
    on_aws,
    outcome,
    print_json,
    print_table,
    table,
    the_stack,
)

MOST_NAMED = 5

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="The schedule's name, which is its task's.", autocompletion=completing.schedules
    ),
]

app = typer.Typer(help="List the schedules; switch, edit or fire them.", invoke_without_command=True)


@app.callback()
def listing(context: typer.Context, as_json: AsJson = False) -> None:
    """List the schedules; switch, edit or fire them."""
    if context.invoked_subcommand is not None:
        return
    now, stack = datetime.now(UTC), the_stack(context)
    expected, counts = _of_template(stack), schedules.counts(now)
    found = []
    for schedule in schedules.schedules(stack.name):
        described = schedules.described(schedule, now, expected.get(schedule.name))
        found.append(described | {"runs": counts.get(described.get("task", ""), {})})
    _said_of_a_deployment(stack, expected)
    if as_json:
        print_json(found)
        return
    rows = table("schedule", "state", "next (UTC)", "last run, and of 7 days")
    for item in sorted(found, key=lambda item: (not item["next"], item["next"])):
        times = [datetime.fromisoformat(at) for at in item["next"]]
        zone = "" if item["timezone"] == "UTC" else f" {item['timezone']}"
        differs = "\n[yellow]not the template's[/]" if item["differs"] else ""
        rows.add_row(
            f"{item['name']}\n[dim]{item['expression']}{zone}[/]{differs}",
            "enabled" if item["state"] == "ENABLED" else "[yellow]disabled[/]",
            escape(item["problem"]) if item["problem"] else "\n".join(f"{at:%a %d %b %H:%M}" for at in times),
            _ran(item),
        )
    print_table(rows, "There are no schedules.")
    for item in found:
        if item["differs"]:
            console.print(f"{item['name']}: {escape('; '.join(item['differs']))}", soft_wrap=True)


def _ran(item: dict[str, Any]) -> str:
    """Its last run and how many it had, in two lines."""
    last = item["last_run"]
    when = f"{outcome(last['outcome'])} {datetime.fromisoformat(last['logical_time']):%a %d %b %H:%M}" if last else ""
    return f"{when}\n{', '.join(f'{number:,} {outcome(name)}' for name, number in item['runs'].items())}"


def _of_template(stack: Stack) -> dict[str, Any]:
    try:
        return schedules.of_template(Deployed(stack))
    except (ClientError, NotWorkedOut) as error:
        errors.print(f"How they differ from the template is unknown: {error}", soft_wrap=True, markup=False)
        return {}


def _said_of_a_deployment(stack: Stack, expected: dict[str, Any]) -> None:
    """Say on stderr which schedules a deployment of this checkout would change, as far as that is known."""
    try:
        coming = schedules.overwritten(stack.name, expected)
    except (NotFound, OSError, ImportError):
        return  # this is no checkout, or none of this stack
    for name, changes in coming.items():
        if changes:
            errors.print(
                f"A deployment of this checkout changes {name}, and whatever was changed by hand with it: in the "
                f"template, {'; '.join(changes)}.",
                soft_wrap=True,
                markup=False,
            )


Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NAME...", help="Names, or patterns such as 'cleanup_*'.", autocompletion=completing.schedules
    ),
]
All = Annotated[bool, typer.Option("--all", help="All of them.")]


@app.command()
def enable(context: typer.Context, names: Names = None, every: All = False, as_json: AsJson = False) -> None:
    """Let schedules fire again. What they missed stays missed; `backbeat play` makes up for it."""
    _switch(context, names, every, "ENABLED", as_json)


@app.command()
def disable(context: typer.Context, names: Names = None, every: All = False, as_json: AsJson = False) -> None:
    """Keep schedules from firing, until they are enabled, or changed by a deployment."""
    _switch(context, names, every, "DISABLED", as_json)


def _switch(
    context: typer.Context,
    names: list[str] | None,
    every: bool,
    state: Literal["ENABLED", "DISABLED"],
    as_json: bool,
) -> None:
    if bool(names) == every:
        raise typer.BadParameter("Say which schedules, or --all.")
    stack = the_stack(context).name
    for schedule in schedules.matching(stack, names or ["*"]):
        schedules.switch(schedule, state)
    found = [schedules.described(now, datetime.now(UTC)) for now in schedules.matching(stack, names or ["*"])]
    said = ", ".join(item["name"] for item in found)
    answer(found, f"{said} {'is' if len(found) == 1 else 'are'} {state.lower()}.", as_json)


@app.command()
def edit(
    context: typer.Context,
    name: Name,
    cron: Annotated[
        str | None, typer.Option(metavar="FIELDS", help="Six fields, as EventBridge has them: '0 6 * * ? *'.")
    ] = None,
    rate: Annotated[str | None, typer.Option(metavar="TIME", help="How often: '2 hours'.")] = None,
    timezone: Annotated[
        str | None, typer.Option(metavar="ZONE", help="Whose clocks a cron follows: Europe/Paris.")
    ] = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Change when a schedule fires, until the template changes it. Its next times are shown first."""
    if cron and rate:
        raise typer.BadParameter("Say either --cron or --rate.")
    if not (cron or rate or timezone):
        raise typer.BadParameter("Say --cron, --rate or --timezone.")
    expression = _expression("cron", cron) or _expression("rate", rate)
    stack, now = the_stack(context), datetime.now(UTC)
    (schedule,) = schedules.named(stack.name, [name])
    wanted = schedules.edited(schedule, expression, timezone, now)
    _changed(stack, schedule, {key: wanted.definition.get(key) for key in schedules.TIMES}, yes, as_json)


def _expression(kind: str, given: str | None) -> str | None:
    if not given:
        return None
    return given if given.startswith(f"{kind}(") else f"{kind}({given})"


@app.command()
def reset(context: typer.Context, name: Name, yes: Yes = False, as_json: AsJson = False) -> None:
    """Let a schedule fire as the template has it that the stack was deployed from."""
    stack = the_stack(context)
    (schedule,) = schedules.named(stack.name, [name])
    expected = schedules.of_template(Deployed(stack))
    if name not in expected:
        raise NotFound(f"The template of {stack.name} has no schedule {name!r}.")
    _changed(stack, schedule, {key: expected[name][key] for key in schedules.TIMES}, yes, as_json)


def _changed(stack: Stack, schedule: Schedule, changes: dict[str, Any], yes: bool, as_json: bool) -> None:
    now, wanted = datetime.now(UTC), Schedule({**schedule.definition, **changes})  # type: ignore[typeddict-item]
    shown = schedules.described(wanted, now)
    zone = "" if shown["timezone"] == "UTC" else f" in {shown['timezone']}"
    times = ", ".join(f"{at:%a %d %b %H:%M}" for at in itertools.islice(wanted.times(now), 3))
    off = "" if wanted.enabled else " (it is disabled)"
    errors.print(
        f"{schedule.name} as {shown['expression']}{zone} would fire next, in UTC: {times}{off}.",
        soft_wrap=not errors.is_terminal,
    )
    if not yes:
        typer.confirm(f"Change {schedule.name} from {schedule.definition['ScheduleExpression']}?", abort=True, err=True)
    schedules.change(schedule, **changes)
    (there,) = schedules.named(stack.name, [schedule.name])
    found = schedules.described(there, now, _of_template(stack).get(schedule.name))
    counted = schedules.counts(now).get(found.get("task", ""), {})
    answer(found | {"runs": counted}, f"{schedule.name} fires by {shown['expression']}{zone}.", as_json)


@app.command("run")
def fire(
    context: typer.Context,
    name: Name,
    at: At = None,
    force: Force = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Fire a schedule, enabled or not. A run that has succeeded is not made again."""
    time = not_ahead(context, at, force) or datetime.now(UTC).replace(microsecond=0)
    (schedule,) = schedules.named(the_stack(context).name, [name])
    if known := schedules.made(schedule, time):
        new = f"`backbeat run {schedule.task.name} --at {iso(time)}` makes a new one."
        answer(runs.shown(known), f"{runs.as_it_is(known)} {new}", as_json)
        return
    ask_before_mailing(context, mail.most_mailed_by([schedule.message(time)]), yes)
    message = schedules.send(schedule, time)
    answer(runs.on_its_queue(message), f"{message.id} is on its queue.", as_json)


def play(
    context: typer.Context,
    start: Annotated[datetime, typer.Option("--from", parser=moment, metavar="TIME", help="The first time.")],
    end: Annotated[datetime, typer.Option("--to", parser=moment, metavar="TIME", help="The end, itself left out.")],
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SCHEDULE",
            help="Which ones.",
            show_default="all that are enabled",
            autocompletion=completing.schedules,
        ),
    ] = None,
    force: Force = False,
    timeout: Timeout = 300,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Play a stretch of schedules at once, each run at its logical time, each tick finished before the next.

    Runs that are known already are not made again, so a stretch may be played twice, or played on. It asks before
    it mails users of a stack on AWS.
    """
    if start >= end:
        raise typer.BadParameter(f"--from {iso(start)} is not before --to {iso(end)}.")
    not_ahead(context, end, force)
    stack = the_stack(context).name
    chosen = (
        schedules.named(stack, names) if names else [found for found in schedules.schedules(stack) if found.enabled]
    )
    if on_aws(context) and not yes:
        ask_before_mailing(context, mail.most_mailed_by(schedules.to_be_sent(chosen, start, end)), yes)
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
        print_table(_as_table(found))
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
