"""Pauses: for a while no function takes what is on a task's queue. Each ends by itself.

A pause is a disabled event source mapping, and a one-time schedule in the group `<stack>-pauses` that enables it
again. Both are what AWS knows, and nothing else is kept: a mapping that is disabled without such a schedule was
switched off by somebody else, and is no pause.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
from botocore.exceptions import ClientError

from backbeat.aws import scheduler, sqs
from backbeat.messages import iso
from backbeat.producer import PRIORITIES
from backbeat.tasks import TASKS
from backbeat_ops import age, emulator
from backbeat_ops.deployed import Deployed
from backbeat_ops.stack import NotFound, Stack

SPARED = timedelta(hours=12)
"""What is left of the oldest message's time when a pause ends: a retry may hide it for so long (SQS, "Visibility
timeout")."""
SHORTEST = timedelta(minutes=1)
"""EventBridge Scheduler keeps time by the minute ("Schedule types on EventBridge Scheduler")."""
OFF = ("Disabled", "Disabling")
"""A mapping's states in which no function takes anything."""


class NotPaused(ValueError):
    """It cannot be paused so; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Pause:
    """A task that is paused.

    Attributes:
        since: When it was first paused.
        until: When the pause ends by itself.
    """

    since: datetime
    until: datetime

    def shown(self) -> dict[str, str]:
        """It as JSON has it, to the second."""
        return {"since": iso(self.since.replace(microsecond=0)), "until": iso(self.until)}


@dataclass(frozen=True, slots=True)
class Plan:
    """What pausing a task would mean.

    Attributes:
        task: The task's name.
        until: When it would end.
        waiting: How many messages wait.
        oldest: How long the oldest of them has waited; None where that is not known.
        kept: How long its queue keeps a message.
        late: For how long a message may wait before the task's alarm rings.
        visibility: After which time comes back what a function was just handed and did not begin.
        mapping: The mapping between its queue and its function.
        arn: Its queue's ARN.
    """

    task: str
    until: datetime
    waiting: int
    oldest: timedelta | None
    kept: timedelta
    late: timedelta
    visibility: timedelta
    mapping: str
    arn: str


def group_of(stack: str) -> str:
    """The name of the group that holds the schedules which end pauses, each named after its task."""
    return f"{stack}-pauses"


def tasks_of(stack: Stack, name: str) -> list[str]:
    """The tasks of a class in a stack, or the one task of that name.

    Raises:
        NotFound: There is neither, or it is not deployed.
    """
    if name in TASKS:
        stack.task(name)
        return [name]
    if found := [task for task, of in stack.tasks().items() if of["class"] == name]:
        return found
    raise NotFound(
        f"There is no class and no task {name!r}. Classes: {', '.join(PRIORITIES)}. Tasks: {', '.join(sorted(TASKS))}."
    )


def mappings(stack: Stack) -> dict[str, Any]:
    """The mapping between each task's queue and its function, by task; a task whose mapping is gone is left out."""
    queues = {task["queue"]: name for name, task in stack.tasks().items()}
    pages = boto3.client("lambda").get_paginator("list_event_source_mappings").paginate()
    found = {
        mapping["EventSourceArn"].rsplit(":", 1)[-1]: mapping
        for page in pages
        for mapping in page["EventSourceMappings"]
    }
    return {name: found[queue] for queue, name in queues.items() if queue in found}


def paused(stack: Stack) -> dict[str, Pause]:
    """What is paused, since when and until when, by task."""
    group = group_of(stack.name)
    try:
        pages = scheduler().get_paginator("list_schedules").paginate(GroupName=group)
        names = [item["Name"] for page in pages for item in page["Schedules"]]
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise
        return {}  # the stack was deployed before there were pauses
    if not names:
        return {}
    there = mappings(stack)
    found = {}
    for name in names:
        if name not in there or there[name]["State"] not in OFF:
            continue  # it has ended, or is about to begin
        try:
            schedule = scheduler().get_schedule(GroupName=group, Name=name)
        except scheduler().exceptions.ResourceNotFoundException:
            continue  # it has just ended
        at = datetime.strptime(schedule["ScheduleExpression"], "at(%Y-%m-%dT%H:%M:%S)").replace(tzinfo=UTC)
        found[name] = Pause(schedule["CreationDate"].astimezone(UTC), at)
    return found


def plan(stack: Stack, tasks: Sequence[str], wanted: timedelta | None, now: datetime) -> list[Plan]:
    """What pausing tasks would mean, all until the same time; nothing is changed.

    Args:
        stack: The stack.
        tasks: The tasks.
        wanted: For how long; for as long as nothing that waits is lost, where it is None.
        now: A time with its time zone.

    Raises:
        NotFound: A task's mapping or its queue is gone.
        NotPaused: It is too short, or a queue would lose what waits on it.
    """
    if wanted is not None and wanted < SHORTEST:
        raise NotPaused(f"A pause of {words(wanted)} is too short: it takes {words(SHORTEST)} at least.")
    there, known = mappings(stack), stack.tasks()
    rows = {row["Name"]: row for row in Deployed(stack).template["Mappings"]["Tasks"].values()}
    looked: list[dict[str, Any]] = []
    for task in tasks:
        if task not in there:
            raise NotFound(f"No function takes what is on {known[task]['queue']}: its mapping is gone.")
        got = sqs().get_queue_attributes(QueueUrl=known[task]["queue_url"], AttributeNames=["All"])["Attributes"]
        waiting = int(got["ApproximateNumberOfMessages"]) + int(got["ApproximateNumberOfMessagesNotVisible"])
        looked.append(
            {
                "task": task,
                "waiting": waiting,
                "oldest": age.oldest(stack.name, known[task]["queue"], now) if waiting else timedelta(0),
                "kept": timedelta(seconds=int(got["MessageRetentionPeriod"])),
                "late": timedelta(seconds=int(rows[task]["Late"])),
                "visibility": timedelta(seconds=int(got["VisibilityTimeout"])),
                "mapping": there[task]["UUID"],
                "arn": there[task]["EventSourceArn"],
            }
        )
    most = {one["task"]: one["kept"] - (one["oldest"] or timedelta(0)) - SPARED for one in looked}
    for one in looked:
        if most[one["task"]] < (wanted or SHORTEST):
            raise NotPaused(_too_long(one, wanted, most[one["task"]]))
    until = (now + (wanted or min(most.values())) + timedelta(microseconds=999_999)).replace(microsecond=0)
    return [Plan(until=until, **one) for one in looked]


def _too_long(one: dict[str, Any], wanted: timedelta | None, most: timedelta) -> str:
    waited = f", and the oldest has waited for {words(one['oldest'])} already" if one["oldest"] else ""
    asked = f" for {words(wanted)}" if wanted else ""
    can = f"{words(most)} is the most" if most >= SHORTEST else "no time is left"
    return (
        f"{one['task']} cannot be paused{asked}: its queue keeps a message for {words(one['kept'])}{waited}. With "
        f"{words(SPARED)} to spare for working it off, {can}."
    )


def pause(stack: Stack, plans: Sequence[Plan]) -> None:
    """Pause tasks; one that is paused already is paused until the new time.

    Raises:
        NotPaused: The stack was deployed before there were pauses.
    """
    try:
        scheduler().get_schedule_group(Name=group_of(stack.name))
    except scheduler().exceptions.ResourceNotFoundException as error:
        raise NotPaused(
            f"There is no schedule group {group_of(stack.name)!r}, which ends pauses: deploy {stack.name} with this "
            "version first."
        ) from error
    for one in plans:
        _, partition, _, region, account, _ = one.arn.split(":")
        schedule: Any = {
            "Name": one.task,
            "GroupName": group_of(stack.name),
            "State": "ENABLED",
            "ScheduleExpression": f"at({one.until:%Y-%m-%dT%H:%M:%S})",
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "ActionAfterCompletion": "DELETE",
            "Target": {
                "Arn": f"arn:{partition}:scheduler:::{emulator.UPDATE_MAPPING}",
                "RoleArn": f"arn:{partition}:iam::{account}:role/{stack.name}-resume-{region}",
                "Input": json.dumps({"Uuid": one.mapping, "Enabled": True}),
            },
        }
        # The end first: a pause without one would never end, and an end without a pause changes nothing.
        try:
            scheduler().update_schedule(**schedule)
        except scheduler().exceptions.ResourceNotFoundException:
            scheduler().create_schedule(**schedule)
        boto3.client("lambda").update_event_source_mapping(UUID=one.mapping, Enabled=False)


def resume(stack: Stack, tasks: Sequence[str]) -> list[str]:
    """End the pauses of tasks now; return those that were off, whoever switched them off.

    Raises:
        NotFound: A task's mapping is gone.
    """
    there, ended = mappings(stack), []
    for task in tasks:
        if task not in there:
            raise NotFound(f"No function takes what is on {stack.tasks()[task]['queue']}: its mapping is gone.")
        if there[task]["State"] in OFF:
            boto3.client("lambda").update_event_source_mapping(UUID=there[task]["UUID"], Enabled=True)
            ended.append(task)
        try:
            scheduler().delete_schedule(GroupName=group_of(stack.name), Name=task)
        except scheduler().exceptions.ResourceNotFoundException:
            continue  # it was not paused, or the pause has just ended
    return ended


def words(span: timedelta) -> str:
    """A length of time in its two largest units: `3 days 12 h`, `1 h 30 min`, `45 s`."""
    left, found = round(span.total_seconds()), []
    for unit, length in (("day", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        number, left = divmod(left, length)
        if number:
            found.append(f"{number} {unit}{'s' if unit == 'day' and number > 1 else ''}")
    return " ".join(found[:2]) or "0 s"
