"""A stack's schedules: when they fire, how they ran; switched, fired by hand, or played over a stretch of time."""

import calendar
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import boto3

from backbeat import ledger, messages, queues
from backbeat.aws import schedule_group, scheduler
from backbeat.ledger import FAILED, Outcome
from backbeat.messages import InvalidMessage, Message, iso
from backbeat.models import RunRecord
from backbeat.producer import Task
from backbeat.tasks import TASKS
from backbeat_ops import checkout, emulator, runs
from backbeat_ops.deployed import Deployed, differing
from backbeat_ops.emulator import NotUnderstood
from backbeat_ops.stack import NotFound

if TYPE_CHECKING:
    from mypy_boto3_scheduler.type_defs import GetScheduleOutputTypeDef


DAYS = {name[:3].upper(): name for name in calendar.day_name}


def in_words(expression: str) -> str:
    """A schedule as the pages write it: `cron(0 9 ? * MON *)` is `Monday 09:00`; any other is written as it is."""
    if hourly := re.fullmatch(r"cron\((\d+) \* \* \* \? \*\)", expression):
        return f"hourly, minute {hourly[1]}"
    if daily := re.fullmatch(r"cron\((\d+) (\d+) \* \* \? \*\)", expression):
        return f"daily {daily[2]:0>2}:{daily[1]:0>2}"
    if weekly := re.fullmatch(r"cron\((\d+) (\d+) \? \* ([A-Z]{3}) \*\)", expression):
        return f"{DAYS[weekly[3]]} {weekly[2]:0>2}:{weekly[1]:0>2}"
    return f"`{expression}`"


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
            raise NotUnderstood(f"Schedule {self.name!r}: its input is no message for a task.") from error

    def times(self, after: datetime) -> Iterator[datetime]:
        """When it fires, after a time and in order; there may be no end to it.

        Raises:
            NotUnderstood: Its times are not known here.
        """
        try:
            return emulator.times(self.definition, after)
        except NotUnderstood as error:
            raise NotUnderstood(f"Schedule {self.name!r}: {str(error).rstrip('.')}.") from error

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
            raise NotUnderstood(f"Schedule {self.name!r}: {error}.") from error
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
        NotFound: There is none of one of the names.
    """
    known = {schedule.name: schedule for schedule in schedules(stack)}
    for name in names:
        if name not in known:
            raise NotFound(f"There is no schedule {name!r} in {stack}. Schedules: {', '.join(known) or 'none'}.")
    return [known[name] for name in names]


def matching(stack: str, patterns: Sequence[str]) -> list[Schedule]:
    """The schedules whose names are, or match, any of some patterns: `cleanup_*`.

    Raises:
        NotFound: None is or matches one of them.
    """
    known, found = schedules(stack), set()
    for pattern in patterns:
        names = {schedule.name for schedule in known if fnmatchcase(schedule.name, pattern)}
        if not names:
            there = ", ".join(schedule.name for schedule in known) or "none"
            raise NotFound(f"There is no schedule {pattern!r} in {stack}. Schedules: {there}.")
        found |= names
    return [schedule for schedule in known if schedule.name in found]


def switch(schedule: Schedule, state: Literal["ENABLED", "DISABLED"]) -> None:
    """Enable or disable a schedule."""
    change(schedule, State=state)


def change(schedule: Schedule, **changes: Any) -> None:
    """Change some members of a schedule, and nothing else: what UpdateSchedule is not told it takes for its default."""
    answered = ("Arn", "CreationDate", "LastModificationDate", "ResponseMetadata")
    kept: Any = {key: value for key, value in schedule.definition.items() if key not in answered}
    scheduler().update_schedule(**(kept | changes))


def edited(schedule: Schedule, expression: str | None, timezone: str | None, now: datetime) -> Schedule:
    """A schedule as it would be with another expression, or in another time zone; nothing is changed.

    Raises:
        NotUnderstood: The expression is wrong, or never fires, or the time zone is not known.
    """
    definition: Any = {
        **schedule.definition,
        "ScheduleExpression": expression or schedule.definition["ScheduleExpression"],
        "ScheduleExpressionTimezone": timezone or schedule.definition.get("ScheduleExpressionTimezone") or "UTC",
    }
    found = Schedule(definition)
    if next(found.times(now), None) is None:
        raise NotUnderstood(f"Schedule {schedule.name!r}: {definition['ScheduleExpression']!r} never fires.")
    return found


TIMES = ("ScheduleExpression", "ScheduleExpressionTimezone", "State")
"""What of a schedule an operator may change."""


def of_template(deployed: Deployed) -> dict[str, dict[str, Any]]:
    """The schedules as the template that a stack was deployed from has them, by name."""
    found = (deployed.value(properties) for _, properties in deployed.resources("AWS::Scheduler::Schedule"))
    return {expected["Name"]: expected for expected in found}


def differences(schedule: Schedule, expected: Mapping[str, Any]) -> list[str]:
    """How a schedule's times and state differ from what the template has, a phrase each."""
    there: Any = {"ScheduleExpressionTimezone": "UTC", **schedule.definition}
    return differing({key: expected[key] for key in TIMES if key in expected}, there)


def overwritten(stack: str, expected: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """What deploying this checkout would change of the schedules, a phrase each, by name.

    CloudFormation compares the new template with the one before, and not with what is there: it leaves a schedule as
    an operator made it, unless the template's own has changed.

    Args:
        stack: The stack's name.
        expected: The schedules as the template has them that the stack was deployed from.

    Raises:
        NotFound: This is no checkout, or it deploys no such stack.
        ImportError: `sam` is not in this environment.
    """
    coming = checkout.schedules(stack)
    changed = {name: differing(coming[name], expected[name]) for name in coming if name in expected}
    return {
        name: [text.replace(" in place of ", ", and becomes ") for text in texts] for name, texts in changed.items()
    }


def made(schedule: Schedule, at: datetime) -> RunRecord | None:
    """A schedule's run for a time, if it has succeeded: sent once more it would not be made again."""
    run = ledger.find(schedule.message(at))
    return run if run and run.outcome == Outcome.SUCCEEDED else None


def send(schedule: Schedule, at: datetime) -> Message:
    """Put a schedule's message for a time on its queue, and note it in the ledger; return it."""
    message = schedule.message(at)
    queues.put(schedule.queue, schedule.body(at))
    # Only now: the other way round, a run could be noted, and then not sent for ever. Sent twice it runs once.
    ledger.queued(message, schedule.task.task_class)
    return message


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
    for at, tick in itertools.groupby(_due(chosen, start, end), key=lambda item: item[0]):
        yield [_played(schedule, at) for _, schedule in tick]


def to_be_sent(chosen: Sequence[Schedule], start: datetime, end: datetime) -> Iterator[Message]:
    """The messages that `play` would send; a run that the ledger knows is not among them.

    Raises:
        NotUnderstood: As `play`.
    """
    for at, schedule in _due(chosen, start, end):
        message = schedule.message(at)
        if ledger.find(message) is None:
            yield message


def _due(chosen: Sequence[Schedule], start: datetime, end: datetime) -> list[tuple[datetime, Schedule]]:
    """What falls to a stretch, in order."""
    before = start - timedelta(microseconds=1)
    due = [
        (at, schedule) for schedule in chosen for at in itertools.takewhile(lambda at: at < end, schedule.times(before))
    ]
    return sorted(due, key=lambda item: (item[0], item[1].name))


def _played(schedule: Schedule, at: datetime) -> Played:
    message = schedule.message(at)
    if ledger.find(message) is not None:
        return Played(schedule, message, sent=False)
    return Played(schedule, send(schedule, at), sent=True)


def summed_up(chosen: Sequence[Schedule], played: Sequence[Played], ended: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """What became of a stretch that was played, by schedule, as `backbeat play` shows it.

    Args:
        chosen: The schedules that were played.
        played: Their runs.
        ended: Those of the runs that were waited for, as the ledger has them.
    """
    found = []
    for schedule in chosen:
        own = [run for run in played if run.schedule is schedule]
        ids = {run.message.id for run in own}
        ends = [run for run in ended if run.run_id in ids]
        found.append(
            {
                "schedule": schedule.name,
                "runs": len(own),
                "sent": sum(run.sent for run in own),
                "known": sum(not run.sent for run in own),
                "outcomes": Counter(str(run.outcome) for run in ends),
                "failed": [runs.shown(run) for run in ends if run.outcome in FAILED],
                "waiting": len(own) - len(ends),
            }
        )
    return found


def consumed(schedule: Schedule) -> bool:
    """Whether a function takes the messages of a schedule's queue."""
    mappings = boto3.client("lambda").list_event_source_mappings(EventSourceArn=schedule.definition["Target"]["Arn"])
    return any(mapping["State"] in ("Creating", "Enabling", "Enabled") for mapping in mappings["EventSourceMappings"])


DAYS_COUNTED = 7
"""Of runs: today, in UTC, and the six days before, by their logical times."""


def counts(now: datetime) -> dict[str, dict[str, int]]:
    """How each task's attempts of the last seven days ended, by task: `{"succeeded": 168, "dead": 1}`."""
    found: dict[str, Counter[str]] = {}
    for back in range(DAYS_COUNTED):
        for total in ledger.totals((now - timedelta(days=back)).date()):
            counted = found.setdefault(total.task, Counter())
            for name in ("succeeded", "skipped", "retrying", "rejected", "dead"):
                if number := int(getattr(total, name)):
                    counted[name] += number
    return {task: dict(counted) for task, counted in found.items()}


def described(schedule: Schedule, now: datetime, expected: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A schedule as `backbeat schedules` shows it.

    Args:
        schedule: The schedule.
        now: A time with its time zone.
        expected: It as the template has it, if that is known.
    """
    found: dict[str, Any] = {
        "name": schedule.name,
        "state": schedule.definition["State"],
        "expression": schedule.definition["ScheduleExpression"],
        "timezone": schedule.definition.get("ScheduleExpressionTimezone") or "UTC",
        "differs": None if expected is None else differences(schedule, expected),
        "next": [],
        "last_run": None,
        "problem": None,
    }
    try:
        found |= {"task": schedule.message(now).task, "class": schedule.task.task_class}
        if schedule.enabled:
            found["next"] = [iso(at) for at in itertools.islice(schedule.times(now), 3)]
            if not found["next"]:
                found["problem"] = f"Schedule {schedule.name!r} never fires: there is no time left that it names."
        last = runs.last(schedule.task.name, now)
        found["last_run"] = last and runs.shown(last)
    except NotUnderstood as error:
        found["problem"] = str(error)
    return found
