"""Where the tallies of hours and of weeks are kept, and how they are read and written.

An hour's posts in one shard make up one *tally*: for every hashtag, as written, who used it and in how many posts. A
small one is one row, under its day. A large one is many, each of one bucket: the tags that lie in it, and the people
who do (`ANYONE`), so that whoever counts a bucket reads its rows alone. They are named after what they hold, and the
row under the day names them: so only what differs is written, and what nobody names is read by nobody.

A week is kept likewise: in one place, or by the buckets in which it was counted, and a row that names these.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import blake2b
from itertools import groupby
from typing import Any

from pynamodb.expressions.condition import Condition

from backbeat.models import HashtagTally, HourMark, Post, Unreadable, day_keys, delete_if, each, save_if
from backbeat.posts import hashtags
from ranking import ANYONE, Entry, Tag, Week, fold, path

HOUR = timedelta(hours=1)
WEEK = timedelta(days=7)
DIGITS = 4
"""A bucket that is too large becomes 2 to the power of so many."""
ENTRIES_IN_A_ROW = 500
"""Of a tally that is one row, and, on average, of the rows of one that is several."""
ENTRIES_IN_A_CHUNK = 5_000
"""Entries or tags in one row at the most; DynamoDB's items hold 400 kB."""
TALLIES_KEPT = timedelta(days=9)
WEEKS_KEPT = timedelta(days=37)

Broken = Callable[[Unreadable], object]
"""What is told of a row that cannot be read."""
Tally = Mapping[tuple[str, str], int]
"""In how many posts a hashtag's spelling was used, by whom."""
Unit = tuple[datetime, int]
"""An hour and a shard."""
Known = Mapping[Unit, HashtagTally]
"""The rows that tell of tallies, by their unit."""


# ----------------------------------------------------------------------------------------------------------------------
# Hours
# ----------------------------------------------------------------------------------------------------------------------


def count(hours: Sequence[datetime], shard: int, broken: Broken) -> Iterator[tuple[Unit, Tally]]:
    """The tallies of hours that follow each other on one day, one by one, counted from the public posts of a shard."""
    partition = day_keys(hours[0].date())[shard]
    times = Post.tagged_at.between(hours[0], hours[-1] + HOUR - timedelta(microseconds=1))
    posts = each(Post.tagged_by_day.query(partition, times), broken, needs=["author_id"])
    by_hour = groupby(posts, key=lambda post: hour_of(post.tagged_at))
    hour, some = next(by_hour, (None, iter(())))
    for wanted in hours:
        tally: Counter[tuple[str, str]] = Counter()
        if hour == wanted:
            for post in some:
                if post.visibility == "public" and post.hashtags:
                    for tag in sorted(post.hashtags)[: hashtags.MOST_TAGS]:  # rows that are older may have more
                        tally[tag, post.author_id] += 1
            hour, some = next(by_hour, (None, iter(())))
        yield (wanted, shard), tally


def known(first: datetime, until: datetime, broken: Broken) -> dict[Unit, HashtagTally]:
    """What is known of the tallies from one hour up to another, as far as it can be read."""
    found = {}
    for days in range((until - HOUR - first.replace(hour=0)).days + 1):
        day = first.replace(hour=0) + timedelta(days=days)
        own = HashtagTally.chunk.between("T00.", "T23.~")
        for row in each(HashtagTally.query(_day(day), own, consistent_read=True), broken):
            hour, dot, shard = row.chunk[1:].partition(".")
            if dot and first <= day.replace(hour=int(hour)) < until:  # an older form has no dot
                try:
                    row.unpack()
                except Unreadable as error:
                    broken(error)
                else:
                    found[day.replace(hour=int(hour)), int(shard)] = row
    return found


def entries(known: Known, bucket: str, now: datetime, broken: Broken) -> Iterator[Iterable[Entry]]:
    """What tallies say, a row at a time: all that is in a bucket, and perhaps of others.

    A tally that lacks a row, or has one that cannot be read, is forgotten, and the next run counts its hour anew.
    """
    named: dict[str, dict[str, Unit]] = {}
    for unit, row in known.items():
        content = row.unpack()
        if row.split is None:
            yield _of_one_row(content)
            continue
        for name in content:
            of = name.partition("#")[0]
            if of.startswith(bucket) or bucket.startswith(of):
                period, chunk = _place(unit, name)
                named.setdefault(period, {})[chunk] = unit
    for period, rows in named.items():
        unread: list[Unreadable] = []
        between = HashtagTally.chunk.between(min(rows), max(rows))
        for row in each(HashtagTally.query(period, between, consistent_read=True), unread.append):
            if row.chunk in rows:
                try:
                    yield _of_a_bucket(row.unpack())
                except Unreadable as error:
                    unread.append(error)
                else:
                    del rows[row.chunk]
        for unit in {*rows.values()}:
            broken(unread.pop() if unread else Unreadable(f"HashtagTally of {unit} lacks a row in {period!r}"))
            delete_if(known[unit], HashtagTally.as_of == known[unit].as_of)
            HourMark.note(unit[0], at=now)


def _of_one_row(content: Mapping[str, Mapping[str, int]]) -> Iterator[Entry]:
    for author in {author for authors in content.values() for author in authors}:
        yield ANYONE, author, 0
    yield from _of_a_bucket(content)


def _of_a_bucket(content: Mapping[str, Mapping[str, int]]) -> Iterator[Entry]:
    return ((tag, author, posts) for tag, authors in content.items() for author, posts in authors.items())


def entries_of(tally: Tally) -> Iterator[Entry]:
    """What a tally says, also of one that is kept nowhere."""
    yield from ((ANYONE, author, 0) for author in {author for _, author in tally})
    yield from ((tag, author, posts) for (tag, author), posts in tally.items())


def save(unit: Unit, tally: Tally, old: HashtagTally | None, now: datetime) -> HashtagTally | None:
    """Write a tally where it differs from what is known of it; return the row that tells of it, if it was written."""
    was: Any = old.unpack() if old else {}
    old_names = {*was} if old and old.split is not None else set()
    row = HashtagTally(_day(unit[0]), f"T{unit[0]:%H}.{unit[1]}", as_of=now, expires=now + TALLIES_KEPT)
    row.entries, digits = len(tally), _digits(len(tally))
    chunks: dict[str, Any] = {}
    if digits:
        row.split = digits
        chunks = _by_buckets(tally, digits)
    content: Any = sorted(chunks) if digits else _by_tag(tally)
    if content == was:
        return None
    for name in chunks.keys() - old_names:
        write(_place(unit, name), chunks[name], now)
    row.packed = HashtagTally.pack(content)
    if save_if(row, _not_newer(row)):
        for name in old_names - chunks.keys():
            HashtagTally(*_place(unit, name)).delete()
    return row


def _digits(entries: int) -> int:
    """How many digits the buckets have into which a tally is split."""
    digits = 0
    while entries > ENTRIES_IN_A_ROW << digits and digits < 2 * DIGITS:
        digits += DIGITS
    return digits


def _by_tag(tally: Tally) -> dict[str, dict[str, int]]:
    content: dict[str, dict[str, int]] = {}
    for (tag, author), posts in sorted(tally.items()):
        content.setdefault(tag, {})[author] = posts
    return content


def _by_buckets(tally: Tally, digits: int) -> dict[str, Any]:
    """A tally by the buckets of its tags and people, each in chunks that rows can hold, by name."""
    buckets: dict[str, dict[tuple[str, str], int]] = {}
    for (tag, author), posts in tally.items():
        buckets.setdefault(path(fold(tag))[:digits], {})[tag, author] = posts
    for author in {author for _, author in tally}:
        buckets.setdefault(path(author)[:digits], {})[ANYONE, author] = 0
    chunks = ((bucket, _by_tag(dict(some))) for bucket, of in buckets.items() for some in _chunked(sorted(of.items())))
    return {f"{bucket}#{_digest(chunk)}": chunk for bucket, chunk in chunks}


def _digest(content: Any) -> str:
    """What a row is named after: what it holds, so that none is ever written over with something else."""
    return blake2b(json.dumps(content, ensure_ascii=False).encode(), digest_size=9).hexdigest()


def _place(unit: Unit, name: str) -> tuple[str, str]:
    """The keys of a row of a tally, by the name that is its bucket and its digest."""
    (hour, shard), (bucket, _, digest) = unit, name.partition("#")
    return _below(_day(hour), bucket), f"T{hour:%H}.{shard}#{digest}"


def hour_of(time: datetime) -> datetime:
    """The hour that a time is in."""
    return time.replace(minute=0, second=0, microsecond=0)


def _day(hour: datetime) -> str:
    return f"{hour:%Y-%m-%d}"


# ----------------------------------------------------------------------------------------------------------------------
# Weeks
# ----------------------------------------------------------------------------------------------------------------------


def save_week(end: datetime, bucket: str, week: Week, now: datetime) -> None:
    """Write a bucket of a week, or all of it."""
    tags = [(tag, [week.tags[tag].shown, week.tags[tag].authors, week.tags[tag].posts]) for tag in sorted(week.tags)]
    some = _chunked(tags) or [[]]  # a week without hashtags is known to be one
    _save_week(end, bucket, [{"authors": week.authors, "tags": dict(chunk)} for chunk in some], now)


def save_buckets(end: datetime, authors: int, buckets: Sequence[str], now: datetime) -> None:
    """Say in which buckets a week was counted, and how many people used any tag in it."""
    if list(buckets) != [""]:
        _save_week(end, "", [{"authors": authors, "tags": {}, "buckets": sorted(buckets)}], now)


def _save_week(end: datetime, bucket: str, chunks: Sequence[Any], now: datetime) -> None:
    period = _below(_week(end), bucket)
    for number, chunk in enumerate(chunks):
        write((period, f"#{number:03}"), chunk, now, end + WEEKS_KEPT)
    left = HashtagTally.chunk.between(f"#{len(chunks):03}", "#999")
    keys = ["period", "chunk", "as_of"]
    for row in HashtagTally.query(period, left, consistent_read=True, attributes_to_get=keys):
        if row.as_of <= now:
            row.delete()


def authors_of(end: datetime, broken: Broken) -> int | None:
    """How many people used any tag in a week; None where it is not known, or cannot be read."""
    rows = HashtagTally.query(_week(end), HashtagTally.chunk == "#000", consistent_read=True)
    for row in each(rows, broken):
        try:
            authors: int = row.unpack()["authors"]
        except Unreadable as error:
            broken(error)
        else:
            return authors
    return None


def load_week(end: datetime, bucket: str, broken: Broken) -> Iterator[tuple[str, Tag]]:
    """The tags of a week that lie in a bucket, each with its counts.

    Where a row cannot be read, the week is forgotten, and the next run counts it anew.
    """
    unread: list[Unreadable] = []
    periods = [_week(end)]
    for period in periods:
        for row in each(HashtagTally.query(period, consistent_read=True), unread.append):
            try:
                content = row.unpack()
            except Unreadable as error:
                unread.append(error)
                continue
            of = (name for name in content.get("buckets", ()) if name.startswith(bucket) or bucket.startswith(name))
            periods += [_below(_week(end), name) for name in of]
            for tag, counts in content["tags"].items():
                if not bucket or path(tag).startswith(bucket):
                    yield tag, Tag(*counts)
    for why in unread:
        broken(why)
    if unread:
        HashtagTally(_week(end), "#000").delete()


def _week(end: datetime) -> str:
    return f"week to {end:%Y-%m-%dT%H}"


# ----------------------------------------------------------------------------------------------------------------------
# Rows
# ----------------------------------------------------------------------------------------------------------------------


def write(place: tuple[str, str], content: Any, now: datetime, expires: datetime | None = None) -> None:
    """Write a row unless a newer run has."""
    row = HashtagTally(*place, as_of=now, expires=expires or now + TALLIES_KEPT, packed=HashtagTally.pack(content))
    save_if(row, _not_newer(row))


def _not_newer(row: HashtagTally) -> Condition:
    older: Condition = HashtagTally.as_of.does_not_exist() | (HashtagTally.as_of <= row.as_of)
    return older


def _below(period: str, bucket: str) -> str:
    return f"{period}#{bucket}" if bucket else period


def _chunked(of: Sequence[Any]) -> list[Sequence[Any]]:
    """As many as fit a row, at a time."""
    return [of[at : at + ENTRIES_IN_A_CHUNK] for at in range(0, len(of), ENTRIES_IN_A_CHUNK)]
