"""One run, with all that is known of it: arguments, attempts, parts, its dead letter, its own log lines."""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from backbeat import ledger
from backbeat.app.erasing import ERASED
from backbeat.ledger import FAILED, Outcome
from backbeat.messages import Message
from backbeat.models import RunRecord, SweepPart, SweepRun
from backbeat.tasks import TASKS
from backbeat_ops import dead, logs, runs
from backbeat_ops.logs import Entry
from backbeat_ops.stack import NotFound, Stack

MOST_REQUESTS = 10
"""Of how many attempts the log is read, the last ones."""
AROUND = timedelta(seconds=90)
"""How long before and after an attempt its lines are looked for: clocks differ, and a line may be stored late."""
DONE, WAITING = "done", "waiting"
"""How a part stands that is in no ledger row."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a run.

    Attributes:
        started: When it started, on the clock.
        duration_ms: How long it took.
        outcome: How it ended.
        reason: Why it failed, in short.
        request_id: The invocation that made it.
    """

    started: datetime
    duration_ms: int
    outcome: str
    reason: str | None
    request_id: str


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a run in parts.

    Attributes:
        number: Its number.
        outcome: How its last attempt ended; `waiting` where it has made none, `done` where only its tally is left.
        attempts: How many it has made.
        tally: What it has counted so far.
        error: Why it failed.
    """

    number: int
    outcome: str
    attempts: int
    tally: Any
    error: str | None


@dataclass(frozen=True, slots=True)
class OneRun:
    """One run.

    Attributes:
        run: The run, as `backbeat_ops.runs.shown` has it.
        arguments: Its arguments as far as the ledger keeps them; None where a version before has written the run.
        left_out: The names of arguments that the ledger does not keep.
        user: The user that it is about, or None.
        discarded: When and why its dead letter was discarded, or None.
        attempts: Its attempts, the first one first; those that gave no answer are not known.
        parts: Its parts, where it is in parts.
        at_work: What is at work on it just now.
        letters: Its dead letters, as `backbeat_ops.dead.brief` has them.
        log: What it logged, the oldest line first.
        no_log: Why its log could not be read, or None.
        next: What to type next.
    """

    run: dict[str, Any]
    arguments: dict[str, Any] | None
    left_out: list[str]
    user: str | None
    discarded: str | None
    attempts: list[Attempt]
    parts: list[Part]
    at_work: list[dict[str, Any]]
    letters: list[dict[str, Any]]
    log: list[Entry]
    no_log: str | None
    next: list[str]

    @property
    def traceback(self) -> tuple[str, ...]:
        """The last traceback that it logged."""
        return next((entry.more for entry in reversed(self.log) if entry.level == "ERROR" and entry.more), ())


def look(stack: Stack, run_id: str, now: datetime, *, with_log: bool = True) -> OneRun:
    """A run with all that is known of it.

    Args:
        stack: The stack, with this process pointed at it.
        run_id: The run's id.
        now: The time on the clock.
        with_log: Whether its log is read too, which takes longest.

    Raises:
        NotFound: There is no such run.
    """
    run = find(run_id, now.date())
    kept = run.arguments or {}
    tries = [json.loads(str(each)) for each in run.tries or ()]
    attempts = [Attempt(**each | {"started": datetime.fromisoformat(each["started"])}) for each in tries]
    if attempts and run.outcome == Outcome.DEAD and attempts[-1].outcome == Outcome.RETRYING:
        attempts[-1] = replace(attempts[-1], outcome=Outcome.DEAD.value)  # it was the last one
    parts = _parts(run)
    flights = [flight for flight in ledger.in_flight(run.task) if flight.message_id == run.run_id]
    found: list[dict[str, Any]] = []
    if run.outcome in FAILED or any(part.outcome in FAILED for part in parts):
        found = [dead.brief(letter) for letter in dead.look([run.task]) if letter.run_id == run.run_id]
    log, no_log = _log(stack, run, attempts) if with_log else ([], None)
    arguments = kept.get("kept")
    made = OneRun(
        run=runs.shown(run),
        arguments=arguments,
        left_out=list(kept.get("left_out", ())),
        user=(arguments or {}).get("user_id"),
        discarded=run.discarded,
        attempts=attempts,
        parts=parts,
        at_work=[runs.at_work(flight, now) for flight in flights],
        letters=list({letter["id"]: letter for letter in found}.values()),
        log=log,
        no_log=no_log,
        next=[],
    )
    made.next.extend(_next(made))
    return made


def find(run_id: str, today: date) -> RunRecord:
    """The run of that id, whatever its task and, of the last 30 days or in its id, its day.

    Raises:
        NotFound: There is none, or several tasks have one.
    """
    days = {today - timedelta(days=back) for back in range(-1, ledger.KEPT.days + 1)} | set(_days_in(run_id))
    keys = [(f"{task}#{day}", run_id) for task in TASKS for day in days]
    if not 0 < len(run_id.encode()) <= 1_024:
        keys = []
    found = list(RunRecord.batch_get(keys)) if keys else []
    if not found:
        raise NotFound(f"There is no run {run_id!r} in the ledger, which keeps 30 days. `backbeat runs` has their ids.")
    if len({run.task for run in found}) > 1:
        raise NotFound(f"Several tasks have a run {run_id!r}: {', '.join(sorted(run.task for run in found))}.")
    return max(found, key=lambda run: run.started)


def _days_in(run_id: str) -> Iterator[date]:
    """The day that an id names: most begin with their time, a schedule's ends with it."""
    for text in (run_id[:8], run_id.partition("@")[2][:10]):
        try:
            yield date.fromisoformat(text)
        except ValueError:
            continue


def again(stack: Stack, run: RunRecord, given: Mapping[str, Any], at: datetime | None) -> Message:
    """Make a run again: a new one with the same arguments, at the same logical time; return its message.

    Args:
        stack: The stack, with this process pointed at it.
        run: The run.
        given: Arguments that are to be others, or that the ledger does not keep.
        at: Another logical time.

    Raises:
        NotFound: The ledger has not kept what it needs; the text says what.
        InvalidTaskArguments: The arguments do not fit the task.
    """
    message = message_of(run, given, at)
    return runs.by_hand(stack.name, TASKS[run.task], message.kwargs, message.logical_time)


def message_of(run: RunRecord, given: Mapping[str, Any], at: datetime | None = None) -> Message:
    """The message that a run was asked for with, as far as the ledger keeps it, and with what is given.

    Raises:
        NotFound: The ledger has not kept what it needs; the text says what.
        InvalidTaskArguments: The arguments do not fit the task.
    """
    task = runs.the_task(run.task)
    if run.arguments is None:
        raise NotFound(
            f"{run.run_id} was written by a version that kept no arguments: `backbeat run {run.task} KEY=VALUE` "
            "makes a new one."
        )
    missing = [name for name in run.arguments["left_out"] if name not in given]
    if missing:
        raise NotFound(
            f"The ledger keeps no texts, and so not {', '.join(missing)} of {run.run_id}: give "
            f"{' '.join(f'{name}=...' for name in missing)}, or retry its dead letter where it has one."
        )
    kwargs = run.arguments["kept"] | given
    if ERASED in str(kwargs.values()):
        raise NotFound(f"{run.run_id} is about a user who was erased: it cannot be made again.")
    return task.message(kwargs, at or run.logical_time)


def _parts(run: RunRecord) -> list[Part]:
    key = f"{run.task}#sweep#{run.run_id}"
    try:
        sweep = SweepRun.get(key, "run", consistent_read=True)
    except SweepRun.DoesNotExist:
        return []
    rows = {
        int(row.run_id.rpartition("#")[2]): row
        for row in RunRecord.query(f"{run.task_day}#parts", RunRecord.run_id.startswith(f"{run.run_id}#"))
    }
    made = []
    for number, part in enumerate(SweepPart.query(key, SweepPart.number.startswith("part#"), consistent_read=True)):
        if number >= sweep.parts:  # left behind by a plan that was cut off
            break
        row = rows.get(number)
        waits = DONE if part.done else WAITING
        made.append(
            Part(
                number=number,
                outcome=str(row.outcome) if row else waits,
                attempts=int(row.attempts) if row else 0,
                tally=part.tally,
                error=row.error if row else None,
            )
        )
    return made


def _log(stack: Stack, run: RunRecord, attempts: Sequence[Attempt]) -> tuple[list[Entry], str | None]:
    """What a run logged, and why that cannot be told."""
    last = attempts[-MOST_REQUESTS:]
    requests = [attempt.request_id for attempt in last] or ([run.request_id] if run.request_id else [])
    if run.request_id and run.request_id not in requests:
        requests.append(run.request_id)  # at work just now, or without an answer
    times = [attempt.started for attempt in last] + [run.started]
    took = timedelta(milliseconds=max([attempt.duration_ms for attempt in last] + [int(run.duration_ms or 0)]))
    if not requests:
        return [], None
    until = datetime.now(UTC) if run.outcome == Outcome.RUNNING else max(times) + took + AROUND
    return logs.of_run(stack.name, run.task, run.run_id, requests, min(times) - AROUND, until)


def _next(made: OneRun) -> list[str]:
    """What to type next about a run."""
    run = made.run
    run_id, steps = shlex.quote(run["run_id"]), []
    for letter in made.letters[:3]:
        steps.append(f"backbeat dead show {shlex.quote(letter['id'])}")
        if letter["cannot_be_sent"] is None:
            steps.append(f"backbeat dead retry {shlex.quote(letter['id'])} --wait")
    if run["outcome"] in (Outcome.RUNNING, Outcome.IN_PARTS, Outcome.RETRYING, Outcome.QUEUED):
        steps.append("backbeat status")
    if made.arguments is not None and ERASED not in str(made.arguments):
        missing = "".join(f" {name}=..." for name in made.left_out)
        steps += [f"backbeat replay {run_id}{missing}", f"backbeat again {run_id}{missing} --wait"]
    return steps
