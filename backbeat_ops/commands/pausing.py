"""`backbeat pause` and `resume`: let a queue wait for a while."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from backbeat.messages import iso
from backbeat_ops import pausing
from backbeat_ops.commands import completing
from backbeat_ops.pausing import Plan, words
from backbeat_ops.terminal import AsJson, console, counted, errors, print_json, the_stack

UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def span(text: str) -> timedelta:
    """A length of time that an operator gives: `30m`, `1h`, `2d`, `1h30m`."""
    if not re.fullmatch(r"(?:\d{1,6}[mhd])+", text):
        raise typer.BadParameter(f"{text!r} is no length of time; say 30m, 1h, 2d, or 1h30m.")
    return sum((timedelta(**{UNITS[unit]: int(n)}) for n, unit in re.findall(r"(\d+)([mhd])", text)), timedelta())


Paused = Annotated[
    str,
    typer.Argument(
        metavar="CLASS|TASK", help="The name of a class, or of a task.", autocompletion=completing.classes_and_tasks
    ),
]


def pause(
    context: typer.Context,
    name: Paused,
    wanted: Annotated[
        timedelta | None,
        typer.Option(
            "--for",
            parser=span,
            metavar="TIME",
            help="For how long: 30m, 1h, 2d.",
            show_default="until `backbeat resume`, or until a message would be lost",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Let messages wait: no function takes what is on a task's queue, or on those of a class. It ends by itself."""
    stack, now = the_stack(context), datetime.now(UTC)
    tasks = pausing.tasks_of(stack, name)
    plans = pausing.plan(stack, tasks, wanted, now)
    for text in meaning(plans, now):
        errors.print(text, soft_wrap=not errors.is_terminal, markup=False)
    pausing.pause(stack, plans)
    _say(stack.name, {one.task: {"until": iso(one.until)} for one in plans}, as_json)


def meaning(plans: list[Plan], now: datetime) -> list[str]:
    """What a pause means, in sentences."""
    until = plans[0].until
    said = [
        f"Until {until:%Y-%m-%d %H:%M} UTC, {words(until - now)} from now, no function takes what is sent to "
        f"{', '.join(one.task for one in plans)}. Nothing is lost; what is at work now is finished."
    ]
    said += [
        f"{one.task}: {counted(one.waiting, 'message waits', 'messages wait')} now"
        + ("." if one.oldest is not None else "; for how long the oldest has waited is not known, and not counted.")
        for one in plans
        if one.waiting
    ]
    longest = max(one.visibility for one in plans)
    said.append(f"What a function was just handed, and did not begin, is back on its queue after {words(longest)}.")
    if late := [one for one in plans if (one.oldest or timedelta()) + (until - now) > one.late]:
        ringing = ", ".join(f"{one.task} after {words(one.late)}" for one in late)
        said.append(f"The alarms of what waits for too long will ring: {ringing}.")
    return said


def resume(context: typer.Context, name: Paused, as_json: AsJson = False) -> None:
    """End a pause now: functions take what waits, the oldest first, as many at once as they may."""
    stack = the_stack(context)
    tasks = pausing.tasks_of(stack, name)
    ended = pausing.resume(stack, tasks)
    if as_json:
        print_json({"stack": stack.name, "resumed": ended})
    elif ended:
        console.print(f"{', '.join(ended)}: taken again.", soft_wrap=True)
    else:
        console.print(f"Nothing of {name} was paused.")


def _say(stack: str, found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json({"stack": stack, "paused": found})
        return
    console.print(f"Paused: {', '.join(found)}. `backbeat resume` ends it sooner.", soft_wrap=True)
