"""update_trending_hashtags: which hashtags more people use this week than is usual for them.

Each hour of posts becomes a *tally*: for every hashtag, as written, who used it and in how many posts. The ranking
unites the tallies of 168 hours. A run counts from the posts only what is new since the last run, three hours before
that, and one of 24 slices of the week, so that within a day whatever came late, was hidden or was deleted is accounted
for wherever it stands. Nothing is ever added to a count, so that a run may be repeated, cut off and resumed, or made
twice at once: a tally, a week and a row are written whole, and only where they differ.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from math import log
from typing import Any, TypeVar

from pynamodb.expressions.condition import Condition

from backbeat.models import (
    Changed,
    Hashtag,
    HashtagTally,
    Post,
    Save,
    TrendingHashtags,
    Unreadable,
    day_keys,
    each,
    readable,
    save_if,
    write_together,
)
from backbeat.posts import hashtags
from backbeat.runtime import Run, Skipped, implementation
from backbeat.sweeps import note_in
from backbeat.tasks import update_trending_hashtags

T = TypeVar("T")

HOUR = timedelta(hours=1)
WEEK = timedelta(days=7)
WEEKS_BEFORE = 4
"""How many earlier weeks make up what is usual for a tag."""
COUNTED_AGAIN = timedelta(hours=3)
"""What every run counts from the posts again: most late posts are late by minutes."""
SLICES = 24
"""Into how many slices the hours of the week are split; a run counts one of them again."""
LEAST_AUTHORS = 2
"""Nobody trends alone."""
CHANCE = 3.84
"""The score that a tag without any rise reaches once in twenty times: chi-squared, one degree of freedom, p = 0.05."""
ENTRIES_IN_A_CHUNK = 5_000
"""Authors or tags in one row of tallies; DynamoDB's items hold 400 kB."""
MOST_IN_A_TRANSACTION = 100
"""DynamoDB's limit ("TransactWriteItems")."""
TALLIES_KEPT = timedelta(days=9)
WEEKS_KEPT = timedelta(days=37)
UNUSED_KEPT = timedelta(days=40)

Broken = Callable[[Unreadable], object]
"""What is told of a row that cannot be read."""
Tally = Mapping[str, Mapping[str, int]]
"""Who used a hashtag: by its spelling, by author, in how many posts."""


@dataclass(frozen=True, slots=True)
class Trends:
    """The result of a run.

    Attributes:
        trending: The hashtags that trend, best first, each with why.
        tags: How many hashtags were used in the week.
        authors: How many people used any.
        hours_counted: Hours that were counted from the posts.
        hours_changed: Of these, how many had changed.
        rows_written: Hashtags whose row had to be written.
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
def handle(top: int, full: bool, run: Run, only: list[str] | None = None) -> Trends | Skipped:
    """Bring the tallies up to date, rank the week, and write what differs; or only rank some posts' hashtags."""
    if only:
        return _of_posts(only, top)
    until = _hour(run.now)
    board = _board()
    if board and board.as_of > run.now:
        return Skipped(f"a newer run, of {board.as_of:%Y-%m-%d %H:%M} UTC, has been made")
    unreadable: Counter[str] = Counter()
    broken = note_in(unreadable)
    tallies = _tallies(until, broken)
    # A tally that cannot be read does not say which hour it is of.
    counted = _hours_to_count(until, board.as_of if board and not full and not unreadable else None)
    changed = 0
    for hour, tally in _count_posts(counted, broken):
        if tally != tallies.get(hour, {}):
            chunks = _split_tally(tally)
            _save_chunks(_day(hour), f"T{hour:%H}", chunks, run.now, hour + TALLIES_KEPT)
            if hour in tallies:
                _delete_chunks(_day(hour), f"T{hour:%H}", len(chunks), run.now)
            tallies[hour] = tally
            changed += 1
    week = count(tallies.values())
    ranked = rank(week, [_week_before(until, number, run.now, full, broken) for number in range(1, WEEKS_BEFORE + 1)])
    trending = ranked[:top]
    written = _save_rows(week, trending, board, run.now, broken)
    _save_week(until, week, run.now)
    Changed.note("trending", "#")
    _save(TrendingHashtags(tags=[asdict(trend) for trend in trending], as_of=run.now))
    return _trends(
        week,
        trending,
        hours_counted=len(counted),
        hours_changed=changed,
        rows_written=written,
        unreadable=unreadable.total(),
    )


# ----------------------------------------------------------------------------------------------------------------------
# The ranking, which is pure
# ----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tag:
    """What a week made of one hashtag.

    Attributes:
        shown: Its spelling that most of its authors used; of equals the first in order.
        authors: How many people used it.
        posts: In how many posts.
    """

    shown: str
    authors: int
    posts: int


@dataclass(frozen=True, slots=True)
class Week:
    """The hashtags of seven days.

    Attributes:
        authors: How many people used any.
        tags: Each by its folded form.
    """

    authors: int
    tags: Mapping[str, Tag]


@dataclass(frozen=True, slots=True)
class Trend:
    """A hashtag's place in the ranking, and how it came by it.

    Attributes:
        tag: Its folded form.
        shown: Its spelling.
        authors: People who used it in the week.
        posts: Posts it was in.
        usual: People who would have used it had the week been like those before; None where none is known.
        score: How surprising the rise above `usual` is (see `surprise`), or 0 where it may be chance.
        why: The same as a sentence.
    """

    tag: str
    shown: str
    authors: int
    posts: int
    usual: float | None
    score: float
    why: str


def count(tallies: Iterable[Tally]) -> Week:
    """Unite the tallies of a week's hours: whoever used a tag in several of them is one author."""
    spellings: dict[str, dict[str, set[str]]] = {}
    posts: Counter[str] = Counter()
    everyone: set[str] = set()
    for tally in tallies:
        for shown, authors in tally.items():
            tag = hashtags.fold(shown)
            spellings.setdefault(tag, {}).setdefault(shown, set()).update(authors)
            posts[tag] += sum(authors.values())
            everyone.update(authors)
    tags = {}
    for tag, written in spellings.items():
        shown = min(written, key=lambda spelling: (-len(written[spelling]), spelling))
        tags[tag] = Tag(shown, len(set().union(*written.values())), posts[tag])
    return Week(len(everyone), tags)


def surprise(observed: int, of: int, before: int, of_before: int) -> float:
    """The log-likelihood ratio G² of a count against its own past: 0 where it is as usual, and growing with the rise.

    For the counts a and b of audiences of c and d people, with the expected counts E1 = c(a+b)/(c+d) and
    E2 = d(a+b)/(c+d), it is 2(a ln(a/E1) + b ln(b/E2)). See T. Dunning, "Accurate Methods for the Statistics of
    Surprise and Coincidence", Computational Linguistics 19(1), 1993; the form is that of P. Rayson and R. Garside,
    "Comparing Corpora using Frequency Profiling", 2000. Unlike a ratio it holds for small counts and for a past of
    zero: two people instead of one are less surprising than two hundred instead of one hundred. A fall counts as 0.

    Args:
        observed: People who used the tag this week.
        of: People who used any tag this week.
        before: The same as `observed`, summed over earlier weeks.
        of_before: The same as `of`, summed over earlier weeks.
    """
    if not observed or not of_before or observed * of_before <= before * of:
        return 0.0
    share = (observed + before) / (of + of_before)
    return 2 * sum(a * log(a / (n * share)) for a, n in ((observed, of), (before, of_before)) if a)


def rank(week: Week, before: Sequence[Week]) -> list[Trend]:
    """Every tag that at least two people used, those first that rise most above their own past.

    A rise that chance alone would explain once in twenty times counts as none, so a large tag that is always there
    does not come before a small one that is new. Of equal scores, also where nothing rises or no earlier week
    is known, the tag of more people comes first, then the first in order.

    Args:
        week: The seven days to rank.
        before: The weeks before them, as far as they are known.
    """
    of_before = sum(earlier.authors for earlier in before)
    trends = []
    for tag, now in week.tags.items():
        if now.authors < LEAST_AUTHORS:
            continue
        past = sum(earlier.tags[tag].authors for earlier in before if tag in earlier.tags)
        usual = past * week.authors / of_before if of_before else None
        score = surprise(now.authors, week.authors, past, of_before)
        if score < CHANCE:
            score = 0.0
        trends.append(Trend(tag, now.shown, now.authors, now.posts, usual, score, _why(now, usual, score)))
    return sorted(trends, key=lambda trend: (-trend.score, -trend.authors, trend.tag))


def _why(now: Tag, usual: float | None, score: float) -> str:
    """A tag's place in words."""
    people = f"{now.authors:,} people in 7 days"
    if usual is None:
        return f"{people}; no earlier week is known"
    if not usual:
        return f"{people}, none in the weeks before"
    if not score:
        return f"{people}, where {usual:,.1f} are usual"
    return f"{people}, {now.authors / usual:,.1f} times its usual {usual:,.1f}"


def _of_posts(post_ids: Sequence[str], top: int) -> Trends:
    """Rank the hashtags of some posts by themselves; nothing is written."""
    tally: dict[str, Counter[str]] = defaultdict(Counter)
    unreadable: Counter[str] = Counter()
    for post in readable(Post, post_ids, note_in(unreadable), needs=["author_id"]):
        for tag in post.hashtags or ():
            tally[tag][post.author_id] += 1
    week = count([tally])
    return _trends(week, rank(week, [])[:top], unreadable=unreadable.total())


def _trends(
    week: Week,
    trending: Sequence[Trend],
    *,
    hours_counted: int = 0,
    hours_changed: int = 0,
    rows_written: int = 0,
    unreadable: int,
) -> Trends:
    return Trends(
        trending=[f"#{trend.shown}: {trend.why}" for trend in trending],
        tags=len(week.tags),
        authors=week.authors,
        hours_counted=hours_counted,
        hours_changed=hours_changed,
        rows_written=rows_written,
        unreadable=unreadable,
    )


# ----------------------------------------------------------------------------------------------------------------------
# Hours and their tallies
# ----------------------------------------------------------------------------------------------------------------------


def _hour(time: datetime) -> datetime:
    return time.replace(minute=0, second=0, microsecond=0)


def _day(hour: datetime) -> str:
    return f"{hour:%Y-%m-%d}"


def _hours_to_count(until: datetime, last: datetime | None) -> list[datetime]:
    """The hours of the week before `until` that are counted from the posts: those since the last run, and its slices.

    Before that three hours, and a slice for each hour since, so that one that a missed run had to count is counted.
    """
    hours = [until - HOUR * ago for ago in range(WEEK // HOUR, 0, -1)]
    if last is None:
        return hours
    per_slice = len(hours) // SLICES
    turns = {(_number(until) - missed) % SLICES for missed in range(max(1, (until - _hour(last)) // HOUR))}
    since = last - COUNTED_AGAIN
    return [hour for hour in hours if hour >= since or _number(hour) // per_slice % SLICES in turns]


def _number(hour: datetime) -> int:
    return int(hour.timestamp()) // 3600


def _count_posts(hours: Sequence[datetime], broken: Broken) -> Iterator[tuple[datetime, Tally]]:
    """Each hour's tally, counted from its public posts; hours that follow each other are read in one go."""
    start = 0
    for end in range(1, len(hours) + 1):
        if end < len(hours) and hours[end] == hours[end - 1] + HOUR and _day(hours[end]) == _day(hours[start]):
            continue
        read: dict[datetime, dict[str, Counter[str]]] = {hour: defaultdict(Counter) for hour in hours[start:end]}
        for post in _tagged_posts(hours[start], hours[end - 1] + HOUR, broken):
            for tag in sorted(post.hashtags)[: hashtags.MOST_TAGS]:  # rows that are older may have more
                read[_hour(post.tagged_at)][tag][post.author_id] += 1
        yield from read.items()
        start = end


def _tagged_posts(start: datetime, end: datetime, broken: Broken) -> Iterator[Post]:
    """The public posts with hashtags from `start` up to but not including `end`, both on one day."""
    for partition in day_keys(start.date()):
        times = Post.tagged_at.between(start, end - timedelta(microseconds=1))
        posts = each(Post.tagged_by_day.query(partition, times), broken, needs=["author_id"])
        yield from (post for post in posts if post.visibility == "public" and post.hashtags)


def _tallies(until: datetime, broken: Broken) -> dict[datetime, Tally]:
    """The stored tallies of the week before `until`, by hour."""
    first = until - WEEK
    tallies: dict[datetime, dict[str, dict[str, int]]] = {}
    for days in range(8):
        day = first + timedelta(days=days)
        for chunk, content in _unpacked(_day(day), broken):
            hour = day.replace(hour=int(chunk[1:3]))
            if first <= hour < until:
                tally = tallies.setdefault(hour, {})
                for tag, authors in content.items():
                    tally.setdefault(tag, {}).update(authors)
    return dict(tallies)


def _unpacked(period: str, broken: Broken) -> Iterator[tuple[str, Any]]:
    """The names and contents of a period's chunks that can be read."""
    for row in each(HashtagTally.query(period, consistent_read=True), broken):
        try:
            yield row.chunk, row.unpack()
        except Unreadable as error:
            broken(error)


def _split_tally(tally: Tally) -> list[Any]:
    """A tally in chunks that rows can hold."""
    entries = sorted((tag, author, posts) for tag, authors in tally.items() for author, posts in authors.items())
    chunks = []
    for some in _chunked(entries):
        chunk: dict[str, dict[str, int]] = {}
        for tag, author, posts in some:
            chunk.setdefault(tag, {})[author] = posts
        chunks.append(chunk)
    return chunks


# ----------------------------------------------------------------------------------------------------------------------
# Weeks, rows and the ranking
# ----------------------------------------------------------------------------------------------------------------------


def _week_before(until: datetime, number: int, now: datetime, full: bool, broken: Broken) -> Week:
    """The week that ended so many weeks before the last midnight, as it was counted then, or else from its posts."""
    end = until.replace(hour=0) - WEEK * number
    stored = None if full else _load_week(end, broken)
    if stored is None:
        hours = [end - HOUR * ago for ago in range(WEEK // HOUR, 0, -1)]
        stored = count(tally for _, tally in _count_posts(hours, broken))
        _save_week(end, stored, now)
    return stored


def _load_week(end: datetime, broken: Broken) -> Week | None:
    """A week as it was stored; None where it was not, or not all of it can be read."""
    unread: list[Unreadable] = []
    chunks = [chunk for _, chunk in _unpacked(_week_key(end), unread.append)]
    for error in unread:
        broken(error)
    if not chunks or unread:
        return None
    tags = {tag: Tag(*counts) for chunk in chunks for tag, counts in chunk["tags"].items()}
    return Week(chunks[0]["authors"], tags)


def _save_week(end: datetime, week: Week, now: datetime) -> None:
    entries = [(tag, [week.tags[tag].shown, week.tags[tag].authors, week.tags[tag].posts]) for tag in sorted(week.tags)]
    empty = {"authors": 0, "tags": {}}  # a week without hashtags is known to be one
    chunks = [{"authors": week.authors, "tags": dict(some)} for some in _chunked(entries)] or [empty]
    _save_chunks(_week_key(end), "", chunks, now, end + WEEKS_KEPT)
    _delete_chunks(_week_key(end), "", len(chunks), now)


def _week_key(end: datetime) -> str:
    return f"week to {end:%Y-%m-%dT%H}"


def _board() -> TrendingHashtags | None:
    try:
        return TrendingHashtags.get("#", consistent_read=True)
    except TrendingHashtags.DoesNotExist:
        return None


def _save_rows(
    week: Week, trending: Sequence[Trend], board: TrendingHashtags | None, now: datetime, broken: Broken
) -> int:
    """Write the rows of the hashtags whose counts or mark differ from the last run's; return how many."""
    marked = {trend.tag for trend in trending}
    was_marked: dict[str, str] = {}
    old: Mapping[str, Tag] = {}
    if board:
        was_marked = {entry["tag"]: entry["shown"] for entry in board.tags}
        old_week = _load_week(_hour(board.as_of), broken)
        old = old_week.tags if old_week else {}
    rows: list[Hashtag] = []
    for tag in sorted({*was_marked, *old, *week.tags}):
        before, after = old.get(tag), week.tags.get(tag)
        if before == after and (tag in marked) == (tag in was_marked):
            continue
        unused = Tag(before.shown if before else was_marked.get(tag, tag), authors=0, posts=0)
        row = Hashtag(tag, **asdict(after or unused), trending=tag in marked, as_of=now)
        if not after:
            row.expires = now + UNUSED_KEPT
        rows.append(row)
    return _save_all(rows)


def _save_all(rows: Sequence[Hashtag]) -> int:
    """Write rows, a hundred to a transaction, but for those that a newer run has written; return how many."""
    written = 0
    for start in range(0, len(rows), MOST_IN_A_TRANSACTION):
        saves = [Save(row, _not_newer(row)) for row in rows[start : start + MOST_IN_A_TRANSACTION]]
        while saves and (unmet := write_together(*saves)):
            saves = [save for save in saves if save not in unmet]
        written += len(saves)
    return written


def _save(row: TrendingHashtags | HashtagTally) -> bool:
    """Write a row unless a newer run has; return whether it was written."""
    return save_if(row, _not_newer(row))


def _not_newer(row: Hashtag | TrendingHashtags | HashtagTally) -> Condition:
    as_of = type(row).as_of
    older: Condition = as_of.does_not_exist() | (as_of <= row.as_of)
    return older


# ----------------------------------------------------------------------------------------------------------------------
# Chunks: what is larger than one row
# ----------------------------------------------------------------------------------------------------------------------


def _chunked(entries: Sequence[T]) -> list[Sequence[T]]:
    """Entries by as many as fit a row."""
    return [entries[at : at + ENTRIES_IN_A_CHUNK] for at in range(0, len(entries), ENTRIES_IN_A_CHUNK)]


def _save_chunks(period: str, prefix: str, chunks: Sequence[Any], now: datetime, expires: datetime) -> None:
    """Write chunks, numbered under a prefix."""
    for number, chunk in enumerate(chunks):
        packed = HashtagTally.pack(chunk)
        _save(HashtagTally(period, f"{prefix}#{number:03}", packed=packed, as_of=now, expires=expires))


def _delete_chunks(period: str, prefix: str, first: int, now: datetime) -> None:
    """Delete the chunks from a number on, which a larger whole has left, but for those of a newer run."""
    left = HashtagTally.chunk.between(f"{prefix}#{first:03}", f"{prefix}#999")
    for row in HashtagTally.query(period, left, consistent_read=True, attributes_to_get=["period", "chunk", "as_of"]):
        if row.as_of <= now:
            row.delete()


lambda_handler = handle.lambda_handler
