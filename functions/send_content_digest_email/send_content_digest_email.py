"""send_content_digest_email: on Mondays, the week's best posts to everybody who has been around.

The run is planned in parts of at most 500 users, which send at a pace that all of them together keep: 80 % of what SES
allows the account, the rest is for welcomes. Each user's delivery row, `content_digest:<week>:<user>`, sees to it that
a run that crashed and goes on, or is made again, writes to nobody twice. Everybody ends as sent, skipped, refused or
unknown; an unknown one becomes a message of its own, and with it a dead letter of its own.
"""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any

from backbeat import queues
from backbeat.logs import logger
from backbeat.mail import digest, sending
from backbeat.mail.deliveries import AlreadySent, Erased, InHand, Unknown
from backbeat.mail.digest import WEEK, Chosen
from backbeat.mail.sending import SECONDS_FOR_ONE, Pacer, Site
from backbeat.messages import Message, digest_of, iso, sortable
from backbeat.models import User, day_keys
from backbeat.runtime import InParts, Rejected, Run, Skipped, implementation
from backbeat.sweeps import MOST_PARTS, PartDone, Tally, Unfinished, add_up, in_parts
from backbeat.tasks import send_content_digest_email

SHARE = 0.8
"""Of the account's sending rate and quota; the rest is kept for welcomes."""
MOST_USERS = 500
"""In one part."""
SECONDS_OF_AN_INVOCATION = 240
"""How much of the function's time-out goes to sending at its pace, however late the last mail comes."""
INVOCATIONS_OF_A_PART = 10
"""How many of them a part may take at its pace: it may send itself on for one or two more (`sweeps.MOST_HOPS`)."""
MOST_ALL_REFUSED = 10
"""Where more mails than these are refused, and every one, no user is the cause, and the run has failed."""
LONGEST_INTERVAL = 120
"""Seconds between two mails of one part, so that each invocation gets on."""
DAY = timedelta(days=1) / timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class DigestSent:
    """The result of a run.

    Attributes:
        sent: Users to whom the digest went.
        skipped: Users who were not to get it, or had it.
        refused: Users to whom no mail can go as things are: their address is none, or SES refused it.
        unknown: Users of whom nobody can say.
    """

    sent: int = 0
    skipped: int = 0
    refused: int = 0
    unknown: int = 0


@dataclass(frozen=True, slots=True)
class SentToOne:
    """The result of a run for one user.

    Attributes:
        message_id: SES's id of the mail.
    """

    message_id: str


@implementation(send_content_digest_email)
def handle(run: Run, user_id: str | None = None) -> DigestSent | SentToOne | InParts | PartDone | Skipped:
    """Send the digest to all, or to one; see the declaration for the arguments."""
    if user_id is not None:
        try:
            return _send(user_id, run, digest.load(run.now))
        except AlreadySent as already:
            return Skipped(str(already))

    def work(spec: Any, cursor: int | None, tally: Tally) -> Tally | Unfinished:
        return _send_part(run, spec["users"], spec["per_second"], cursor or 0, tally)

    return in_parts(run, plan=lambda: _plan(run), work=work, finish=partial(_sum_up, run))


def _plan(run: Run) -> list[dict[str, Any]]:
    """Choose the week's posts, and split the users into parts, each with its share of the pace.

    Raises:
        Rejected: It could not be finished before the week ends.
    """
    chosen = digest.choose(run.now)
    digest.keep(run.now, chosen, run.now + digest.KEPT)
    users = sorted(set(_active_users(run.now))) if chosen else []
    if not users:
        return []
    per_second = _pace(len(users))
    # No more parts than these send at a time; fewer of them are slower than allowed, and never faster.
    share = per_second / int(os.environ["DIGEST_SENDERS"])
    # Whole mails: an invocation that would have to wait too long for the next one leaves it to the following.
    size = max(1, min(MOST_USERS, INVOCATIONS_OF_A_PART * int(share * SECONDS_OF_AN_INVOCATION)))
    parts = [{"users": users[start : start + size], "per_second": share} for start in range(0, len(users), size)]
    week_ends = datetime.combine(run.now.date() + timedelta(days=7 - run.now.weekday()), datetime.min.time(), UTC)
    needed = timedelta(seconds=len(users) / per_second)
    if run.now + needed > week_ends or len(parts) > MOST_PARTS or share * LONGEST_INTERVAL < 1:
        raise Rejected(
            "too_slow",
            f"{len(users)} users at {per_second:.3g} mails a second take {needed}, in {len(parts)} parts which each"
            f" send one mail in {1 / share:.3g} s. They must be done by {week_ends:%Y-%m-%d %H:%M} UTC, in at most"
            f" {MOST_PARTS} parts, with at most {LONGEST_INTERVAL} s between two mails of a part."
            " Ask SES for a higher rate and quota, or set another Capacity.",
        )
    return parts


def _active_users(now: datetime) -> Iterator[str]:
    """Users who logged in from a week before `now` on; those included who have done so since, in a late run."""
    for days in range(-WEEK.days, WEEK.days + 1):
        for key in day_keys((now + timedelta(days=days)).date()):
            yield from (row.user_id for row in User.by_login.query(key))


def _pace(users: int) -> float:
    """How many mails a second the digest may send, over all parts.

    Where the rest of the day's quota does not suffice, it is the rate at which the quota comes back.
    """
    quota = sending.ses().get_account()["SendQuota"]
    rate, daily = quota["MaxSendRate"], quota["Max24HourSend"]
    unlimited = daily < 0  # SES says -1
    if unlimited or users <= SHARE * (daily - quota["SentLast24Hours"]):
        return SHARE * rate
    return SHARE * min(rate, daily / DAY)


def _send_part(run: Run, users: list[str], per_second: float, start: int, tally: Tally) -> Tally | Unfinished:
    counts = Counter(tally)
    pacer = Pacer(per_second)
    chosen = digest.load(run.now)
    in_hand: InHand | None = None
    for at, user_id in islice(enumerate(users), start, None):
        if run.seconds_left < pacer.seconds_to_wait + SECONDS_FOR_ONE + 5:
            if in_hand:
                raise in_hand
            return Unfinished(at, counts)
        pacer.wait()
        try:
            counts[_outcome(user_id, run, chosen, pacer)] += 1
        except InHand as error:
            in_hand = error  # a duplicate of this part is at it: see to the others first
    if in_hand:
        raise in_hand
    return counts


def _outcome(user_id: str, run: Run, chosen: list[Chosen], pacer: Pacer) -> str:
    """Send one user their digest; return what became of it."""
    try:
        outcome = _send(user_id, run, chosen, pacer)
    except AlreadySent as already:
        return "sent" if already.delivery.run_id == run.id else "skipped"
    except Unknown as unknown:
        logger.warning("unknown", extra={"why": str(unknown)})
        _hand_over(user_id, run)
        return "unknown"
    except Rejected as refused:
        logger.warning("refused", extra={"why": str(refused)})
        return "refused"
    return "skipped" if isinstance(outcome, Skipped) else "sent"


def _send(user_id: str, run: Run, chosen: list[Chosen], pacer: Pacer | None = None) -> SentToOne | Skipped:
    """Send one user their digest, if they are to get one."""
    try:
        user = sending.recipient(user_id)
    except User.DoesNotExist:
        return Skipped("there is no such user (any more)", erased=True)
    if why := _not_for(user, run.now):
        return Skipped(why)
    posts = digest.pick(user_id, chosen, Site.of(os.environ))
    if not posts:
        return Skipped("there is nothing to show")
    delivery_id = digest.delivery_id(user_id, run.now)
    try:
        return SentToOne(
            sending.send_once(delivery_id, "content_digest", user, run, kept=digest.KEPT, pacer=pacer, posts=posts)
        )
    except Erased as erased:
        return Skipped(str(erased), erased=True)


def _not_for(user: User, now: datetime) -> str | None:
    """Why a user gets no digest, or None."""
    if why := sending.not_written_to(user):
        return why
    if not user.digest:
        return f"user {user.user_id} does not want it"
    if not user.last_login_at or user.last_login_at < now - WEEK:
        return f"user {user.user_id} has not been around"
    return None


def _hand_over(user_id: str, run: Run) -> None:
    """Send a message for one user: it finds the delivery unknown, and ends as a dead letter that can be settled."""
    message = Message(
        task=run.task.name, id=f"{sortable(run.now)}-{digest_of(user_id)}", kwargs={"user_id": user_id}, sent_at=run.now
    )
    queues.put(run.task.queue, message.to_json())


def _sum_up(run: Run, tallies: list[Mapping[str, Any]]) -> DigestSent:
    """Add up the parts' tallies.

    Raises:
        Rejected: Every mail was refused, and there were more than ten.
    """
    total = add_up(tallies)
    result = DigestSent(**total)
    if result.refused > MOST_ALL_REFUSED and not result.sent + result.unknown:
        raise Rejected(
            "all_refused",
            f"all {result.refused} mails were refused; `backbeat mail list` and the log say why. Then:"
            f" backbeat run {run.task.name} --at {iso(run.now)}",
        )
    return result


lambda_handler = handle.lambda_handler
