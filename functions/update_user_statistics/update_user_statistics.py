"""update_user_statistics: followers_count, following_count and posts_count made true.

The models' methods keep the counts. This repairs what they cannot see: rows that an application wrote by itself, and
mistakes of any kind. It recounts the users who were touched since the last run, and a slice of all users, a
different one each night for 28 nights; `full=true`, or the very first run, recounts everyone.

A follow that happens meanwhile is never lost. Indexes lag behind their tables, so a user who was touched within five
minutes of the run is left for the next one; and a correction is written only if neither the counts nor the time of
the last touch have changed since they were read.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pynamodb.expressions.update import Action

from backbeat.models import Changed, Follow, Post, User, readable, slice_keys, update_if
from backbeat.runtime import InParts, Run, implementation
from backbeat.sweeps import (
    Json,
    PartDone,
    Tally,
    Unfinished,
    add_up,
    advance,
    as_read,
    in_parts,
    last_run,
    not_newer,
    note_in,
    partitions,
    spread,
    walk,
)
from backbeat.tasks import update_user_statistics

NIGHTS = 28
"""In how many nights every user is recounted once."""
SETTLED = timedelta(minutes=5)
"""How long ago a user must have been touched for the indexes to show it. They lag by a fraction of a second ("Global
secondary indexes: eventual consistency", DynamoDB developer guide), without a bound that is promised."""
COUNTS = (User.followers_count, User.following_count, User.posts_count)


@dataclass(frozen=True, slots=True)
class UsersCounted:
    """What a run found.

    Attributes:
        users: Users examined.
        changed: Users whose counts were wrong and are now true.
        drift: By how much they were wrong: the differences, summed up without their signs.
        busy: Users left for the next run, as they were touched while, or just before, they were recounted.
        unreadable: Users whose rows cannot be read; the log names them.
    """

    users: int
    changed: int
    drift: int
    busy: int
    unreadable: int


@implementation(update_user_statistics)
def handle(run: Run, full: bool = False) -> UsersCounted | InParts | PartDone:
    """Recount who was touched, and tonight's slice, or everyone."""

    def work(spec: Json, cursor: Json | None, tally: Tally) -> Tally | Unfinished:
        index: Any = getattr(User, spec["index"])
        return walk(
            run,
            index,
            spec["keys"],
            cursor,
            tally,
            lambda page, tally: recount(page, run.now, tally, spec["index"] == "by_touch"),
        )

    def finish(tallies: list[Tally]) -> UsersCounted:
        advance(run.task.name, run.now)
        total = add_up(tallies)
        return UsersCounted(**{name: total[name] for name in ("users", "changed", "drift", "busy", "unreadable")})

    return in_parts(run, plan=lambda: plan(run, full), work=work, finish=finish)


def plan(run: Run, full: bool) -> list[Json]:
    """The partitions of the users who were touched since the watermark, and the slices whose turn has come since."""
    since = last_run(run.task.name, run.now)
    if since is None or full:
        return spread("by_slice", slice_keys())
    tonight, nights = run.now.date().toordinal(), (run.now.date() - since.date()).days
    turns = {(tonight - missed) % NIGHTS for missed in range(max(1, nights))}
    # An hour more, for those who were busy then.
    touched = partitions((since - timedelta(hours=1)).date(), run.now.date())
    return spread("by_touch", touched) + spread(
        "by_slice", [key for number, key in enumerate(slice_keys()) if number % NIGHTS in turns]
    )


def recount(page: list[User], now: datetime, tally: Counter[str], touched: bool) -> None:
    """Recount a page of users, and correct those whose counts are not true.

    Who was touched is listed as changed all the same: an application shows the counts of the last run.
    """
    for user in readable(User, [row.user_id for row in page], note_in(tally)):
        tally["users"] += 1
        if user.touched_at and user.touched_at > now - SETTLED:
            tally["busy"] += 1
            continue
        true = (
            Follow.by_followed.count(user.user_id),
            Follow.count(user.user_id),
            Post.by_author.count(user.user_id),
        )
        found = (user.followers_count, user.following_count, user.posts_count)
        drift = sum(abs(int(is_) - was) for is_, was in zip(true, found, strict=True))
        if drift or touched:
            Changed.note("user", user.user_id)
        if not drift:
            continue
        if correct(user, true, found, now):
            tally["changed"] += 1
            tally["drift"] += int(drift)
        else:
            tally["busy"] += 1


def correct(user: User, true: Sequence[float], found: Sequence[float], now: datetime) -> bool:
    """Write a user's true counts where they differ, unless the user was touched or corrected since they were read."""
    as_found = as_read(User.touched_at, user.touched_at) & not_newer(User.counted_as_of, now) & User.user_id.exists()
    actions: list[Action] = [User.counted_as_of.set(now)]
    for count, is_, was in zip(COUNTS, true, found, strict=True):
        as_found &= as_read(count, was)
        if is_ != was:
            actions.append(count.set(is_))
    return update_if(user, actions, as_found)


lambda_handler = handle.lambda_handler
