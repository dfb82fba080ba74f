"""record_email_feedback: what SES tells of a mail after it took it, over EventBridge.

It settles the mail's delivery, and marks addresses that bounced or complained, which no task writes to again. A soft
bounce (a full mailbox, a server away) counts up: `MOST_SOFT_BOUNCES` mails in a row that came back so mark an
address too. Events repeat and come in any order; each of these steps may, too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backbeat.logs import logger
from backbeat.mail import deliveries
from backbeat.mail.addresses import identity
from backbeat.mail.deliveries import Feedback
from backbeat.models import Changed, Delivery, User
from backbeat.runtime import Rejected, Run, Skipped, implementation
from backbeat.tasks import record_email_feedback

MOST_SOFT_BOUNCES = 5
NO_WISH_TO_STOP = ("not-spam", "auth-failure", "virus")
"""Types of feedback (RFC 5965, RFC 6430, RFC 6591) by which nobody complains: a mail was taken out of the spam folder,
or a mail server found it badly signed or infected."""


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


@dataclass(frozen=True, slots=True)
class _Told:
    """What an event tells.

    Attributes:
        event: Its type, as SES calls it.
        delivery_id: The delivery whose mail it is about; None where no task sent it.
        message_id: SES's id of the mail.
        feedback: What became of the mail, or None where SES only took it.
        recipients: To whom it went, each in the form in which addresses are compared.
    """

    event: str
    delivery_id: str | None
    message_id: str
    feedback: Feedback | None
    recipients: frozenset[str]


@implementation(record_email_feedback)
def handle(detail_type: str, detail: Mapping[str, Any], run: Run) -> FeedbackRecorded | Skipped:
    """Record one event; see the declaration for the arguments."""
    try:
        told = _told(detail)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Rejected("invalid_event", f"not an event of SES: {detail_type}: {error!r}") from error
    if told is None:
        return Skipped(f"what SES tells by {detail['eventType']!r} settles nothing")
    if told.delivery_id is None:
        return Skipped("the mail was not sent by a task: it bears no delivery tag")
    delivery = deliveries.settle_by_event(told.delivery_id, told.message_id, told.feedback)
    if delivery is None:
        return Skipped("there is no such delivery (any more)")
    try:
        user = User.get(delivery.user_id, consistent_read=True)
    except User.DoesNotExist:
        return Skipped("there is no such user any more")
    if identity(user.email) in told.recipients:
        _mark(user, delivery, told.feedback)
    return FeedbackRecorded(told.delivery_id, told.event, user.email_status)


def _told(detail: Mapping[str, Any]) -> _Told | None:
    """What an event tells of its mail; None where it is of a kind that settles nothing.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: It is no event of SES.
    """
    event, mail = str(detail["eventType"]), detail["mail"]
    message_id, tags = str(mail["messageId"]), mail.get("tags") or {}
    # Each of our mails goes to one address. A report may name another: the one that it was forwarded to.
    recipients = [*mail.get("destination", ())]
    feedback: Feedback | None = None
    match event:
        case "Send" | "DeliveryDelay":  # SES has taken it, and knows no more
            pass
        case "Delivery":
            feedback = Feedback.DELIVERED
            recipients += detail["delivery"].get("recipients", ())
        case "Reject" | "Rendering Failure":
            feedback = Feedback.REJECTED
        case "Bounce":
            bounce = detail["bounce"]
            # An undetermined one says nothing certain of the address, so it counts as a passing one.
            feedback = Feedback.BOUNCED if bounce["bounceType"] == "Permanent" else Feedback.SOFT_BOUNCE
            recipients += [recipient["emailAddress"] for recipient in bounce["bouncedRecipients"]]
        case "Complaint":
            complaint = detail["complaint"]
            recipients += [recipient["emailAddress"] for recipient in complaint["complainedRecipients"]]
            kind = complaint.get("complaintFeedbackType")
            if kind in NO_WISH_TO_STOP:
                logger.warning("no complaint", extra={"feedback_type": kind, "message_id": message_id})
            else:
                feedback = Feedback.COMPLAINED
        case _:
            return None
    delivery_id: str | None = None
    if "delivery" in tags:
        (tag,) = tags["delivery"]
        delivery_id = deliveries.of_tag(tag)
    return _Told(event, delivery_id, message_id, feedback, frozenset(identity(address) for address in recipients))


def _mark(user: User, delivery: Delivery, feedback: Feedback | None) -> None:
    """Mark a user's address by what happened to a mail that went there."""
    # If the address has changed since it was read, what is known of the old one says nothing of the new one.
    same = User.email == user.email
    Changed.note("user", user.user_id)
    match feedback:
        case Feedback.COMPLAINED:
            user.update(actions=[User.email_status.set("complained")], condition=same)
        case Feedback.BOUNCED if user.email_status == "ok":
            user.update(actions=[User.email_status.set("bounced")], condition=same & (User.email_status == "ok"))
        case Feedback.SOFT_BOUNCE if user.email_status == "ok":
            user.update(actions=[User.soft_bounces.add({delivery.delivery_id})], condition=same)
            if len(user.soft_bounces) >= MOST_SOFT_BOUNCES:
                user.update(actions=[User.email_status.set("bounced")], condition=same & (User.email_status == "ok"))
        case Feedback.DELIVERED if before := _sent_before(delivery, user.soft_bounces or set()):
            user.update(actions=[User.soft_bounces.delete(before)], condition=same)


def _sent_before(delivery: Delivery, others: set[str]) -> set[str]:
    """Those deliveries that were sent before one, or of which nothing is known any more.

    That it arrived says nothing of what was sent after it, however late or often that is told.
    """
    before = set()
    for delivery_id in others - {delivery.delivery_id}:
        try:
            other = Delivery.get(delivery_id)
        except Delivery.DoesNotExist:
            before.add(delivery_id)
        else:
            if other.claimed_at < delivery.claimed_at:
                before.add(delivery_id)
    return before


lambda_handler = handle.lambda_handler
