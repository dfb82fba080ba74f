"""A week's digest over a million posts, chosen in parts: what one invocation works on and holds.

The tables are doubles that hold keys alone, as moto has no memory for a million rows; tests/unit/test_width.py shows
that they answer as moto does. Every other line is the product's: how parts walk, split themselves, rank and merge.
"""

import itertools
import json
import os
import random
import resource
import sys
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

from rich.console import Console

NOW = datetime(2026, 11, 2, 9, tzinfo=UTC)
PAGE_OF_KEYS = 10_000
"""Keys of 100 bytes in the megabyte that a query gives at once."""


class Rows:
    """What a query gives: rows, page by page, and where the next one would begin."""

    def __init__(self, ids: Sequence[str], name: str, start: int, end: int, limit: int | None, size: int) -> None:
        self.ids, self.name, self.at, self.end, self.limit, self.size = ids, name, start, end, limit, size
        self.taken = 0
        self.last_evaluated_key: Any = None

    def __iter__(self) -> Iterator[Any]:
        stop = self.end if self.limit is None else min(self.end, self.at + self.limit)
        while self.at < stop:
            row = type("Row", (), {self.name: self.ids[self.at]})()
            self.at, self.taken = self.at + 1, self.taken + 1
            # A page that is full tells where the next one begins, though a condition may leave none there.
            full = self.at == stop and stop < len(self.ids) and self.limit is not None and self.taken == self.limit
            self.last_evaluated_key = {self.name: {"S": self.ids[self.at - 1]}} if full else None
            yield row


class Keys:
    """An index of keys alone, in the order of its range key."""

    def __init__(self, index: Any, partitions: dict[str, list[str]]) -> None:
        self.Meta = index.Meta
        self.name = next(name for name, key in index.Meta.attributes.items() if key.is_range_key)
        self.partitions = {key: sorted(ids) for key, ids in partitions.items()}

    def query(
        self,
        key: str,
        between: Any = None,
        *,
        last_evaluated_key: Any = None,
        limit: int | None = None,
        page_size: int | None = None,
    ) -> Rows:
        ids = self.partitions.get(key, [])
        start, end = 0, len(ids)
        if between is not None:
            values = [value.value["S"] for value in between.values[1:]]
            match between.operator:
                case "BETWEEN":
                    start, end = bisect_right(ids, values[0]), bisect_right(ids, values[1])
                    start -= bool(start and ids[start - 1] == values[0])
                case ">":
                    start = bisect_right(ids, values[0])
                case "<=":
                    end = bisect_right(ids, values[0])
                case operator:
                    raise NotImplementedError(operator)
        if last_evaluated_key:
            start = max(start, bisect_right(ids, last_evaluated_key[self.name]["S"]))
        return Rows(ids, self.name, start, end, limit, page_size or PAGE_OF_KEYS)


def rank(post_id: str) -> list[Any]:
    """A post's place, made from its id."""
    number = int(post_id[:8], 16)
    return [-(number % 5_000), -(number // 5_000 % 50), -(number % 600_000), post_id]


class Time:
    """Lambda's context, in which each page of work takes as long as it would at 512 MB."""

    aws_request_id = "request"

    def __init__(self) -> None:
        self.left = 300.0

    def get_remaining_time_in_millis(self) -> int:
        self.left -= 0.000_03  # a key that is looked at
        return int(self.left * 1_000)


def main(posts: int = 1_000_000) -> None:
    """Choose, and print what the largest part did and held."""
    os.environ |= {"AWS_DEFAULT_REGION": "us-east-1", "BACKBEAT_STACK": "bench", "POSTS_TABLE": "p", "RUNS_TABLE": "r"}
    import send_content_digest_email as task
    from backbeat import sweeps
    from backbeat.mail import digest
    from backbeat.messages import Message
    from backbeat.models import Post, day_key
    from backbeat.runtime import Run

    partitions: dict[str, list[str]] = {}
    ids = [f"{(n * 2_654_435_761) % 2**32:08x}-{n}" for n in range(posts)]
    for n, post_id in enumerate(ids):
        partitions.setdefault(day_key(NOW - timedelta(days=n % 7, hours=1), post_id), []).append(post_id)
    index = Keys(Post.by_day, partitions)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    largest, parts, biggest = 0, 0, 0
    started = time.process_time()

    def do(spec: Any, depth: int) -> Any:
        nonlocal largest, parts, biggest
        context = Time()
        run = Run(task.handle.task, Message(task=task.handle.task.name, scheduled_time=NOW), context)  # type: ignore[arg-type]
        rows = 0

        def ranked(page: Sequence[str], now: datetime) -> Iterator[list[Any]]:
            nonlocal rows
            rows += len(page)
            context.left -= 0.0009 * len(page)
            return (rank(post_id) for post_id in page)

        with patch.object(digest, "ranked", ranked), patch.object(Post, "by_day", index):
            cursor, tally = None, {}
            outcome = task._work(run, spec, cursor, tally)
            while isinstance(outcome, sweeps.Unfinished):
                context.left = 300.0
                outcome = task._work(run, spec, outcome.cursor, outcome.tally)
        largest, parts = max(largest, rows), parts + 1
        if isinstance(outcome, sweeps.Split):
            below = (do(part, depth + 1) for part in outcome.parts)
            outcome = task._merge(itertools.chain([outcome.tally], below))
        biggest = max(biggest, len(json.dumps(outcome)))
        return outcome

    found = task._merge(do({"choose": True, "keys": [key]}, 0) for key in digest.week(NOW))
    held = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    took = time.process_time() - started
    exact = sorted(map(rank, ids))[: digest.MOST_POSTS]
    assert found["best"] == exact, "the choice differs from a sort of all"
    Console().print(
        f"{posts:,} posts: {parts} parts, of {largest:,} posts at most; rows of {biggest / 1_000:.0f} kB at most; "
        f"{held:.0f} MB more than the keys took; {took:.0f} s CPU; the choice is that of a sort"
    )


def entries_of(hour: int, pairs: int) -> Iterator[tuple[str, str, int]]:
    """What an hour of a large network says of hashtags, the same each time: a few that many use, and many that few do.

    As in a real one, every twentieth pair is of one tag alone.
    """
    chance = random.Random(hour)
    for number in range(pairs // 168):
        tag = "everywhere" if number % 20 == 0 else f"tag{int(chance.paretovariate(0.3)) % 300_000}"
        author = f"user-{chance.randrange(pairs):08}"
        yield tag, author, 1
        if number % 2:
            yield "", author, 0


def trends(pairs: int = 400_000, most: int = 100_000) -> None:
    """Unite a week's people and tags in parts of so many at most, and compare with a count that holds them all."""
    os.environ |= {"AWS_DEFAULT_REGION": "us-east-1", "BACKBEAT_STACK": "bench"}
    import ranking
    import update_trending_hashtags as task
    from backbeat import sweeps
    from backbeat.messages import Message
    from backbeat.runtime import Run

    run = Run(task.handle.task, Message(task=task.handle.task.name, scheduled_time=NOW), Time())  # type: ignore[arg-type]
    weeks: dict[str, Any] = {}
    parts, largest, kept = 0, 0, 0

    def noted(end: datetime, bucket: str, week: Any, now: datetime) -> None:
        nonlocal kept
        weeks.update((tag, (counts.authors, counts.posts)) for tag, counts in week.tags.items())
        kept = max(kept, len(week.tags))

    def do(spec: Any) -> Any:
        nonlocal parts, largest
        cursor, tally = None, {}
        while True:
            parts += 1
            before = len(unions)
            outcome = task._work(run, 10, spec, cursor, tally)
            largest = max([largest, *(len(union._pairs) + len(union._people) for union in unions[before:])])
            unions.clear()
            if not isinstance(outcome, sweeps.Split):
                return outcome
            tally = task._merge(10, [outcome.tally, *map(do, outcome.parts)])
            if (cursor := outcome.cursor) is None:
                return tally

    unions: list[Any] = []
    make = ranking.Union.__post_init__

    def noting(union: Any) -> None:
        make(union)
        unions.append(union)

    hours = {hour: type("Row", (), {"entries": pairs // 168}) for hour in range(168)}
    started = time.process_time()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with (
        patch.object(ranking.Union, "__post_init__", noting),
        patch.object(ranking, "MOST_HELD", most),
        patch.object(task, "MOST_HELD", most),
        patch.object(task, "known", lambda *_: hours),
        patch.object(task, "entries", lambda *_: (entries_of(hour, pairs) for hour in range(168))),
        patch.object(task, "save_week", noted),
    ):
        (united,) = do({"week": NOW.isoformat(), "bucket": ""})["weeks"].values()
    took = time.process_time() - started
    held = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    posts: Counter[str] = Counter()
    people: dict[str, set[str]] = {}
    for tag, author, number in itertools.chain.from_iterable(entries_of(hour, pairs) for hour in range(168)):
        people.setdefault(tag, set()).add(author)
        posts[tag] += number
    everyone = people.pop("")
    exact = {tag: (len(of), posts[tag]) for tag, of in people.items()}
    assert weeks == exact, "the counts differ from those of a count of all"
    assert united["authors"] == len(everyone), "the people differ from those of a count of all"
    Console().print(
        f"{pairs:,} people and tags: {parts} invocations, of {largest:,} held and {kept:,} tags at most; "
        f"{held:.0f} MB; {took:.0f} s CPU; {len(exact):,} tags and {len(everyone):,} people, as a count of all has them"
    )


if __name__ == "__main__":
    trends(*map(int, sys.argv[2:])) if sys.argv[1:2] == ["trends"] else main(*map(int, sys.argv[1:]))
