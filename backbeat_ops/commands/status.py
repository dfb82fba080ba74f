"""`backbeat status`: how the stack fares, once or live."""

import os
import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.padding import Padding
from rich.text import Text

from backbeat.producer import PRIORITIES
from backbeat_ops import status as stacks
from backbeat_ops.stack import Stack
from backbeat_ops.status import Progress, span
from backbeat_ops.terminal import AsJson, ago, console, counted, outcome, print_json, the_stack

SECONDS_BETWEEN_LOOKS = 2.0
WIDE = 90
"""Columns from which on a task's last run stands in its line."""
MOST_CAUSES = 3


def status(
    context: typer.Context,
    watch: Annotated[bool, typer.Option("--watch", help="Look on until Ctrl-C, with rate and time left.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say whether all is well, then each task: what waits and is dead, how it ran last. Exits with 1 if it is not."""
    stack = the_stack(context)
    if watch:
        with suppress(KeyboardInterrupt):
            _watch(stack, as_json)
        return
    found = stacks.status(stack)
    if as_json:
        print_json(found)
    else:
        for line in _lines(found, console.width):
            console.print(line, soft_wrap=not console.is_terminal)
    if not found["verdict"]["ok"]:
        raise typer.Exit(1)


def _watch(stack: Stack, as_json: bool) -> None:
    """Show how the stack fares again and again: in place on a terminal, else a line wherever something has changed."""
    looks: list[tuple[float, int]] = []
    live = Live(console=console, auto_refresh=False) if _in_place() and not as_json else None
    before = ""
    with live or nullcontext():
        while True:
            found = stacks.status(stack, causes=False)
            tasks = found["tasks"].values()
            looks.append((time.monotonic(), sum(task["waiting"] + task["in_flight"] for task in tasks)))
            going = stacks.progress(looks)
            if as_json:
                print_json(found | {"progress": going}, indent=None)
            elif live is not None:
                live.update(Group(*_lines(found, console.width), "", _bar(going)), refresh=True)
            else:
                dead = sum(task["dead"] for task in tasks)
                line = f"{going.left:,} left, {dead:,} dead{_pace(going)}"
                if line != before:
                    console.print(f"{datetime.now(UTC):%H:%M:%S}  {line}", soft_wrap=True)
                before = line
            if not going.left:
                looks.clear()
            time.sleep(SECONDS_BETWEEN_LOOKS)


def _in_place() -> bool:
    return console.is_terminal and not os.environ.get("NO_COLOR")


def _bar(going: Progress) -> Text:
    if not going.left:
        return Text("Nothing waits and nothing is at work.", "dim")
    done = round(20 * going.share)
    bar = Text("━" * done, "green").append("━" * (20 - done), "dim")
    return bar.append(f"  {going.most - going.left:,} of {going.most:,}{_pace(going)}", "none")


def _pace(going: Progress) -> str:
    if not going.left or going.seconds_left is None:
        return ""
    return f", {going.per_second:.3g} a second, {span(going.seconds_left)} left"


def _lines(found: dict[str, Any], width: int) -> Iterator[RenderableType]:
    """How a stack fares as lines, none of which loses anything at 60 columns."""
    verdict = found["verdict"]
    where = found["endpoint"] or f"AWS, {found['region']}"
    if verdict["ok"]:
        yield f"[bold green]All is well[/] with {found['stack']} [dim]({where})[/]"
    else:
        yield f"[bold red]{counted(len(verdict['wrong']), 'thing')} wrong[/] with {found['stack']} [dim]({where})[/]"
    for said in verdict["wrong"]:
        yield from _said(said, "red", width)
    for said in verdict["known"]:
        yield from _said(said, "yellow", width)
    yield ""
    wide = width >= WIDE
    yield f"[dim]{'':<29}  waits   busy   dead  /min{'  last run' if wide else ''}[/]"
    ordered = sorted(found["tasks"].items(), key=lambda item: -PRIORITIES[item[1]["class"]])
    task_class = None
    for name, task in ordered:
        if task["class"] != task_class:
            task_class = task["class"]
            yield f"[dim]{task_class}[/]"
        dead = f"[bold red]{task['dead']:>5,}[/]" if task["dead"] else f"{0:>5}"
        line = f"  {name:<29}{task['waiting']:>5,}  {task['in_flight']:>5,}  {dead} {task['rate_per_minute']:>5,}"
        last = task["last_run"]
        shown = f"{outcome(last['outcome'])} {ago(datetime.fromisoformat(last['started']))}" if last else ""
        yield f"{line}  {shown}" if wide else line
        yield from (f"      {said}" for said in _more(task, "" if wide else shown))


def _said(text: str, colour: str, width: int) -> Iterator[RenderableType]:
    """What is said of a stack; on a terminal too narrow for it, what to type is in a line of its own, unbroken."""
    what, _, command = text.rpartition(": `")
    if not console.is_terminal:
        yield f"  [{colour}]{escape(text)}[/]"
    elif len(text) + 2 <= width or not what:
        yield Padding(f"[{colour}]{escape(text)}[/]", (0, 0, 0, 2), expand=False)
    else:
        yield Padding(f"[{colour}]{escape(what)}:[/]", (0, 0, 0, 2), expand=False)
        yield f"      {escape(command.removesuffix('`'))}"


def _more(task: dict[str, Any], last: str) -> Iterator[str]:
    """What there is to say of a task below its line."""
    said = []
    if task["oldest_s"]:
        said.append(f"oldest {span(task['oldest_s'])}")
    if last:
        said.append(last)
    if task["consumer"] != stacks.ON:
        said.append(f"[yellow]{'no mapping' if task['consumer'] == stacks.MISSING else task['consumer']}[/]")
    if said:
        yield ", ".join(said)
    for cause in task["causes"][:MOST_CAUSES]:
        yield f"[red]{cause.letters:,} dead[/] {escape(cause.reason)} [dim]{cause.cause}[/]"
    if len(task["causes"]) > MOST_CAUSES:
        yield f"and {counted(len(task['causes']) - MOST_CAUSES, 'more cause')}"
    for work in task["at_work"]:
        part = "" if work["part"] is None else f", part {work['part']}"
        since = ago(datetime.fromisoformat(work["since"])).removesuffix(" ago")
        silent = ", [yellow]no sign of life[/]" if work["silent"] else ""
        yield f"[cyan]at work[/] for {since}{part}{silent}: [dim]{escape(work['run_id'])}[/]"
