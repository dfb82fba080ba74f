"""Who used which hashtag in a week, and which hashtags rise above their own past. Everything here is pure."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from heapq import nsmallest
from math import log
from typing import Any

from backbeat.posts import hashtags

MOST_HELD = 1_000_000
"""People, and pairs of a person and a tag, that one invocation holds: 240 MB, and less again to rank them."""
LEAST_AUTHORS = 2
"""Nobody trends alone."""
CHANCE = 3.84
"""The score that a tag without any rise reaches once in twenty times: chi-squared, one degree of freedom, p = 0.05."""
ANYONE = ""
"""What stands for a tag in an entry that says that somebody used any."""

Entry = tuple[str, str, int]
"""A tag's spelling or `ANYONE`, who used it, and in how many posts."""


fold = lru_cache(100_000)(hashtags.fold)


@lru_cache(100_000)
def path(text: str) -> str:
    """Where a tag, by its folded form, or a person lies: 32 binary digits. A *bucket* is what begins in one way."""
    return f"{int.from_bytes(blake2b(text.encode(), digest_size=4).digest()):032b}"


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
    """The hashtags of seven days, or of a bucket of them.

    Attributes:
        authors: How many people used any; of a bucket, the people in it.
        tags: Each by its folded form.
    """

    authors: int
    tags: Mapping[str, Tag]


@dataclass(frozen=True, slots=True)
class Share:
    """What some of its people, whom no other share has, made of one hashtag; shares add up.

    Attributes:
        authors: How many of them used it.
        posts: In how many posts.
        spellings: How many of them wrote it how.
    """

    authors: int
    posts: int
    spellings: Mapping[str, int]

    def tag(self) -> Tag:
        """The hashtag, where the share is the whole."""
        shown = min(self.spellings, key=lambda spelling: (-self.spellings[spelling], spelling))
        return Tag(shown, self.authors, self.posts)


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


class TooMany(Exception):
    """There is more than one invocation is to hold."""


@dataclass
class Union:
    """Unites the entries of a week's hours: whoever used a tag in several of them is one author.

    Where there are more than it may hold, it sets a tag aside that makes up a quarter of them or more.

    Attributes:
        bucket: What lies elsewhere is passed over.
        passed: Tags that are passed over, too.
        only: Of a tag, and of one of how many shares of its people: all others are passed over.
        aside: Tags that were set aside, with how many entries each had.
    """

    bucket: str = ""
    passed: Collection[str] = ()
    only: tuple[str, int, int] | None = None
    aside: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._pairs: set[tuple[str, str]] = set()  # of a spelling and a person; a set for each tag would be larger
        self._posts: Counter[str] = Counter()
        self._people: set[str] = set()

    def add(self, entries: Iterable[Entry]) -> None:
        """Add some entries.

        Raises:
            TooMany: There are more than one invocation is to hold, of many tags.
        """
        for shown, author, posts in entries:
            if shown == ANYONE:
                if not self.only and (not self.bucket or path(author).startswith(self.bucket)):
                    self._people.add(author)
                continue
            tag = fold(shown)
            if self.only:
                name, share, shares = self.only
                if tag != name or int(path(author), 2) % shares != share:
                    continue
            elif tag in self.passed or (self.bucket and not path(tag).startswith(self.bucket)):
                continue
            if tag in self.aside:
                self.aside[tag] += 1
            else:
                self._pairs.add((shown, author))
                self._posts[tag] += posts
        while not self.only and len(self._pairs) + len(self._people) > MOST_HELD:
            self._set_aside()

    def _set_aside(self) -> None:
        ((tag, number),) = Counter(fold(shown) for shown, _ in self._pairs).most_common(1) or [("", 0)]
        if number * 4 < MOST_HELD:
            raise TooMany(f"more than {MOST_HELD} people and tags in bucket {self.bucket!r}")
        self.aside[tag] = number
        self._pairs = {pair for pair in self._pairs if fold(pair[0]) != tag}
        del self._posts[tag]

    def shares(self) -> dict[str, Share]:
        """What its people made of each hashtag that it has not set aside."""
        spellings: dict[str, dict[str, int]] = {}
        for shown, number in Counter(shown for shown, _ in self._pairs).items():
            spellings.setdefault(fold(shown), {})[shown] = number
        several: dict[str, set[str]] = {tag: set() for tag, written in spellings.items() if len(written) > 1}
        for shown, author in self._pairs:
            if (tag := fold(shown)) in several:
                several[tag].add(author)
        united = {tag: len(of) for tag, of in several.items()}
        return {
            tag: Share(united.get(tag) or sum(written.values()), self._posts[tag], written)
            for tag, written in spellings.items()
        }

    def week(self) -> Week:
        """What it comes to, without what was set aside."""
        return Week(len(self._people), {tag: share.tag() for tag, share in self.shares().items()})


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


def rank(week: Week, past: Mapping[str, int], of_before: int, most: int) -> list[Trend]:
    """Of the tags that at least two people used, the first ones: those that rise most above their own past.

    A rise that chance alone would explain once in twenty times counts as none, so a large tag that is always there
    does not come before a small one that is new. Of equal scores, also where nothing rises or no earlier week
    is known, the tag of more people comes first, then the first in order.

    Args:
        week: The tags to rank, of the seven days or of a bucket of them, and the people of all of them.
        past: How many people used each in the weeks before, summed up, as far as they are known.
        of_before: How many people used any tag in them, summed up.
        most: How many trends there are at most.
    """
    trends = (_trend(tag, of, week.authors, past.get(tag, 0), of_before) for tag, of in week.tags.items())
    return nsmallest(most, (trend for trend in trends if trend.authors >= LEAST_AUTHORS), key=_place)


def first(trends: Iterable[Mapping[str, Any]], most: int) -> list[Mapping[str, Any]]:
    """The first of the trends of several buckets, each as JSON."""
    return nsmallest(most, trends, key=lambda trend: _place(Trend(**trend)))


def _place(trend: Trend) -> tuple[float, int, str]:
    return -trend.score, -trend.authors, trend.tag


def _trend(tag: str, now: Tag, of: int, before: int, of_before: int) -> Trend:
    usual = before * of / of_before if of_before else None
    score = surprise(now.authors, of, before, of_before)
    if score < CHANCE:
        score = 0.0
    return Trend(tag, now.shown, now.authors, now.posts, usual, score, _why(now, usual, score))


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
