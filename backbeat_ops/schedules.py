"""A stack's schedules: when they fire, how they ran; switched, fired by hand, or played over a stretch of time."""

import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import boto3
from pydantic import TypeAdapter, ValidationError

from backbeat import ledger, messages, queues
from backbeat.aws import schedule_group, scheduler
from backbeat.ledger import SETTLED
from backbeat.messages import InvalidMessage, Message, iso
from backbeat.models import RunRecord
from backbeat.producer import InvalidTaskArguments, Task
from backbeat.tasks import TASKS
from backbeat_ops import emulator
from backbeat_ops.emulator import NotUnderstood

if TYPE_CHECKING:
    from mypy_boto3_scheduler.type_defs import GetScheduleOutputTypeDef

DAYS_BACK = 8
"""How far back the last run of a schedule is looked for: a weekly one's is at most seven days old."""
SECONDS_BETWEEN_LOOKS = 0.25


class ScheduleNotFound(LookupError):
    """The stack has no schedule of that name."""


class NotSettled(TimeoutError):
    """Runs have not come to an end in the time given."""


@dataclass(frozen=True)
class Schedule:
    """One of the stack's schedules. It is named after its task.

    Attributes:
        definition: The schedule, as GetSchedule answers.
    """

    definition: "GetScheduleOutputTypeDef"

    @property
    def name(self) -> str:
        """Its name."""
        return self.definition["Name"]

    @property
    def enabled(self) -> bool:
        """Whether it fires."""
        return self.definition["State"] == "ENABLED"

    @property
    def queue(self) -> str:
        """The name of the queue that it sends to."""
        return self.definition["Target"]["Arn"].rsplit(":", 1)[-1]

    @cached_property
    def task(self) -> Task[Any]:
        """The task that it runs.

        Raises:
            NotUnderstood: Its message is for no task known here.
        """
        try:
            return TASKS[json.loads(self.definition["Target"].get("Input", ""))["task"]]
        except (ValueError, TypeError, KeyError) as error:
            raise NotUnderstood(f"schedule {self.name}: its input is no message for a task") from error

    def times(self, after: datetime) -> Iterator[datetime]:
        """When it fires, after a time and in order; there may be no end to it.

        Raises:
            NotUnderstood: Its times are not known here.
        """
        try:
            return emulator.times(self.definition, after)
        except NotUnderstood as error:
            raise NotUnderstood(f"schedule {self.name}: {error}") from error

    def body(self, at: datetime) -> str:
        """The body of the message that it sends for a time."""
        return emulator.scheduled(self.definition["Target"].get("Input", ""), at)

    def message(self, at: datetime) -> Message:
        """The message that it sends for a time.

        Raises:
            NotUnderstood: The task would not take it.
        """
        try:
            message = messages.parse(self.body(at), self.task.name, "", at)
        except InvalidMessage as error:
            raise NotUnderstood(f"schedule {self.name}: {error}") from error
        assert message is not None  # S3 sends no schedule's input
        return message


def schedules(stack: str) -> list[Schedule]:
    """The recurring schedules of a stack, by name."""
    group = schedule_group(stack)
    pages = scheduler().get_paginator("list_schedules").paginate(GroupName=group)
    names = sorted(item["Name"] for page in pages for item in page["Schedules"])
    return [Schedule(scheduler().get_schedule(GroupName=group, Name=name)) for name in names]


def named(stack: str, names: Sequence[str]) -> list[Schedule]:
    """The schedules of these names.

    Raises:
        ScheduleNotFound: There is none of one of the names.
    """
    known = {schedule.name: schedule for schedule in schedules(stack)}
    for name in names:
        if name not in known:
            there = ", ".join(known) or "none"
            raise ScheduleNotFound(f"{stack} has no schedule {name!r}; there is {there}")
    return [known[name] for name in names]


def switch(schedule: Schedule, state: Literal["ENABLED", "DISABLED"]) -> None:
    """Enable or disable a schedule."""
    answered = ("Arn", "CreationDate", "LastModificationDate", "ResponseMetadata", "State")
    kept: Any = {key: value for key, value in schedule.definition.items() if key not in answered}
    scheduler().update_schedule(**kept, State=state)


def send(schedule: Schedule, at: datetime) -> Message:
    """Put a schedule's message for a time on its queue, and note it in the ledger; return it."""
    message = schedule.message(at)
    queues.put(schedule.queue, schedule.body(at))
    # Only now: the other way round, a run could be noted, and then not sent for ever. Sent twice it runs once.
    ledger.queued(message, schedule.task.task_class)
    return message


def last_run(task: str, now: datetime) -> RunRecord | None:
    """The run of a task with the latest logical time, of the last eight days."""
    for days in range(DAYS_BACK):
        runs = list(ledger.recent(task, now.date() - timedelta(days=days), 100))
        if runs:
            return max(runs, key=lambda run: run.logical_time)
    return None


@dataclass(frozen=True, slots=True)
class Played:
    """One run of a stretch that is played.

    Attributes:
        schedule: The schedule.
        message: Its message.
        sent: Whether it was put on its queue just now; the ledger knew it otherwise.
    """

    schedule: Schedule
    message: Message
    sent: bool


def play(chosen: Sequence[Schedule], start: datetime, end: datetime) -> Iterator[list[Played]]:
    """Send what schedules mean to happen from `start` up to, and not at, `end`: tick by tick, in order.

    A run that the ledger knows is not sent again, so a stretch that was played, in whole or in part, can be played
    again. A tick's messages are sent when it is asked for, so whoever iterates decides when.

    Raises:
        NotUnderstood: A schedule's times are not known here, or its task would not take its message.
    """
    before = start - timedelta(microseconds=1)
    due = [
        (at, schedule.name, schedule)
        for schedule in chosen
        for at in itertools.takewhile(lambda at: at < end, schedule.times(before))
    ]
    for at, tick in itertools.groupby(sorted(due, key=lambda item: item[:2]), key=lambda item: item[0]):
        yield [_played(schedule, at) for _, _, schedule in tick]


def _played(schedule: Schedule, at: datetime) -> Played:
    message = schedule.message(at)
    if ledger.find(message) is not None:
        return Played(schedule, message, sent=False)
    return Played(schedule, send(schedule, at), sent=True)


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
            raise NotSettled(f"after {seconds:.0f} s, {states}")
        pause(SECONDS_BETWEEN_LOOKS)


def consumed(schedule: Schedule) -> bool:
    """Whether a function takes the messages of a schedule's queue."""
    mappings = boto3.client("lambda").list_event_source_mappings(EventSourceArn=schedule.definition["Target"]["Arn"])
    return any(mapping["State"] in ("Creating", "Enabling", "Enabled") for mapping in mappings["EventSourceMappings"])


def run_by_hand(stack: str, task: Task[Any], kwargs: Mapping[str, Any], at: datetime) -> Message:
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
    values: dict[str, Any] = {}
    for word in given:
        key, equals, text = word.partition("=")
        if not equals:
            raise InvalidTaskArguments(f"{task.name}: {word!r} is no key=value")
        values[key] = text
        parameter = task.signature.parameters.get(key)
        if parameter is None:
            continue  # refused below, with the others
        try:
            TypeAdapter(parameter.annotation).validate_json(json.dumps(text), strict=True)
        except ValidationError:
            try:
                values[key] = json.loads(text)
            except ValueError:
                continue  # refused below
    return {key: value for key, value in task.parse(values).items() if key in values}


def described(schedule: Schedule, now: datetime) -> dict[str, Any]:
    """A schedule as `backbeat schedules` shows it."""
    found: dict[str, Any] = {
        "name": schedule.name,
        "state": schedule.definition["State"],
        "expression": schedule.definition["ScheduleExpression"],
        "next": [],
        "last_run": None,
        "problem": None,
    }
    try:
        found |= {"task": schedule.message(now).task, "class": schedule.task.task_class}
        if schedule.enabled:
            found["next"] = [iso(at) for at in itertools.islice(schedule.times(now), 3)]
        last = last_run(schedule.task.name, now)
        found["last_run"] = last and run_as_json(last)
    except NotUnderstood as error:
        found["problem"] = str(error)
    return found


def run_as_json(run: RunRecord) -> dict[str, Any]:
    """A run of the ledger as plain values."""
    return {
        "task": run.task,
        "id": run.run_id,
        "outcome": run.outcome,
        "logical_time": iso(run.logical_time),
        "attempts": int(run.attempts or 0),
        "duration_ms": None if run.duration_ms is None else int(run.duration_ms),
        "result": run.result,
        "error": run.error,
    }
