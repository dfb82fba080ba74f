"""send_notification: one notification inside the application, written once for each run."""

from dataclasses import dataclass

from backbeat.messages import sortable
from backbeat.models import Changed, ErasedUser, Notification, User, save_if
from backbeat.runtime import NotYet, Rejected, Run, Skipped, implementation
from backbeat.tasks import send_notification
from backbeat.text import shows

LONGEST_TEXT = 1_000


@dataclass(frozen=True, slots=True)
class NotificationWritten:
    """The result of a run.

    Attributes:
        notification_id: The notification, among its user's.
    """

    notification_id: str


@implementation(send_notification)
def handle(user_id: str, kind: str, text: str, run: Run, link: str | None = None) -> NotificationWritten | Skipped:
    """Write one notification; see the declaration for the arguments."""
    if not kind or not shows(text) or len(text) > LONGEST_TEXT:
        raise Rejected(
            "invalid_text", f"a notification needs a kind, and a text of 1 to {LONGEST_TEXT} characters that shows"
        )
    try:
        user = User.get(user_id, consistent_read=True)
    except User.DoesNotExist as error:
        if ErasedUser.has(user_id):
            return Skipped("the user was erased", erased=True)
        raise NotYet(f"there is no user {user_id!r} (yet)") from error
    if user.deleted_at:
        return Skipped(f"user {user_id} has left")
    notification = Notification(
        user_id, f"{sortable(run.now)}#{run.id}", kind=kind, text=text, link=link, created_at=run.now
    )
    Changed.note("notification", user_id, notification.notification_id)
    if not save_if(notification, Notification.user_id.does_not_exist()):
        return Skipped("it has been written")
    return NotificationWritten(notification.notification_id)


lambda_handler = handle.lambda_handler
