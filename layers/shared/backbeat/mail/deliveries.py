"""What became of each email: the states that keep it from being sent twice.

    absent -> sending -> sent | refused | unknown

A delivery is *claimed* before its mail is handed to SES and *settled* after. A mail that SES definitely did not take
is `refused`, and may be claimed again. Where nobody can say (SES did not answer in time, or the sender went silent
between the two steps) it is `unknown`: it is never sent again by itself, and waits for SES's own event, or for an
operator. So nobody gets an email twice, and whoever gets none is listed.
"""

import base64
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

from pynamodb.expressions.update import Action

from backbeat import trials
from backbeat.logs import without_addresses
from backbeat.models import (
    Check,
    Delivery,
    ErasedUser,
    Update,
    User,
    day_key,
    day_keys,
    each,
    shard_of,
    shards,
    update_if,
    write_together,
)
from backbeat.runtime import NotYet, Rejected, Run

LEASE = timedelta(seconds=60)
"""How long a sender has from its claim to settling it: more than SES and DynamoDB may take with their time-outs."""
LONGEST_TAG = 256
"""Characters of a message tag's value (SES API v2, "MessageTag")."""


class State(StrEnum):
    """How far a delivery has come."""

    SENDING = "sending"
    SENT = "sent"
    REFUSED = "refused"
    """SES did not take it; it may be sent again."""
    UNKNOWN = "unknown"
    """It may have been sent, or not."""


class Feedback(StrEnum):
    """What SES tells of a mail later; events come in any order, and of two the one further down stands."""

    DELIVERED = "delivered"
    SOFT_BOUNCE = "soft bounce"
    BOUNCED = "bounced"
    REJECTED = "rejected"
    """SES took it, and did not send it: it found a virus in it, or could not fill in a template."""
    COMPLAINED = "complained"


class AlreadySent(Exception):
    """This email has been sent.

    Attributes:
        delivery: Its row.
    """

    def __init__(self, delivery: Delivery) -> None:
        super().__init__(f"{delivery.delivery_id} has been sent")
        self.delivery = delivery


class InHand(NotYet):
    """Another sender is at work on this email."""


class Erased(Exception):
    """The user whom this email was to go to was erased meanwhile."""

    def __init__(self) -> None:
        super().__init__("the user was erased")


class Unknown(Rejected):
    """Nobody can say whether this email was sent; a task lets it through, so that it becomes a dead letter."""

    def __init__(self, delivery: Delivery) -> None:
        super().__init__(
            "unknown_delivery",
            f"{delivery.delivery_id}: {delivery.reason}; it may have been sent, so it is not sent again."
            " Settle it with: backbeat mail settle",
        )


class NotUnknown(ValueError):
    """A delivery cannot be settled by hand, as it is known what became of it, or it is being sent."""


def tag(delivery_id: str) -> str:
    """A delivery's id as the value of an SES message tag, which may hold letters, digits, `_` and `-` only.

    Raises:
        Rejected: The id is too long for a tag.
    """
    value = base64.urlsafe_b64encode(delivery_id.encode()).decode().rstrip("=")
    if len(value) > LONGEST_TAG:
        raise Rejected("id_too_long", f"{delivery_id!r} does not fit into a message tag of {LONGEST_TAG} characters")
    return value


def of_tag(value: str) -> str:
    """The delivery's id that a message tag stands for.

    Raises:
        ValueError: It is no tag of ours.
    """
    try:
        delivery_id = base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True).decode()
    except ValueError as error:
        raise ValueError(f"the tag {value!r} names no delivery: {error}") from error
    if not 0 < len(value) <= LONGEST_TAG:
        raise ValueError(f"the tag names no delivery: it has {len(value)} characters")
    return delivery_id


def claim(delivery_id: str, *, email: str, user_id: str, run: Run, kept: timedelta | None) -> Delivery:
    """Claim a delivery before its mail is sent, in one call, if its user was not erased; return its row.

    Args:
        delivery_id: What makes it one email.
        email: Which email it is.
        user_id: Whom it goes to.
        run: The run that sends it.
        kept: How long the row is kept; for ever where it is None.

    Raises:
        AlreadySent: It has been sent.
        InHand: Another sender is at work on it.
        Unknown: It may have been sent.
        Erased: Its user was erased meanwhile.
    """
    now = datetime.now(UTC)
    row = Delivery(delivery_id, user_id=user_id, state=State.SENDING, claimed_at=now)
    actions = [
        Delivery.email.set(email),
        Delivery.user_id.set(user_id),
        Delivery.state.set(State.SENDING),
        Delivery.attempt.add(1),
        Delivery.claimed_at.set(now),
        Delivery.lease_until.set(now + LEASE),
        Delivery.logical_time.set(run.now),
        Delivery.run_id.set(run.id),
        Delivery.reason.remove(),
        Delivery.shelf.set(_open_shelf(delivery_id)),
        Delivery.expires.remove() if kept is None else Delivery.expires.set(now + kept),
    ]
    claimed = Update(row, actions, Delivery.state.does_not_exist() | (Delivery.state == State.REFUSED))
    mark = ErasedUser.of(user_id)
    # Whoever is erased after this is erased with the claim.
    not_erased = Check(ErasedUser, mark.partition, ErasedUser.mark.does_not_exist(), mark.mark)
    unmet = write_together(not_erased, claimed)
    if not_erased in unmet:
        if not _is_there(user_id):
            raise Erased
        unmet = write_together(claimed)  # they have joined again
    if not unmet:
        return row
    row.refresh(consistent_read=True)
    if row.state == State.SENT:
        raise AlreadySent(row)
    if row.state == State.UNKNOWN:
        raise Unknown(row)
    if row.state == State.SENDING and is_silent(row, now):
        settle_unknown(row, f"the sender of attempt {row.attempt} went silent")
        if row.state == State.UNKNOWN:
            raise Unknown(row)
    raise InHand(f"{delivery_id} is being sent by another delivery of its message")


def _is_there(user_id: str) -> bool:
    """Whether there is such a user, as who was erased may join again."""
    try:
        User.get(user_id, consistent_read=True, attributes_to_get=["user_id"])
    except User.DoesNotExist:
        return False
    return True


def settle_sent(row: Delivery, message_id: str) -> None:
    """Note that SES took the mail, even where it was taken to be unknown meanwhile."""
    _settle(
        row, State.SENT, [Delivery.message_id.set(message_id), Delivery.reason.remove()], State.SENDING, State.UNKNOWN
    )


def settle_refused(row: Delivery, reason: str) -> None:
    """Note that SES definitely did not take the mail."""
    _settle(row, State.REFUSED, [Delivery.reason.set(without_addresses(reason))], State.SENDING, State.UNKNOWN)


def settle_unknown(row: Delivery, reason: str) -> None:
    """Note that nobody can say whether SES took the mail."""
    _settle(row, State.UNKNOWN, [Delivery.reason.set(without_addresses(reason))], State.SENDING)


def settle_by_event(delivery_id: str, message_id: str, feedback: Feedback | None) -> Delivery | None:
    """Note what an event of SES tells: that it took the mail, and what became of it since.

    Args:
        delivery_id: The delivery that the event's tag names.
        message_id: SES's id of the mail.
        feedback: What became of it, or None where SES only took it.

    Returns:
        The delivery's row, or None where there is none (it has expired).

    Raises:
        NotYet: Another event was noted at the same time.
    """
    row = Delivery(delivery_id)
    try:
        row.refresh(consistent_read=True)
    except Delivery.DoesNotExist:
        return None
    actions: list[Action] = []
    if row.state != State.SENT:
        actions = [
            Delivery.state.set(State.SENT),
            Delivery.message_id.set(message_id),
            Delivery.reason.remove(),
            Delivery.shelf.set(_day_shelf(row)),
            Delivery.lease_until.remove(),
        ]
    known = list(Feedback)
    if feedback and (row.feedback is None or known.index(feedback) > known.index(Feedback(row.feedback))):
        actions.append(Delivery.feedback.set(feedback))
    as_read = (Delivery.state == row.state) & (
        Delivery.feedback == row.feedback if row.feedback else Delivery.feedback.does_not_exist()
    )
    if actions and not update_if(row, actions, as_read):
        raise NotYet(f"{delivery_id} has just changed")
    return row


def settle_by_hand(delivery_id: str, *, sent: bool) -> Delivery:
    """Settle an unknown delivery by an operator's word.

    Args:
        delivery_id: The delivery.
        sent: Whether it is to count as sent; else it may be sent again.

    Raises:
        Delivery.DoesNotExist: There is no such delivery.
        NotUnknown: It is not unknown.
        Erased: Its user was erased just now.
    """
    row = Delivery.get(delivery_id, consistent_read=True)
    if row.state == State.SENDING and is_silent(row, datetime.now(UTC)):
        settle_unknown(row, f"the sender of attempt {row.attempt} went silent")
    state, word = (State.SENT, "sent") if sent else (State.REFUSED, "to be sent again")
    if row.state != State.UNKNOWN or not _settle(
        row, state, [Delivery.reason.set(f"settled by hand: {word}")], State.UNKNOWN
    ):
        raise NotUnknown(f"{delivery_id} is {row.state}, not unknown")
    return row


def is_silent(row: Delivery, now: datetime) -> bool:
    """Whether the sender of a delivery in `sending` is taken to be gone."""
    return row.lease_until is None or row.lease_until < now


def unsettled(now: datetime) -> Iterator[Delivery]:
    """All deliveries of which nobody can say at `now` whether they were sent, oldest first within a shard."""
    for shard in shards():
        for row in each(Delivery.by_shelf.query(f"open#{shard}")):
            if row.state == State.UNKNOWN or is_silent(row, now):
                yield row


def of_day(day: date) -> Iterator[Delivery]:
    """All deliveries claimed on a (UTC) day that are sent or refused, newest first within a shard."""
    for shelf in day_keys(day):
        yield from each(Delivery.by_shelf.query(shelf, scan_index_forward=False))


def _open_shelf(delivery_id: str) -> str:
    return f"open#{shard_of(delivery_id)}"


def _day_shelf(row: Delivery) -> str:
    """The shelf of the day that a mail counts for; a trial's counts for none."""
    return trials.of(row.user_id) or day_key(row.claimed_at, row.delivery_id)


def _settle(row: Delivery, state: State, actions: Sequence[Action], *found: State) -> bool:
    """Settle the attempt that `row` stands for, if it is in one of the states `found`; else read the row anew.

    Raises:
        Erased: It is not there: its user was erased meanwhile.
    """
    actions = [Delivery.state.set(state), Delivery.lease_until.remove(), *actions]
    if state is not State.UNKNOWN:
        actions.append(Delivery.shelf.set(_day_shelf(row)))
    if update_if(row, actions, Delivery.state.is_in(*found) & (Delivery.claimed_at == row.claimed_at)):
        return True
    try:
        row.refresh(consistent_read=True)
    except Delivery.DoesNotExist as error:
        raise Erased from error
    return False
