"""Hashtags: tallies, what each came to, and which ones trend."""

import json
import os
import zlib
from collections.abc import Collection
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
    """What the posts of some time say of hashtags: a chunk of it, packed by `update_trending_hashtags`.

    Attributes:
        period: The day of an hour, `2026-11-01`, or a week by its end, `week to 2026-11-01T05`.
        chunk: The hour and the chunk's number, `T05#0`; of a week the number alone.
        packed: The chunk itself, as compressed JSON.
        as_of: The logical time of the run that wrote it.
    """

    class Meta(Table):
        table_name = os.environ.get("TALLIES_TABLE", "")

    period = UnicodeAttribute(hash_key=True)
    chunk = UnicodeAttribute(range_key=True)
    packed = BinaryAttribute(legacy_encoding=False)
    as_of = UTCDateTimeAttribute()
    expires = TTLAttribute()

    @staticmethod
    def pack(chunk: Any) -> bytes:
        """A chunk as it is kept."""
        return zlib.compress(json.dumps(chunk, ensure_ascii=False, separators=(",", ":")).encode())

    def unpack(self) -> Any:
        """The chunk: of an hour, by tag and author, in how many posts; of a week, `authors`, and `tags` by tag.

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
        for row in each(HashtagTally.scan(consistent_read=True)):
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
    """

    class Meta(Table):
        table_name = os.environ.get("TRENDING_TABLE", "")

    sign = UnicodeAttribute(hash_key=True, attr_name="tag", default="#")
    tags = JSONAttribute()
    as_of = UTCDateTimeAttribute()
