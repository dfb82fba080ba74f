"""Runs: made by hand, looked up in the ledger, waited for; and the one shape in which all commands show them."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec

from backbeat import ledger, queues
from backbeat.ledger import FAILED, SETTLED, Outcome
from backbeat.messages import Message, iso
from backbeat.models import Flight, RunRecord
from backbeat.producer import PRIORITIES, InvalidTaskArguments, Task
from backbeat.tasks import TASKS
from backbeat_ops.stack import NotFound

MOST_LOOKED_AT = 2_000
"""Of how many runs of a task and day the failed ones, or the slowest, are picked: those that started last."""
DAYS_BACK = 8
"""How far back a task's last run is looked for: a weekly one's is at most seven days old."""
SECONDS_BETWEEN_LOOKS = 0.25


class NotSettled(TimeoutError):
    """Runs have not come to an end in the time given."""


def shown(run: RunRecord) -> dict[str, Any]:
    """A run of the ledger as plain values: the one shape in which it is shown, whoever asks.

    `run_id` is its identity; `logical_time` the time it ran as if at, and `started` the wall clock's when its last
    attempt began, both ISO 8601 in UTC; `about` the file that it is about, if it is; `result` what its task returned;
    `error` why it failed, or was skipped, and `reason` the same as a short code, by which failures are grouped.
    """
    return {
        "task": run.task,
        "class": run.task_class,
        "run_id": run.run_id,
        "about": run.about,
        "outcome": str(run.outcome),
        "reason": run.reason,
        "attempts": int(run.attempts or 0),
        "logical_time": iso(run.logical_time),
        "started": None if run.started is None else iso(run.started),
        "duration_ms": None if run.duration_ms is None else int(run.duration_ms),
        "result": run.result,
        "error": run.error,
    }


def at_work(flight: Flight, now: datetime) -> dict[str, Any]:
    """A message that is at work, as plain values: which part of which run, since when, and whether it fell silent."""
    return {
        "task": flight.task,
        "run_id": flight.message_id,
        "part": None if flight.part is None else int(flight.part),
        "since": iso(flight.since),
        "silent": flight.until < now,
    }


def not_recorded(found: Sequence[RunRecord], task: str | None = None) -> list[RunRecord]:
    """What is at work and not in the ledger yet: a message's run is written at the end of an attempt."""
    known = {(run.task, run.run_id) for run in found}
    return [
        RunRecord(
            run_id=flight.message_id,
            task=flight.task,
            task_class=TASKS[flight.task].task_class,
            logical_time=flight.since,
            started=flight.since,
            outcome=Outcome.RUNNING,
        )
        for flight in ledger.in_flight(task)
        if flight.part is None and (flight.task, flight.message_id) not in known and flight.task in TASKS
    ]


def words(result: Any) -> str:
    """What a task returned, in a line: `sent 21, skipped 9, days (2026-11-01, 2026-11-02)`."""

    def inner(value: Any) -> str:
        return f"({words(value)})" if isinstance(value, dict | list) else words(value) or "none"

    if isinstance(result, dict):
        return ", ".join(f"{name} {inner(value)}" for name, value in result.items())
    if isinstance(result, list):
        return ", ".join(inner(value) for value in result)
    return "" if result is None else str(result)


def on_its_queue(message: Message) -> dict[str, Any]:
    """A run whose message has just been sent, in the same shape: nothing has been heard of it."""
    return shown(
        RunRecord(
            run_id=message.id,
            task=message.task,
            task_class=TASKS[message.task].task_class,
            logical_time=message.logical_time,
            outcome=Outcome.QUEUED,
        )
    )


def the_task(name: str) -> Task[Any]:
    """The task of that name.

    Raises:
        NotFound: There is none.
    """
    if name not in TASKS:
        raise NotFound(f"There is no task {name!r}. Tasks: {', '.join(sorted(TASKS))}.")
    return TASKS[name]


def recent(task: str, limit: int, until: date | None = None, days: int = 2) -> list[RunRecord]:
    """A task's runs of some logical days up to a last one, or to today: at most `limit`, those that started last."""
    found = [run for day in _days(until, days) for run in ledger.recent(task, day, limit)]
    return sorted(found, key=lambda run: run.started, reverse=True)[:limit]


@dataclass(frozen=True, slots=True)
class Summary:
    """How a task's runs of some days went.

    Attributes:
        task: The task.
        task_class: Its class.
        runs: How many there were.
        outcomes: How many ended so, by outcome.
        p50_ms: How long half of those that worked took at most, in milliseconds; None where none has.
        p95_ms: The same of 95 in a hundred.
        longest_ms: The longest.
    """

    task: str
    task_class: str
    runs: int
    outcomes: dict[str, int]
    p50_ms: int | None
    p95_ms: int | None
    longest_ms: int | None


def summary(found: Iterable[RunRecord]) -> list[Summary]:
    """How runs went, task by task, the most important class first."""
    by_task: dict[str, list[RunRecord]] = {}
    for run in found:
        by_task.setdefault(run.task, []).append(run)
    made = []
    for task, own in by_task.items():
        took = sorted(int(run.duration_ms) for run in own if run.duration_ms is not None and run.outcome != "skipped")
        outcomes = Counter(str(run.outcome) for run in own)
        p50, p95, longest = (percentile(took, share) for share in (50, 95, 100))
        made.append(Summary(task, own[0].task_class, len(own), dict(outcomes), p50, p95, longest))
    return sorted(made, key=lambda each: (-PRIORITIES.get(each.task_class, 0), each.task))


def percentile(values: Sequence[int], share: int) -> int | None:
    """The smallest of sorted values that so many in a hundred are not above (the nearest rank)."""
    return values[max(0, -(-len(values) * share // 100) - 1)] if values else None


def waits_for_somebody(run: RunRecord) -> bool:
    """Whether a run has failed, and nobody has discarded its letter."""
    return run.outcome in FAILED and not run.discarded


def left_out(task: str, shown: int, until: date | None = None, days: int = 2) -> str | None:
    """What is to be said where not all of a task's runs of some days are shown: `20 of 57 of send_notification`."""
    numbers = [ledger.number(task, day) for day in _days(until, days)]
    if sum(numbers) <= shown:
        return None
    more = " or more" if ledger.MOST_COUNTED in numbers else ""
    return f"{shown} of {sum(numbers):,}{more} of {task}"


def _days(until: date | None, days: int) -> list[date]:
    last = until or datetime.now(UTC).date()
    return [last - timedelta(days=back) for back in range(days)]


def last(task: str, now: datetime) -> RunRecord | None:
    """The run of a task that started last, of those of the last eight logical days."""
    return next(iter(recent(task, 1, now.date(), DAYS_BACK)), None)


def as_it_is(run: RunRecord) -> str:
    """What is to be said of a run that is not made again: how it ended, and when it started."""
    started = f"{run.started:%Y-%m-%d %H:%M} UTC"
    return f"{run.run_id} has {run.outcome} already, in the attempt of {started}: a schedule's run is made once."


def by_hand(stack: str, task: Task[Any], kwargs: Mapping[str, Any], at: datetime) -> Message:
    """Put a new message for a task on its queue, to run now as if at a time; return it.

    Raises:
        InvalidTaskArguments: An argument is missing, unknown or of the wrong type.
        QueueNotFound: The stack has no queue for the task.
    """
    message = task.message(kwargs, at)
    queues.put(task.queue_name(stack), message.to_json())
    return message


def arguments(task: Task[Any], given: Sequence[str]) -> dict[str, Any]:
    """A task's arguments from `key=value` words: a value is text where the task takes text, else JSON.

    Raises:
        InvalidTaskArguments: A word has no `=`, or the arguments do not fit the task.
    """
    values = arguments_given(task, given)
    return {key: value for key, value in task.parse(values).items() if key in values}


def arguments_given(task: Task[Any], given: Sequence[str]) -> dict[str, Any]:
    """The same, where others may come to them, so that it is not known yet whether they fit.

    Raises:
        InvalidTaskArguments: A word has no `=`.
    """
    values: dict[str, Any] = {}
    for word in given:
        key, equals, text = word.partition("=")
        if not equals:
            raise InvalidTaskArguments(f"{task.name}: {word!r} is no key=value")
        values[key] = text
        parameter = task.signature.parameters.get(key)
        if parameter is None:
            continue  # refused where they are checked, with the others
        try:
            msgspec.convert(text, parameter.annotation)
        except msgspec.ValidationError:
            try:
                values[key] = json.loads(text)
            except ValueError:
                continue  # refused there, too
    return values


def wait(wanted: Sequence[Message], seconds: float, pause: Callable[[float], None] = time.sleep) -> list[RunRecord]:
    """Wait until runs have come to an end; return them.

    Raises:
        NotSettled: They have not, after `seconds`; the text names them.
    """
    until = time.monotonic() + seconds
    while True:
        runs = {message.id: ledger.find(message) for message in wanted}
        open_runs = {run_id: run for run_id, run in runs.items() if run is None or run.outcome not in SETTLED}
        if not open_runs:
            return [run for run in runs.values() if run is not None]
        if time.monotonic() >= until:
            states = ", ".join(
                f"{run_id} is {run.outcome if run else 'not in the ledger'}" for run_id, run in open_runs.items()
            )
            raise NotSettled(f"After {seconds:.0f} s, {states}.")
        pause(SECONDS_BETWEEN_LOOKS)
