"""record_email_feedback: what SES tells of a mail after it took it, over EventBridge.

It settles the mail's delivery, and marks addresses that bounced or complained, which no task writes to again. A soft
bounce (a full mailbox, a server away) counts up: `MOST_SOFT_BOUNCES` mails in a row that came back so mark an
address too. Events repeat and come in any order; each of these steps may, too.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from backbeat.mail import deliveries
from backbeat.mail.deliveries import Feedback
from backbeat.models import Delivery, User
from backbeat.runtime import Rejected, Run, Skipped, implementation
from backbeat.tasks import record_email_feedback

MOST_SOFT_BOUNCES = 5


@dataclass(frozen=True, slots=True)
class FeedbackRecorded:
    """The result of a run.

    Attributes:
        delivery_id: The delivery that the event is about.
        event: The event's type, as SES calls it.
        email_status: What the address is marked as now.
    """

    delivery_id: str
    event: str
    email_status: str


@implementation(record_email_feedback)
def handle(detail_type: str, detail: Mapping[str, Any], run: Run) -> FeedbackRecorded | Skipped:
    """Record one event; see the declaration for the arguments."""
    try:
        event, mail = str(detail["eventType"]), detail["mail"]
        message_id, tags = str(mail["messageId"]), mail.get("tags", {})
        feedback, addresses = _told(event, detail)
    except (KeyError, TypeError, AttributeError) as error:
        raise Rejected("invalid_event", f"not an event of SES: {detail_type}: {error!r}") from error
    if "delivery" not in tags:
        return Skipped("the mail was not sent by a task: it bears no delivery tag")
    try:
        (tag,) = tags["delivery"]
        delivery_id = deliveries.of_tag(tag)
    except (ValueError, TypeError) as error:
        raise Rejected("invalid_event", f"the mail's delivery tag is {tags['delivery']!r}: {error}") from error
    delivery = deliveries.settle_by_event(delivery_id, message_id, feedback)
    if delivery is None:
        return Skipped(f"there is no delivery {delivery_id}")
    try:
        user = User.get(delivery.user_id, consistent_read=True)
    except User.DoesNotExist:
        return Skipped(f"there is no user {delivery.user_id!r} any more")
    if feedback is Feedback.DELIVERED or user.email.lower() in addresses:
        _mark(user, delivery, feedback)
    return FeedbackRecorded(delivery_id, event, user.email_status)


def _told(event: str, detail: Mapping[str, Any]) -> tuple[Feedback | None, set[str]]:
    """What an event tells of its mail, and of which addresses."""
    match event:
        case "Delivery":
            return Feedback.DELIVERED, set()
        case "Reject":
            return Feedback.REJECTED, set()
        case "Bounce":
            bounce = detail["bounce"]
            # An undetermined one says nothing certain of the address, so it counts as a passing one.
            hard = bounce["bounceType"] == "Permanent"
            return Feedback.BOUNCED if hard else Feedback.SOFT_BOUNCE, _addresses(bounce["bouncedRecipients"])
        case "Complaint":
            complaint = detail["complaint"]
            if complaint.get("complaintFeedbackType") == "not-spam":  # a mail was taken out of the spam folder
                return None, set()
            return Feedback.COMPLAINED, _addresses(complaint["complainedRecipients"])
    return None, set()  # Send, DeliveryDelay: SES has taken it, and knows no more


def _addresses(recipients: Iterable[Mapping[str, Any]]) -> set[str]:
    return {str(recipient["emailAddress"]).lower() for recipient in recipients}


def _mark(user: User, delivery: Delivery, feedback: Feedback | None) -> None:
    """Mark a user's address by what happened to a mail that went there."""
    # If the address has changed since it was read, what is known of the old one says nothing of the new one.
    same = User.email == user.email
    match feedback:
        case Feedback.COMPLAINED:
            user.update(actions=[User.email_status.set("complained")], condition=same)
        case Feedback.BOUNCED if user.email_status == "ok":
            user.update(actions=[User.email_status.set("bounced")], condition=same & (User.email_status == "ok"))
        case Feedback.SOFT_BOUNCE if user.email_status == "ok":
            user.update(actions=[User.soft_bounces.add({delivery.delivery_id})], condition=same)
            if len(user.soft_bounces) >= MOST_SOFT_BOUNCES:
                user.update(actions=[User.email_status.set("bounced")], condition=same & (User.email_status == "ok"))
        case Feedback.DELIVERED if user.soft_bounces:
            user.update(actions=[User.soft_bounces.remove()], condition=same)


lambda_handler = handle.lambda_handler
