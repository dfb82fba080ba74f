"""Hashtags: tallies, what each came to, and which ones trend."""

import json
import os
import zlib
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

from pynamodb.attributes import (
    BinaryAttribute,
    BooleanAttribute,
    JSONAttribute,
    NumberAttribute,
    TTLAttribute,
    UnicodeAttribute,
    UTCDateTimeAttribute,
)

from backbeat.models.base import Row, Table, Unreadable, delete_if, each, update_if


class HashtagTally(Row):
    """What the posts of some time say of hashtags, or a part of it, packed by `update_trending_hashtags`.

    Attributes:
        period: The day of an hour, `2026-11-01`, or a week by its end, `week to 2026-11-01T05`; of what is in many
            rows, with the bucket: `2026-11-01#0110`.
        chunk: The hour and the shard of the posts, `T05.3`, and of what is in many rows, what this one is named after;
            of a week a number, `#000`.
        packed: The content itself, as compressed JSON.
        split: Where an hour's is in many rows, by how many digits of their buckets: then this one holds their names.
        entries: How many pairs of a person and a tag an hour's has.
        as_of: The logical time of the run that wrote it.
    """

    class Meta(Table):
        table_name = os.environ.get("TALLIES_TABLE", "")

    period = UnicodeAttribute(hash_key=True)
    chunk = UnicodeAttribute(range_key=True)
    packed = BinaryAttribute(legacy_encoding=False)
    split = NumberAttribute(null=True)
    entries = NumberAttribute(null=True)
    as_of = UTCDateTimeAttribute()
    expires = TTLAttribute()

    @staticmethod
    def pack(chunk: Any) -> bytes:
        """Content as it is kept."""
        return zlib.compress(json.dumps(chunk, ensure_ascii=False, separators=(",", ":")).encode())

    def unpack(self) -> Any:
        """The content: of an hour, by tag and author, in how many posts; of a week, `authors`, and `tags` by tag.

        Raises:
            Unreadable: It is none.
        """
        try:
            return json.loads(zlib.decompress(self.packed))
        except (TypeError, ValueError, zlib.error) as error:
            raise Unreadable(f"HashtagTally {self.period!r}, {self.chunk!r} cannot be read: {error}") from error

    @staticmethod
    def forget(user_id: str, tags: Collection[str]) -> None:
        """Take a user out of all tallies, and the tags that they alone have used.

        Args:
            user_id: The user.
            tags: The folded tags that they have used.
        """
        alone = {*tags}
        for row in each(HashtagTally.scan(HashtagTally.period != AGAIN, consistent_read=True)):
            if row.split is not None:
                continue
            try:
                chunk = row.unpack()
            except Unreadable:  # nobody can say whom it names; a run counts it anew
                row.delete()
                continue
            if "tags" in chunk and "authors" in chunk and row.period.startswith("week"):
                kept = {tag: of for tag, of in chunk["tags"].items() if not (tag in alone and of[1] <= 1)}
                left: Any = {**chunk, "tags": kept}
            else:
                without = {tag: {who: n for who, n in of.items() if who != user_id} for tag, of in chunk.items()}
                left = {tag: of for tag, of in without.items() if of}
            if left != chunk:
                # Else a run has counted it anew, from posts that are gone.
                update_if(row, [HashtagTally.packed.set(HashtagTally.pack(left))], HashtagTally.as_of == row.as_of)
        for tag in alone:
            delete_if(Hashtag(tag), Hashtag.authors <= 1)


AGAIN = "again"
"""The partition of the hours that are to be counted again."""


class HourMark(Row):
    """An hour of which a post was edited, hidden or deleted, so that the next run of the trends counts it again.

    Attributes:
        hour: The hour, `2026-11-01T05`.
        at: When that was, the last time.
    """

    class Meta(Table):
        table_name = os.environ.get("TALLIES_TABLE", "")

    period = UnicodeAttribute(hash_key=True, default=AGAIN)
    hour = UnicodeAttribute(range_key=True, attr_name="chunk")
    at = UTCDateTimeAttribute()
    expires = TTLAttribute()

    @staticmethod
    def note(tagged_at: datetime | None, *, at: datetime) -> None:
        """Ask for an hour to be counted again, if it may be in the week that is ranked.

        Args:
            tagged_at: The post's; one without hashtags is in no tally.
            at: When it was changed.
        """
        if tagged_at and at - tagged_at <= COUNTED:
            HourMark(hour=f"{tagged_at.astimezone(UTC):%Y-%m-%dT%H}", at=at, expires=at + COUNTED).save()


COUNTED = timedelta(days=8)
"""How old a post may be to be in the week that is ranked, and a day more."""


class Hashtag(Row):
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

    class Meta(Table):
        table_name = os.environ.get("TRENDING_TABLE", "")

    tag = UnicodeAttribute(hash_key=True)
    shown = UnicodeAttribute()
    authors = NumberAttribute()
    posts = NumberAttribute()
    trending = BooleanAttribute()
    as_of = UTCDateTimeAttribute()
    expires = TTLAttribute(null=True)


class TrendingHashtags(Row):
    """The hashtags that trend: one row, read with `TrendingHashtags.get("#")`, as no tag is a bare sign.

    Attributes:
        tags: Best first: each with `tag`, `shown`, `authors`, `posts`, `usual`, `score` and `why`.
        as_of: The logical time of the run that wrote it.
        form: The form of the tallies that it was made of; those of an older one are counted anew.
    """

    class Meta(Table):
        table_name = os.environ.get("TRENDING_TABLE", "")

    sign = UnicodeAttribute(hash_key=True, attr_name="tag", default="#")
    tags = JSONAttribute()
    as_of = UTCDateTimeAttribute()
    form = NumberAttribute(null=True)
