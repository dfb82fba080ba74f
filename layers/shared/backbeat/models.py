"""The tables, as PynamoDB models: what the application writes and the tasks read.

Table names come from the environment (`POSTS_TABLE`, ...), as the template hands them to each function, or from
`bind`; region, credentials and endpoint are boto3's own.
"""

import os
import zlib
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from pynamodb.attributes import (
    BooleanAttribute,
    JSONAttribute,
    MapAttribute,
    NumberAttribute,
    NumberSetAttribute,
    TTLAttribute,
    UnicodeAttribute,
    UTCDateTimeAttribute,
)
from pynamodb.indexes import GlobalSecondaryIndex, KeysOnlyProjection
from pynamodb.models import Model


class _Table:
    """What every model's Meta shares: timeouts that fit inside a function's."""

    connect_timeout_seconds = 2
    read_timeout_seconds = 5
    max_retry_attempts = 3


SHARDS = 8
"""Into how many partitions each day of an index is spread, as one takes 1,000 writes a second."""


def day_key(time: datetime, row_id: str) -> str:
    """The partition of a row in an index by day: `2026-11-01#5`, its UTC day and its shard."""
    return f"{time.astimezone(UTC).date()}#{zlib.crc32(row_id.encode()) % SHARDS}"


def day_keys(day: date) -> list[str]:
    """All partitions of one day in an index by day."""
    return [f"{day}#{shard}" for shard in range(SHARDS)]


class UsersByLogin(GlobalSecondaryIndex["User"]):
    """Users by the day they logged in last."""

    class Meta:
        index_name = "by_login"
        projection = KeysOnlyProjection()

    login_day = UnicodeAttribute(hash_key=True)
    user_id = UnicodeAttribute(range_key=True)


class User(Model):
    """A member of the network.

    Attributes:
        locale: The language they are written to in, as a BCP 47 tag.
        email_status: Whether they may be written to: `ok`, `bounced` or `complained`.
        digest: Whether they want the weekly digest.
        deleted_at: When they left; nothing is done for them since.
        login_day: `day_key` of their last login.
    """

    class Meta(_Table):
        table_name = os.environ.get("USERS_TABLE", "")

    user_id = UnicodeAttribute(hash_key=True)
    name = UnicodeAttribute()
    email = UnicodeAttribute()
    locale = UnicodeAttribute(default="en")
    email_status = UnicodeAttribute(default="ok")
    digest = BooleanAttribute(default=True)
    created_at = UTCDateTimeAttribute()
    deleted_at = UTCDateTimeAttribute(null=True)
    last_login_at = UTCDateTimeAttribute(null=True)
    login_day = UnicodeAttribute(null=True)
    by_login = UsersByLogin()


class FollowsByFollowed(GlobalSecondaryIndex["Follow"]):
    """Follows by who is followed."""

    class Meta:
        index_name = "by_followed"
        projection = KeysOnlyProjection()

    followed_id = UnicodeAttribute(hash_key=True)
    follower_id = UnicodeAttribute(range_key=True)


class Follow(Model):
    """One user follows another."""

    class Meta(_Table):
        table_name = os.environ.get("FOLLOWS_TABLE", "")

    follower_id = UnicodeAttribute(hash_key=True)
    followed_id = UnicodeAttribute(range_key=True)
    created_at = UTCDateTimeAttribute()
    by_followed = FollowsByFollowed()


class PostsByDay(GlobalSecondaryIndex["Post"]):
    """Posts by the day they were made. It holds keys only, or each like would rewrite it."""

    class Meta:
        index_name = "by_day"
        projection = KeysOnlyProjection()

    day = UnicodeAttribute(hash_key=True)
    post_id = UnicodeAttribute(range_key=True)


class Post(Model):
    """A post, its counts and its media.

    Attributes:
        visibility: `public`, `followers` or `hidden`.
        day: `day_key` of when it was made.
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
    visibility = UnicodeAttribute(default="public")
    created_at = UTCDateTimeAttribute()
    day = UnicodeAttribute(null=True)
    likes_count = NumberAttribute(default=0)
    comments_count = NumberAttribute(default=0)
    shares_count = NumberAttribute(default=0)
    views_count = NumberAttribute(default=0)
    media: MapAttribute[str, Any] = MapAttribute(default=dict)
    media_status = UnicodeAttribute(null=True)
    media_reason = UnicodeAttribute(null=True)
    media_as_of = UTCDateTimeAttribute(null=True)
    by_day = PostsByDay()


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


class SweepRun(Model):
    """A run in parts; see `backbeat.sweeps`. It lives beside its parts, under the key `sweep#<run id>`.

    Attributes:
        pending: The numbers of the parts that are not done; missing where none is left.
        finished: Whether the finish has run.
    """

    class Meta(_Table):
        table_name = os.environ.get("RUNS_TABLE", "")

    sweep = UnicodeAttribute(hash_key=True, attr_name="task_day")
    kind = UnicodeAttribute(range_key=True, attr_name="run_id", default="run")
    parts = NumberAttribute()
    pending = NumberSetAttribute(null=True)
    finished = BooleanAttribute(default=False)
    started = UTCDateTimeAttribute()
    expires = TTLAttribute(null=True)


class SweepPart(Model):
    """One part of a run in parts, under the key `sweep#<run id>` and its number.

    Attributes:
        spec: What the part is to do.
        cursor: How far it has come, where it ran short of time.
        hops: How often it has sent itself on.
        tally: What it has counted.
        done: Whether its tally is complete.
    """

    class Meta(_Table):
        table_name = os.environ.get("RUNS_TABLE", "")

    sweep = UnicodeAttribute(hash_key=True, attr_name="task_day")
    number = UnicodeAttribute(range_key=True, attr_name="run_id")
    spec = JSONAttribute()
    cursor = JSONAttribute(null=True)
    hops = NumberAttribute(default=0)
    tally = JSONAttribute(null=True)
    done = BooleanAttribute(default=False)
    expires = TTLAttribute(null=True)


class Watermark(Model):
    """How far a task has come through what changes, kept for ever under the key `watermark#<task>`."""

    class Meta(_Table):
        table_name = os.environ.get("RUNS_TABLE", "")

    task = UnicodeAttribute(hash_key=True, attr_name="task_day")
    name = UnicodeAttribute(range_key=True, attr_name="run_id")
    until = UTCDateTimeAttribute()


TABLES: dict[str, tuple[type[Model], ...]] = {
    "USERS_TABLE": (User,),
    "FOLLOWS_TABLE": (Follow,),
    "POSTS_TABLE": (Post,),
    "RUNS_TABLE": (RunRecord, DayTotals, SweepRun, SweepPart, Watermark),
}
"""Each table's environment variable and the models that live in it."""


def bind(tables: Mapping[str, str]) -> None:
    """Point the models at the tables of one stack, for a program that is given their names after its start.

    Args:
        tables: Table names by environment variable, `{"POSTS_TABLE": ...}`.
    """
    for variable, models in TABLES.items():
        for model in models:
            if model.Meta.table_name != tables[variable]:
                model.Meta.table_name = tables[variable]
                model._connection = None  # PynamoDB keeps one per model, made on first use, and slow to make
