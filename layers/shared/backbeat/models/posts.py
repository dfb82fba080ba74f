"""Posts, their likes and comments, and what is done with them."""

import os
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from pynamodb.attributes import (
    BooleanAttribute,
    MapAttribute,
    NumberAttribute,
    UnicodeAttribute,
    UnicodeSetAttribute,
    UTCDateTimeAttribute,
)
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action
from pynamodb.indexes import GlobalSecondaryIndex, IncludeProjection, KeysOnlyProjection

from backbeat.models.arguments import checked
from backbeat.models.base import (
    Check,
    Delete,
    Made,
    Row,
    Save,
    Table,
    Update,
    Write,
    delete_all,
    delete_counted,
    update_if,
    write_together,
)
from backbeat.models.keys import day_key
from backbeat.models.reports import DayCounts
from backbeat.models.trends import HourMark
from backbeat.models.users import Activity, User, count_user, here, no_user
from backbeat.posts.files import buckets, delete_files, files_of
from backbeat.posts.hashtags import distinct_tags

_KEYS_OF_COMMENT = ["post_id", "comment_id", "day"]
"""What is read of a comment that goes: whatever else of it cannot be read is in nobody's way."""


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


class Post(Made):
    """A post, its counts and its media.

    Attributes:
        visibility: `public`, `followers` or `hidden`.
        day: `day_key` of when it was made.
        hashtags: Its hashtags, as written.
        tagged_at: When it was made, if it has hashtags.
        edited_at: When its text, its hashtags or its visibility were changed last.
        touched_day: `day_key` of when a count of it changed last, or it was edited.
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

    class Meta(Table):
        table_name = os.environ.get("POSTS_TABLE", "")

    post_id = UnicodeAttribute(hash_key=True)
    author_id = UnicodeAttribute()
    text = UnicodeAttribute()
    visibility = UnicodeAttribute(default="public")
    created_at = UTCDateTimeAttribute()
    edited_at = UTCDateTimeAttribute(null=True)
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
    @checked
    def new(
        post_id: str,
        *,
        author_id: str,
        text: str,
        created_at: datetime,
        hashtags: Iterable[str] | None = None,
        **more: Any,
    ) -> "Post":
        """A post with its day key and its hashtags set, not yet saved; see `Made.save`.

        Its hashtags are those of its text, unless others are given.
        """
        tags = distinct_tags(text, hashtags)
        given: dict[str, Any] = {"author_id": author_id, "text": text, "created_at": created_at}
        given |= {"day": day_key(created_at, post_id)}
        given |= {"hashtags": tags or None, "tagged_at": created_at if tags else None, **more}
        return Post(post_id, **given).made_of(given)

    @staticmethod
    @checked
    def publish(
        post_id: str,
        *,
        author_id: str,
        text: str,
        at: datetime,
        visibility: str = "public",
        hashtags: Iterable[str] | None = None,
    ) -> bool:
        """Add a post, with the hashtags of its text, unless others are given; return whether it is new.

        Raises:
            User.DoesNotExist: There is no such author, or they have left.
            ValueError: One of the hashtags is none.
        """
        post = Post.new(
            post_id, author_id=author_id, text=text, created_at=at, visibility=visibility, hashtags=hashtags
        )

        new = Save(post, Post.post_id.does_not_exist())
        unmet = write_together(new, count_user(author_id, User.posts_count.add(1), at, here=True))
        if new in unmet:
            return False
        if unmet:
            raise no_user(author_id)
        Activity.record(author_id, at=at)
        return True

    @staticmethod
    @checked
    def edit(
        post_id: str,
        *,
        at: datetime,
        text: str | None = None,
        visibility: str | None = None,
        hashtags: Iterable[str] | None = None,
    ) -> bool:
        """Change a post's text with its hashtags, or who may see it; return whether anything is different.

        It stays in the hour in which it was made, which the next run of the trends counts anew, and the daily report
        that shows it shows the new text after its next run. A post that `cleanup_old_posts`
        has hidden stays hidden, and is shown to whom it is for when it is shown again.

        What is not given stays as it is; but of a new text the hashtags are its own, unless others are given.

        Raises:
            Post.DoesNotExist: There is no such post.
            ValueError: One of the hashtags is none.
        """
        while True:
            post = Post.get(post_id, consistent_read=True)
            tags = distinct_tags(post.text if text is None else text, hashtags)
            if text is None and hashtags is None:
                tags = set(post.hashtags or ())
            shown_to = Post.hidden_from if post.hidden_at else Post.visibility
            actions: list[Action] = []
            tagged_at = post.tagged_at or (post.created_at if tags else None)
            if text is not None and text != post.text:
                actions.append(Post.text.set(text))
            if visibility is not None and visibility != (post.hidden_from if post.hidden_at else post.visibility):
                actions.append(shown_to.set(visibility))
            if tags != set(post.hashtags or ()):
                actions.append(Post.hashtags.set(tags) if tags else Post.hashtags.remove())
                actions.append(Post.tagged_at.set(post.created_at) if tags else Post.tagged_at.remove())
            if not actions:
                return False
            actions += [Post.edited_at.set(at), Post.touched_day.set(day_key(at, post_id))]
            hidden = Post.hidden_at == post.hidden_at if post.hidden_at else Post.hidden_at.does_not_exist()
            edited = Post.edited_at == post.edited_at if post.edited_at else Post.edited_at.does_not_exist()
            HourMark.note(tagged_at, at=at)
            if update_if(Post(post_id), actions, Post.post_id.exists() & hidden & edited):
                DayCounts.mark([post.day])
                return True  # else it was edited, hidden or shown meanwhile

    @staticmethod
    @checked
    def like(post_id: str, user_id: str, *, at: datetime) -> bool:
        """Let a user like a post; return whether they did not already.

        Raises:
            Post.DoesNotExist: There is no such post.
            User.DoesNotExist: There is no such user, or they have left.
        """
        new = Save(Like(post_id, user_id, created_at=at), Like.post_id.does_not_exist())
        return _add_to_post(new, post_id, user_id, Post.likes_count.add(1), at)

    @staticmethod
    @checked
    def unlike(post_id: str, user_id: str, *, at: datetime) -> bool:
        """Let a user no longer like a post; return whether they did."""
        return delete_counted(
            Delete(Like(post_id, user_id), Like.post_id.exists()),
            _count_post(post_id, Post.likes_count.add(-1), at),
        )

    @staticmethod
    @checked
    def comment(post_id: str, comment_id: str, *, author_id: str, text: str, at: datetime) -> bool:
        """Add a comment to a post; return whether it is new.

        Raises:
            Post.DoesNotExist: There is no such post.
            User.DoesNotExist: There is no such author, or they have left.
        """
        comment = Comment.new(post_id, comment_id, author_id=author_id, text=text, created_at=at)
        new = Save(comment, Comment.post_id.does_not_exist())
        return _add_to_post(new, post_id, author_id, Post.comments_count.add(1), at)

    @staticmethod
    @checked
    def uncomment(post_id: str, comment_id: str, *, at: datetime) -> bool:
        """Take a comment off a post; return whether it was there."""
        try:
            comment = Comment.get(post_id, comment_id, consistent_read=True, attributes_to_get=_KEYS_OF_COMMENT)
        except Comment.DoesNotExist:
            return False
        was_there = delete_counted(
            Delete(comment, Comment.post_id.exists()),
            _count_post(post_id, Post.comments_count.add(-1), at),
        )
        DayCounts.mark([comment.day])
        return was_there

    @staticmethod
    @checked
    def share(post_id: str, user_id: str, *, at: datetime) -> None:
        """Count one share of a post. Unlike the others, it counts again when it is repeated.

        Raises:
            Post.DoesNotExist: There is no such post.
            User.DoesNotExist: There is no such user, or they have left.
        """
        _write_by(user_id, post_id, at, _count_post(post_id, Post.shares_count.add(1), at))

    @staticmethod
    @checked
    def unshare(post_id: str, user_id: str, *, at: datetime) -> bool:
        """Take one share of a post back; return whether it had any. It counts again when it is repeated, like `share`.

        Raises:
            Post.DoesNotExist: There is no such post.
        """
        actions = [Post.shares_count.add(-1), Post.touched_day.set(day_key(at, post_id))]
        if update_if(Post(post_id), actions, Post.post_id.exists() & (Post.shares_count > 0)):
            return True
        Post.get(post_id)  # raises where there is none
        return False

    @staticmethod
    @checked
    def view(post_id: str, *, at: datetime, times: int = 1) -> None:
        """Count views of a post. It counts again when it is repeated.

        Raises:
            Post.DoesNotExist: There is no such post.
            ValueError: `times` is not at least 1.
        """
        if times < 1:
            raise ValueError(f"times must be at least 1, and is {times}")
        _touch_post(post_id, Post.views_count.add(times), at)

    @staticmethod
    @checked
    def remove(post_id: str, *, at: datetime) -> bool:
        """Delete a post with its comments, likes and files; return whether it was there.

        It may be repeated, and goes on where it was cut off.

        Raises:
            LookupError: The environment does not name the buckets of its files, `MEDIA_BUCKET` and `UPLOADS_BUCKET`.
        """
        buckets()  # before anything is deleted
        try:
            wanted = ["post_id", "author_id", "day", "tagged_at"]
            post = Post.get(post_id, consistent_read=True, attributes_to_get=wanted)
        except Post.DoesNotExist:
            there, days = False, []
        else:
            days = [post.day]
            DayCounts.mark(days)
            HourMark.note(post.tagged_at, at=at)
            there = delete_post(post, Post.post_id.exists(), at=at)
        # Nobody likes or comments on a post that is gone, so that none comes after these.
        comments = list(Comment.query(post_id, consistent_read=True, attributes_to_get=_KEYS_OF_COMMENT))
        DayCounts.mark([*days, *(comment.day for comment in comments)])
        delete_all(Comment, comments)
        delete_all(Like, Like.query(post_id, consistent_read=True, attributes_to_get=["post_id", "user_id"]))
        delete_files(files_of(post_id))
        return there

    @staticmethod
    @checked
    def hold(post_id: str, *, at: datetime, legal: bool = True) -> None:
        """Keep a post whatever happens (or, with `legal` false, no longer).

        Raises:
            Post.DoesNotExist: There is no such post.
        """
        _touch_post(post_id, Post.legal_hold.set(legal), at)

    @staticmethod
    @checked
    def unhide(post_id: str, *, at: datetime) -> bool:
        """Show a post again that `cleanup_old_posts` has hidden, to whom it was shown before; return whether it was.

        Raises:
            Post.DoesNotExist: There is no such post.
        """
        post = Post.get(post_id, consistent_read=True)
        if not post.hidden_at:
            return False
        touch = Post.touched_day.set(day_key(at, post_id))
        return update_if(post, [*post.shown(), touch], Post.hidden_at == post.hidden_at)

    def shown(self) -> list[Action]:
        """What shows a hidden post again."""
        visibility = Post.visibility.set(self.hidden_from or "public")
        return [visibility, Post.hidden_from.remove(), Post.hidden_at.remove(), Post.hidden_day.remove()]


def delete_post(post: Post, condition: Condition, *, at: datetime) -> bool:
    """Delete a post's row, if a condition holds, and count it off its author's; return whether it did."""
    return delete_counted(
        Delete(Post(post.post_id), condition),
        count_user(post.author_id, User.posts_count.add(-1), at),
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
    return new not in _write_by(user_id, post_id, at, _count_post(post_id, change, at), new)


def _write_by(user_id: str, post_id: str, at: datetime, counted: Update, *new: Save) -> list[Write]:
    """Write what a user does with a post, and that they were active; return the new rows that are there already."""
    by = Check(User, user_id, here())
    unmet = write_together(counted, by, *new)
    there: list[Write] = [write for write in unmet if write in new]
    if not there:
        if counted in unmet:
            raise Post.DoesNotExist(f"post {post_id!r} does not exist")
        if by in unmet:
            raise no_user(user_id)
        Activity.record(user_id, at=at)
    return there


class LikesByUser(GlobalSecondaryIndex["Like"]):
    """Likes by who likes."""

    class Meta:
        index_name = "by_user"
        projection = KeysOnlyProjection()

    user_id = UnicodeAttribute(hash_key=True)
    post_id = UnicodeAttribute(range_key=True)


class Like(Row):
    """A user likes a post."""

    class Meta(Table):
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


class Comment(Made):
    """A comment on a post.

    Attributes:
        day: `day_key` of when it was made.
    """

    class Meta(Table):
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
    @checked
    def new(post_id: str, comment_id: str, *, author_id: str, text: str, created_at: datetime) -> "Comment":
        """A comment with its day key set, not yet saved; see `Made.save`."""
        given: dict[str, Any] = {"author_id": author_id, "text": text, "created_at": created_at}
        return Comment(post_id, comment_id, day=day_key(created_at, comment_id), **given).made_of({"day", *given})
