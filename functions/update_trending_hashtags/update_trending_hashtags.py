"""update_trending_hashtags: which hashtags more people use this week than is usual for them.

The posts of each hour become tallies (`tallies.py`): who used which tag. The ranking (`ranking.py`) unites those of 168
hours. A run counts from the posts only what is new since the last run, three hours before that, what was marked since
(`HourMark`), and one of 24 slices of the week, so that within a day whatever came late is accounted for wherever it
stands. Nothing is ever added to a count, so that a run may be repeated, cut off and resumed, or made twice at once: a
tally, a week and a row are written whole, and only where they differ.

What is too much for one invocation is done in parts, by the same steps: hours are counted shard by shard, then tags
and people are united bucket by bucket, of which one that is too large is split, and last each bucket is ranked. All of
a tag's people are in one bucket, or, of one that very many use, shared out among parts of their own; so nobody is
counted twice, and the sums are exact.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from pynamodb.expressions.condition import Condition

from backbeat.models import (
    Changed,
    Hashtag,
    HashtagTally,
    HourMark,
    Post,
    Save,
    TrendingHashtags,
    Unreadable,
    Update,
    delete_if,
    each,
    readable,
    shards,
    write_together,
)
from backbeat.runtime import InParts, Run, Skipped, implementation
from backbeat.sweeps import (
    MOST_PARTS,
    SECONDS_TO_STOP,
    Json,
    PartDone,
    Split,
    Tally,
    Unfinished,
    Worked,
    in_parts,
    note_in,
)
from backbeat.tasks import update_trending_hashtags
from ranking import MOST_HELD, Share, Tag, TooMany, Union, Week, first, path, rank
from tallies import (
    DIGITS,
    HOUR,
    WEEK,
    Unit,
    authors_of,
    count,
    entries,
    entries_of,
    hour_of,
    known,
    load_week,
    save,
    save_buckets,
    save_week,
)

WEEKS_BEFORE = 4
"""How many earlier weeks make up what is usual for a tag."""
COUNTED_AGAIN = timedelta(hours=3)
"""What every run counts from the posts again: most late posts are late by minutes."""
SLICES = 24
"""Into how many slices the hours of the week are split; a run counts one of them again."""
SETTLED = timedelta(minutes=5)
"""How old a mark must be to go: an index may show what was changed just now as it was."""
MOST_IN_A_TRANSACTION = 100
"""DynamoDB's limit ("TransactWriteItems")."""
UNUSED_KEPT = timedelta(days=40)
HOPS = 13
"""Messages from the part of the plan on, as Lambda takes 15 in a chain with the plan's: six where nothing is split but
the week, so that buckets can split themselves seven times."""
FORM = 2
"""The form of the tallies, counted up where it changes."""


@dataclass(frozen=True, slots=True)
class Trends:
    """The result of a run.

    Attributes:
        trending: The hashtags that trend, best first, each with why.
        tags: How many hashtags were used in the week.
        authors: How many people used any.
        hours_counted: Hours that were counted from the posts.
        hours_changed: Of these, how many had changed.
        rows_written: Hashtags whose counts had to be written.
        unreadable: Rows that cannot be read, posts' and tallies'; the log names them.
    """

    trending: list[str]
    tags: int
    authors: int
    hours_counted: int
    hours_changed: int
    rows_written: int
    unreadable: int


@implementation(update_trending_hashtags)
def handle(top: int, full: bool, run: Run, only: list[str] | None = None) -> Trends | InParts | PartDone | Skipped:
    """Bring the tallies up to date, rank the week, and write what differs, at once or in parts; or rank some posts."""
    if only:
        return _of_posts(only, top)
    plan: list[Json] = []
    if run.part is None:
        unreadable: Counter[str] = Counter()
        board = _board(unreadable)
        if board and board.as_of > run.now:
            return Skipped(f"a newer run, of {board.as_of:%Y-%m-%d %H:%M} UTC, has been made")
        tallies = known(hour_of(run.now) - WEEK, hour_of(run.now), note_in(unreadable))
        to_do = _to_do(run.now, full, board, unreadable)
        try:
            return _at_once(run, top, to_do, tallies, Counter(unreadable))
        except TooMany:
            plan = [to_do | unreadable]
    return in_parts(
        run,
        plan=lambda: plan,
        work=partial(_work, run, top),
        merge=partial(_merge, top),
        finish=lambda tallies: _publish(run, tallies[0]),
        hops=HOPS,
    )


def _board(unreadable: Counter[str]) -> TrendingHashtags | None:
    """The board of the last run; None where there is none, or it cannot be read."""
    rows = TrendingHashtags.query("#", consistent_read=True)
    return next(each(rows, note_in(unreadable), needs=["as_of", "tags"]), None)


def _to_do(now: datetime, full: bool, board: TrendingHashtags | None, unreadable: Counter[str]) -> dict[str, Any]:
    """What a run is to do, as JSON: the hours and weeks to count, and the last run, by which it knows what differs."""
    until = hour_of(now)
    marks = {row.hour: row.at.isoformat() for row in HourMark.query("again", consistent_read=True)}
    # A tally that cannot be read does not say which hour it is of.
    usable = board and board.form == FORM and not full and not unreadable
    hours = _hours_to_count(until, board.as_of if board and usable else None, marks)
    ends = [until.replace(hour=0) - WEEK * number for number in range(1, WEEKS_BEFORE + 1)]
    return {
        "hours": [_number(hour) for hour in hours],
        "marks": marks,
        "ends": [end.isoformat() for end in ends],
        "missing": [end.isoformat() for end in ends if full or authors_of(end, note_in(unreadable)) is None],
        "last": board.as_of.isoformat() if board else None,
        "marked": [entry["tag"] for entry in board.tags] if board else [],
        "changed": {},
    }


def _of_posts(post_ids: Sequence[str], top: int) -> Trends:
    """Rank the hashtags of some posts by themselves; nothing is written."""
    unreadable: Counter[str] = Counter()
    posts = readable(Post, post_ids, note_in(unreadable), needs=["author_id"])
    week = _united([(tag, post.author_id, 1) for tag in post.hashtags or ()] for post in posts)
    return Trends(
        trending=[f"#{trend.shown}: {trend.why}" for trend in rank(week, {}, 0, top)],
        tags=len(week.tags),
        authors=week.authors,
        hours_counted=0,
        hours_changed=0,
        rows_written=0,
        unreadable=unreadable.total(),
    )


def _hours_to_count(until: datetime, last: datetime | None, marks: Iterable[str] = ()) -> list[datetime]:
    """The hours of the week before `until` that are counted from the posts: those since the last run, and its slices.

    Before that three hours, a slice for each hour since, so that one that a missed run had to count is counted, and
    those that are marked.
    """
    hours = [until - HOUR * ago for ago in range(WEEK // HOUR, 0, -1)]
    if last is None:
        return hours
    per_slice = len(hours) // SLICES
    turns = {(_number(until) - missed) % SLICES for missed in range(max(1, (until - hour_of(last)) // HOUR))}
    since = last - COUNTED_AGAIN
    return [
        hour
        for hour in hours
        if hour >= since or _number(hour) // per_slice % SLICES in turns or f"{hour:%Y-%m-%dT%H}" in {*marks}
    ]


def _number(hour: datetime) -> int:
    return int(hour.timestamp()) // 3600


def _hour(number: int) -> datetime:
    return datetime.fromtimestamp(number * 3600, UTC)


def _in_a_row(numbers: Sequence[int]) -> Iterator[list[datetime]]:
    """Hours by those that follow each other on one day, which are read in one go."""
    some: list[datetime] = []
    for hour in map(_hour, numbers):
        if some and (hour != some[-1] + HOUR or hour.date() != some[0].date()):
            yield some
            some = []
        some.append(hour)
    if some:
        yield some


# ----------------------------------------------------------------------------------------------------------------------
# At once
# ----------------------------------------------------------------------------------------------------------------------


def _at_once(
    run: Run, top: int, to_do: dict[str, Any], tallies: dict[Unit, HashtagTally], unreadable: Counter[str]
) -> Trends:
    """Make the whole run.

    Raises:
        TooMany: It is too much for one invocation. What it has done by then is done, and noted in `to_do`.
    """
    if sum(int(row.entries or 0) for row in tallies.values()) > MOST_HELD:
        raise TooMany
    until, broken = hour_of(run.now), note_in(unreadable)
    for hours in _in_a_row(to_do["hours"]):
        for shard in shards():
            for unit, tally in _in_time(run, count(hours, shard, broken)):
                if row := save(unit, tally, tallies.get(unit), run.now):
                    tallies[unit] = row
                    to_do["changed"][unit[0].isoformat()] = 1
    week = _united(_in_time(run, entries(tallies, "", run.now, broken)))
    for end in map(datetime.fromisoformat, to_do["missing"]):
        counted = (
            entries_of(tally)
            for hours in _in_a_row(_numbers_of(end))
            for shard in shards()
            for _, tally in _in_time(run, count(hours, shard, broken))
        )
        save_week(end, "", _united(counted), run.now)
    written, after = _write_rows(run, "", week, to_do, None, broken)
    if after:
        raise TooMany
    save_week(until, "", week, run.now)
    trends = _rank(run, top, [""], week.authors, to_do["ends"], broken)
    found = {"weeks": {until.isoformat(): {"authors": week.authors}}, "tags": len(week.tags), "rows": written}
    return _publish(run, {**to_do, **found, **unreadable, "top": trends})


def _in_time(run: Run, steps: Iterable[Any]) -> Iterator[Any]:
    for step in steps:
        if run.seconds_left < SECONDS_TO_STOP:
            raise TooMany
        yield step


def _united(some: Iterable[Iterable[Any]]) -> Week:
    union = Union()
    for each_one in some:
        union.add(each_one)
    if union.aside:
        raise TooMany
    return union.week()


# ----------------------------------------------------------------------------------------------------------------------
# In parts
# ----------------------------------------------------------------------------------------------------------------------


def _work(run: Run, top: int, spec: Json, cursor: Any, tally: Tally) -> Worked:
    """Do one part, of whichever kind."""
    unreadable: Counter[str] = Counter()
    match spec:
        case {"count": numbers, "shard": shard}:
            return _count(run, numbers, shard, unreadable)
        case {"only": only, "week": end, "bucket": bucket}:
            return _share(run, datetime.fromisoformat(end), bucket, only)
        case {"week": _}:
            return _unite(run, spec, cursor or {}, tally, unreadable)
        case {"rank": buckets, "of": of, "ends": ends}:
            return {"top": _rank(run, top, buckets, of, ends, note_in(unreadable)), **unreadable}
    return _next(run, spec, cursor, tally)


def _next(run: Run, to_do: Json, cursor: Any, tally: Tally) -> Worked:
    """Have the hours counted; once they are, the weeks united; then the buckets ranked."""
    until = hour_of(run.now).isoformat()
    weeks = [until, *to_do["missing"]] if cursor != "ranked" else []
    if cursor is None:
        older = {number for end in to_do["missing"] for number in _numbers_of(datetime.fromisoformat(end))}
        hours = [*_in_a_row(sorted({*to_do["hours"], *older}))]
        parts = [{"count": [*map(_number, some)], "shard": shard} for some in hours for shard in shards()]
        return Split(parts, to_do, cursor="unite")
    if cursor == "unite":
        compared = {"last": to_do["last"], "marked": to_do["marked"]}
        parts = [{"week": end, "bucket": "", **(compared if end == until else {})} for end in weeks]
        return Split(parts, tally, cursor="rank")
    if cursor == "rank":
        for end in weeks:
            found = tally["weeks"][end]
            save_buckets(datetime.fromisoformat(end), found["authors"], found["buckets"], run.now)
        buckets = sorted(tally["weeks"][until]["buckets"])
        size = -(-len(buckets) // MOST_PARTS)
        ranked = {"of": tally["weeks"][until]["authors"], "ends": to_do["ends"]}
        parts = [{"rank": buckets[at : at + size], **ranked} for at in range(0, len(buckets), size)]
        return Split(parts, tally, cursor="ranked")
    return tally


def _numbers_of(end: datetime) -> range:
    """The hours of the week that ends then."""
    return range(_number(end - WEEK), _number(end))


def _count(run: Run, numbers: Sequence[int], shard: int, unreadable: Counter[str]) -> Worked:
    """Count hours of one shard; where that takes too long, each of the others is counted by a part of its own."""
    hours = [_hour(number) for number in numbers]
    tallies = known(hours[0], hours[-1] + HOUR, _told)
    changed: dict[str, int] = {}
    for at, (unit, tally) in enumerate(count(hours, shard, note_in(unreadable))):
        if save(unit, tally, tallies.get(unit), run.now):
            changed[unit[0].isoformat()] = 1
        if run.seconds_left < SECONDS_TO_STOP and at + 1 < len(numbers):
            parts = [{"count": [number], "shard": shard} for number in numbers[at + 1 :]]
            return Split(parts, {"changed": changed, **unreadable})
    return {"changed": changed, **unreadable}


def _unite(run: Run, spec: Json, cursor: Mapping[str, Any], tally: Tally, unreadable: Counter[str]) -> Worked:
    """Count the tags and the people of a bucket of a week; of this one, write the rows of hashtags that differ."""
    end, bucket = datetime.fromisoformat(spec["week"]), spec["bucket"]
    tallies = known(end - WEEK, end, _told)
    size = sum(int(row.entries or 0) for row in tallies.values()) >> len(bucket)
    if not cursor and size > MOST_HELD:
        return _split(spec, size)
    passed, union = cursor.get("passed", []), Union(bucket, cursor.get("passed", []))
    try:
        for some in entries(tallies, bucket, run.now, note_in(unreadable)):
            union.add(some)
    except TooMany:
        return _split(spec, size)
    if union.aside:
        parts = [
            {"week": spec["week"], "bucket": path(tag)[: len(bucket)], "only": [tag, number, shares]}
            for tag, found in union.aside.items()
            for shares in [1 + 2 * found // MOST_HELD]
            for number in range(shares)
        ]
        return Split(parts, tally, cursor={"passed": [*passed, *union.aside]})
    shared = {tag: Share(**share).tag() for tag, share in tally.get("shares", {}).items()}
    week = union.week()
    week = Week(week.authors, {**week.tags, **shared})
    written = 0
    if "last" in spec:
        written, after = _write_rows(run, bucket, week, spec, cursor.get("after"), note_in(unreadable))
        written += tally.get("rows", 0)
        if after:
            return Unfinished({"passed": passed, "after": after}, {**tally, "rows": written})
    save_week(end, bucket, week, run.now)
    counted = {"tags": len(week.tags), "rows": written} if "last" in spec else {}
    return {"weeks": {spec["week"]: {"authors": week.authors, "buckets": [bucket]}}, **counted, **unreadable}


def _split(spec: Json, size: int) -> Split:
    """Split a bucket, as far as its size asks for."""
    digits = DIGITS
    while size >> digits > MOST_HELD // 2 and digits < 2 * DIGITS:
        digits += DIGITS
    below = [f"{number:0{digits}b}" for number in range(1 << digits)]
    return Split([{**spec, "bucket": spec["bucket"] + digits} for digits in below], {})


def _share(run: Run, end: datetime, bucket: str, only: Sequence[Any]) -> Tally:
    """Count a share of the people who use one hashtag."""
    tag, number, shares = only
    union = Union(only=(tag, number, shares))
    for some in entries(known(end - WEEK, end, _told), path(tag)[: len(bucket)], run.now, _told):
        union.add(some)
    return {"shares": {tag: asdict(share) for tag, share in union.shares().items()}}


def _told(error: Unreadable) -> None:
    """What other steps have noted already."""


def _merge(top: int, tallies: Iterable[Tally]) -> Tally:
    """Add up what parts have counted; of their trends the first ones are kept."""
    total: Tally = {}
    for tally in tallies:
        total = _sum(total, tally)
    return {**total, "top": first(total["top"], top)} if "top" in total else total


def _sum(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    total = dict(one)
    for name, value in other.items():
        if name not in total:
            total[name] = value
        else:
            total[name] = _sum(total[name], value) if isinstance(value, Mapping) else total[name] + value
    return total


# ----------------------------------------------------------------------------------------------------------------------
# Rows of hashtags, the ranking, and the board
# ----------------------------------------------------------------------------------------------------------------------


def _write_rows(
    run: Run, bucket: str, week: Week, compared: Mapping[str, Any], after: str | None, broken: Any
) -> tuple[int, str | None]:
    """Write the rows of a bucket's hashtags whose counts differ from the last run's, in order, as far as time allows.

    They stay marked as they are until the board says otherwise.

    Returns:
        How many were written, and after which one it stopped.
    """
    rows: list[Hashtag] = []
    new = dict(week.tags)
    old = load_week(_week_of(compared["last"]), bucket, broken) if compared["last"] else iter(())
    for tag, before in old:
        now = new.pop(tag, None)
        if now is None:
            rows.append(Hashtag(tag, shown=before.shown, authors=0, posts=0, expires=run.now + UNUSED_KEPT))
        elif now != before:
            rows.append(Hashtag(tag, **asdict(now)))
    rows += (Hashtag(tag, **asdict(now)) for tag, now in new.items())
    rows = sorted((row for row in rows if after is None or row.tag > after), key=lambda row: row.tag)
    marked, written = {*compared["marked"]}, 0
    for start in range(0, len(rows), MOST_IN_A_TRANSACTION):
        if start and run.seconds_left < SECONDS_TO_STOP:
            return written, rows[start - 1].tag
        some = rows[start : start + MOST_IN_A_TRANSACTION]
        for row in some:
            row.trending, row.as_of = row.tag in marked, run.now
        written += _save_rows(some)
    return written, None


def _week_of(time: str) -> datetime:
    """The end of the week that a run of some time ranked."""
    return hour_of(datetime.fromisoformat(time))


def _save_rows(rows: Sequence[Hashtag]) -> int:
    """Write rows in one transaction, but for those that a newer run has written; return how many."""
    saves = [Save(row, _not_newer(Hashtag, row.as_of)) for row in rows]
    while saves and (unmet := write_together(*saves)):
        saves = [save for save in saves if save not in unmet]
    return len(saves)


def _rank(run: Run, top: int, buckets: Sequence[str], of: int, ends: Sequence[str], broken: Any) -> list[Any]:
    """The first trends of some buckets."""
    until, before = hour_of(run.now), [datetime.fromisoformat(end) for end in ends]
    authors = {end: authors_of(end, _told) for end in before}
    found: list[Any] = []
    for bucket in buckets:
        tags: dict[str, Tag] = dict(load_week(until, bucket, broken))
        past: Counter[str] = Counter()
        for end in (end for end in before if authors[end] is not None):
            for tag, counts in load_week(end, bucket, broken):
                if tag in tags:
                    past[tag] += counts.authors
        known_before = sum(number or 0 for number in authors.values())
        found = first([*found, *map(asdict, rank(Week(of, tags), past, known_before, top))], top)
    return found


def _publish(run: Run, found: Tally) -> Trends:
    """Put up the board, with the marks of the hashtags that come to it and leave it; return what the run came to."""
    unreadable: Counter[str] = Counter()
    board = _board(unreadable)
    trends = found.get("top", [])
    marked, was = {trend["tag"] for trend in trends}, {entry["tag"] for entry in board.tags} if board else set()
    Changed.note("trending", "#")
    new = TrendingHashtags(tags=trends, as_of=run.now, form=FORM)
    put = Save(new, None if unreadable else _not_newer(TrendingHashtags, run.now))
    changes = [
        Update(
            Hashtag(tag),
            [Hashtag.trending.set(tag in marked), Hashtag.as_of.set(run.now)],
            Hashtag.shown.exists() & _not_newer(Hashtag, run.now),
        )
        for tag in sorted(marked ^ was)
    ]
    while changes[MOST_IN_A_TRANSACTION - 1 :]:  # the board comes with the last of them
        _write(changes[: MOST_IN_A_TRANSACTION - 1])
        changes = changes[MOST_IN_A_TRANSACTION - 1 :]
    _write([put, *changes])
    for hour, at in found["marks"].items():
        if datetime.fromisoformat(at) <= run.now - SETTLED:
            delete_if(HourMark(hour=hour), HourMark.at == datetime.fromisoformat(at))
    week = hour_of(run.now) - WEEK
    return Trends(
        trending=[f"#{trend['shown']}: {trend['why']}" for trend in trends],
        tags=found["tags"],
        authors=found["weeks"][hour_of(run.now).isoformat()]["authors"],
        hours_counted=len(found["hours"]),
        hours_changed=sum(datetime.fromisoformat(hour) >= week for hour in found.get("changed", ())),
        rows_written=found["rows"],
        unreadable=found.get("unreadable", 0),
    )


def _write(writes: list[Any]) -> None:
    """Write what nothing newer stands against; nothing at all where that is so of the board."""
    while writes and (unmet := write_together(*writes)):
        if any(isinstance(write, Save) for write in unmet):
            return
        writes = [write for write in writes if write not in unmet]


def _not_newer(model: Any, now: datetime) -> Condition:
    older: Condition = model.as_of.does_not_exist() | (model.as_of <= now)
    return older


lambda_handler = handle.lambda_handler
