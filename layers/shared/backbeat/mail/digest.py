"""What a week's digest holds: the week's best posts, chosen once, and of them each user's own.

The best are the 1,000 public posts of the seven days with the most likes, then the most comments. A user gets up to
ten of them, those by people they follow first.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import quote

from backbeat.mail.sending import LONGEST_NAME, one_line
from backbeat.models import DigestSelection, Follow, Post, User, day_keys, save_if

MOST_POSTS = 1_000
POSTS_EACH = 10
LONGEST_TEXT = 240
"""Characters of a post that a digest shows."""
WEEK = timedelta(days=7)
KEPT = timedelta(days=90)
"""How long it is remembered what a week's digest was made of, and to whom it went."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """One of the week's best posts.

    Attributes:
        post_id: Its id.
        author_id: Who made it.
        author: Their name.
        text: How it begins.
        likes: Its likes.
        comments: Its comments.
    """

    post_id: str
    author_id: str
    author: str
    text: str
    likes: int
    comments: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One post as a user's digest shows it.

    Attributes:
        author: Whose it is.
        text: How it begins.
        likes: Its likes.
        comments: Its comments.
        followed: Whether the user follows the author.
        url: Where it is on the web.
    """

    author: str
    text: str
    likes: int
    comments: int
    followed: bool
    url: str


def delivery_id(user_id: str, now: datetime) -> str:
    """What makes a user's digest of the week of `now` one email."""
    return f"content_digest:{week_of(now)}:{user_id}"


def week_of(now: datetime) -> str:
    """The ISO 8601 week of a time, `2026-W45`: a user gets one digest in each."""
    year, week, _ = now.isocalendar()
    return f"{year}-W{week:02}"


def choose(now: datetime) -> list[str]:
    """The ids of the best posts of the seven days before `now`, the best first."""

    def of_the_week() -> Iterator[str]:
        for day in range(WEEK.days + 1):
            for key in day_keys((now - timedelta(days=day)).date()):
                yield from (row.post_id for row in Post.by_day.query(key))

    def rank(post: Post) -> tuple[float, float, float, str]:
        return (-post.likes_count, -post.comments_count, -post.created_at.timestamp(), post.post_id)

    candidates = (
        post
        for post in Post.batch_get(of_the_week())
        if post.visibility == "public" and now - WEEK <= post.created_at < now
    )
    return [post.post_id for post in heapq.nsmallest(MOST_POSTS, candidates, key=rank)]


def keep(now: datetime, post_ids: Sequence[str], expires: datetime) -> None:
    """Store what was chosen for the week of `now`, unless a later run has."""
    selection = DigestSelection(f"digest#{week_of(now)}", post_ids=list(post_ids), as_of=now, expires=expires)
    save_if(selection, DigestSelection.as_of.does_not_exist() | (DigestSelection.as_of <= now))


def load(now: datetime) -> list[Chosen]:
    """The week's best posts, as they are now: those hidden or deleted since, or whose author has left, are not there.

    They are what was chosen for the week of `now`, or, where nothing was, what would be.
    """
    try:
        ids = DigestSelection.get(f"digest#{week_of(now)}", "posts", consistent_read=True).post_ids
    except DigestSelection.DoesNotExist:
        ids = choose(now)
    posts = {post.post_id: post for post in Post.batch_get(ids) if post.visibility == "public"}
    authors = {
        user.user_id: one_line(user.name)[:LONGEST_NAME] or user.user_id
        for user in User.batch_get({post.author_id for post in posts.values()})
        if not user.deleted_at
    }
    return [
        Chosen(
            post_id=post.post_id,
            author_id=post.author_id,
            author=authors[post.author_id],
            text=_beginning(post.text),
            likes=int(post.likes_count),
            comments=int(post.comments_count),
        )
        for post in (posts[post_id] for post_id in ids if post_id in posts)
        if post.author_id in authors
    ]


def pick(user_id: str, chosen: Sequence[Chosen], base_url: str) -> list[Entry]:
    """A user's own ten of the week's best posts, those by people they follow first."""
    followed = {follow.followed_id for follow in Follow.query(user_id, attributes_to_get=["followed_id"])}
    own = sorted(chosen, key=lambda post: post.author_id not in followed)  # stable: else the best first
    return [
        Entry(
            author=post.author,
            text=post.text,
            likes=post.likes,
            comments=post.comments,
            followed=post.author_id in followed,
            url=f"{base_url}/posts/{quote(post.post_id, safe='')}",
        )
        for post in own[:POSTS_EACH]
    ]


def _beginning(text: str) -> str:
    line = one_line(text)
    return line if len(line) <= LONGEST_TEXT else f"{line[: LONGEST_TEXT - 1].rstrip()}…"
