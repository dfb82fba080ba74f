"""Hashtags: tallies, what each came to, and which ones trend."""

import os

from pynamodb.attributes import (
    BinaryAttribute,
    BooleanAttribute,
    JSONAttribute,
    NumberAttribute,
    TTLAttribute,
    UnicodeAttribute,
    UTCDateTimeAttribute,
)
from pynamodb.models import Model

from backbeat.models.base import (
    Table,
)


class HashtagTally(Model):
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

    class Meta(Table):
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

    class Meta(Table):
        table_name = os.environ.get("TRENDING_TABLE", "")

    sign = UnicodeAttribute(hash_key=True, attr_name="tag", default="#")
    tags = JSONAttribute()
    as_of = UTCDateTimeAttribute()
