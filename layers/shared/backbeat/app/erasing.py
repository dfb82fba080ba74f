"""How a user is erased: everywhere, the archive of deleted posts included."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from backbeat.mail import digest
from backbeat.models import (
    ACTIVITY_KEPT,
    Activity,
    Comment,
    DayCounts,
    Delivery,
    Follow,
    Like,
    Notification,
    Post,
    Token,
    User,
    day_key,
    delete_all,
)
from backbeat.models.arguments import checked
from backbeat.posts import archive


@dataclass(frozen=True, slots=True)
class Erased:
    """What was deleted with a user, by kind.

    Attributes:
        user: Whether their own row was there.
        archived: Posts, comments and likes of theirs in the archive of deleted posts.
    """

    user: bool
    follows: int
    likes: int
    comments: int
    posts: int
    tokens: int
    notifications: int
    archived: int


@checked
def erase(user_id: str, *, at: datetime) -> Erased:
    """Delete a user everywhere, with all they wrote, all their files, and all that is kept about them.

    Whoever is left keeps true counts. It may be repeated, and goes on where it was cut off; the user's own
    row goes last. A user who does not exist is no error here: what was left of them is looked for all the same.
    Indexes lag behind their tables, so the application stops the user from writing first.

    The stack's buckets are found in the environment: `MEDIA_BUCKET`, `UPLOADS_BUCKET` and `ARCHIVE_BUCKET`. The archive
    is read whole, so this takes the longer the more of it there is.
    """
    follows = sum(User.unfollow(user_id, row.followed_id, at=at) for row in Follow.query(user_id))
    follows += sum(User.unfollow(row.follower_id, user_id, at=at) for row in Follow.by_followed.query(user_id))
    likes = sum(Post.unlike(row.post_id, user_id, at=at) for row in Like.by_user.query(user_id))
    comments = sum(Post.uncomment(row.post_id, row.comment_id, at=at) for row in Comment.by_author.query(user_id))
    posts = sum(Post.remove(row.post_id, at=at) for row in Post.by_author.query(user_id))
    tokens = delete_all(Token, Token.query(user_id))
    notifications = delete_all(Notification, Notification.query(user_id))
    days = (at - timedelta(days=days) for days in range(ACTIVITY_KEPT.days + 1))
    delete_all(Activity, (Activity(day_key(day, user_id), user_id) for day in days))
    archived = archive.forget(user_id)
    joined = [user.day for user in User.query(user_id)]
    # One week more at each end: rows go some days after they expire, and a week may have just begun.
    weeks = range(-1, digest.KEPT // digest.WEEK + 3)
    mails = [f"welcome:{user_id}", *(digest.delivery_id(user_id, at - week * digest.WEEK) for week in weeks)]
    delete_all(Delivery, (Delivery(mail) for mail in mails))
    User(user_id).delete()
    DayCounts.mark(joined)
    return Erased(bool(joined), follows, likes, comments, posts, tokens, notifications, archived)
