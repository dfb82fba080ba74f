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
    SECONDS_TO_STOP,
    Json,
    PartDone,
    Tally,
    Unfinished,
    Worked,
    add_up,
    advance,
    as_read,
    bounded,
    in_parts,
    last_run,
    named,
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
LARGE = 20_000
"""Of so many follows or posts, a user is counted by a part of their own. An index gives some 10,000 keys to a call, so
that a page of users is a few hundred calls at most."""
KEYS = ("follower_id", "followed_id", "post_id")
"""What is read of a follower, of somebody followed, and of a post, to count them."""
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
def handle(run: Run, full: bool = False, only: list[str] | None = None) -> UsersCounted | InParts | PartDone:
    """Recount who was touched, and tonight's slice, or everyone, or only some."""

    def work(spec: Json, cursor: Json | None, tally: Tally) -> Worked:
        if "user" in spec:
            return recount_large(run, spec["user"], spec["touched"], cursor, tally)
        if "only" in spec:
            return named(User, spec, lambda page, tally: recount(page, run.now, tally, touched=False))
        index: Any = getattr(User, spec["index"])
        return walk(
            run,
            index,
            spec,
            cursor,
            tally,
            lambda page, tally: recount(page, run.now, tally, spec["index"] == "by_touch"),
        )

    def finish(tallies: list[Tally]) -> UsersCounted:
        if not only:
            advance(run.task.name, run.now)
        total = add_up(tallies)
        return UsersCounted(**{name: total[name] for name in ("users", "changed", "drift", "busy", "unreadable")})

    return in_parts(run, plan=lambda: bounded(only) if only else plan(run, full), work=work, finish=finish)


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


def recount(page: list[User], now: datetime, tally: Counter[str], touched: bool) -> list[Json]:
    """Recount a page of users, and correct those whose counts are not true; return parts for those of many rows.

    Who was touched is listed as changed all the same: an application shows the counts of the last run.
    """
    large: list[Json] = []
    for user in readable(User, [row.user_id for row in page], note_in(tally)):
        if is_busy(user, now):
            tally["users"] += 1
            tally["busy"] += 1
            continue
        true = [count(user.user_id, limit=LARGE) for count in counters()]
        if max(true) >= LARGE:
            large.append({"user": user.user_id, "touched": touched})
        else:
            tally["users"] += 1
            tally.update(settle(user, true, found_in(user), now, touched))
    return large


def recount_large(run: Run, user_id: str, touched: bool, cursor: Json | None, tally: Tally) -> Worked:
    """Recount one user of many rows, as far as time allows."""
    if cursor is None:
        counted = Counter(tally)
        user = next(readable(User, [user_id], note_in(counted)), None)
        if user is None:
            return counted
        if is_busy(user, run.now):
            return {"users": 1, "busy": 1}
        at = user.touched_at and user.touched_at.isoformat()
        cursor = {"true": [0, 0, 0], "kind": 0, "last": None, "found": list(map(int, found_in(user))), "touched_at": at}
    indexes: Any = (Follow.by_followed, Follow, Post.by_author)
    while cursor["kind"] < len(indexes):
        rows = indexes[cursor["kind"]].query(
            user_id, last_evaluated_key=cursor["last"], limit=LARGE, attributes_to_get=[KEYS[cursor["kind"]]]
        )
        cursor["true"][cursor["kind"]] += sum(1 for _ in rows)
        cursor["last"] = rows.last_evaluated_key
        if cursor["last"] is None:
            cursor["kind"] += 1
        if cursor["kind"] < len(indexes) and run.seconds_left < SECONDS_TO_STOP:
            return Unfinished(cursor, dict(tally))
    user = User(user_id, touched_at=cursor["touched_at"] and datetime.fromisoformat(cursor["touched_at"]))
    return Counter({"users": 1}) + settle(user, cursor["true"], cursor["found"], run.now, touched)


def is_busy(user: User, now: datetime) -> bool:
    """Whether a user was touched so late that the indexes may not show it."""
    return bool(user.touched_at and user.touched_at > now - SETTLED)


def counters() -> tuple[Any, ...]:
    """What counts a user's followers, whom they follow, and their posts."""
    return Follow.by_followed.count, Follow.count, Post.by_author.count


def found_in(user: User) -> tuple[float, float, float]:
    """The counts that a user's row has."""
    return user.followers_count, user.following_count, user.posts_count


def settle(user: User, true: Sequence[float], found: Sequence[float], now: datetime, touched: bool) -> Counter[str]:
    """Note that a user has changed, and correct them, where that is so; return what is to be counted of it."""
    drift = sum(abs(int(is_) - int(was)) for is_, was in zip(true, found, strict=True))
    if drift or touched:
        Changed.note("user", user.user_id)
    if not drift:
        return Counter()
    return Counter(changed=1, drift=drift) if correct(user, true, found, now) else Counter(busy=1)


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
