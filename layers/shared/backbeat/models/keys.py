"""How rows are spread over the partitions of an index: days by shards, and all users by slices."""

import zlib
from datetime import UTC, date, datetime

SHARDS = 8
"""Into how many partitions each day of an index is spread, as one takes 1,000 writes a second."""
SLICES = 28 * 8
"""Into how many slices all users are split, eight for each of 28 nights; see `update_user_statistics`."""


def shard_of(row_id: str) -> int:
    """The shard that a row is in."""
    return zlib.crc32(row_id.encode()) % SHARDS


def shards() -> range:
    """All shards of a day."""
    return range(SHARDS)


def day_key(time: datetime, row_id: str) -> str:
    """The partition of a row in an index by day: `2026-11-01#5`, its UTC day and its shard."""
    return f"{time.astimezone(UTC).date()}#{shard_of(row_id)}"


def day_keys(day: date) -> list[str]:
    """All partitions of one day in an index by day."""
    return [f"{day}#{shard}" for shard in shards()]


def slice_key(user_id: str) -> str:
    """The slice of all users that a user is in: `017`."""
    return f"{zlib.crc32(user_id.encode()) % SLICES:03}"


def slice_keys() -> list[str]:
    """All slices of all users, in order."""
    return [f"{number:03}" for number in range(SLICES)]
