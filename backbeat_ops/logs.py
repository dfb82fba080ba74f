"""What the functions on the local cloud log, as it comes."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from backbeat_ops.localcloud import STACK

GROUPS = f"/aws/lambda/{STACK}-"
LATEST = timedelta(seconds=30)
"""How much later than its own time a line may come to be found: the local cloud may have stood still in between."""
LAMBDAS_OWN = re.compile(r"(START|END|REPORT) RequestId: ")
LINE = {"timestamp", "level", "message"}
"""What each line of Powertools' logger has."""
NOT_FIELDS = LINE | {"location", "service", "request_id", "exception", "exception_name", "task", "task_class"}


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that a function logged, or that was done to it.

    Attributes:
        time: When.
        task: By which task; None for what was done from outside.
        level: Its level, `INFO`; empty for what was printed.
        message: What it says.
        fields: What it says besides, by name.
        more: Lines that belong to it, such as a traceback's.
    """

    time: datetime
    task: str | None
    level: str
    message: str
    fields: dict[str, Any] = field(default_factory=dict)
    more: tuple[str, ...] = ()


class Tail:
    """What was logged since it was asked last."""

    def __init__(self, since: datetime) -> None:
        quick = Config(connect_timeout=5, read_timeout=5, retries={"total_max_attempts": 1})
        self._client = boto3.client("logs", config=quick)
        self._since = since
        self._sizes: dict[str, int] = {}
        self._seen: set[str] = set()

    def new(self, now: datetime) -> list[Entry]:
        """What has been logged, the invocation that ended first at the top."""
        found: list[tuple[datetime, list[Entry]]] = []
        for group in self._grown():
            for stream, messages in self._read(group).items():
                # Here each invocation has a stream of its own, which is written at its end and at once.
                if stream not in self._seen:
                    self._seen.add(stream)
                    found.append((messages[0][0], entries(group.removeprefix(GROUPS), messages)))
        self._since = max(self._since, now - LATEST)
        return [entry for _, own in sorted(found, key=itemgetter(0)) for entry in own]

    def _grown(self) -> list[str]:
        """The log groups that hold more than before: one call tells, where reading all takes one for each."""
        pages = self._client.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=GROUPS)
        sizes = {group["logGroupName"]: group["storedBytes"] for page in pages for group in page["logGroups"]}
        before, self._sizes = self._sizes, sizes
        return [name for name, size in sizes.items() if size != before.get(name)]

    def _read(self, group: str) -> dict[str, list[tuple[datetime, str]]]:
        pages = self._client.get_paginator("filter_log_events").paginate(
            logGroupName=group, startTime=round(self._since.timestamp() * 1000)
        )
        streams: dict[str, list[tuple[datetime, str]]] = {}
        for page in pages:
            for event in page["events"]:
                stored = datetime.fromtimestamp(event["timestamp"] / 1000, UTC)
                streams.setdefault(event["logStreamName"], []).append((stored, event["message"]))
        return streams


class Log:
    """What the functions of a stack log, on AWS or on the local cloud, a look at a time."""

    def __init__(self, stack: str, tasks: Sequence[str], since: datetime) -> None:
        self._client = boto3.client("logs")
        self._groups = {task: f"/aws/lambda/{stack}-{task}" for task in tasks}
        self._since = since
        self._seen: dict[str, datetime] = {}

    def new(self, now: datetime) -> list[Entry]:
        """What has been logged since the look before, the oldest first; a function that never ran has no log."""
        found: list[Entry] = []
        for task, group in self._groups.items():
            streams: dict[str, list[tuple[datetime, str]]] = {}
            pages = self._client.get_paginator("filter_log_events").paginate(
                logGroupName=group, startTime=round(self._since.timestamp() * 1000)
            )
            try:
                for event in (event for page in pages for event in page["events"]):
                    stored = datetime.fromtimestamp(event["timestamp"] / 1000, UTC)
                    known = f"{event['logStreamName']} {event['timestamp']} {event['message']}"
                    if known not in self._seen:
                        self._seen[known] = stored
                        streams.setdefault(event["logStreamName"], []).append((stored, event["message"]))
            except ClientError as error:
                if error.response["Error"]["Code"] != "ResourceNotFoundException":
                    raise
            found += [entry for messages in streams.values() for entry in entries(task, messages)]
        self._since = max(self._since, now - LATEST)
        self._seen = {known: stored for known, stored in self._seen.items() if stored >= self._since}
        return sorted(found, key=lambda entry: entry.time)


def of_run(
    stack: str, task: str, run_id: str, requests: Sequence[str], since: datetime, until: datetime
) -> tuple[list[Entry], str | None]:
    """What one run logged: the lines that bear its id, and those of its invocations that bear no other's.

    Args:
        stack: The stack's name.
        task: The run's task.
        run_id: Its id.
        requests: The invocations that worked on it.
        since: From when on to look.
        until: Until when.

    Returns:
        Its lines, the oldest first, and why they could not be read, or None.
    """
    client = boto3.client("logs")
    streams: dict[tuple[str, str], list[tuple[datetime, str]]] = {}
    for wanted in (run_id, *requests):
        pages = client.get_paginator("filter_log_events").paginate(
            logGroupName=f"/aws/lambda/{stack}-{task}",
            startTime=round(since.timestamp() * 1000),
            endTime=round(until.timestamp() * 1000),
            filterPattern=f'"{wanted}"',  # as it stands in the line, wherever that is
        )
        try:
            for event in (event for page in pages for event in page["events"]):
                stored = datetime.fromtimestamp(event["timestamp"] / 1000, UTC)
                streams.setdefault((event["logStreamName"], wanted), []).append((stored, event["message"]))
        except ClientError as error:
            return [], f"CloudWatch Logs says: {error}"
    found: dict[tuple[datetime, str, str], Entry] = {}
    for messages in streams.values():
        for entry in entries(task, messages):
            if entry.fields.get("run_id", run_id) == run_id:
                found[entry.time, entry.message, str(entry.fields)] = entry
    return sorted(found.values(), key=lambda entry: entry.time), None


def entries(task: str, messages: list[tuple[datetime, str]]) -> list[Entry]:
    """One invocation's log as entries: without what Lambda adds, and without metrics.

    Args:
        task: The task that ran.
        messages: Its lines, each with the time at which it was stored.
    """
    found: list[Entry] = []
    for stored, message in messages:
        if LAMBDAS_OWN.match(message):
            continue
        try:
            line = json.loads(message)
        except ValueError:
            line = None
        if isinstance(line, dict) and "_aws" in line:  # a metric
            continue
        if not isinstance(line, dict) or not line.keys() >= LINE:
            _add_printed(found, Entry(stored, task, "", message))
        else:
            time = datetime.strptime(line["timestamp"], "%Y-%m-%d %H:%M:%S,%f%z").astimezone(UTC)
            fields = {name: value for name, value in line.items() if name not in NOT_FIELDS}
            more = tuple(line.get("exception", "").splitlines())
            found.append(Entry(time, task, line["level"], str(line["message"]), fields, more))
    return found


def _add_printed(found: list[Entry], printed: Entry) -> None:
    """Put a printed line to those that were printed before it: a traceback comes in many."""
    if found and not found[-1].level:
        last = found.pop()
        printed = Entry(last.time, last.task, "", last.message, more=(*last.more, printed.message))
    found.append(printed)
