"""The tables, as PynamoDB models: what the application writes and the tasks read.

Table names come from the environment (`POSTS_TABLE`, ...), as the template hands them to each function, or from
`bind`; region, credentials and endpoint are boto3's own.
"""

import os
from collections.abc import Mapping
from typing import Any

from pynamodb.attributes import (
    JSONAttribute,
    MapAttribute,
    NumberAttribute,
    TTLAttribute,
    UnicodeAttribute,
    UTCDateTimeAttribute,
)
from pynamodb.models import Model


class _Table:
    """What every model's Meta shares: timeouts that fit inside a function's."""

    connect_timeout_seconds = 2
    read_timeout_seconds = 5
    max_retry_attempts = 3


class User(Model):
    """A member of the network."""

    class Meta(_Table):
        table_name = os.environ.get("USERS_TABLE", "")

    user_id = UnicodeAttribute(hash_key=True)
    name = UnicodeAttribute()
    email = UnicodeAttribute()
    created_at = UTCDateTimeAttribute()


class Post(Model):
    """A post and its media.

    Attributes:
        media: By content hash, what `process_media_upload` made of each upload.
        media_status: What became of the newest upload: `ready` or `failed`.
        media_reason: Why it failed.
        media_as_of: When that upload happened; an older one does not overwrite its status.
    """

    class Meta(_Table):
        table_name = os.environ.get("POSTS_TABLE", "")

    post_id = UnicodeAttribute(hash_key=True)
    author_id = UnicodeAttribute()
    text = UnicodeAttribute()
    created_at = UTCDateTimeAttribute()
    media: MapAttribute[str, Any] = MapAttribute(default=dict)  # type: ignore[no-untyped-call]
    media_status = UnicodeAttribute(null=True)
    media_reason = UnicodeAttribute(null=True)
    media_as_of = UTCDateTimeAttribute(null=True)


class RunRecord(Model):
    """One run in the ledger; see `backbeat.ledger`."""

    class Meta(_Table):
        table_name = os.environ.get("RUNS_TABLE", "")

    task_day = UnicodeAttribute(hash_key=True)
    run_id = UnicodeAttribute(range_key=True)
    task = UnicodeAttribute()
    task_class = UnicodeAttribute()
    logical_time = UTCDateTimeAttribute()
    outcome = UnicodeAttribute()
    attempts = NumberAttribute(default=0)
    started = UTCDateTimeAttribute()
    duration_ms = NumberAttribute(null=True)
    result = JSONAttribute(null=True)
    error = UnicodeAttribute(null=True)
    request_id = UnicodeAttribute(null=True)
    lease_until = UTCDateTimeAttribute(null=True)
    expires = TTLAttribute(null=True)


class DayTotals(Model):
    """How a task's attempts of one day ended: counters, kept beside the runs under the key `totals#<day>`."""

    class Meta(_Table):
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


TABLES: dict[str, tuple[type[Model], ...]] = {
    "USERS_TABLE": (User,),
    "POSTS_TABLE": (Post,),
    "RUNS_TABLE": (RunRecord, DayTotals),
}
"""Each table's environment variable and the models that live in it."""


def bind(tables: Mapping[str, str]) -> None:
    """Point the models at the tables of one stack, for a program that is given their names after its start.

    Args:
        tables: Table names by environment variable, `{"POSTS_TABLE": ...}`.
    """
    for variable, models in TABLES.items():
        for model in models:
            model.Meta.table_name = tables[variable]
            model._connection = None  # PynamoDB keeps one per model, made on first use
