"""The tables, as PynamoDB models: what the application writes and the tasks read.

What an application calls are the methods: `User.follow`, `Post.publish`, `Post.like`, ... Each writes a row, the
counts that depend on it, the day keys and `touched_day` in one transaction, so that none is ever true without the
others, and each may be repeated: the second time it changes nothing. `at` is when the application writes; no method
reads the clock.

An application may also write rows itself. `User.new`, `Post.new`, `Comment.new` and `Token.new` make rows with their
day keys set; what counts them is then the application's, or `update_user_statistics`'s.

Table names come from the environment (`POSTS_TABLE`, ...), as the template hands them to each function, or from
`bind`; region, credentials and endpoint are boto3's own.
"""

import itertools
import os
import random
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

import botocore.session
from pynamodb.attributes import (
    BinaryAttribute,
    BooleanAttribute,
    JSONAttribute,
    MapAttribute,
    NumberAttribute,
    NumberSetAttribute,
    TTLAttribute,
    UnicodeAttribute,
    UnicodeSetAttribute,
    UTCDateTimeAttribute,
)
from pynamodb.connection import Connection
from pynamodb.exceptions import DeleteError, PutError, TransactWriteError, UpdateError
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action
from pynamodb.indexes import AllProjection, GlobalSecondaryIndex, IncludeProjection, KeysOnlyProjection
from pynamodb.models import Model
from pynamodb.transactions import TransactWrite

from backbeat import hashtags
from backbeat.posts.files import delete_files, files_of

# PynamoDB makes a botocore session for each model, and each session reads DynamoDB's description anew, which costs a
# cold start more than 0.1 s of processor time per model. One reader serves all.
botocore.session.create_loader = cache(botocore.session.create_loader)


class _Table:
    """What every model's Meta shares: timeouts that fit inside a function's."""

    connect_timeout_seconds = 2
    read_timeout_seconds = 5
    max_retry_attempts = 3


SHARDS = 8
"""Into how many partitions each day of an index is spread, as one takes 1,000 writes a second."""
SLICES = 28 * 8
"""Into how many slices all users are split, eight for each of 28 nights; see `update_user_statistics`."""
ACTIVITY_KEPT = timedelta(days=40)
"""How long it is known who was active on a day."""


def day_key(time: datetime, row_id: str) -> str:
    """The partition of a row in an index by day: `2026-11-01#5`, its UTC day and its shard."""
    return f"{time.astimezone(UTC).date()}#{zlib.crc32(row_id.encode()) % SHARDS}"


def day_keys(day: date) -> list[str]:
    """All partitions of one day in an index by day."""
    return [f"{day}#{shard}" for shard in range(SHARDS)]


def slice_key(user_id: str) -> str:
    """The slice of all users that a user is in: `017`."""
    return f"{zlib.crc32(user_id.encode()) % SLICES:03}"


MOST_TRIES = 10
"""How often a transaction that meets others is tried."""


def save_if(row: Model, condition: Condition) -> bool:
    """Save a row if a condition holds of what is there; return whether it did."""
    return _took_place(lambda: row.save(condition))


def update_if(row: Model, actions: Sequence[Action], condition: Condition) -> bool:
    """Update a row, and read it back, if a condition holds of what is there; return whether it did."""
    return _took_place(lambda: row.update(actions=list(actions), condition=condition))


def delete_if(row: Model, condition: Condition) -> bool:
    """Delete a row if a condition holds of what is there; return whether it did."""
    return _took_place(lambda: row.delete(condition))


def _took_place(write: Callable[[], object]) -> bool:
    """Whether a write took place; it did not where its condition did not hold, and fails for any other reason."""
    try:
        write()
    except (PutError, UpdateError, DeleteError) as error:
        if error.cause_response_code != "ConditionalCheckFailedException":
            raise
        return False
    return True


@cache
def _connection() -> Connection:
    """The process's connection for transactions, which belong to no one table."""
    return Connection(
        connect_timeout_seconds=_Table.connect_timeout_seconds,
        read_timeout_seconds=_Table.read_timeout_seconds,
        max_retry_attempts=_Table.max_retry_attempts,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Check:
    """Of `write_together`: write nothing, but let the rest take place only if a condition holds of a row."""

    model: type[Model]
    key: str
    condition: Condition


@dataclass(frozen=True, slots=True, eq=False)
class Delete:
    """Of `write_together`: delete a row, if a condition holds of it."""

    row: Model
    condition: Condition


@dataclass(frozen=True, slots=True, eq=False)
class Save:
    """Of `write_together`: save a row, if a condition holds of what is there."""

    row: Model
    condition: Condition | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Update:
    """Of `write_together`: update a row, if a condition holds of it."""

    row: Model
    actions: Sequence[Action]
    condition: Condition


Write = Check | Delete | Save | Update


def write_together(*writes: Write) -> list[Write]:
    """Write several rows in one transaction, all or none.

    A transaction that meets another one on the same row is tried up to ten times, as DynamoDB refuses it rather
    than wait.

    Returns:
        The writes whose conditions did not hold, and then nothing was written; none of them where all was.

    Raises:
        TransactWriteError: It failed for any reason but a condition.
    """
    in_order = sorted(writes, key=lambda write: _ORDER.index(type(write)))
    for attempt in itertools.count(1):
        try:
            with TransactWrite(connection=_connection()) as transaction:
                for write in in_order:
                    _add(write, transaction)
        except TransactWriteError as error:
            codes = [reason.code if reason else "None" for reason in error.cancellation_reasons]
            if "ConditionalCheckFailed" in codes and set(codes) <= {"ConditionalCheckFailed", "None"}:
                return [write for write, code in zip(in_order, codes, strict=True) if code != "None"]
            if "TransactionConflict" not in codes or attempt == MOST_TRIES:
                raise
            time.sleep(random.uniform(0, 0.005 * 2**attempt))  # noqa: S311 - a spread, not a secret
        else:
            break
    return []


def _add(write: Write, transaction: TransactWrite) -> None:
    match write:
        case Check(model, key, condition):
            transaction.condition_check(model, key, condition=condition)
        case Delete(row, condition):
            transaction.delete(row, condition)
        case Save(row, perhaps):
            transaction.save(row, perhaps)
        case Update(row, actions, condition):
            transaction.update(row, list(actions), condition)


_ORDER = (Check, Delete, Save, Update)
"""The order in which PynamoDB hands a transaction's writes to DynamoDB, which gives its reasons in that order."""


# ----------------------------------------------------------------------------------------------------------------------
# Users and whom they follow
# ----------------------------------------------------------------------------------------------------------------------


class UsersByDay(GlobalSecondaryIndex["User"]):
    """Users by the day they joined."""

    class Meta:
        index_name = "by_day"
        projection = KeysOnlyProjection()

    day = UnicodeAttribute(hash_key=True)
    user_id = UnicodeAttribute(range_key=True)


class UsersByLogin(GlobalSecondaryIndex["User"]):
    """Users by the day they logged in last."""

    class Meta:
        index_name = "by_login"
        projection = KeysOnlyProjection()

    login_day = UnicodeAttribute(hash_key=True)
    user_id = UnicodeAttribute(range_key=True)


class UsersByTouch(GlobalSecondaryIndex["User"]):
    """Users by the day their counts changed last."""

    class Meta:
        index_name = "by_touch"
        projection = KeysOnlyProjection()

    touched_day = UnicodeAttribute(hash_key=True)
    user_id = UnicodeAttribute(range_key=True)


class UsersBySlice(GlobalSecondaryIndex["User"]):
    """All users, in slices of about the same size."""

    class Meta:
        index_name = "by_slice"
        projection = KeysOnlyProjection()

    slice_key = UnicodeAttribute(hash_key=True)
    user_id = UnicodeAttribute(range_key=True)


class User(Model):
    """A member of the network.

    Attributes:
        locale: The language they are written to in, as a BCP 47 tag.
        email_status: Whether they may be written to: `ok`, `bounced` or `complained`. An application that changes the
            address sets it back to `ok`, and removes `soft_bounces`.
        soft_bounces: The deliveries to them that came back for a passing reason since one last arrived.
        digest: Whether they want the weekly digest.
        deleted_at: When they left; nothing is done for them since.
        day: `day_key` of when they joined.
        login_day: `day_key` of their last login.
        followers_count: How many follow them.
        following_count: How many they follow.
        posts_count: How many posts of theirs there are, hidden ones included.
        touched_at: When one of the three counts changed last.
        touched_day: `day_key` of it.
        counted_as_of: The logical time of the recount that corrected the counts last.
        slice_key: `slice_key` of the id.
    """

    class Meta(_Table):
        table_name = os.environ.get("USERS_TABLE", "")

    user_id = UnicodeAttribute(hash_key=True)
    name = UnicodeAttribute()
    email = UnicodeAttribute()
    locale = UnicodeAttribute(default="en")
    email_status = UnicodeAttribute(default="ok")
    soft_bounces = UnicodeSetAttribute(null=True)
    digest = BooleanAttribute(default=True)
    created_at = UTCDateTimeAttribute()
    day = UnicodeAttribute(null=True)
    deleted_at = UTCDateTimeAttribute(null=True)
    last_login_at = UTCDateTimeAttribute(null=True)
    login_day = UnicodeAttribute(null=True)
    followers_count = NumberAttribute(default=0)
    following_count = NumberAttribute(default=0)
    posts_count = NumberAttribute(default=0)
    touched_at = UTCDateTimeAttribute(null=True)
    touched_day = UnicodeAttribute(null=True)
    counted_as_of = UTCDateTimeAttribute(null=True)
    slice_key = UnicodeAttribute(null=True)
    by_day = UsersByDay()
    by_login = UsersByLogin()
    by_touch = UsersByTouch()
    by_slice = UsersBySlice()

    @staticmethod
    def new(user_id: str, *, name: str, email: str, created_at: datetime, **more: Any) -> "User":
        """A user with the keys set that the indexes need, not yet saved."""
        more |= {"day": day_key(created_at, user_id), "slice_key": slice_key(user_id)}
        return User(user_id, name=name, email=email, created_at=created_at, **more)

    @staticmethod
    def join(user_id: str, *, name: str, email: str, at: datetime, locale: str = "en") -> bool:
        """Add a user, whose first login this is; return whether they are new."""
        login = {"last_login_at": at, "login_day": day_key(at, user_id)}
        user = User.new(user_id, name=name, email=email, created_at=at, locale=locale, **login)
        if not save_if(user, User.user_id.does_not_exist()):
            return False
        Activity.record(user_id, at=at)
        return True

    @staticmethod
    def follow(user_id: str, followed_id: str, *, at: datetime) -> bool:
        """Let one user follow another; return whether they did not already.

        Raises:
            ValueError: They are one and the same.
            User.DoesNotExist: One of them does not exist.
        """
        if user_id == followed_id:
            raise ValueError(f"user {user_id!r} cannot follow themselves")

        new = Save(Follow(user_id, followed_id, created_at=at), Follow.follower_id.does_not_exist())
        following = _count_user(user_id, User.following_count.add(1), at)
        followed = _count_user(followed_id, User.followers_count.add(1), at)
        unmet = write_together(new, following, followed)
        if new in unmet:
            return False
        if unmet:
            raise User.DoesNotExist(f"user {user_id if following in unmet else followed_id!r} does not exist")
        Activity.record(user_id, at=at)
        return True

    @staticmethod
    def unfollow(user_id: str, followed_id: str, *, at: datetime) -> bool:
        """Let one user no longer follow another; return whether they did."""
        return _delete_counted(
            Delete(Follow(user_id, followed_id), Follow.follower_id.exists()),
            _count_user(user_id, User.following_count.add(-1), at),
            _count_user(followed_id, User.followers_count.add(-1), at),
        )

    @staticmethod
    def log_in(user_id: str, *, at: datetime) -> None:
        """Note that a user has come back; an older time than the last known changes nothing but the day's activity.

        Raises:
            User.DoesNotExist: There is no such user.
        """
        newer = User.last_login_at.does_not_exist() | (User.last_login_at < at)
        actions = [User.last_login_at.set(at), User.login_day.set(day_key(at, user_id))]
        if not update_if(User(user_id), actions, User.user_id.exists() & newer):
            User.get(user_id)  # raises where the reason is that there is none
        Activity.record(user_id, at=at)


def delete_all(model: type[Model], rows: Iterable[Model]) -> int:
    """Delete rows of one table; return how many."""
    all_rows = list(rows)
    with model.batch_write() as batch:
        for row in all_rows:
            batch.delete(row)
    return len(all_rows)


def _count_user(user_id: str, change: Action, at: datetime) -> Update:
    """The change of a count of a user that exists, which marks the user as touched."""
    touch = [User.touched_at.set(at), User.touched_day.set(day_key(at, user_id))]
    return Update(User(user_id), [change, *touch], User.user_id.exists())


def _delete_counted(deletion: Delete, *counts: Update) -> bool:
    """Delete a row and change the counts that hold it, but for one that is gone itself; return whether it was there."""
    wanted = list(counts)
    while unmet := write_together(deletion, *wanted):
        if deletion in unmet:
            return False
        wanted = [count for count in wanted if count not in unmet]
    return True


class FollowsByFollowed(GlobalSecondaryIndex["Follow"]):
    """Follows by who is followed."""

    class Meta:
        index_name = "by_followed"
        projection = KeysOnlyProjection()

    followed_id = UnicodeAttribute(hash_key=True)
    follower_id = UnicodeAttribute(range_key=True)


class Follow(Model):
    """One user follows another."""

    class Meta(_Table):
        table_name = os.environ.get("FOLLOWS_TABLE", "")

    follower_id = UnicodeAttribute(hash_key=True)
    followed_id = UnicodeAttribute(range_key=True)
    created_at = UTCDateTimeAttribute()
    by_followed = FollowsByFollowed()


class Activity(Model):
    """A user was active on a day: one row however often, kept for 40 days.

    Attributes:
        day: `day_key` of the activity.
    """

    class Meta(_Table):
        table_name = os.environ.get("ACTIVITY_TABLE", "")

    day = UnicodeAttribute(hash_key=True)
    user_id = UnicodeAttribute(range_key=True)
    expires = TTLAttribute()

    @staticmethod
    def record(user_id: str, *, at: datetime) -> None:
        """Note that a user was active."""
        Activity(day_key(at, user_id), user_id, expires=at + ACTIVITY_KEPT).save()


# ----------------------------------------------------------------------------------------------------------------------
# Posts, and what is done with them
# ----------------------------------------------------------------------------------------------------------------------


class PostsByDay(GlobalSecondaryIndex["Post"]):
    """Posts by the day they were made. It holds keys only, or each like would rewrite it."""

    class Meta:
        index_name = "by_day"
        projection = KeysOnlyProjection()

    day = UnicodeAttribute(hash_key=True)
    post_id = UnicodeAttribute(range_key=True)


class TaggedPostsByDay(GlobalSecondaryIndex["Post"]):
    """Posts with hashtags by the day and the time they were made. All it holds of them seldom changes."""

    class Meta:
        index_name = "tagged_by_day"
        projection = IncludeProjection(["author_id", "hashtags", "visibility"])

    day = UnicodeAttribute(hash_key=True)
    tagged_at = UTCDateTimeAttribute(range_key=True)


class PostsByAuthor(GlobalSecondaryIndex["Post"]):
    """Posts by who made them."""

    class Meta:
        index_name = "by_author"
        projection = KeysOnlyProjection()

    author_id = UnicodeAttribute(hash_key=True)
    post_id = UnicodeAttribute(range_key=True)


class PostsByTouch(GlobalSecondaryIndex["Post"]):
    """Posts by the day their counts changed last."""

    class Meta:
        index_name = "by_touch"
        projection = KeysOnlyProjection()

    touched_day = UnicodeAttribute(hash_key=True)
    post_id = UnicodeAttribute(range_key=True)


class PostsByHiding(GlobalSecondaryIndex["Post"]):
    """Posts that `cleanup_old_posts` has hidden, by the day it did."""

    class Meta:
        index_name = "by_hiding"
        projection = KeysOnlyProjection()

    hidden_day = UnicodeAttribute(hash_key=True)
    post_id = UnicodeAttribute(range_key=True)


class Post(Model):
    """A post, its counts and its media.

    Attributes:
        visibility: `public`, `followers` or `hidden`.
        day: `day_key` of when it was made.
        hashtags: Its hashtags, as written.
        tagged_at: When it was made, if it has hashtags.
        touched_day: `day_key` of when a count of it changed last.
        score: What `update_post_engagement_scores` made of its counts.
        score_version: The version of the formula.
        score_as_of: The logical time of the run that wrote the score.
        legal_hold: Whether it must be kept whatever happens.
        hidden_at: When `cleanup_old_posts` hid it; missing where it did not.
        hidden_day: `day_key` of it.
        hidden_from: What its visibility was before.
        media: By content hash, what `process_media_upload` made of each upload.
        media_status: What became of the newest upload: `ready` or `failed`.
        media_reason: Why it failed.
        media_as_of: When that upload happened; an older one does not overwrite its status.
        media_uploads: By upload key, the newest event that was handled, and what it showed.
        media_revision: How often the media have changed: the condition of every change of them.
    """

    class Meta(_Table):
        table_name = os.environ.get("POSTS_TABLE", "")

    post_id = UnicodeAttribute(hash_key=True)
    author_id = UnicodeAttribute()
    text = UnicodeAttribute()
    visibility = UnicodeAttribute(default="public")
    created_at = UTCDateTimeAttribute()
    day = UnicodeAttribute(null=True)
    hashtags = UnicodeSetAttribute(null=True)
    tagged_at = UTCDateTimeAttribute(null=True)
    likes_count = NumberAttribute(default=0)
    comments_count = NumberAttribute(default=0)
    shares_count = NumberAttribute(default=0)
    views_count = NumberAttribute(default=0)
    touched_day = UnicodeAttribute(null=True)
    score = NumberAttribute(null=True)
    score_version = NumberAttribute(null=True)
    score_as_of = UTCDateTimeAttribute(null=True)
    legal_hold = BooleanAttribute(default=False)
    hidden_at = UTCDateTimeAttribute(null=True)
    hidden_day = UnicodeAttribute(null=True)
    hidden_from = UnicodeAttribute(null=True)
    media: MapAttribute[str, Any] = MapAttribute(default=dict)
    media_status = UnicodeAttribute(null=True)
    media_reason = UnicodeAttribute(null=True)
    media_as_of = UTCDateTimeAttribute(null=True)
    media_uploads: MapAttribute[str, Any] = MapAttribute(null=True)
    media_revision = NumberAttribute(null=True)
    by_day = PostsByDay()
    tagged_by_day = TaggedPostsByDay()
    by_author = PostsByAuthor()
    by_touch = PostsByTouch()
    by_hiding = PostsByHiding()

    @staticmethod
    def new(post_id: str, *, author_id: str, text: str, created_at: datetime, **more: Any) -> "Post":
        """A post with its day key and its hashtags set, not yet saved."""
        tags = set(hashtags.distinct(text).values())
        keys: dict[str, Any] = {"day": day_key(created_at, post_id)}
        if tags:
            keys |= {"hashtags": tags, "tagged_at": created_at}
        return Post(post_id, author_id=author_id, text=text, created_at=created_at, **keys, **more)

    @staticmethod
    def publish(post_id: str, *, author_id: str, text: str, at: datetime, visibility: str = "public") -> bool:
        """Add a post; return whether it is new.

        Raises:
            User.DoesNotExist: There is no such author.
        """
        post = Post.new(post_id, author_id=author_id, text=text, created_at=at, visibility=visibility)

        new = Save(post, Post.post_id.does_not_exist())
        unmet = write_together(new, _count_user(author_id, User.posts_count.add(1), at))
        if new in unmet:
            return False
        if unmet:
            raise User.DoesNotExist(f"user {author_id!r} does not exist")
        Activity.record(author_id, at=at)
        return True

    @staticmethod
    def like(post_id: str, user_id: str, *, at: datetime) -> bool:
        """Let a user like a post; return whether they did not already.

        Raises:
            Post.DoesNotExist: There is no such post.
        """
        new = Save(Like(post_id, user_id, created_at=at), Like.post_id.does_not_exist())
        return _add_to_post(new, post_id, user_id, Post.likes_count.add(1), at)

    @staticmethod
    def unlike(post_id: str, user_id: str, *, at: datetime) -> bool:
        """Let a user no longer like a post; return whether they did."""
        return _delete_counted(
            Delete(Like(post_id, user_id), Like.post_id.exists()),
            _count_post(post_id, Post.likes_count.add(-1), at),
        )

    @staticmethod
    def comment(post_id: str, comment_id: str, *, author_id: str, text: str, at: datetime) -> bool:
        """Add a comment to a post; return whether it is new.

        Raises:
            Post.DoesNotExist: There is no such post.
        """
        comment = Comment.new(post_id, comment_id, author_id=author_id, text=text, created_at=at)
        new = Save(comment, Comment.post_id.does_not_exist())
        return _add_to_post(new, post_id, author_id, Post.comments_count.add(1), at)

    @staticmethod
    def uncomment(post_id: str, comment_id: str, *, at: datetime) -> bool:
        """Take a comment off a post; return whether it was there."""
        try:
            comment = Comment.get(post_id, comment_id, consistent_read=True)
        except Comment.DoesNotExist:
            return False
        was_there = _delete_counted(
            Delete(comment, Comment.post_id.exists()),
            _count_post(post_id, Post.comments_count.add(-1), at),
        )
        DayCounts.mark([comment.day])
        return was_there

    @staticmethod
    def share(post_id: str, user_id: str, *, at: datetime) -> None:
        """Count one share of a post. Unlike the others, it counts again when it is repeated.

        Raises:
            Post.DoesNotExist: There is no such post.
        """
        _touch_post(post_id, Post.shares_count.add(1), at)
        Activity.record(user_id, at=at)

    @staticmethod
    def view(post_id: str, *, at: datetime, times: int = 1) -> None:
        """Count views of a post. It counts again when it is repeated.

        Raises:
            Post.DoesNotExist: There is no such post.
        """
        _touch_post(post_id, Post.views_count.add(times), at)

    @staticmethod
    def remove(post_id: str, *, at: datetime) -> bool:
        """Delete a post with its comments, likes and files; return whether it was there.

        It may be repeated, and goes on where it was cut off.
        """
        comments = list(Comment.query(post_id))
        days = [comment.day for comment in comments]
        try:
            post = Post.get(post_id, consistent_read=True)
        except Post.DoesNotExist:
            there = False
        else:
            there = delete_post(post, Post.post_id.exists(), at=at)
            days.append(post.day)
        delete_all(Comment, comments)
        delete_all(Like, Like.query(post_id))
        delete_files(files_of(post_id))
        DayCounts.mark(days)
        return there

    @staticmethod
    def hold(post_id: str, *, at: datetime, legal: bool = True) -> None:
        """Keep a post whatever happens (or, with `legal` false, no longer).

        Raises:
            Post.DoesNotExist: There is no such post.
        """
        _touch_post(post_id, Post.legal_hold.set(legal), at)


def delete_post(post: Post, condition: Condition, *, at: datetime) -> bool:
    """Delete a post's row, if a condition holds, and count it off its author's; return whether it did."""
    return _delete_counted(
        Delete(Post(post.post_id), condition),
        _count_user(post.author_id, User.posts_count.add(-1), at),
    )


def _touch_post(post_id: str, change: Action, at: datetime) -> None:
    """Change a post that exists, and mark it as touched."""
    actions = [change, Post.touched_day.set(day_key(at, post_id))]
    if not update_if(Post(post_id), actions, Post.post_id.exists()):
        raise Post.DoesNotExist(f"post {post_id!r} does not exist")


def _count_post(post_id: str, change: Action, at: datetime) -> Update:
    """The change of a count of a post that exists, which marks the post as touched."""
    touch = Post.touched_day.set(day_key(at, post_id))
    return Update(Post(post_id), [change, touch], Post.post_id.exists())


def _add_to_post(new: Save, post_id: str, user_id: str, change: Action, at: datetime) -> bool:
    """Add a row of a post and count it; return whether it is new."""
    unmet = write_together(new, _count_post(post_id, change, at))
    if new in unmet:
        return False
    if unmet:
        raise Post.DoesNotExist(f"post {post_id!r} does not exist")
    Activity.record(user_id, at=at)
    return True


class LikesByUser(GlobalSecondaryIndex["Like"]):
    """Likes by who likes."""

    class Meta:
        index_name = "by_user"
        projection = KeysOnlyProjection()

    user_id = UnicodeAttribute(hash_key=True)
    post_id = UnicodeAttribute(range_key=True)


class Like(Model):
    """A user likes a post."""

    class Meta(_Table):
        table_name = os.environ.get("LIKES_TABLE", "")

    post_id = UnicodeAttribute(hash_key=True)
    user_id = UnicodeAttribute(range_key=True)
    created_at = UTCDateTimeAttribute()
    by_user = LikesByUser()


class CommentsByDay(GlobalSecondaryIndex["Comment"]):
    """Comments by the day they were made, with the time, which does not change."""

    class Meta:
        index_name = "by_day"
        projection = IncludeProjection(["created_at"])

    day = UnicodeAttribute(hash_key=True)
    comment_id = UnicodeAttribute(range_key=True)
    created_at = UTCDateTimeAttribute()


class CommentsByAuthor(GlobalSecondaryIndex["Comment"]):
    """Comments by who made them."""

    class Meta:
        index_name = "by_author"
        projection = KeysOnlyProjection()

    author_id = UnicodeAttribute(hash_key=True)
    comment_id = UnicodeAttribute(range_key=True)


class Comment(Model):
    """A comment on a post.

    Attributes:
        day: `day_key` of when it was made.
    """

    class Meta(_Table):
        table_name = os.environ.get("COMMENTS_TABLE", "")

    post_id = UnicodeAttribute(hash_key=True)
    comment_id = UnicodeAttribute(range_key=True)
    author_id = UnicodeAttribute()
    text = UnicodeAttribute()
    created_at = UTCDateTimeAttribute()
    day = UnicodeAttribute(null=True)
    by_day = CommentsByDay()
    by_author = CommentsByAuthor()

    @staticmethod
    def new(post_id: str, comment_id: str, *, author_id: str, text: str, created_at: datetime) -> "Comment":
        """A comment with its day key set, not yet saved."""
        day = day_key(created_at, comment_id)
        return Comment(post_id, comment_id, author_id=author_id, text=text, created_at=created_at, day=day)


# ----------------------------------------------------------------------------------------------------------------------
# Tokens
# ----------------------------------------------------------------------------------------------------------------------


class TokenReused(Exception):
    """A refresh token was used that had been exchanged already: someone else may have it, so its family is revoked."""


class TokensByDue(GlobalSecondaryIndex["Token"]):
    """Tokens by the day on which they may be cleaned up."""

    class Meta:
        index_name = "by_due"
        projection = KeysOnlyProjection()

    due_day = UnicodeAttribute(hash_key=True)
    token_id = UnicodeAttribute(range_key=True)


class TokensBySeen(GlobalSecondaryIndex["Token"]):
    """Sessions by the day they were seen last."""

    class Meta:
        index_name = "by_seen"
        projection = KeysOnlyProjection()

    seen_day = UnicodeAttribute(hash_key=True)
    token_id = UnicodeAttribute(range_key=True)


class Token(Model):
    """A token of a user, or the ban of one. All tokens of a user share a partition, so a read of them is consistent.

    Attributes:
        kind: `access`, `refresh`, `session`, or `blacklist` for the ban of another token.
        expires_at: From when on it is worthless; a session without one ends only by being unseen.
        due_day: `day_key` of when it may be cleaned up: when it expires, or later where another needs it.
        last_seen_at: When a session was used last.
        seen_day: `day_key` of it.
        family: The refresh tokens that were exchanged one for the next share the first one's id.
        rotated_at: When a refresh token was exchanged for the next of its family.
        bans: The id of the token that a `blacklist` entry bans.
    """

    class Meta(_Table):
        table_name = os.environ.get("TOKENS_TABLE", "")

    user_id = UnicodeAttribute(hash_key=True)
    token_id = UnicodeAttribute(range_key=True)
    kind = UnicodeAttribute()
    created_at = UTCDateTimeAttribute()
    expires_at = UTCDateTimeAttribute(null=True)
    due_day = UnicodeAttribute(null=True)
    last_seen_at = UTCDateTimeAttribute(null=True)
    seen_day = UnicodeAttribute(null=True)
    family = UnicodeAttribute(null=True)
    rotated_at = UTCDateTimeAttribute(null=True)
    bans = UnicodeAttribute(null=True)
    by_due = TokensByDue()
    by_seen = TokensBySeen()

    @staticmethod
    def new(
        user_id: str, token_id: str, *, kind: str, created_at: datetime, expires_at: datetime | None = None, **more: Any
    ) -> "Token":
        """A token with its day keys set, not yet saved. A refresh token begins a family, a session is seen."""
        keys: dict[str, Any] = {}
        if expires_at:
            keys["due_day"] = day_key(expires_at, token_id)
        if kind == "refresh":
            keys["family"] = token_id
        if kind == "session":
            seen_at = more.get("last_seen_at") or created_at
            keys |= {"last_seen_at": seen_at, "seen_day": day_key(seen_at, token_id)}
        return Token(user_id, token_id, kind=kind, created_at=created_at, expires_at=expires_at, **{**keys, **more})

    @staticmethod
    def issue(user_id: str, token_id: str, *, kind: str, at: datetime, expires_at: datetime | None = None) -> "Token":
        """Add a token.

        Raises:
            ValueError: The kind is unknown, or a token that is no session does not expire.
        """
        if kind not in ("access", "refresh", "session"):
            raise ValueError(f"token {token_id!r}: no kind {kind!r}")
        if expires_at is None and kind != "session":
            raise ValueError(f"token {token_id!r}: only a session needs no expires_at")
        token = Token.new(user_id, token_id, kind=kind, created_at=at, expires_at=expires_at)
        token.save()
        return token

    @staticmethod
    def rotate(user_id: str, token_id: str, new_id: str, *, at: datetime, expires_at: datetime) -> "Token":
        """Exchange a refresh token for the next of its family; its user has come back by that.

        One that was exchanged before is a sign of theft, and ends the whole family (RFC 9700, section 4.14.2).

        Raises:
            Token.DoesNotExist: There is no such token, or it has expired.
            TokenReused: It was exchanged before; the family is revoked.
        """
        old = Token.get(user_id, token_id, consistent_read=True)
        new = Token.new(
            user_id, new_id, kind="refresh", created_at=at, expires_at=expires_at, family=old.family or token_id
        )

        exchangeable = Token.rotated_at.does_not_exist() & (Token.expires_at > at)
        if write_together(Save(new), Update(old, [Token.rotated_at.set(at)], exchangeable)):
            old.refresh(consistent_read=True)
            if not old.rotated_at:
                raise Token.DoesNotExist(f"token {token_id!r} has expired")
            Token.revoke_family(user_id, old.family or token_id)
            raise TokenReused(f"token {token_id!r} was exchanged before; its family is revoked")
        User.log_in(user_id, at=at)
        return new

    @staticmethod
    def renew(user_id: str, token_id: str, *, at: datetime, expires_at: datetime) -> None:
        """Let a token live longer; a session is seen, and its user has come back by that.

        Raises:
            Token.DoesNotExist: There is no such token.
        """
        token = Token.get(user_id, token_id, consistent_read=True)
        actions: list[Action] = [Token.expires_at.set(expires_at), Token.due_day.set(day_key(expires_at, token_id))]
        if token.kind == "session":
            actions += [Token.last_seen_at.set(at), Token.seen_day.set(day_key(at, token_id))]
        _update_token(token, actions)
        User.log_in(user_id, at=at)

    @staticmethod
    def seen(user_id: str, token_id: str, *, at: datetime) -> None:
        """Note that a session was used; its user has come back by that.

        Raises:
            Token.DoesNotExist: There is no such session.
            User.DoesNotExist: There is no such user.
        """
        actions = [Token.last_seen_at.set(at), Token.seen_day.set(day_key(at, token_id))]
        _update_token(Token(user_id, token_id), actions)
        User.log_in(user_id, at=at)

    @staticmethod
    def ban(user_id: str, token_id: str, *, at: datetime) -> None:
        """Put a token on the blacklist until it expires itself.

        Raises:
            Token.DoesNotExist: There is no such token.
            ValueError: It never expires: delete it instead.
        """
        banned = Token.get(user_id, token_id, consistent_read=True)
        if banned.expires_at is None:
            raise ValueError(f"token {token_id!r} never expires: revoke it instead")
        Token.new(
            user_id, f"ban#{token_id}", kind="blacklist", created_at=at, expires_at=banned.expires_at, bans=token_id
        ).save()

    @staticmethod
    def is_banned(user_id: str, token_id: str) -> bool:
        """Whether a token is on the blacklist."""
        try:
            Token.get(user_id, f"ban#{token_id}", consistent_read=True)
        except Token.DoesNotExist:
            return False
        return True

    @staticmethod
    def revoke_family(user_id: str, family: str) -> int:
        """Delete a refresh token with all it was exchanged for; return how many."""
        tokens = [token for token in Token.query(user_id, consistent_read=True) if token.family == family]
        for token in tokens:
            token.delete()
        return len(tokens)


def _update_token(token: Token, actions: Sequence[Action]) -> None:
    """Update a token that exists."""
    if not update_if(token, actions, Token.token_id.exists()):
        raise Token.DoesNotExist(f"token {token.token_id!r} does not exist")


# ----------------------------------------------------------------------------------------------------------------------
# Hashtags and reports
# ----------------------------------------------------------------------------------------------------------------------


class HashtagTally(Model):
    """What the posts of some time say of hashtags: a chunk of it, packed by `update_trending_hashtags`.

    Attributes:
        period: The day of an hour, `2026-11-01`, or a week by its end, `week to 2026-11-01T05`.
        chunk: The hour and the chunk's number, `T05#0`; of a week the number alone.
        packed: The chunk itself, as compressed JSON.
        as_of: The logical time of the run that wrote it.
    """

    class Meta(_Table):
        table_name = os.environ.get("TALLIES_TABLE", "")

    period = UnicodeAttribute(hash_key=True)
    chunk = UnicodeAttribute(range_key=True)
    packed = BinaryAttribute(legacy_encoding=False)
    as_of = UTCDateTimeAttribute()
    expires = TTLAttribute()


class Hashtag(Model):
    """A hashtag, and what the last seven days made of it.

    Attributes:
        tag: Its folded form, by which it is compared.
        shown: How most people write it.
        authors: How many people used it in the seven days.
        posts: In how many posts.
        trending: Whether it is among those that trend.
        as_of: The logical time of the run that wrote the row.
        expires: When the row may go, as nobody uses the tag any more.
    """

    class Meta(_Table):
        table_name = os.environ.get("TRENDING_TABLE", "")

    tag = UnicodeAttribute(hash_key=True)
    shown = UnicodeAttribute()
    authors = NumberAttribute()
    posts = NumberAttribute()
    trending = BooleanAttribute()
    as_of = UTCDateTimeAttribute()
    expires = TTLAttribute(null=True)


class TrendingHashtags(Model):
    """The hashtags that trend: one row, read with `TrendingHashtags.get("#")`, as no tag is a bare sign.

    Attributes:
        tags: Best first: each with `tag`, `shown`, `authors`, `posts`, `usual`, `score` and `why`.
        as_of: The logical time of the run that wrote it.
    """

    class Meta(_Table):
        table_name = os.environ.get("TRENDING_TABLE", "")

    sign = UnicodeAttribute(hash_key=True, attr_name="tag", default="#")
    tags = JSONAttribute()
    as_of = UTCDateTimeAttribute()


class Report(Model):
    """The report of one day; see `generate_content_analytics`.

    Attributes:
        series: The kind of report; there is one.
        day: The UTC day it is about, `2026-11-01`.
        figures: What it says.
        published: Whether its files say the same.
        as_of: The logical time of the run that wrote it.
    """

    class Meta(_Table):
        table_name = os.environ.get("REPORTS_TABLE", "")

    series = UnicodeAttribute(hash_key=True, default="daily")
    day = UnicodeAttribute(range_key=True)
    figures = JSONAttribute()
    published = BooleanAttribute(default=False)
    as_of = UTCDateTimeAttribute()


class DayCounts(Model):
    """How many rows of each kind were made on a day and still exist: what totals are summed up from.

    Attributes:
        series: `counts`; the rows lie beside the reports.
        day: The UTC day, `2026-11-01`.
        changes: How often it was marked since it was counted last.
        as_of: The logical time of the run that counted it last.
    """

    class Meta(_Table):
        table_name = os.environ.get("REPORTS_TABLE", "")

    series = UnicodeAttribute(hash_key=True, default="counts")
    day = UnicodeAttribute(range_key=True)
    posts = NumberAttribute(default=0)
    comments = NumberAttribute(default=0)
    users = NumberAttribute(default=0)
    changes = NumberAttribute(null=True)
    as_of = UTCDateTimeAttribute(null=True)

    def numbers(self) -> dict[str, int]:
        """The counts by kind."""
        return {"posts": int(self.posts), "comments": int(self.comments), "users": int(self.users)}

    @staticmethod
    def read(index: "GlobalSecondaryIndex[Any]", segment: int, segments: int) -> Counter[str]:
        """How many rows each day has in one of the segments of an index by day.

        This reads all of the segment, keys only; a task does it once, before any day is counted.
        """
        rows = index.scan(segment=segment, total_segments=segments, attributes_to_get=["day"])
        return Counter(row.day.partition("#")[0] for row in rows)

    @staticmethod
    def mark(day_keys: Iterable[str | None]) -> None:
        """Ask for days to be counted again, as rows of theirs were deleted or brought back.

        Args:
            day_keys: The rows' `day`; what was saved without one is in no index, and not counted.
        """
        for day in sorted({key.partition("#")[0] for key in day_keys if key}):
            DayCounts("counts", day).update(actions=[DayCounts.changes.add(1)])


# ----------------------------------------------------------------------------------------------------------------------
# The ledger
# ----------------------------------------------------------------------------------------------------------------------


class DeliveriesByShelf(GlobalSecondaryIndex["Delivery"]):
    """Deliveries by where they are listed, oldest first."""

    class Meta:
        index_name = "by_shelf"
        projection = AllProjection()

    shelf = UnicodeAttribute(hash_key=True)
    claimed_at = UTCDateTimeAttribute(range_key=True)


class Delivery(Model):
    """One email that is to be sent once; see `backbeat.mail.deliveries`.

    Attributes:
        delivery_id: What makes it one email: `welcome:<user>`, `content_digest:<ISO week>:<user>`.
        email: Which email it is, a folder of `backbeat/mail/emails`.
        state: `sending`, `sent`, `refused` or `unknown`.
        attempt: How often it has been claimed.
        claimed_at: When it was claimed last, on the wall clock.
        lease_until: In `sending`: when a sender that has not answered is taken to be gone.
        logical_time: The logical time of the run that claimed it.
        message_id: SES's id of the mail.
        reason: Why it was refused, or is unknown.
        feedback: What SES told of it last: `delivered`, `soft bounce`, `bounced`, `complained` or `rejected`.
        shelf: Where it is listed: `open#<shard>` until it is known what became of it, then `day_key` of its claim.
        expires: When the row goes; a welcome's never does.
    """

    class Meta(_Table):
        table_name = os.environ.get("DELIVERIES_TABLE", "")

    delivery_id = UnicodeAttribute(hash_key=True)
    email = UnicodeAttribute()
    user_id = UnicodeAttribute()
    state = UnicodeAttribute()
    attempt = NumberAttribute(default=0)
    claimed_at = UTCDateTimeAttribute()
    lease_until = UTCDateTimeAttribute(null=True)
    logical_time = UTCDateTimeAttribute()
    run_id = UnicodeAttribute()
    message_id = UnicodeAttribute(null=True)
    reason = UnicodeAttribute(null=True)
    feedback = UnicodeAttribute(null=True)
    shelf = UnicodeAttribute()
    expires = TTLAttribute(null=True)
    by_shelf = DeliveriesByShelf()


NOTIFICATION_KEPT = timedelta(days=30)
"""How long a notification is kept once it has been read."""


class Notification(Model):
    """Something a user is told inside the application.

    Attributes:
        notification_id: Sorts by time: when it was made, and the run that made it.
        kind: What it is about, such as `like` or `follow`; the application decides how it looks.
        text: What it says.
        link: Where it leads, within the application.
        read_at: When the user read it; it goes 30 days later.
    """

    class Meta(_Table):
        table_name = os.environ.get("NOTIFICATIONS_TABLE", "")

    user_id = UnicodeAttribute(hash_key=True)
    notification_id = UnicodeAttribute(range_key=True)
    kind = UnicodeAttribute()
    text = UnicodeAttribute()
    link = UnicodeAttribute(null=True)
    created_at = UTCDateTimeAttribute()
    read_at = UTCDateTimeAttribute(null=True)
    expires = TTLAttribute(null=True)

    @staticmethod
    def of(user_id: str, *, now: datetime, limit: int = 50) -> list["Notification"]:
        """A user's notifications, newest first. DynamoDB deletes up to days late, so what has expired is left out."""
        kept = Notification.expires.does_not_exist() | (Notification.expires > now)
        return list(Notification.query(user_id, filter_condition=kept, scan_index_forward=False, limit=limit))

    @staticmethod
    def mark_read(user_id: str, notification_id: str, *, at: datetime) -> bool:
        """Note that a user has read a notification; return whether they had not before."""
        row = Notification(user_id, notification_id)
        actions: list[Action] = [Notification.read_at.set(at), Notification.expires.set(at + NOTIFICATION_KEPT)]
        return update_if(row, actions, Notification.user_id.exists() & Notification.read_at.does_not_exist())


class RunRecord(Model):
    """One run in the ledger; see `backbeat.ledger`."""

    class Meta(_Table):
        table_name = os.environ.get("RUNS_TABLE", "")

    task_day = UnicodeAttribute(hash_key=True)
    run_id = UnicodeAttribute(range_key=True)
    task = UnicodeAttribute()
    task_class = UnicodeAttribute()
    logical_time = UTCDateTimeAttribute()
    outcome = UnicodeAttribute()
    attempts = NumberAttribute(default=0)
    started = UTCDateTimeAttribute()
    duration_ms = NumberAttribute(null=True)
    result = JSONAttribute(null=True)
    error = UnicodeAttribute(null=True)
    request_id = UnicodeAttribute(null=True)
    lease_until = UTCDateTimeAttribute(null=True)
    expires = TTLAttribute(null=True)


class DayTotals(Model):
    """How a task's attempts of one day ended: counters, kept beside the runs under the key `totals#<day>`."""

    class Meta(_Table):
        table_name = os.environ.get("RUNS_TABLE", "")

    day = UnicodeAttribute(hash_key=True, attr_name="task_day")
    task = UnicodeAttribute(range_key=True, attr_name="run_id")
    succeeded = NumberAttribute(default=0)
    skipped = NumberAttribute(default=0)
    retrying = NumberAttribute(default=0)
    rejected = NumberAttribute(default=0)
    dead = NumberAttribute(default=0)
    duration_ms = NumberAttribute(default=0)
    expires = TTLAttribute(null=True)


class SweepRun(Model):
    """A run in parts; see `backbeat.sweeps`. It lives beside its parts, under the key `sweep#<run id>`.

    Attributes:
        pending: The numbers of the parts that are not done; missing where none is left.
        finished: Whether the finish has run.
    """

    class Meta(_Table):
        table_name = os.environ.get("RUNS_TABLE", "")

    sweep = UnicodeAttribute(hash_key=True, attr_name="task_day")
    kind = UnicodeAttribute(range_key=True, attr_name="run_id", default="run")
    parts = NumberAttribute()
    pending = NumberSetAttribute(null=True)
    finished = BooleanAttribute(default=False)
    started = UTCDateTimeAttribute()
    expires = TTLAttribute(null=True)


class SweepPart(Model):
    """One part of a run in parts, under the key `sweep#<run id>` and its number.

    Attributes:
        spec: What the part is to do.
        cursor: How far it has come, where it ran short of time.
        hops: How often it has sent itself on.
        tally: What it has counted.
        done: Whether its tally is complete.
    """

    class Meta(_Table):
        table_name = os.environ.get("RUNS_TABLE", "")

    sweep = UnicodeAttribute(hash_key=True, attr_name="task_day")
    number = UnicodeAttribute(range_key=True, attr_name="run_id")
    spec = JSONAttribute()
    cursor = JSONAttribute(null=True)
    hops = NumberAttribute(default=0)
    tally = JSONAttribute(null=True)
    done = BooleanAttribute(default=False)
    expires = TTLAttribute(null=True)


class DigestSelection(Model):
    """The posts that one week's digest is made of, kept beside the runs under the key `digest#<ISO week>`.

    Attributes:
        post_ids: Their ids, the best first.
        as_of: The logical time of the run that chose them.
    """

    class Meta(_Table):
        table_name = os.environ.get("RUNS_TABLE", "")

    week = UnicodeAttribute(hash_key=True, attr_name="task_day")
    kind = UnicodeAttribute(range_key=True, attr_name="run_id", default="posts")
    post_ids = JSONAttribute()
    as_of = UTCDateTimeAttribute()
    expires = TTLAttribute(null=True)


class Watermark(Model):
    """How far a task has come through what changes, kept for ever under the key `watermark#<task>`."""

    class Meta(_Table):
        table_name = os.environ.get("RUNS_TABLE", "")

    task = UnicodeAttribute(hash_key=True, attr_name="task_day")
    name = UnicodeAttribute(range_key=True, attr_name="run_id")
    until = UTCDateTimeAttribute()


TABLES: dict[str, tuple[type[Model], ...]] = {
    "USERS_TABLE": (User,),
    "FOLLOWS_TABLE": (Follow,),
    "ACTIVITY_TABLE": (Activity,),
    "POSTS_TABLE": (Post,),
    "LIKES_TABLE": (Like,),
    "COMMENTS_TABLE": (Comment,),
    "TOKENS_TABLE": (Token,),
    "TALLIES_TABLE": (HashtagTally,),
    "TRENDING_TABLE": (Hashtag, TrendingHashtags),
    "REPORTS_TABLE": (Report, DayCounts),
    "DELIVERIES_TABLE": (Delivery,),
    "NOTIFICATIONS_TABLE": (Notification,),
    "RUNS_TABLE": (RunRecord, DayTotals, SweepRun, SweepPart, Watermark, DigestSelection),
}
"""Each table's environment variable and the models that live in it."""


def bind(tables: Mapping[str, str]) -> None:
    """Point the models at the tables of one stack, for a program that is given their names after its start.

    Args:
        tables: Table names by environment variable, `{"POSTS_TABLE": ...}`.
    """
    for variable, models in TABLES.items():
        for model in models:
            if model.Meta.table_name != tables[variable]:
                model.Meta.table_name = tables[variable]
                model._connection = None  # PynamoDB keeps one per model, made on first use, and slow to make
                _connection.cache_clear()
