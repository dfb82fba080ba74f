"""What users are told inside the application."""

import os
from datetime import datetime, timedelta

from pynamodb.attributes import (
    TTLAttribute,
    UnicodeAttribute,
    UTCDateTimeAttribute,
)
from pynamodb.expressions.update import Action

from backbeat.models.arguments import checked
from backbeat.models.base import (
    Row,
    Table,
    each,
    update_if,
)

NOTIFICATION_KEPT = timedelta(days=30)
"""How long a notification is kept once it has been read."""


class Notification(Row):
    """Something a user is told inside the application.

    Attributes:
        notification_id: Sorts by time: when it was made, and the run that made it.
        kind: What it is about, such as `like` or `follow`; the application decides how it looks.
        text: What it says.
        link: Where it leads, within the application.
        read_at: When the user read it; it goes 30 days later.
    """

    class Meta(Table):
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
    @checked
    def of(user_id: str, *, now: datetime, limit: int = 50) -> list["Notification"]:
        """A user's notifications, newest first. DynamoDB deletes up to days late, so what has expired is left out."""
        kept = Notification.expires.does_not_exist() | (Notification.expires > now)
        return list(each(Notification.query(user_id, filter_condition=kept, scan_index_forward=False, limit=limit)))

    @staticmethod
    @checked
    def mark_read(user_id: str, notification_id: str, *, at: datetime) -> bool:
        """Note that a user has read a notification; return whether they had not before."""
        row = Notification(user_id, notification_id)
        actions: list[Action] = [Notification.read_at.set(at), Notification.expires.set(at + NOTIFICATION_KEPT)]
        return update_if(row, actions, Notification.user_id.exists() & Notification.read_at.does_not_exist())
