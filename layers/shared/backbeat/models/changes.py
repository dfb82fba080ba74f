"""The table of changes: what tasks have changed that an application shows, by day and shard."""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from pynamodb.attributes import TTLAttribute, UnicodeAttribute

from backbeat import trials
from backbeat.models.base import Row, Table
from backbeat.models.keys import day_keys, shard_of

CHANGES_KEPT = timedelta(days=28)
"""How long a change is listed."""


class Changed(Row):
    """A row that a task is about to change, kept beside the runs under the key `changes#<day>#<shard>`.

    It is written before the row is, so that a task that is cut off in between has listed it all the same. Whoever reads
    the list reads the row itself, and again for as long as the task may have taken.

    Attributes:
        partition: The UTC day of the change, on the wall clock, and its shard.
        entry: When, which kind of row, and the row's key.
    """

    class Meta(Table):
        table_name = os.environ.get("RUNS_TABLE", "")

    partition = UnicodeAttribute(hash_key=True, attr_name="task_day")
    entry = UnicodeAttribute(range_key=True, attr_name="run_id")
    expires = TTLAttribute()

    PREFIX: ClassVar[str] = "changes#"

    @property
    def kind(self) -> str:
        """`user`, `post`, `deleted` or `restored` (posts), `token`, `trending`, `report` or `notification`."""
        return self.entry.split(" ", 2)[1]

    @property
    def key(self) -> tuple[str, ...]:
        """The row's key."""
        return tuple(json.loads(self.entry.split(" ", 2)[2]))

    def forget(self, user_id: str, erased: str) -> bool:
        """Take a user's id out of the list; return whether this change names them: other rows may have such an id, too.

        A token that went stays listed under another name, as the application may keep it when its user is gone.
        """
        if self.kind not in ("user", "token", "notification") or self.key[0] != user_id:
            return False
        if self.kind == "token":
            Changed.note("token", erased, *self.key[1:])
        self.delete()
        return True

    @staticmethod
    def note(kind: str, *key: str) -> None:
        """List a row that is about to be changed, unless it is a trial's, which no application shows."""
        if any(trials.of(part) for part in key):
            return
        now, name = datetime.now(UTC), json.dumps(key, ensure_ascii=False)
        row = Changed(f"{Changed.PREFIX}{now.date()}#{shard_of(name)}", f"{now:%Y-%m-%dT%H:%M:%S.%fZ} {kind} {name}")
        row.update(actions=[Changed.expires.set(now + CHANGES_KEPT)])

    @staticmethod
    def since(time: datetime, now: datetime) -> Iterator["Changed"]:
        """What was listed from a time on up to another, the days in order, within each its shards."""
        first, last = (each.astimezone(UTC) for each in (time, now))
        for days in range((last.date() - first.date()).days + 1):
            for partition in day_keys(first.date() + timedelta(days=days)):
                yield from Changed.query(
                    f"{Changed.PREFIX}{partition}", Changed.entry >= f"{first:%Y-%m-%dT%H:%M:%S.%f}"
                )
