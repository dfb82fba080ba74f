"""How a user is erased: everywhere, with every copy of what they wrote, and what names them."""

import json
import re
from collections.abc import Iterator, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from backbeat import letters
from backbeat.aws import dynamodb
from backbeat.mail import digest
from backbeat.models import (
    ACTIVITY_KEPT,
    Activity,
    Changed,
    Comment,
    DayCounts,
    Delivery,
    ErasedUser,
    Follow,
    HashtagTally,
    Like,
    Notification,
    Post,
    Report,
    RunRecord,
    Token,
    Update,
    User,
    day_key,
    delete_all,
    each,
    readable,
    reports_bucket,
    write_together,
)
from backbeat.models.arguments import checked
from backbeat.models.users import here
from backbeat.posts import archive, files
from backbeat.posts.hashtags import fold
from backbeat.tasks import TASKS

ERASED = "(erased)"
"""What stands in the ledger in place of an erased user's id."""


@dataclass(frozen=True, slots=True)
class Erased:
    """What was deleted with a user, by kind.

    Attributes:
        user: Whether their own row was there.
        archived: Posts, comments and likes of theirs in the archive of deleted posts.
        reports: Daily reports that showed a post of theirs.
        letters: Dead letters that named them.
        runs: Rows of the ledger that named them, and do no longer.
    """

    user: bool
    follows: int
    likes: int
    comments: int
    posts: int
    tokens: int
    notifications: int
    archived: int
    reports: int = 0
    letters: int = 0
    runs: int = 0


@checked
def erase(user_id: str, *, at: datetime) -> Erased:
    """Delete a user everywhere, with all they wrote, all their files, and all that is kept about them.

    Whoever is left keeps true counts. It may be repeated, and goes on where it was cut off; the user's own
    row goes last. What stays is that they were erased, as a hash of their id. A user who does not exist is no error
    here: what was left of them is looked for all the same.
    They have left first (`app.leaving`), so that they write nothing meanwhile, and nobody follows them.

    The stack's buckets are found in the environment: `MEDIA_BUCKET`, `UPLOADS_BUCKET`, `ARCHIVE_BUCKET` and, where a
    report shows a post of theirs, `REPORTS_BUCKET`; its queues by `BACKBEAT_STACK`. The archive, the ledger, the
    tallies of hashtags and the notifications are read whole, so this takes the longer the more there is of them.

    Raises:
        LookupError: The environment does not name a bucket; nothing was deleted.
    """
    files.buckets(), archive.bucket()
    reports = Report.showing(user_id)
    if reports:
        reports_bucket()
    ErasedUser.of(user_id).save()  # first, so that nothing of them comes back, and late messages about them are known
    write_together(Update(User(user_id), [User.deleted_at.set(at)], here()))
    archived, archived_ids = archive.forget(user_id)
    _forget_activity(user_id, at)
    follows = sum(User.unfollow(user_id, row.followed_id, at=at) for row in each(Follow.query(user_id)))
    follows += sum(User.unfollow(row.follower_id, user_id, at=at) for row in Follow.by_followed.query(user_id))
    likes = sum(Post.unlike(row.post_id, user_id, at=at) for row in Like.by_user.query(user_id))
    comments = sum(Post.uncomment(row.post_id, row.comment_id, at=at) for row in Comment.by_author.query(user_id))
    # What was restored just now need not be in the index yet.
    restored = readable(Post, archived_ids, consistent_read=True, attributes_to_get=["post_id"])
    post_ids = sorted({row.post_id for rows in (Post.by_author.query(user_id), restored) for row in rows})
    tagged = readable(Post, post_ids, attributes_to_get=["post_id", "hashtags"])
    HashtagTally.forget(user_id, {fold(tag) for post in tagged for tag in post.hashtags or ()})
    posts = sum(Post.remove(post_id, at=at) for post_id in post_ids)
    for report in reports:
        report.forget(user_id)
    tokens = delete_all(Token, Token.query(user_id, attributes_to_get=["user_id", "token_id"]))
    keys = ["user_id", "notification_id"]
    notifications = delete_all(Notification, Notification.query(user_id, attributes_to_get=keys))
    notifications += delete_all(Notification, _notifications_about(user_id))
    archive.unlist(set(post_ids))
    letters = _forget_letters(user_id, post_ids)
    runs = _forget_runs(user_id, archived_ids | set(post_ids))
    joined = [user.day for user in User.query(user_id, attributes_to_get=["user_id", "day"])]
    # One week more at each end: rows go some days after they expire, and a week may have just begun.
    weeks = [at - week * digest.WEEK for week in range(-1, digest.KEPT // digest.WEEK + 3)]
    digest.unlist(weeks, archived_ids | set(post_ids))
    mails = [f"welcome:{user_id}", *(digest.delivery_id(user_id, week) for week in weeks)]
    delete_all(Delivery, (Delivery(mail) for mail in mails))
    User(user_id).delete()
    DayCounts.mark(joined)
    return Erased(
        bool(joined), follows, likes, comments, posts, tokens, notifications, archived, len(reports), letters, runs
    )


def _forget_activity(user_id: str, at: datetime) -> None:
    """Delete what is known of the days on which a user was active: the last, and those on which they made something."""
    made: list[Any] = [*each(User.query(user_id)), *each(Follow.query(user_id))]
    made += readable(Post, [row.post_id for row in Post.by_author.query(user_id)])
    made += readable(Comment, [(row.post_id, row.comment_id) for row in Comment.by_author.query(user_id)])
    made += readable(Like, [(row.post_id, row.user_id) for row in Like.by_user.query(user_id)])
    times = [row.created_at for row in made if row.created_at]
    times += [at - timedelta(days=days) for days in range(-1, ACTIVITY_KEPT.days + 10)]
    days = sorted({day_key(time, user_id) for time in times})
    delete_all(Activity, (Activity(day, user_id) for day in days))


def _naming(user_id: str, *, strictly: bool = False) -> re.Pattern[str]:
    """Where a text names a user: by their id as a word or, if it is short or a number, in quotes or behind a sign.

    A time is full of numbers behind signs, and names nobody: `@2026-11-02T09:30:00Z`.
    """
    before = r"(?<=['\"/:@=])" if strictly or len(user_id) < 4 or user_id.isdigit() else r"(?<![0-9A-Za-z_])"
    no_time = r"(?<!T\d\d:)(?<!T\d\d:\d\d:)"
    return re.compile(rf"{before}{no_time}{re.escape(user_id)}(?![0-9A-Za-z_])(?!-\d\d-\d\d)")


def _without(value: Any, user_id: str, pattern: re.Pattern[str]) -> Any:
    """A JSON value in which no text names a user."""
    match value:
        case str():
            return ERASED if value == user_id else pattern.sub(ERASED, value)
        case list():
            return [_without(item, user_id, pattern) for item in value]
        case dict():
            return {_without(key, user_id, pattern): _without(item, user_id, pattern) for key, item in value.items()}
    return value


def _notifications_about(user_id: str) -> Iterator[Notification]:
    """What others were told whose link, or whose text by an `@` or quotes, names a user."""
    pattern = _naming(user_id, strictly=True)
    about = Notification.text.contains(user_id) | Notification.link.contains(user_id)
    for row in each(Notification.scan(filter_condition=about), needs=["text"]):
        if pattern.search(row.text) or pattern.search(row.link or ""):
            yield row


def _forget_letters(user_id: str, post_ids: list[str]) -> int:
    """Delete the dead letters that name a user or an upload for a post of theirs; return how many.

    Letters are received to be looked at, so all of them are hidden from others meanwhile.
    """
    pattern = _naming(user_id)
    uploads = tuple(f"posts/{post_id}/" for post_id in post_ids)
    found = 0
    for task in TASKS.values():
        if not letters.number(task):
            continue
        with letters.looking(task) as look:
            for page in look.pages():
                theirs = [
                    letter
                    for letter in page
                    if _names(letter.raw, user_id, pattern, uploads)
                    or any(map(pattern.search, letter.attributes.values()))
                ]
                found += len(theirs) - len(look.remove(theirs))
    return found


def _names(body: str, user_id: str, pattern: re.Pattern[str], uploads: tuple[str, ...]) -> bool:
    """Whether a message names a user or an upload of theirs; one that is no JSON is looked at as a text."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        content = body
    text = json.dumps(content, ensure_ascii=False)
    return _without(content, user_id, pattern) != content or any(upload in text for upload in uploads)


def _forget_runs(user_id: str, post_ids: Set[str]) -> int:
    """Take a user's id and the names of their files out of the ledger, and the id out of what runs in parts have kept.

    Returns:
        How many rows that were.
    """
    table, pattern, found = RunRecord.Meta.table_name, _naming(user_id), 0
    texts, plain = ("result", "spec", "tally", "cursor", "arguments"), ("error", "about", "discarded")
    names = {f"#{number}": name for number, name in enumerate((*texts, *plain, "run_id"))}
    values = {":id": {"S": user_id}, ":escaped": {"S": json.dumps(user_id)[1:-1]}}
    pages = (
        dynamodb()
        .get_paginator("scan")
        .paginate(
            TableName=table,
            FilterExpression=" OR ".join(
                ["attribute_exists(about)", *(f"contains({name}, {value})" for name in names for value in values)]
            ),
            ExpressionAttributeNames=names,
            ExpressionAttributeValues=values,
        )
    )
    for item in (item for page in pages for item in page["Items"]):
        key: Any = {name: item[name] for name in ("task_day", "run_id")}
        if item["task_day"]["S"].startswith(Changed.PREFIX):
            found += Changed(item["task_day"]["S"], item["run_id"]["S"]).forget(user_id, ERASED)
            continue
        if _without(item["run_id"]["S"], user_id, pattern) != item["run_id"]["S"]:
            dynamodb().delete_item(TableName=table, Key=key)
            found += 1
            continue
        file = item.get("about", {}).get("S", "")
        is_theirs = file.startswith("posts/") and file.split("/")[1] in post_ids
        changed: dict[str, str] = {}
        for name in (name for name in (*texts, *plain) if "S" in item.get(name, {})):
            kept = item[name]["S"]
            content = json.loads(kept) if name in texts else kept
            without = _without(content, user_id, pattern)
            if is_theirs and name in plain:
                without = without.replace(file, ERASED)
            if without != content:
                changed[name] = json.dumps(without) if name in texts else without
        for name, value in changed.items():
            dynamodb().update_item(
                TableName=table,
                Key=key,
                UpdateExpression="SET #name = :value",
                ConditionExpression="attribute_exists(run_id)",
                ExpressionAttributeNames={"#name": name},
                ExpressionAttributeValues={":value": {"S": value}},
            )
        found += bool(changed)
    return found
