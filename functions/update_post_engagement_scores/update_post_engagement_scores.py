"""update_post_engagement_scores: how much a post was engaged with, fading with its age.

A score changes while its post is under ten days old, as it fades then, and whenever a count of it changes. So a run
reads the posts that were under ten days old at the last run, or are now, and those that were touched since, and writes
where the score differs.
With `full=true` it reads all posts, as is needed once after older ones were imported, or the formula was changed.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from backbeat.models import Changed, Post, readable, update_if
from backbeat.runtime import InParts, Run, implementation
from backbeat.sweeps import (
    Json,
    PartDone,
    Tally,
    Worked,
    add_up,
    advance,
    as_read,
    bounded,
    held,
    in_parts,
    last_run,
    named,
    not_newer,
    note_in,
    partitions,
    spread,
    walk,
    watermark,
)
from backbeat.tasks import update_post_engagement_scores

VERSION = 1
"""The version of the formula; it is stored with each score, and goes up when the formula changes."""
YOUNG = timedelta(days=10)
"""Until this age a score fades."""
COUNTS = (Post.likes_count, Post.comments_count, Post.shares_count, Post.views_count)
TRIES = 3


@dataclass(frozen=True, slots=True)
class PostsScored:
    """What a run did.

    Attributes:
        posts: Posts examined.
        changed: Posts whose score was not what it should be, and is now.
        busy: Posts left for the next run, as their counts kept changing.
        unreadable: Posts whose rows cannot be read; the log names them.
    """

    posts: int
    changed: int
    busy: int
    unreadable: int


@implementation(update_post_engagement_scores)
def handle(run: Run, full: bool = False, only: list[str] | None = None) -> PostsScored | InParts | PartDone:
    """Score the posts that are young or were touched, or all, or only some."""

    def work(spec: Json, cursor: Json | None, tally: Tally) -> Worked:
        if "only" in spec:
            return named(Post, spec, lambda page, tally: rescore(page, run.now, None, tally))
        index: Any = getattr(Post, spec["index"])
        made_before = spec.get("made_before")
        return walk(run, index, spec, cursor, tally, lambda page, tally: rescore(page, run.now, made_before, tally))

    def finish(tallies: list[Tally]) -> PostsScored:
        if not only:
            advance(run.task.name, run.now)
        total = add_up(tallies)
        return PostsScored(total["posts"], total["changed"], total["busy"], total["unreadable"])

    return in_parts(run, plan=lambda: bounded(only) if only else plan(run, full), work=work, finish=finish)


def plan(run: Run, full: bool) -> list[Json]:
    """The partitions of the posts that were young at the last run, and of those that were touched since; or of all.

    Before the first run, posts that are older and untouched have no score, and no count that could give them one.
    """
    until = watermark(run.task.name)
    if full or (until and last_run(run.task.name, run.now) is None):
        return spread("by_day", held(Post.by_day, "day", run.now.date()))
    young_since = (min(until or run.now, run.now) - YOUNG).date()
    touched_since = (until - timedelta(hours=1)).date() if until else young_since
    # The young are found by their day, so the others leave them out.
    touched = spread("by_touch", partitions(touched_since, run.now.date()))
    return [
        *spread("by_day", partitions(young_since, run.now.date())),
        *({**part, "made_before": f"{young_since}"} for part in touched),
    ]


def engagement_score(likes: float, comments: float, shares: float, views: float, age: timedelta) -> float:
    """How much a post was engaged with, fading with its age.

    (likes x 3 + comments x 5 + shares x 7 + views) x max(0.1, 1 - 0.1 x whole days old), as docs/sweeps.md has it,
    in tenths, so that no score depends on how a machine rounds. A post of the future is not old.
    """
    days = max(0, age // timedelta(days=1))
    return int(likes * 3 + comments * 5 + shares * 7 + views) * max(1, 10 - days) / 10


def rescore(page: list[Post], now: datetime, made_before: str | None, tally: Counter[str]) -> None:
    """Score a page of posts (of those made before a day, where one is given), and write the scores that differ."""
    for post in readable(Post, [row.post_id for row in page], note_in(tally), needs=["created_at"]):
        if made_before and post.day and post.day.partition("#")[0] >= made_before:
            continue
        tally["posts"] += 1
        tally[write(post, now)] += 1


def write(post: Post, now: datetime) -> str:
    """Write a post's score where it differs; return what came of it."""
    for _ in range(TRIES):
        if post.score_as_of and post.score_as_of > now:
            return "newer"
        counts = (post.likes_count, post.comments_count, post.shares_count, post.views_count)
        score = engagement_score(*counts, now - post.created_at)
        if (post.score, post.score_version) == (score, VERSION):
            return "same"
        as_found = not_newer(Post.score_as_of, now) & Post.post_id.exists()
        for attribute, count in zip(COUNTS, counts, strict=True):
            as_found &= as_read(attribute, count)
        actions = [Post.score.set(score), Post.score_version.set(VERSION), Post.score_as_of.set(now)]
        Changed.note("post", post.post_id)
        if update_if(post, actions, as_found):
            return "changed"
        try:
            post.refresh(consistent_read=True)
        except Post.DoesNotExist:
            return "gone"
    return "busy"


lambda_handler = handle.lambda_handler
