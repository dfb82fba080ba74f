"""The daily report, and the day counts that its totals are summed up from."""

import os
from collections import Counter
from collections.abc import Iterable
from typing import Any

from pynamodb.attributes import (
    BooleanAttribute,
    JSONAttribute,
    NumberAttribute,
    UnicodeAttribute,
    UTCDateTimeAttribute,
)
from pynamodb.indexes import GlobalSecondaryIndex
from pynamodb.models import Model

from backbeat.models.base import (
    Table,
)


class Report(Model):
    """The report of one day; see `generate_content_analytics`.

    Attributes:
        series: The kind of report; there is one.
        day: The UTC day it is about, `2026-11-01`.
        figures: What it says.
        published: Whether its files say the same.
        as_of: The logical time of the run that wrote it.
    """

    class Meta(Table):
        table_name = os.environ.get("REPORTS_TABLE", "")

    series = UnicodeAttribute(hash_key=True, default="daily")
    day = UnicodeAttribute(range_key=True)
    figures = JSONAttribute()
    published = BooleanAttribute(default=False)
    as_of = UTCDateTimeAttribute()


class DayCounts(Model):
    """How many rows of each kind were made on a day and still exist: what totals are summed up from.

    Attributes:
        series: `counts`; the rows lie beside the reports.
        day: The UTC day, `2026-11-01`.
        changes: How often it was marked since it was counted last.
        as_of: The logical time of the run that counted it last.
    """

    class Meta(Table):
        table_name = os.environ.get("REPORTS_TABLE", "")

    series = UnicodeAttribute(hash_key=True, default="counts")
    day = UnicodeAttribute(range_key=True)
    posts = NumberAttribute(default=0)
    comments = NumberAttribute(default=0)
    users = NumberAttribute(default=0)
    changes = NumberAttribute(null=True)
    as_of = UTCDateTimeAttribute(null=True)

    def numbers(self) -> dict[str, int]:
        """The counts by kind."""
        return {"posts": int(self.posts), "comments": int(self.comments), "users": int(self.users)}

    @staticmethod
    def read(index: "GlobalSecondaryIndex[Any]", segment: int, segments: int) -> Counter[str]:
        """How many rows each day has in one of the segments of an index by day.

        This reads all of the segment, keys only; a task does it once, before any day is counted.
        """
        rows = index.scan(segment=segment, total_segments=segments, attributes_to_get=["day"])
        return Counter(row.day.partition("#")[0] for row in rows)

    @staticmethod
    def mark(day_keys: Iterable[str | None]) -> None:
        """Ask for days to be counted again, as rows of theirs were deleted or brought back.

        Args:
            day_keys: The rows' `day`; what was saved without one is in no index, and not counted.
        """
        for day in sorted({key.partition("#")[0] for key in day_keys if key}):
            DayCounts("counts", day).update(actions=[DayCounts.changes.add(1)])
