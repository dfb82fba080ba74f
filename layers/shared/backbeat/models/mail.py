"""Emails: what became of each, and what a week's digest is made of."""

import os

from pynamodb.attributes import (
    JSONAttribute,
    NumberAttribute,
    TTLAttribute,
    UnicodeAttribute,
    UTCDateTimeAttribute,
)
from pynamodb.indexes import AllProjection, GlobalSecondaryIndex

from backbeat.models.base import (
    Row,
    Table,
)


class DeliveriesByShelf(GlobalSecondaryIndex["Delivery"]):
    """Deliveries by where they are listed, oldest first."""

    class Meta:
        index_name = "by_shelf"
        projection = AllProjection()

    shelf = UnicodeAttribute(hash_key=True)
    claimed_at = UTCDateTimeAttribute(range_key=True)


class Delivery(Row):
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
        shelf: Where it is listed: `open#<shard>` until it is known what became of it, then `day_key` of its claim,
            or the trial whose it is.
        expires: When the row goes; a welcome's never does.
    """

    class Meta(Table):
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


class DigestSelection(Row):
    """The posts that one week's digest is made of, kept beside the runs under the key `digest#<ISO week>`.

    Attributes:
        post_ids: Their ids, the best first.
        as_of: The logical time of the run that chose them.
    """

    class Meta(Table):
        table_name = os.environ.get("RUNS_TABLE", "")

    week = UnicodeAttribute(hash_key=True, attr_name="task_day")
    kind = UnicodeAttribute(range_key=True, attr_name="run_id", default="posts")
    post_ids = JSONAttribute()
    as_of = UTCDateTimeAttribute()
    expires = TTLAttribute(null=True)
