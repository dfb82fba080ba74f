"""What a week's digest holds: the week's best posts, chosen once, and of them each user's own.

The best are the 1,000 public posts of the seven days with the most likes, then the most comments. A user gets up to
ten of them, those by people they follow first: none of their own, and at most two by one author. They come in
whatever language they were written, as nothing says which that is.
"""

import heapq
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain, islice
from typing import Any
from urllib.parse import quote

from backbeat.logs import logger
from backbeat.mail import names
from backbeat.mail.sending import Site
from backbeat.models import DigestSelection, Follow, Post, Unreadable, User, day_keys, readable, save_if, update_if
from backbeat.text import cut, one_line, shows

Ranked = list[Any]
"""A post's place among others, as JSON: likes, comments and time, each less than nothing, and its id. The best is the
least."""
MOST_POSTS = 1_000
AT_ONCE = 20_000
"""How many posts one invocation looks at, at less than a millisecond each; and how many users it lists."""
POSTS_EACH = 10
POSTS_OF_ONE_AUTHOR = 2
LONGEST_TEXT = 240
"""Characters of a post that a digest shows."""
PICTURE_SIDE = 320
"""The longest side of a picture that a digest shows, in pixels."""
NEEDED = ("author_id", "created_at")
"""What a post's row must have to be in a digest."""
WEEK = timedelta(days=7)
KEPT = timedelta(days=90)
"""How long it is remembered what a week's digest was made of, and to whom it went."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A post's picture, or its video's poster.

    Attributes:
        source: Its key in the media bucket; in an `Entry` its address, or nothing where pictures are not served.
        width: Its width in pixels.
        height: Its height in pixels.
        of_video: Whether it stands for a video.
    """

    source: str
    width: int
    height: int
    of_video: bool


@dataclass(frozen=True, slots=True)
class Chosen:
    """One of the week's best posts.

    Attributes:
        post_id: Its id.
        author_id: Who made it.
        author: Their name; nothing where it is none that an email shows.
        text: How it begins; nothing where it is a picture only.
        likes: Its likes.
        comments: Its comments.
        picture: Its picture, if it has one.
    """

    post_id: str
    author_id: str
    author: str
    text: str
    likes: int
    comments: int
    picture: Picture | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One post as a user's digest shows it.

    Attributes:
        author: Whose it is; nothing where it is not to be told.
        text: How it begins; nothing where it is a picture only.
        likes: Its likes.
        comments: Its comments.
        followed: Whether the user follows the author.
        url: Where it is on the web.
        picture: Its picture, if it has one.
    """

    author: str
    text: str
    likes: int
    comments: int
    followed: bool
    url: str
    picture: Picture | None


def delivery_id(user_id: str, now: datetime) -> str:
    """What makes a user's digest of the week of `now` one email."""
    return f"content_digest:{week_of(now)}:{user_id}"


def week_of(now: datetime) -> str:
    """The ISO 8601 week of a time, `2026-W45`: a user gets one digest in each."""
    year, week, _ = now.isocalendar()
    return f"{year}-W{week:02}"


class TooMany(Exception):
    """There are more posts than one invocation is to read; `send_content_digest_email` chooses of them in parts."""


def choose(now: datetime) -> list[str]:
    """The ids of the best posts of the seven days before `now`, the best first.

    Raises:
        TooMany: There are more than 20,000 posts.
    """
    ids = [row.post_id for row in islice(chain.from_iterable(map(Post.by_day.query, week(now))), AT_ONCE + 1)]
    if len(ids) > AT_ONCE:
        raise TooMany(f"the week of {now:%Y-%m-%d} has more than {AT_ONCE} posts")
    return [post_id for *_, post_id in best(ranked(ids, now))]


def week(now: datetime) -> list[str]:
    """The partitions of the posts by day that hold the seven days before `now`."""
    return [key for day in range(WEEK.days + 1) for key in day_keys((now - timedelta(days=day)).date())]


def ranked(ids: Iterable[str], now: datetime) -> Iterator[Ranked]:
    """The places of those of some posts that a digest of `now` may hold."""
    for post in readable(Post, ids, _note, needs=NEEDED):
        if post.visibility == "public" and now - WEEK <= post.created_at < now:
            yield [-post.likes_count, -post.comments_count, -post.created_at.timestamp(), post.post_id]


def best(posts: Iterable[Ranked]) -> list[Ranked]:
    """The thousand best of them, the best first."""
    return heapq.nsmallest(MOST_POSTS, posts)


def keep(now: datetime, post_ids: Sequence[str], expires: datetime) -> None:
    """Store what was chosen for the week of `now`, unless a later run has."""
    selection = DigestSelection(f"digest#{week_of(now)}", post_ids=list(post_ids), as_of=now, expires=expires)
    save_if(selection, DigestSelection.as_of.does_not_exist() | (DigestSelection.as_of <= now))


def unlist(weeks: Iterable[datetime], post_ids: Collection[str]) -> None:
    """Take posts out of what was chosen for some weeks."""
    for row in readable(DigestSelection, [(f"digest#{week_of(week)}", "posts") for week in weeks]):
        kept = [post_id for post_id in row.post_ids if post_id not in post_ids]
        if kept != row.post_ids:
            update_if(row, [DigestSelection.post_ids.set(kept)], DigestSelection.as_of == row.as_of)


def load(now: datetime) -> list[Chosen]:
    """The week's best posts, as they are now.

    Those hidden or deleted since, those whose author has left, and those with neither text nor picture are not there.
    They are what was chosen for the week of `now`, or, where nothing was, what would be.

    Raises:
        TooMany: Nothing was, and there are more than 20,000 posts to choose of.
    """
    try:
        ids = DigestSelection.get(f"digest#{week_of(now)}", "posts", consistent_read=True).post_ids
    except DigestSelection.DoesNotExist:
        ids = choose(now)
    posts = {post.post_id: post for post in readable(Post, ids, _note, needs=NEEDED) if post.visibility == "public"}
    authors = {
        user.user_id: names.shown(user.name)
        for user in readable(User, {post.author_id for post in posts.values()}, _note)
        if not user.deleted_at
    }
    chosen = (
        _chosen(post, authors[post.author_id])
        for post in (posts[post_id] for post_id in ids if post_id in posts)
        if post.author_id in authors
    )
    return [post for post in chosen if post and (post.text or post.picture)]


def pick(user_id: str, chosen: Sequence[Chosen], site: Site) -> list[Entry]:
    """A user's own ten of the week's best posts, those by people they follow first."""
    followed = {follow.followed_id for follow in Follow.query(user_id, attributes_to_get=["followed_id"])}
    others = [post for post in chosen if post.author_id != user_id]
    in_order = sorted(others, key=lambda post: post.author_id not in followed)  # stable: else the best first
    taken: Counter[str] = Counter()
    entries: list[Entry] = []
    for post in in_order:
        taken[post.author_id] += 1
        if taken[post.author_id] <= POSTS_OF_ONE_AUTHOR and len(entries) < POSTS_EACH:
            entries.append(_entry(post, post.author_id in followed, site))
    return entries


def _entry(post: Chosen, followed: bool, site: Site) -> Entry:
    picture = post.picture
    if picture:
        address = f"{site.media_url}/{quote(picture.source)}" if site.media_url else ""
        picture = replace(picture, source=address)
    return Entry(
        author=post.author,
        text=post.text,
        likes=post.likes,
        comments=post.comments,
        followed=followed,
        url=f"{site.base_url}/posts/{quote(post.post_id, safe='')}",
        picture=picture,
    )


def _note(error: Unreadable) -> None:
    logger.warning("unreadable", extra={"why": str(error)})


def _chosen(post: Post, author: str) -> Chosen | None:
    try:
        return Chosen(
            post_id=post.post_id,
            author_id=post.author_id,
            author=author,
            text=_beginning(post.text),
            likes=int(post.likes_count),
            comments=int(post.comments_count),
            picture=_picture(post),
        )
    except (KeyError, TypeError, ValueError) as error:
        logger.warning("unreadable", extra={"table": "Post", "id": post.post_id, "why": repr(error)})
        return None


def _beginning(text: str | None) -> str:
    line = one_line(text or "")
    return cut(line, LONGEST_TEXT) if shows(line) else ""


def _picture(post: Post) -> Picture | None:
    """The picture of a post's first upload, by name: the JPEG nearest to 320 px, as not every mail client shows WebP.

    Args:
        post: The post.

    Returns:
        It, or None where no upload has become one.
    """
    media: Mapping[str, Any] = post.media.as_dict() if post.media else {}  # type: ignore[no-untyped-call]
    for entry in sorted(media.values(), key=lambda entry: str(entry["upload"])):
        fitting = [r for r in entry["renditions"] if r["role"] == "picture" and r["content_type"] == "image/jpeg"]
        if fitting:
            best = min(fitting, key=lambda rendition: abs(max(rendition["width"], rendition["height"]) - PICTURE_SIDE))
            video = entry.get("seconds") is not None
            return Picture(best["key"], int(best["width"]), int(best["height"]), of_video=video)
    return None
