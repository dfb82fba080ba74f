"""What runs for times to come have marked, and how it is put right.

Whatever a task writes, it marks with its logical time, so that an older run changes nothing of it. A run for a time
that is still to come marks it ahead of the clock, and holds off every run until then.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pynamodb.expressions.condition import Condition
from pynamodb.models import Model

from backbeat import sweeps
from backbeat.models import (
    DayCounts,
    DigestSelection,
    Hashtag,
    HashtagTally,
    Post,
    Report,
    RunRecord,
    SweepPart,
    TrendingHashtags,
    User,
    Watermark,
    delete_if,
    update_if,
)

LONG_AGO = timedelta(days=400)
"""How far behind the clock a mark is put: before all that a task looks at again, so that it looks at all of it."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A kind of rows that bear a run's logical time.

    Attributes:
        what: What it is, in the plural.
        model: The rows.
        time: The attribute that holds the logical time.
        of: Which of a table's rows are meant, where it holds others as well.
        goes: Whether the row goes with its mark, as it says nothing that is not made anew.
    """

    what: str
    model: type[Model]
    time: Any
    of: Condition | None = None
    goes: bool = False


BOARD = "#"
MARKS = (
    Mark("watermarks", Watermark, Watermark.until, Watermark.task.startswith("watermark#"), goes=True),
    Mark("runs", RunRecord, RunRecord.logical_time, goes=True),
    Mark("digests' choices", DigestSelection, DigestSelection.as_of, DigestSelection.week.startswith("digest#"), True),
    Mark("boards of trends", TrendingHashtags, TrendingHashtags.as_of, TrendingHashtags.sign == BOARD),
    Mark("hashtags", Hashtag, Hashtag.as_of, Hashtag.tag != BOARD),
    Mark("tallies of hashtags", HashtagTally, HashtagTally.as_of, goes=True),
    Mark("reports", Report, Report.as_of, Report.series == "daily"),
    Mark("day counts", DayCounts, DayCounts.as_of, DayCounts.series == "counts"),
    Mark("users' counts", User, User.counted_as_of),
    Mark("posts' scores", Post, Post.score_as_of),
    Mark("posts' media", Post, Post.media_as_of),
)


def ahead(now: datetime) -> Counter[str]:
    """How many rows of each kind are marked ahead of the clock. This reads their tables whole."""
    return Counter(mark.what for mark, _ in _found(now))


def rewind(now: datetime) -> Counter[str]:
    """Put right what is marked ahead of the clock; return how many rows of each kind that were.

    The next runs look at all there is, as a task's first run does. Reports of days that are not over, runs and
    watermarks go. It may be repeated.
    """
    done: Counter[str] = Counter()
    for mark, row in _found(now):
        time = getattr(row, mark.time.attr_name)
        if mark.goes or (isinstance(row, Report) and row.day >= f"{now.date()}"):
            if isinstance(row, RunRecord):
                _forget_parts(row)
            done[mark.what] += delete_if(row, mark.time == time)
        else:
            done[mark.what] += update_if(row, [mark.time.set(now - LONG_AGO)], mark.time == time)
    return done


def _found(now: datetime) -> Iterator[tuple[Mark, Any]]:
    for mark in MARKS:
        is_ahead: Condition = mark.time > now
        for row in mark.model.scan(is_ahead if mark.of is None else is_ahead & mark.of, consistent_read=True):
            yield mark, row


def _forget_parts(run: RunRecord) -> None:
    """Delete the plan and the parts of a run: were it made in its time, it would find itself finished."""
    for key in sweeps.keys(run.task, run.run_id):
        with SweepPart.batch_write() as batch:
            for row in SweepPart.query(key, attributes_to_get=["task_day", "run_id"]):
                batch.delete(row)
