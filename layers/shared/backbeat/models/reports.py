"""The daily report, and the day counts that its totals are summed up from."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import date
from typing import Any

from pynamodb.attributes import (
    BooleanAttribute,
    JSONAttribute,
    NumberAttribute,
    UnicodeAttribute,
    UTCDateTimeAttribute,
)
from pynamodb.indexes import GlobalSecondaryIndex

from backbeat.aws import s3
from backbeat.models.base import Row, Table, each

KEYS_AT_ONCE = 10_000
"""Keys of an index that are read in one go: about the megabyte that DynamoDB gives at once."""


class Report(Row):
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

    @staticmethod
    def showing(author_id: str) -> list["Report"]:
        """The reports that show a post of an author."""
        return [
            row for row in each(Report.query("daily", consistent_read=True)) if row.without(author_id) != row.figures
        ]

    @staticmethod
    def newest_day() -> str | None:
        """The last day of which there is a report."""
        newest = Report.query("daily", scan_index_forward=False, limit=1, attributes_to_get=["day"])
        return next((row.day for row in newest), None)

    def without(self, author_id: str) -> dict[str, Any]:
        """What it says, without the posts of an author."""
        top = [post for post in self.figures["top_posts"] if post["author_id"] != author_id]
        return {**self.figures, "top_posts": top}

    def forget(self, author_id: str) -> None:
        """Take an author's posts out, and delete the files that show them; the next daily run makes these again.

        Raises:
            LookupError: The environment does not name the bucket, `REPORTS_BUCKET`.
        """
        bucket = reports_bucket()
        self.update([Report.figures.set(self.without(author_id)), Report.published.set(False)])
        DayCounts.mark([self.day])
        for key in (*report_files(self.day), *(["latest.html"] if Report.newest_day() == self.day else [])):
            s3().delete_object(Bucket=bucket, Key=key)


def report_files(day: date | str) -> tuple[str, str, str]:
    """The keys of a day's files: for programs, spreadsheets and people."""
    return f"daily/{day}/report.json", f"daily/{day}/report.csv", f"daily/{day}/report.html"


def reports_bucket() -> str:
    """The bucket of the reports' files.

    Raises:
        LookupError: The environment does not name it.
    """
    if "REPORTS_BUCKET" not in os.environ:
        raise LookupError("REPORTS_BUCKET is not set: the environment must name the bucket of the daily reports")
    return os.environ["REPORTS_BUCKET"]


class DayCounts(Row):
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
    def read(
        index: "GlobalSecondaryIndex[Any]", segment: int, segments: int, last: Any = None
    ) -> Iterator[tuple[Counter[str], Any]]:
        """How many rows each day has in one of the segments of an index by day, page by page.

        This reads all of the segment, keys only; a task does it once, before any day is counted.

        Args:
            index: The index.
            segment: Which segment.
            segments: Of how many.
            last: Behind which row to begin.

        Yields:
            A page's counts, and behind which row the next one begins; None where there is none.
        """
        while True:
            rows = index.scan(
                segment=segment,
                total_segments=segments,
                attributes_to_get=["day"],
                last_evaluated_key=last,
                limit=KEYS_AT_ONCE,
                page_size=KEYS_AT_ONCE,
            )
            counts = Counter(row.day.partition("#")[0] for row in rows)
            last = rows.last_evaluated_key
            yield counts, last
            if last is None:
                return

    @staticmethod
    def mark(day_keys: Iterable[str | None]) -> None:
        """Ask for days to be counted again, as rows of theirs were deleted or brought back.

        Args:
            day_keys: The rows' `day`; what was saved without one is in no index, and not counted.
        """
        for day in sorted({key.partition("#")[0] for key in day_keys if key}):
            DayCounts("counts", day).update(actions=[DayCounts.changes.add(1)])
