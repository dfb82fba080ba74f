"""`backbeat runs`, `runs show`, `run`, `again` and `replay`: the ledger, and runs made by hand."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

import typer
from rich.markup import escape
from rich.padding import Padding

from backbeat.ledger import FAILED, Outcome
from backbeat.messages import Message
from backbeat.models import RunRecord
from backbeat.tasks import TASKS
from backbeat_ops import mail, onerun
from backbeat_ops import replay as replays
from backbeat_ops import runs as ledger
from backbeat_ops.commands import completing, logs
from backbeat_ops.terminal import (
    AsJson,
    At,
    Day,
    Force,
    Timeout,
    Wait,
    Yes,
    ago,
    answer,
    ask_before_mailing,
    console,
    counted,
    errors,
    fail,
    moment,
    not_ahead,
    outcome,
    print_hanging,
    print_json,
    print_table,
    since,
    table,
    the_stack,
)

app = typer.Typer(help="List runs; show one with all that is known of it.", invoke_without_command=True)


@app.callback()
def runs(
    context: typer.Context,
    task: Annotated[
        str | None, typer.Option(metavar="TASK", help="Only this task's.", autocompletion=completing.tasks)
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only those that failed and wait for you.")] = False,
    since: Annotated[
        datetime | None,
        typer.Option(parser=since, metavar="TIME", help="Only those that started since, as `6h` or a time."),
    ] = None,
    slowest: Annotated[bool, typer.Option("--slowest", help="Those first that took longest.")] = False,
    summary: Annotated[bool, typer.Option("--summary", help="Only how many ended how, and how fast.")] = False,
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
    if context.invoked_subcommand is not None:
        return
    names = list(TASKS) if task is None else [ledger.the_task(task).name]
    the_stack(context)
    last = (day or datetime.now(UTC)).date()
    span = days or (1 if day else 2)
    if since is not None:
        span = max(span, (last - since.date()).days + 1)
    picks = failed or slowest or summary or since is not None
    looked_at = {name: ledger.recent(name, ledger.MOST_LOOKED_AT if picks else limit, last, span) for name in names}
    found = [run for of_task in looked_at.values() for run in of_task]
    if day is None:
        found += ledger.not_recorded(found, task)
    found = [
        run
        for run in found
        if (not failed or ledger.waits_for_somebody(run)) and (since is None or run.started >= since)
    ]
    if summary:
        _partly([name for name in names if len(looked_at[name]) >= ledger.MOST_LOOKED_AT], looked_at, last, span)
        _show_summary(ledger.summary(found), as_json)
        return
    found.sort(key=lambda run: run.duration_ms or 0 if slowest else run.started.timestamp(), reverse=True)
    if picks:
        of_task: Counter[str] = Counter()
        several, found = found, []
        for run in several:
            of_task[run.task] += 1
            if of_task[run.task] <= limit:
                found.append(run)
        more = {name: count for name, count in of_task.items() if count > limit}
        if more:
            said = "; ".join(f"{limit} of {count:,} of {name}" for name, count in more.items())
            errors.print(f"{said}: --limit shows more.", soft_wrap=True)
    else:
        _partly([name for name in names if len(looked_at[name]) >= limit], looked_at, last, span)
    if as_json:
        print_json([ledger.shown(run) for run in found])
        return
    for run in found:
        _line(run)
    if not found:
        when = f"on {last}" if span == 1 else f"from {last - timedelta(days=span - 1)} to {last}"
        kind = "failed runs that wait for you" if failed else "runs"
        console.print(f"There are no {kind} {when}, by their logical times (UTC); --day and --days show other days.")


def _partly(names: list[str], looked_at: dict[str, list[RunRecord]], last: date, span: int) -> None:
    partly = [said for name in names if (said := ledger.left_out(name, len(looked_at[name]), last, span))]
    if partly:
        errors.print(f"{'; '.join(partly)}: --limit shows more.", soft_wrap=True)


def _line(run: RunRecord) -> None:
    """A run for people: what, when and how it ended in one line of 60 columns at most; its id, and why, below."""
    today = run.logical_time.date() == datetime.now(UTC).date()
    when = f"{run.logical_time:%H:%M:%S}" if today else f"{run.logical_time:%m-%d %H:%M}"
    took = "" if run.duration_ms is None else f"{run.duration_ms / 1000:.2f} s"
    ended = outcome(run.outcome) + " " * (10 - len(run.outcome))
    console.print(f"{ended} {run.task:<29} {when:<11} {took:>7}".rstrip(), soft_wrap=True)
    tries = f"  {counted(run.attempts, 'try', 'tries')}" if (run.attempts or 0) > 1 else ""
    console.print(f"    [dim]{escape(run.run_id)}{tries}[/]", soft_wrap=True)
    parts = [run.about, run.reason, run.error or ledger.words(run.result)]
    if run.discarded:
        parts.append(f"discarded {run.discarded}")
    result = ": ".join(word for word in parts if word)
    if result:
        below = Padding(f"[dim]{escape(result)}[/]", (0, 0, 0, 4), expand=False)
        console.print(below, soft_wrap=not console.is_terminal)


def _show_summary(found: list[ledger.Summary], as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    rows = table("task", "runs", "ok", "failed", "p50", "p95", numbers=("runs", "ok", "failed", "p50", "p95"))
    for each in found:
        ok = sum(each.outcomes.get(name, 0) for name in ("succeeded", "skipped"))
        bad = sum(each.outcomes.get(name, 0) for name in FAILED)
        p50, p95 = ("" if took is None else f"{took / 1000:.2f}s" for took in (each.p50_ms, each.p95_ms))
        rows.add_row(each.task, f"{each.runs:,}", f"{ok:,}", f"[red]{bad:,}[/]" if bad else "0", p50, p95)
    print_table(rows, "There are no runs.")


@app.command()
def show(
    context: typer.Context,
    run_id: Annotated[
        str,
        typer.Argument(metavar="ID", help="The run's id, as `backbeat runs` has it.", autocompletion=completing.runs),
    ],
    as_json: AsJson = False,
) -> None:
    """Show one run: arguments, attempts, parts, result or error, its own log lines, and what to type next."""
    stack = the_stack(context)
    with errors.status("Looking"):
        one = onerun.look(stack, run_id, datetime.now(UTC))
    if as_json:
        print_json(one)
        return
    run = one.run
    since_then = "" if run["started"] is None else f", {ago(datetime.fromisoformat(run['started']))}"
    console.print(f"{outcome(run['outcome'])}  [bold]{run['task']}[/]{since_then}\n")
    if run["error"]:
        said = ": ".join(word for word in (run["reason"], run["error"]) if word)
        console.print(f"[red]{escape(said)}[/]\n" if run["outcome"] in FAILED else f"{escape(said)}\n")
    _fields(one)
    _attempts(one.attempts)
    _parts_of(one)
    for letter in one.letters:
        console.print(f"\n[bold]dead letter[/]  {escape(letter['id'])}", soft_wrap=True)
        print_hanging("    ", f"{escape(letter['reason'])}: {escape(letter['error'])}")
    if one.log or one.no_log:
        console.print("\n[bold]its log[/]")
        for entry in one.log:
            console.print(logs.shown(entry, of_run=True), soft_wrap=True)
        if one.no_log:
            console.print(f"[yellow]{escape(one.no_log)}[/]", soft_wrap=True)
    if one.next:
        console.print("\n[bold]next[/]")
        for words in one.next:
            console.print(f"  {words}", soft_wrap=True, markup=False)


def _fields(one: onerun.OneRun) -> None:
    run = one.run
    left_out = ", ".join(one.left_out)
    if one.arguments is None:
        arguments = "not kept: a version before has written this run"
    else:
        arguments = " ".join(f"{name}={value}" for name, value in one.arguments.items()) or "none"
        arguments += f" (not kept: {left_out})" if left_out else ""
    for name, value in [
        ("id", run["run_id"]),
        ("arguments", arguments),
        ("about", run["about"] or one.user),
        ("as if at", run["logical_time"]),
        ("started", run["started"]),
        ("took", None if run["duration_ms"] is None else f"{run['duration_ms'] / 1000:.2f} s"),
        ("attempts", str(run["attempts"])),
        ("result", ledger.words(run["result"])),
        ("discarded", one.discarded),
    ]:
        if value:
            print_hanging(f"[dim]{name:<11}[/]", escape(value))
    for work in one.at_work:
        silent = ", without a sign of life" if work["silent"] else ""
        console.print(f"[dim]{'at work':<11}[/]since {work['since']}{silent}")


def _attempts(attempts: list[onerun.Attempt]) -> None:
    if len(attempts) < 2:
        return
    console.print("\n[bold]attempts[/]")
    for number, attempt in enumerate(attempts, 1):
        took = f"{attempt.duration_ms / 1000:.2f} s"
        why = f"  {escape(attempt.reason)}" if attempt.reason else ""
        console.print(f"  {number:>2}  {attempt.started:%m-%d %H:%M:%S}  {took:>8}  {outcome(attempt.outcome)}{why}")


def _parts_of(one: onerun.OneRun) -> None:
    if not one.parts:
        return
    counts = Counter(part.outcome for part in one.parts)
    said = ", ".join(f"{count} {outcome(name)}" for name, count in counts.items())
    console.print(f"\n[bold]parts[/]  {len(one.parts)}: {said}")
    for part in one.parts:
        if part.error:
            print_hanging(f"  {part.number:>3}  {outcome(part.outcome)}  ", escape(part.error))


def run(
    context: typer.Context,
    task: Annotated[str, typer.Argument(metavar="TASK", help="The task's name.", autocompletion=completing.tasks)],
    given: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Its arguments.")] = None,
    at: At = None,
    force: Force = False,
    wait: Wait = False,
    timeout: Timeout = 300,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Run a task now, as if at any time: a new run, whatever ran before."""
    declared = ledger.the_task(task)
    kwargs = ledger.arguments(declared, given or [])
    time = not_ahead(context, at, force) or datetime.now(UTC)
    stack = the_stack(context)
    ask_before_mailing(context, mail.most_mailed(task, kwargs, time), yes)
    _made(ledger.by_hand(stack.name, declared, kwargs, time), wait, timeout, as_json)


def again(
    context: typer.Context,
    run_id: Annotated[
        str,
        typer.Argument(metavar="ID", help="The run's id, as `backbeat runs` has it.", autocompletion=completing.runs),
    ],
    given: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Arguments that the ledger does not keep, or that are to be others."),
    ] = None,
    at: Annotated[
        datetime | None,
        typer.Option(parser=moment, metavar="TIME", show_default="the run's own", help="As if at this time."),
    ] = None,
    force: Force = False,
    wait: Wait = False,
    timeout: Timeout = 300,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Make a run again: a new one, with its arguments and at its logical time, whatever became of it."""
    stack = the_stack(context)
    run = onerun.find(run_id, datetime.now(UTC).date())
    kwargs = ledger.arguments_given(ledger.the_task(run.task), given or [])
    time = not_ahead(context, at or run.logical_time, force)
    message = onerun.message_of(run, kwargs, time)
    ask_before_mailing(context, mail.most_mailed_by([message]), yes)
    _made(onerun.again(stack, run, kwargs, time), wait, timeout, as_json)


def replay(
    context: typer.Context,
    run_id: Annotated[
        str,
        typer.Argument(
            metavar="ID", help="The run's id; with `#` and its number, a part's.", autocompletion=completing.runs
        ),
    ],
    given: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Arguments that the ledger does not keep, or that are to be others."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a run once more in this process, with your files' code: AWS is only read, and each write is listed instead.

    A condition of a write is not looked at; it counts as met. `breakpoint()` and a debugger work.
    """
    stack = the_stack(context)
    run = onerun.find(run_id.partition("#")[0], datetime.now(UTC).date())
    kwargs = ledger.arguments_given(ledger.the_task(run.task), given or [])
    made = replays.replay(stack, replays.message_of(run_id, kwargs, datetime.now(UTC).date()))
    if as_json:
        print_json(made)
    else:
        console.print(f"{outcome(made.outcome)}  {made.task}, {made.duration_ms / 1000:.2f} s, here", soft_wrap=True)
        if made.error:
            console.print(made.error, markup=False, soft_wrap=True)
        if made.result is not None:
            console.print(ledger.words(made.result), markup=False, soft_wrap=True)
        for line in made.traceback:
            console.print(f"    {line}", markup=False, style="red", soft_wrap=True)
        console.print(f"\n{counted(len(made.withheld), 'write')} withheld{':' if made.withheld else '.'}")
        for write in made.withheld:
            console.print(f"  {replays.told(write)}", markup=False, soft_wrap=True)
    if made.outcome not in ("succeeded", "skipped", "in parts"):
        raise typer.Exit(1)


def _made(message: Message, wait: bool, timeout: float, as_json: bool) -> None:
    """Say that a run is on its queue; or wait for its end, and say how it ended."""
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
