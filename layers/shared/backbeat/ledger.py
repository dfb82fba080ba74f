"""The run ledger: what ran, when, how it ended and why; kept for 30 days.

A run is one row, keyed by its task and the day of its logical time, and by its id; an index sorts by when it started.
A scheduled run *claims* its row before it works, so that of two deliveries one waits; a message's run is written once
per attempt, at its end, because what it does is guarded by keys of its own.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from threading import Lock
from typing import Any

from pynamodb.attributes import NumberAttribute
from pynamodb.exceptions import UpdateError
from pynamodb.expressions.update import Action

from backbeat.logs import without_addresses
from backbeat.messages import LONGEST_FIELD, MOST_FAULTS, Message, iso, shortened
from backbeat.models import IN_FLIGHT, TRIALS, DayTotals, Flight, RunRecord, Trial, delete_if, each, readable, update_if
from backbeat.models.base import connection
from backbeat.producer import DECLARED

KEPT = timedelta(days=30)
FLIGHTS_KEPT = timedelta(days=1)
"""How long a worker of which nothing is heard is listed."""
LONGEST_ARGUMENT = 1_024
"""Characters of an argument that is kept with a run."""
MOST_COUNTED = 10_000
"""How many runs of a day are counted; more are "and more"."""


class Outcome(StrEnum):
    """How an attempt ended, or that it has not."""

    QUEUED = "queued"
    """An operator has put it on its queue; only such runs are known before they start."""
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    SKIPPED = "skipped"
    """A duplicate, or nothing to do."""
    RETRYING = "retrying"
    """It failed and comes back."""
    REJECTED = "rejected"
    """The input can never work: no retry."""
    DEAD = "dead"
    """It failed, and its attempts are used up."""
    IN_PARTS = "in parts"
    """It is planned, and its parts are at work."""
    INCOMPLETE = "incomplete"
    """A part of it is dead; retrying that part's letter finishes the run."""


SETTLED = frozenset({Outcome.SUCCEEDED, Outcome.SKIPPED, Outcome.REJECTED, Outcome.DEAD, Outcome.INCOMPLETE})
"""The outcomes after which nothing more happens by itself."""
FAILED = frozenset({Outcome.REJECTED, Outcome.DEAD, Outcome.INCOMPLETE})
"""The outcomes that wait for an operator."""


class AlreadySucceeded(Exception):
    """The run has succeeded; this delivery is a duplicate."""


class Claimed(Exception):
    """Another delivery is at work on the run, at most until `until`."""

    def __init__(self, until: datetime) -> None:
        super().__init__(f"another delivery is at work on this run, at most until {until:%H:%M:%S} UTC")
        self.until = until


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt, as the ledger keeps it.

    Attributes:
        outcome: How it ended.
        started: When it started, on the wall clock.
        duration_ms: How long it took, in milliseconds.
        request_id: The id of the Lambda invocation.
        result: The task's result as JSON, or None.
        error: What went wrong, or why it was skipped.
        kind: The name of the result's type, by which the day's totals tell successes apart.
        reason: A short code for what went wrong.
        about: What the run is about.
        erased: Whether it was for a user who was erased: none of its arguments is kept.
    """

    outcome: Outcome
    started: datetime
    duration_ms: int
    request_id: str
    result: Any = None
    error: str | None = None
    kind: str | None = None
    reason: str | None = None
    about: str | None = None
    erased: bool = False


def claim(message: Message, task_class: str, until: datetime, request_id: str) -> int:
    """Claim a scheduled run before it works; return the attempt's number, from 1.

    A run is to be had when it is new or queued, waits for a retry, was claimed by an invocation that went silent, ended
    in the dead queue, or has parts at work that may have to be sent again; for the last two its attempts count anew.

    Args:
        message: The scheduled message.
        task_class: The task's class.
        until: When the claim ends by itself: after the function's own time-out.
        request_id: The id of the claiming invocation.

    Raises:
        AlreadySucceeded: The run has been done.
        Claimed: Another delivery is at work on it.
    """
    now = datetime.now(UTC)
    row, outcome = _row(message), RunRecord.outcome
    actions = [
        *_set(_identity(message, task_class)),
        outcome.set(Outcome.RUNNING),
        RunRecord.started.set(now),
        RunRecord.request_id.set(request_id),
        RunRecord.lease_until.set(until),
    ]
    silent = (outcome == Outcome.RUNNING) & (RunRecord.lease_until < now)
    waiting = outcome.does_not_exist() | outcome.is_in(Outcome.QUEUED, Outcome.RETRYING) | silent
    if update_if(row, [*actions, RunRecord.attempts.add(1)], waiting):
        return int(row.attempts)
    ended = outcome.is_in(Outcome.DEAD, Outcome.REJECTED, Outcome.SKIPPED, Outcome.IN_PARTS, Outcome.INCOMPLETE)
    if update_if(row, [*actions, RunRecord.attempts.set(1)], ended):
        return 1
    row.refresh(consistent_read=True)
    if row.outcome == Outcome.SUCCEEDED:
        raise AlreadySucceeded
    raise Claimed(row.lease_until or now)


def settle(message: Message, attempt: Attempt) -> None:
    """Write how a claimed run's attempt ended, unless another invocation has claimed it since."""
    row = _row(message)
    actions = [*_set(_ending(attempt)), _try(attempt), RunRecord.lease_until.remove()]
    if update_if(row, actions, RunRecord.request_id == attempt.request_id):
        _count(message, attempt.outcome, duration_ms=attempt.duration_ms, kind=attempt.kind)


def record(message: Message, task_class: str, attempt: Attempt) -> int:
    """Write a message run's attempt, at its end; return the attempt's number, from 1.

    A row that says *succeeded* stays as it is: what comes later is a duplicate's. After a dead letter
    is retried, attempts count anew.
    """
    row, outcome = _row(message), RunRecord.outcome
    actions = [*_set(_whole(message, task_class, attempt)), _try(attempt)]
    waiting = outcome.does_not_exist() | (outcome == Outcome.RETRYING)
    if not update_if(row, [*actions, RunRecord.attempts.add(1)], waiting):
        update_if(row, [*actions, RunRecord.attempts.set(1)], outcome != Outcome.SUCCEEDED)
    _count(message, attempt.outcome, duration_ms=attempt.duration_ms, kind=attempt.kind)
    return int(row.attempts or 1)


def record_new(ended: Sequence[tuple[Message, Attempt]], task_class: str) -> list[bool]:
    """Write attempts at messages' runs that are the first, in one call, each by itself; return of each whether it was.

    What is known already stays as it is, and what could not be written is not there: `record` is for both. At most 25
    attempts ("BatchExecuteStatement", DynamoDB API reference).

    Raises:
        BotoCoreError, ClientError: DynamoDB does not answer, or refuses; what was written is not known.
    """
    rows: dict[tuple[str, str], tuple[int, dict[str, Any]]] = {}
    for number, (message, attempt) in enumerate(ended):
        values = _whole(message, task_class, attempt)
        row = RunRecord(*key(message), **values, attempts=1, tries=[_made(attempt)])
        rows.setdefault(key(message), (number, row.serialize()))
    statements: list[Any] = []
    for _, item in rows.values():
        names = ", ".join(f"'{name}': ?" for name in item)
        statement = f'INSERT INTO "{RunRecord.Meta.table_name}" VALUE {{{names}}}'
        statements.append({"Statement": statement, "Parameters": list(item.values())})
    client: Any = connection().client  # PynamoDB speaks no PartiQL, which alone writes many, each on its own condition
    answers = client.batch_execute_statement(Statements=statements)["Responses"]
    written = [False] * len(ended)
    for (number, _), answer in zip(rows.values(), answers, strict=True):
        if "Error" not in answer:
            written[number] = True
            message, attempt = ended[number]
            _count(message, attempt.outcome, duration_ms=attempt.duration_ms, kind=attempt.kind)
    return written


def bury(message: Message) -> None:
    """Mark a run as dead after the attempt that was its last."""
    if update_if(_row(message), [RunRecord.outcome.set(Outcome.DEAD)], RunRecord.outcome == Outcome.RETRYING):
        _count(message, Outcome.DEAD)
        _count(message, Outcome.RETRYING, -1)


def finish(message: Message, task_class: str, attempt: Attempt) -> None:
    """Write how a run in parts ended, from within whichever of its messages finished it."""
    whole = message.for_part(None)
    actions = _set(_whole(whole, task_class, attempt))
    if update_if(_row(whole), actions, RunRecord.outcome.does_not_exist() | (RunRecord.outcome != Outcome.SUCCEEDED)):
        _count(whole, attempt.outcome, duration_ms=attempt.duration_ms)


def incomplete(message: Message, error: str, reason: str) -> None:
    """Mark the run that a dead part belongs to as incomplete, naming the part."""
    known_and_open = RunRecord.outcome.exists() & (RunRecord.outcome != Outcome.SUCCEEDED)
    why = f"part {message.part} is dead: {error}"
    actions = [
        RunRecord.outcome.set(Outcome.INCOMPLETE),
        RunRecord.error.set(why),
        RunRecord.reason.set(reason),
    ]
    update_if(_row(message.for_part(None)), actions, known_and_open)


def queued(message: Message, task_class: str) -> None:
    """Note that a scheduled run's message is on its queue, unless the run is known already."""
    actions = [
        *_set(_identity(message, task_class)),
        RunRecord.outcome.set(Outcome.QUEUED),
        RunRecord.started.set(datetime.now(UTC)),
    ]
    update_if(_row(message), actions, RunRecord.outcome.does_not_exist())


def hold(message: Message, attempt: Attempt, until: datetime) -> None:
    """Note that an attempt is at work, and prolong its claim; nobody else's note or claim is touched."""
    now = datetime.now(UTC)
    free = Flight.request_id.does_not_exist() | (Flight.request_id == attempt.request_id) | (Flight.until < now)
    actions = [
        Flight.task.set(message.task),
        Flight.message_id.set(message.id),
        Flight.since.set(attempt.started),
        Flight.until.set(until),
        Flight.request_id.set(attempt.request_id),
        Flight.expires.set(now + FLIGHTS_KEPT),
    ]
    if message.part is not None:
        actions.append(Flight.part.set(message.part))
    update_if(_flight(message), actions, free)
    if message.scheduled_time and message.part is None:
        own = (RunRecord.outcome == Outcome.RUNNING) & (RunRecord.request_id == attempt.request_id)
        update_if(_row(message), [RunRecord.lease_until.set(until)], own)


def let_go(message: Message, attempt: Attempt) -> None:
    """Note that an attempt is over."""
    delete_if(_flight(message), Flight.request_id == attempt.request_id)


def in_flight(task: str | None = None) -> list[Flight]:
    """What is at work, or was when it was heard of last: of one task, or of all whose work takes long; oldest first."""
    of_task = Flight.key.startswith(f"{task}#") if task else None
    kept = Flight.expires > datetime.now(UTC)  # DynamoDB deletes up to days late
    found = Flight.query(IN_FLIGHT, of_task, filter_condition=kept, consistent_read=True)
    return sorted(each(found, needs=["since", "until"]), key=lambda flight: flight.since)


def _flight(message: Message) -> Flight:
    part = "" if message.part is None else f"#{message.part}"
    return Flight(IN_FLIGHT, f"{message.task}#{message.id}{part}")


def discard(message: Message, task_class: str, outcome: Outcome, reason: str, error: str, why: str) -> None:
    """Keep why an operator has discarded a run's dead letter; where nothing is known of the run, what it says.

    Args:
        message: The letter's message.
        task_class: Its task's class.
        outcome: How the letter says that the run ended.
        reason: The letter's short code for why.
        error: The same for people.
        why: What the operator gave as the reason.
    """
    row, note = _row(message), RunRecord.discarded.set(f"{iso(datetime.now(UTC))}: {why}")
    unknown = [
        *_set(_identity(message, task_class)),
        RunRecord.outcome.set(outcome),
        RunRecord.reason.set(reason),
        RunRecord.error.set(error),
        RunRecord.started.set(message.logical_time),
    ]
    if not update_if(row, [*unknown, note], RunRecord.outcome.does_not_exist()):
        update_if(row, [note], RunRecord.outcome.exists())


def key(message: Message) -> tuple[str, str]:
    """The key of the row of the run that a message asks for."""
    row = _row(message)
    return row.task_day, row.run_id


def on_trial(trial: str) -> bool:
    """Whether a trial is going on."""
    try:
        return not Trial.get(TRIALS, trial, consistent_read=True).ended
    except Trial.DoesNotExist:
        return False


def find(message: Message) -> RunRecord | None:
    """The run that a message asks for, if it is known."""
    row = _row(message)
    try:
        row.refresh(consistent_read=True)
    except RunRecord.DoesNotExist:
        return None
    return row


def recent(task: str, day: date, limit: int) -> list[RunRecord]:
    """A task's runs of one (logical, UTC) day, those that started last first, at most `limit`."""
    newest = RunRecord.by_start.query(f"{task}#{day}", scan_index_forward=False, limit=limit)
    needed = ("task", "task_class", "logical_time", "outcome", "started")
    found = readable(RunRecord, [(run.task_day, run.run_id) for run in each(newest)], needs=needed)
    return sorted(found, key=lambda run: run.started, reverse=True)


def number(task: str, day: date) -> int:
    """How many runs a task has had on one (logical, UTC) day; 10,000 stands for those and more."""
    return min(RunRecord.by_start.count(f"{task}#{day}", limit=MOST_COUNTED), MOST_COUNTED)


def started_since(task: str, time: datetime) -> int:
    """How many runs of a task, of the (logical, UTC) days from a time's to today's, have started since."""
    last = datetime.now(UTC).date()
    days = [time.date() + timedelta(days=after) for after in range((last - time.date()).days + 1)]
    found = (RunRecord.by_start.count(f"{task}#{day}", RunRecord.started >= time, limit=MOST_COUNTED) for day in days)
    return sum(found)


def totals(day: date) -> Iterator[DayTotals]:
    """Each task's totals of one (logical, UTC) day."""
    return each(DayTotals.query(f"totals#{day}"))


def _row(message: Message) -> RunRecord:
    partition = f"{message.task}#{message.logical_time.date()}"
    if message.part is None:
        return RunRecord(partition, message.id)
    return RunRecord(f"{partition}#parts", f"{message.id}#{message.part}")


def _whole(message: Message, task_class: str, attempt: Attempt) -> dict[str, Any]:
    """What a run's row says after an attempt; None where it says nothing."""
    named = replace(message, kwargs={}) if attempt.erased else message
    return {**_identity(named, task_class), "started": attempt.started, **_ending(attempt)}


def _identity(message: Message, task_class: str) -> dict[str, Any]:
    return {
        "task": message.task,
        "task_class": task_class,
        "logical_time": message.logical_time,
        "arguments": _arguments(message),
        "expires": datetime.now(UTC) + KEPT,
    }


def _set(values: Mapping[str, Any]) -> list[Action]:
    attributes = RunRecord.get_attributes()
    return [
        attributes[name].remove() if value is None else attributes[name].set(value) for name, value in values.items()
    ]


def _arguments(message: Message) -> dict[str, Any]:
    """What is kept of a message's arguments, and the names of those that are not: texts, and what holds an address."""
    task = DECLARED.get(message.task)
    known = {name: value for name, value in message.kwargs.items() if task and name in task.keeps and _is_small(value)}
    left_out = [shortened(name, LONGEST_FIELD) for name in message.kwargs if name not in known]
    return {"kept": known, "left_out": left_out[:MOST_FAULTS]}


def _is_small(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= LONGEST_ARGUMENT and without_addresses(value) == value
    return value is None or isinstance(value, bool | int | float)


def _try(attempt: Attempt) -> Action:
    """An attempt, behind those that the run has had before."""
    before = RunRecord.tries | []
    return RunRecord.tries.set(before.append([_made(attempt)]))


def _made(attempt: Attempt) -> str:
    made = {
        "started": iso(attempt.started),
        "duration_ms": attempt.duration_ms,
        "outcome": attempt.outcome,
        "reason": attempt.reason,
        "request_id": attempt.request_id,
    }
    return json.dumps(made)


def _ending(attempt: Attempt) -> dict[str, Any]:
    return {
        "outcome": attempt.outcome,
        "duration_ms": attempt.duration_ms,
        "request_id": attempt.request_id,
        "discarded": None,
        **({"about": attempt.about} if attempt.about else {}),
        "result": attempt.result,
        "error": attempt.error,
        "reason": attempt.reason,
    }


_counted: defaultdict[tuple[str, str], Counter[tuple[str, str]]] = defaultdict(Counter)
_counting = Lock()


def _count(message: Message, outcome: Outcome, by: int = 1, duration_ms: int = 0, kind: str | None = None) -> None:
    """Count for the day's totals; a run in parts counts once, when it is finished, and a trial's never."""
    if message.part is not None or outcome is Outcome.IN_PARTS or message.trial:
        return
    with _counting:
        counted = _counted[f"totals#{message.logical_time.date()}", message.task]
        counted["counter", outcome.value] += by
        counted["counter", "duration_ms"] += duration_ms
        if kind and outcome is Outcome.SUCCEEDED:
            counted["kind", kind] += 1


def write_totals() -> None:
    """Add what was counted to the days' totals: once for an invocation, not for each of its messages.

    Raises:
        UpdateError: It could not be written; it is kept, for the next invocation to write.
    """
    with _counting:
        counted = dict(_counted)
        _counted.clear()
    while counted:
        (day, task), counts = counted.popitem()
        actions: list[Action] = [DayTotals.expires.set(datetime.now(UTC) + KEPT)]
        for (what, name), by in counts.items():
            counter: NumberAttribute | None = getattr(DayTotals, name) if what == "counter" else None
            actions.append(counter.add(by) if counter is not None else DayTotals.count_kind(name, by))
        try:
            DayTotals(day, task).update(actions=actions)
        except UpdateError:
            with _counting:
                for key, kept in ((day, task), counts), *counted.items():
                    _counted[key].update(kept)
            raise
