"""The ledger of runs, runs in parts, and watermarks."""

import os
from datetime import date
from typing import Any

from pynamodb.attributes import (
    BooleanAttribute,
    JSONAttribute,
    ListAttribute,
    NumberAttribute,
    NumberSetAttribute,
    TTLAttribute,
    UnicodeAttribute,
    UTCDateTimeAttribute,
)
from pynamodb.expressions.operand import Path, Value
from pynamodb.expressions.update import Action
from pynamodb.indexes import GlobalSecondaryIndex, KeysOnlyProjection

from backbeat.aws import dynamodb
from backbeat.models.base import Row, Table


class RunsByStart(GlobalSecondaryIndex["RunRecord"]):
    """A task's runs of one day by when they started, as their ids may be anything."""

    class Meta:
        index_name = "by_start"
        projection = KeysOnlyProjection()

    task_day = UnicodeAttribute(hash_key=True)
    started = UTCDateTimeAttribute(range_key=True)


class RunRecord(Row):
    """One run in the ledger; see `backbeat.ledger`.

    Attributes:
        about: What it is about, such as a file, where its task names the argument that says so.
        reason: A short code for why it failed, by which failures are grouped; `error` is for people.
        arguments: What is kept of its message's arguments, by `kept`, and the names of the others, by `left_out`.
        tries: Its attempts in JSON, the first one first: when each started, how long it took, how it ended.
        discarded: When an operator discarded its dead letter, and why.
    """

    class Meta(Table):
        table_name = os.environ.get("RUNS_TABLE", "")

    task_day = UnicodeAttribute(hash_key=True)
    run_id = UnicodeAttribute(range_key=True)
    task = UnicodeAttribute()
    task_class = UnicodeAttribute()
    logical_time = UTCDateTimeAttribute()
    about = UnicodeAttribute(null=True)
    outcome = UnicodeAttribute()
    reason = UnicodeAttribute(null=True)
    attempts = NumberAttribute(default=0)
    started = UTCDateTimeAttribute()
    duration_ms = NumberAttribute(null=True)
    result = JSONAttribute(null=True)
    error = UnicodeAttribute(null=True)
    discarded = UnicodeAttribute(null=True)
    arguments = JSONAttribute(null=True)
    tries = ListAttribute(null=True, of=UnicodeAttribute)
    request_id = UnicodeAttribute(null=True)
    lease_until = UTCDateTimeAttribute(null=True)
    expires = TTLAttribute(null=True)

    by_start = RunsByStart()


IN_FLIGHT = "in flight"
"""The partition of what is at work."""


class Flight(Row):
    """A message that a function is at work on, beside the runs; see `backbeat.heartbeat`.

    Attributes:
        key: Its task, its id, and its part's number.
        since: When the work on it began, on the wall clock.
        until: By when another sign of life is due.
        request_id: The invocation that works on it.
    """

    class Meta(Table):
        table_name = os.environ.get("RUNS_TABLE", "")

    partition = UnicodeAttribute(hash_key=True, attr_name="task_day", default=IN_FLIGHT)
    key = UnicodeAttribute(range_key=True, attr_name="run_id")
    task = UnicodeAttribute()
    message_id = UnicodeAttribute()
    part = NumberAttribute(null=True)
    since = UTCDateTimeAttribute()
    until = UTCDateTimeAttribute()
    request_id = UnicodeAttribute()
    expires = TTLAttribute()


TRIALS = "trials"
"""The partition of the trials that are going on."""


class Trial(Row):
    """A trial that is going on, or was cut off; see `backbeat.trials`.

    Attributes:
        trial: Its id.
        started: When it began, on the wall clock.
        until: By when another sign of life is due.
        ended: Whether it is over, and what it made is being removed.
    """

    class Meta(Table):
        table_name = os.environ.get("RUNS_TABLE", "")

    partition = UnicodeAttribute(hash_key=True, attr_name="task_day", default=TRIALS)
    trial = UnicodeAttribute(range_key=True, attr_name="run_id")
    started = UTCDateTimeAttribute(attr_name="began")
    until = UTCDateTimeAttribute()
    ended = BooleanAttribute(default=False)


class DayTotals(Row):
    """How a task's attempts of one day ended: counters, kept beside the runs under the key `totals#<day>`."""

    class Meta(Table):
        table_name = os.environ.get("RUNS_TABLE", "")

    day = UnicodeAttribute(hash_key=True, attr_name="task_day")
    task = UnicodeAttribute(range_key=True, attr_name="run_id")
    succeeded = NumberAttribute(default=0)
    skipped = NumberAttribute(default=0)
    retrying = NumberAttribute(default=0)
    rejected = NumberAttribute(default=0)
    dead = NumberAttribute(default=0)
    duration_ms = NumberAttribute(default=0)
    expires = TTLAttribute(null=True)

    @staticmethod
    def count_kind(kind: str, by: int = 1) -> Action:
        """The change that counts more successes of a kind, by the name of their results' type."""
        return Path([f"{_KIND}{kind}"]).add(Value(by, NumberAttribute()))

    @staticmethod
    def of_kind(day: date, task: str, kind: str) -> int:
        """How many runs of a task succeeded on a day with a result of one kind.

        A row of the version before knows no kinds; all its successes count.
        """
        key: Any = {"task_day": {"S": f"totals#{day}"}, "run_id": {"S": task}}
        item = dynamodb().get_item(TableName=DayTotals.Meta.table_name, Key=key).get("Item", {})
        kinds = {name.removeprefix(_KIND): int(value["N"]) for name, value in item.items() if name.startswith(_KIND)}
        return kinds.get(kind, 0) if kinds else int(item.get("succeeded", {"N": "0"})["N"])


_KIND = "succeeded "


class SweepRun(Row):
    """A run in parts; see `backbeat.sweeps`. It lives beside its parts, under `<task>#sweep#<run id>`.

    So do those into which a part is split: under `<task>#split <part>#<run id>`, as `split#00` where a run is `run`.

    Attributes:
        pending: The numbers of the parts that are not done; missing where none is left.
        finished: Whether the finish has run.
    """

    class Meta(Table):
        table_name = os.environ.get("RUNS_TABLE", "")

    sweep = UnicodeAttribute(hash_key=True, attr_name="task_day")
    kind = UnicodeAttribute(range_key=True, attr_name="run_id", default="run")
    parts = NumberAttribute()
    pending = NumberSetAttribute(null=True)
    finished = BooleanAttribute(default=False)
    started = UTCDateTimeAttribute()
    expires = TTLAttribute(null=True)


class SweepPart(Row):
    """One part of a run in parts, under `<task>#sweep#<run id>` and its number.

    Attributes:
        spec: What the part is to do, until it is done.
        cursor: How far it has come, where it ran short of time.
        hops: How often it has sent itself on.
        tally: What it has counted.
        splits: How often it has begun to split itself.
        split: The last of these that was done; missing where it does its work itself.
        done: Whether its tally is complete.
    """

    class Meta(Table):
        table_name = os.environ.get("RUNS_TABLE", "")

    sweep = UnicodeAttribute(hash_key=True, attr_name="task_day")
    number = UnicodeAttribute(range_key=True, attr_name="run_id")
    spec = JSONAttribute(null=True)
    cursor = JSONAttribute(null=True)
    hops = NumberAttribute(default=0)
    tally = JSONAttribute(null=True)
    splits = NumberAttribute(default=0)
    split = NumberAttribute(null=True)
    done = BooleanAttribute(default=False)
    expires = TTLAttribute(null=True)


class Watermark(Row):
    """How far a task has come through what changes, kept for ever under the key `watermark#<task>`."""

    class Meta(Table):
        table_name = os.environ.get("RUNS_TABLE", "")

    task = UnicodeAttribute(hash_key=True, attr_name="task_day")
    name = UnicodeAttribute(range_key=True, attr_name="run_id")
    until = UTCDateTimeAttribute()
