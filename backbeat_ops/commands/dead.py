"""`backbeat dead`: what lies in the dead queues and why, and what to do about it."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import click
import typer
from rich.markup import escape
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from backbeat.ledger import FAILED
from backbeat.letters import Letter
from backbeat_ops import dead, mail, runs
from backbeat_ops.commands import completing
from backbeat_ops.terminal import (
    AsJson,
    Timeout,
    Wait,
    Yes,
    ago,
    answer,
    console,
    counted,
    errors,
    fail,
    on_aws,
    outcome,
    print_hanging,
    print_json,
    the_stack,
)

Class = Annotated[
    str | None, typer.Option("--class", metavar="CLASS", help="Only this class's.", autocompletion=completing.classes)
]
TaskName = Annotated[
    str | None, typer.Option(metavar="TASK", help="Only this task's.", autocompletion=completing.tasks)
]
CauseName = Annotated[
    str | None, typer.Option(metavar="CAUSE", help="Only those of this cause: its id, or a reason such as `broken`.")
]
Given = Annotated[str | None, typer.Argument(metavar="ID", help="One letter's id.", show_default="by the options")]
One = Annotated[str, typer.Argument(metavar="ID", help="The letter's id, as `backbeat dead list` has it.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
MOST_NAMED = 5

app = typer.Typer(help="Show what is dead, by cause; retry, edit or discard it.", invoke_without_command=True)


@app.callback()
def causes(
    context: typer.Context,
    task_class: Class = None,
    task: TaskName = None,
    as_json: AsJson = False,
) -> None:
    """Show what is dead, by cause; retry, edit or discard it.

    Looking holds a letter for a minute at most.
    """
    if context.invoked_subcommand is not None:
        return
    the_stack(context)
    found = dead.causes(_looked_at(task_class, task, None))
    if as_json:
        print_json(found)
        return
    if not found:
        console.print("Nothing is dead.")
        return
    total = sum(cause.letters for cause in found)
    is_dead = "is" if total == 1 else "are"
    console.print(f"{counted(total, 'message')} {is_dead} dead, of {counted(len(found), 'cause')}.")
    for cause in found:
        console.print(
            f"\n[bold]{cause.cause}[/]  {cause.task_class}  {cause.task}  [bold red]{cause.letters:,}[/]  "
            f"[dim]{_since(cause)}[/]",
        )
        console.print(Padding(_why(cause.reason, cause.error), (0, 0, 0, 8), expand=False))
    first = found[0]
    console.print("\nMend the cause, try one, then all:")
    console.print(f"  backbeat dead show {first.ids[0]}", soft_wrap=True, markup=False)
    console.print(f"  backbeat dead retry {first.ids[0]} --wait", soft_wrap=True, markup=False)
    console.print(f"  backbeat dead retry --cause {first.cause}", soft_wrap=True, markup=False)


def _why(reason: str, error: str) -> str:
    """A reason and an error, which may begin with it, on one line."""
    return escape(error) if error.startswith(reason) else f"[red]{escape(reason)}[/]: {escape(error)}"


def _since(cause: dead.Cause) -> str:
    oldest, newest = ago(cause.first_sent), ago(cause.last_sent)
    return oldest if oldest == newest else f"{oldest} to {newest}"


@app.command("list")
def listing(
    context: typer.Context,
    task_class: Class = None,
    task: TaskName = None,
    cause: CauseName = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List dead letters with their ids, the most important class first, then the oldest."""
    the_stack(context)
    found = _distinct(_looked_at(task_class, task, cause))
    if len(found) > limit:
        errors.print(f"{limit:,} of {len(found):,}: --limit shows more.")
    if as_json:
        print_json([dead.brief(letter) for letter in found[:limit]])
        return
    for letter in found[:limit]:
        console.print(
            f"{dead.cause_of(letter)}  {letter.task}  [bold]{escape(letter.id)}[/]  [dim]{ago(letter.first_sent)}[/]",
            soft_wrap=not console.is_terminal,
        )
        below = Padding(_why(letter.reason, letter.error), (0, 0, 0, 8), expand=False)
        console.print(below, soft_wrap=not console.is_terminal)
    if not found:
        console.print("Nothing is dead.")


@app.command()
def show(context: typer.Context, given: One, as_json: AsJson = False) -> None:
    """Show one letter: its message, why it is dead, and what to type next."""
    the_stack(context)
    with errors.status("Looking"):
        (letter, *copies) = dead.find(given)
        item = dead.shown(letter)
    if as_json:
        print_json(item)
        return
    tried = "" if item["attempts"] is None else f" after {counted(item['attempts'], 'try', 'tries')}"
    console.print(f"{outcome(letter.outcome)}{tried}: [red]{escape(letter.reason)}[/]")
    console.print(f"{escape(letter.error)}\n")
    for name, value in [
        ("id", letter.id),
        ("task", f"{letter.task}, class {item['class']}"),
        ("cause", item["cause"]),
        ("first sent", f"{item['first_sent']}, {ago(letter.first_sent)}"),
        ("copies", str(len(copies) + 1) if copies else ""),
        ("cannot be sent", letter.cannot or ""),
    ]:
        if value:
            console.print(f"[dim]{name:<12}[/]{escape(value)}", soft_wrap=True)
    console.print()
    console.print(dead.draft(letter), markup=False, soft_wrap=True)
    console.print()
    for words in dead.next_steps(letter):
        console.print(f"  {words}", soft_wrap=True, markup=False)


@app.command()
def retry(
    context: typer.Context,
    given: Given = None,
    task_class: Class = None,
    task: TaskName = None,
    cause: CauseName = None,
    everything: Annotated[bool, typer.Option("--all", help="Every letter of the stack.")] = False,
    rate: Annotated[float, typer.Option(min=0.1, help="At most so many a second.")] = dead.RATE,
    wait: Wait = False,
    timeout: Timeout = 300,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Send letters to their tasks' queues again: one as a trial, those of a cause, or all. More than one asks first.

    So does one that sends several emails to users of a stack on AWS. The run keeps its id, so the same row of the
    ledger turns, and what was done already is not done twice.
    """
    if wait and given is None:
        raise typer.BadParameter("--wait is for one letter: name it.")
    the_stack(context)
    wanted = _wanted(given, task_class, task, cause, everything)
    most = mail.most_mailed_again(wanted)
    sure = yes or (given is not None and (most < 2 or not on_aws(context)))
    if not _go_ahead("retry", wanted, dry_run, sure, as_json, most):
        return
    before = dead.run_of(wanted[0])
    with _progress(len(wanted)) as progress:
        (bar,) = progress.task_ids
        done = dead.retry(wanted, rate=rate, progress=lambda number: progress.update(bar, completed=number))
    if wait and done.done:
        _end_of(wanted[0], before, timeout, as_json)
        return
    _report(done, "sent to their queues", "sent to its queue", as_json)


@app.command()
def edit(context: typer.Context, given: One, yes: Yes = False, as_json: AsJson = False) -> None:
    """Change a letter's message in your $EDITOR, and send it; its task's declaration checks it first."""
    the_stack(context)
    found = dead.find(given)
    letter, text = found[0], dead.draft(found[0])
    while True:
        written = click.edit(text, extension=".json")
        if written is None or written.strip() == dead.draft(letter).strip():
            answer(dead.Done([], {}, []), "Nothing has changed; the letter stays as it is.", as_json)
            return
        try:
            body = dead.edited(letter, written)
            break
        except dead.NotFit as why:
            text = written
            errors.print(f"{letter.task} does not take this: {why}", markup=False, soft_wrap=True)
            typer.confirm("Edit it once more?", abort=True, default=True, err=True)
    if not yes:
        for line in dead.changes(letter, body):
            errors.print(line, style="green" if line.startswith("+") else "red", markup=False, soft_wrap=True)
        most = mail.most_mailed_again([replace(letter, body=body)])
        mailed = f", which sends up to {counted(most, 'email')}" if most else ""
        typer.confirm(f"Send it to {letter.task}{mailed}?", abort=True, err=True)
    _report(dead.send_edited(found, body), "sent to their queues", "sent to its queue", as_json)


@app.command()
def discard(
    context: typer.Context,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; the ledger keeps it.")],
    given: Given = None,
    task_class: Class = None,
    task: TaskName = None,
    cause: CauseName = None,
    everything: Annotated[bool, typer.Option("--all", help="Every letter of the stack.")] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Delete letters for good, and keep in the ledger why. It asks first."""
    the_stack(context)
    wanted = _wanted(given, task_class, task, cause, everything)
    if not _go_ahead("discard", wanted, dry_run, yes, as_json):
        return
    with _progress(len(wanted)) as progress:
        (bar,) = progress.task_ids
        done = dead.discard(wanted, reason, progress=lambda number: progress.update(bar, completed=number))
    _report(done, "discarded; the ledger keeps the reason", "discarded; the ledger keeps the reason", as_json)


def _looked_at(task_class: str | None, task: str | None, cause: str | None) -> list[Letter]:
    if task is not None:
        runs.the_task(task)
    with errors.status("Looking"):
        return dead.chosen(dead.look([task] if task else None), task_class, task, cause)


def _wanted(
    given: str | None, task_class: str | None, task: str | None, cause: str | None, everything: bool
) -> list[Letter]:
    by_options = [option for option in (task_class, task, cause) if option is not None]
    if sum((given is not None, bool(by_options), everything)) != 1:
        raise typer.BadParameter("Name one letter, or say --class, --task or --cause, or --all.")
    if given is not None:
        with errors.status("Looking"):
            return dead.find(given)
    return _looked_at(task_class, task, cause)


def _go_ahead(
    what: str, wanted: Sequence[Letter], dry_run: bool, sure: bool, as_json: bool, most_mailed: int = 0
) -> bool:
    """Say what is about to be done, and how many emails that sends at the most, and ask; whether it is to be done."""
    found = dead.causes(wanted)
    if not wanted:
        answer(dead.Done([], {}, []), "Nothing is dead.", as_json)
        return False
    if dry_run and as_json:
        print_json(found)
        return False
    if dry_run or not sure:
        for cause in found:
            said = f"{cause.task}  {_why(cause.reason, cause.error)}"
            print_hanging(f"{cause.letters:>6,}  ", said, to=errors)
        total = counted(sum(cause.letters for cause in found), "letter")
        mailed = f", which sends up to {counted(most_mailed, 'email')}" if most_mailed else ""
        if dry_run:
            errors.print(f"Would {what} {total}{mailed}; nothing has been done.")
            return False
        for_good = " for good" if what == "discard" else ""
        typer.confirm(f"{what.capitalize()} {total}{mailed}{for_good}?", abort=True, err=True)
    return True


def _progress(total: int) -> Progress:
    """Progress on stderr, where there is more than one and somebody looks."""
    made = Progress(
        BarColumn(20),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
        console=errors,
        transient=True,
        disable=total == 1 or not errors.is_terminal,
    )
    made.add_task("", total=total)
    return made


def _report(done: dead.Done, many: str, one: str, as_json: bool) -> None:
    """Say what became of letters; exit with 1 where something is left to do."""
    if as_json:
        print_json(done)
    elif done.done:
        only = len(done.done) == 1
        what = done.done[0] if only else counted(len(done.done), "letter")
        console.print(f"{what} {'is' if only else 'are'} {one if only else many}.", markup=False, soft_wrap=True)
    for letter_id, why in list(done.failed.items())[:MOST_NAMED]:
        errors.print(f"{letter_id} stays: {why}", markup=False, soft_wrap=True)
    if done.missed:
        named = ", ".join(done.missed[:MOST_NAMED]) + ("" if len(done.missed) <= MOST_NAMED else ", ...")
        errors.print(
            f"{counted(len(done.missed), 'letter')}: gone, or looked at by somebody else and back within a minute: "
            f"{named}",
            markup=False,
            soft_wrap=True,
        )
    if done.failed or done.missed:
        raise typer.Exit(1)


def _end_of(letter: Letter, before: Any, timeout: float, as_json: bool) -> None:
    """Wait for the attempt at a letter that was just sent, and say how it ended."""
    with errors.status(f"{letter.id} is on its way"):
        run = dead.outcome_of(letter, before, timeout)
    if run is None:
        fail(f"After {timeout:.0f} s the ledger says nothing new of {letter.id}: `backbeat status` shows what waits.")
    if as_json:
        print_json(runs.shown(run))
    else:
        said = run.error or (json.dumps(run.result, ensure_ascii=False) if run.result is not None else "")
        console.print(f"{run.run_id} {outcome(run.outcome)}{': ' if said else ''}{escape(said)}", soft_wrap=True)
    if run.outcome in {*FAILED, "retrying"}:
        raise typer.Exit(1)


def _distinct(found: Sequence[Letter]) -> list[Letter]:
    """Letters without second copies."""
    return list({(letter.task, letter.id, letter.body): letter for letter in found}.values())
