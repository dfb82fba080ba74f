"""The run ledger: what ran, when, how it ended and why; kept for 30 days.

A run is one row, keyed by its task and the day of its logical time, and by its id, which sorts by time. A scheduled
run *claims* its row before it works, so that of two deliveries one waits; a message's run is written once per
attempt, at its end, because what it does is guarded by keys of its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any

from pynamodb.exceptions import UpdateError
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action

from backbeat.messages import Message
from backbeat.models import DayTotals, RunRecord

KEPT = timedelta(days=30)


class Outcome(StrEnum):
    """How an attempt ended, or that it has not."""

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
    """

    outcome: Outcome
    started: datetime
    duration_ms: int
    request_id: str
    result: Any = None
    error: str | None = None


def claim(message: Message, task_class: str, until: datetime, request_id: str) -> int:
    """Claim a scheduled run before it works; return the attempt's number, from 1.

    A run is to be had when it is new, waits for a retry, ended in the dead queue (then its attempts count anew),
    or was claimed by an invocation that went silent.

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
        *_identity(message, task_class),
        outcome.set(Outcome.RUNNING),
        RunRecord.started.set(now),
        RunRecord.request_id.set(request_id),
        RunRecord.lease_until.set(until),
    ]
    silent = (outcome == Outcome.RUNNING) & (RunRecord.lease_until < now)
    waiting = outcome.does_not_exist() | (outcome == Outcome.RETRYING) | silent
    if _updated(row, [*actions, RunRecord.attempts.add(1)], waiting):
        return int(row.attempts)
    ended = outcome.is_in(Outcome.DEAD, Outcome.REJECTED, Outcome.SKIPPED)
    if _updated(row, [*actions, RunRecord.attempts.set(1)], ended):
        return 1
    row.refresh(consistent_read=True)
    if row.outcome == Outcome.SUCCEEDED:
        raise AlreadySucceeded
    raise Claimed(row.lease_until or now)


def settle(message: Message, attempt: Attempt) -> None:
    """Write how a claimed run's attempt ended, unless another invocation has claimed it since."""
    row = _row(message)
    if _updated(row, [*_ending(attempt), RunRecord.lease_until.remove()], RunRecord.request_id == attempt.request_id):
        _count(message, attempt)


def record(message: Message, task_class: str, attempt: Attempt) -> int:
    """Write a message run's attempt, at its end; return the attempt's number, from 1.

    A row that says *succeeded* stays as it is: what comes later is a duplicate's. After a dead letter
    is retried, attempts count anew.
    """
    row, outcome = _row(message), RunRecord.outcome
    actions = [*_identity(message, task_class), RunRecord.started.set(attempt.started), *_ending(attempt)]
    waiting = outcome.does_not_exist() | (outcome == Outcome.RETRYING)
    if not _updated(row, [*actions, RunRecord.attempts.add(1)], waiting):
        _updated(row, [*actions, RunRecord.attempts.set(1)], outcome != Outcome.SUCCEEDED)
    _count(message, attempt)
    return int(row.attempts or 1)


def bury(message: Message) -> None:
    """Mark a run as dead after the attempt that was its last."""
    if _updated(_row(message), [RunRecord.outcome.set(Outcome.DEAD)], RunRecord.outcome == Outcome.RETRYING):
        _totals(message).update(actions=[DayTotals.dead.add(1), DayTotals.retrying.add(-1)])


def recent(task: str, day: date, limit: int) -> Iterator[RunRecord]:
    """A task's runs of one (logical, UTC) day, newest first, at most `limit`."""
    return RunRecord.query(_partition(task, day), scan_index_forward=False, limit=limit)


def totals(day: date) -> Iterator[DayTotals]:
    """Each task's totals of one (logical, UTC) day."""
    return DayTotals.query(f"totals#{day}")


def _partition(task: str, day: date) -> str:
    return f"{task}#{day}"


def _row(message: Message) -> RunRecord:
    return RunRecord(_partition(message.task, message.logical_time.date()), message.id)


def _totals(message: Message) -> DayTotals:
    return DayTotals(f"totals#{message.logical_time.date()}", message.task)


def _updated(row: RunRecord, actions: list[Action], condition: Condition) -> bool:
    """Update a row, and read it back, if its condition holds."""
    try:
        row.update(actions=actions, condition=condition)
    except UpdateError as error:
        if error.cause_response_code == "ConditionalCheckFailedException":
            return False
        raise
    return True


def _identity(message: Message, task_class: str) -> list[Action]:
    return [
        RunRecord.task.set(message.task),
        RunRecord.task_class.set(task_class),
        RunRecord.logical_time.set(message.logical_time),
        RunRecord.expires.set(datetime.now(UTC) + KEPT),
    ]


def _ending(attempt: Attempt) -> list[Action]:
    actions: list[Action] = [
        RunRecord.outcome.set(attempt.outcome),
        RunRecord.duration_ms.set(attempt.duration_ms),
        RunRecord.request_id.set(attempt.request_id),
    ]
    for attribute, value in ((RunRecord.result, attempt.result), (RunRecord.error, attempt.error)):
        actions.append(attribute.remove() if value is None else attribute.set(value))
    return actions


def _count(message: Message, attempt: Attempt) -> None:
    counter = getattr(DayTotals, attempt.outcome)
    _totals(message).update(
        actions=[
            counter.add(1),
            DayTotals.duration_ms.add(attempt.duration_ms),
            DayTotals.expires.set(datetime.now(UTC) + KEPT),
        ]
    )
