"""send_content_digest_email: on Mondays, the week's best posts to everybody who has been around.

The run is planned in parts of at most 500 users, which send at a pace that all of them together keep: 80 % of what SES
allows the account, the rest is for welcomes. Where there are more than 20,000 posts or users, parts choose and list
them first: each partition its thousand best, each shard its lists of ids; then one sets the pace, and others send.

Each user's delivery row, `content_digest:<week>:<user>`, sees to it that a run that crashed and goes on, or is made
again, writes to nobody twice. Everybody ends as sent, skipped, refused or unknown; an unknown one becomes a message of
its own, and with it a dead letter of its own.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
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
from backbeat.models import Post, SweepPart, User, day_keys, shards
from backbeat.runtime import InParts, Rejected, Run, Skipped, implementation
from backbeat.sweeps import (
    MOST_PARTS,
    SECONDS_TO_STOP,
    Json,
    PartDone,
    Split,
    Tally,
    Unfinished,
    Worked,
    add_up,
    in_parts,
    kept_until,
    walk,
)
from backbeat.tasks import send_content_digest_email

SHARE = 0.8
"""Of the account's sending rate and quota; the rest is kept for welcomes."""
MOST_USERS = 500
"""In one part."""
SECONDS_OF_AN_INVOCATION = 240
"""How much of the function's time-out goes to sending at its pace, however late the last mail comes."""
INVOCATIONS_OF_A_PART = 5
"""How many of them a part may take at its pace: it may send itself on for one or two more (`HOPS`)."""
HOPS = 12
"""Messages from a part of the plan on: Lambda takes 15 in a chain, with the plan's, and one for a mail that is unknown.
Where posts are chosen and users listed in parts, that takes three, one for each invocation more that it lasts, and two
to divide the lists."""
LISTED = MOST_USERS
"""Users in one list."""
WHOLE: Json = {"whole": True}
"""The part that has posts chosen and users listed, and then the mails sent."""
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
        except digest.TooMany as error:
            raise Rejected("not_chosen", f"{error}, and none are chosen: run {run.task.name} for all first") from error

    return in_parts(
        run, plan=lambda: _plan(run), work=partial(_work, run), merge=_merge, finish=partial(_sum_up, run), hops=HOPS
    )


# ----------------------------------------------------------------------------------------------------------------------
# The plan: at once where there is little, else in parts
# ----------------------------------------------------------------------------------------------------------------------


def _plan(run: Run) -> list[Json]:
    """Choose the week's posts, and split the users into parts, each with its share of the pace.

    Raises:
        Rejected: It could not be finished before the week ends.
    """
    try:
        chosen = digest.choose(run.now)
    except digest.TooMany:
        return [WHOLE]
    digest.keep(run.now, chosen, run.now + digest.KEPT)
    users = list(islice(_active_users(run.now), digest.AT_ONCE + 1)) if chosen else []
    if not users:
        return []
    if len(users) > digest.AT_ONCE:
        return [WHOLE]
    users = sorted(set(users))
    share, size = _pace_of_a_part(run.now, len(users))
    parts = [{"users": users[start : start + size], "per_second": share} for start in range(0, len(users), size)]
    return parts if len(parts) <= MOST_PARTS else [WHOLE]


def _work(run: Run, spec: Json, cursor: Any, tally: Tally) -> Worked:
    """Do one part, of whichever kind."""
    match spec:
        case {"users": users, "per_second": share}:
            return _send_part(run, users, share, cursor or 0, tally)
        case {"list": key, "row": row, "from": start, "to": end, "per_second": share}:
            listed = SweepPart.get(key, _row(row), consistent_read=True).spec["users"]
            return _send_part(run, listed[start:end], share, cursor or 0, tally)
        case {"list": key, "rows": [first, last], "size": size, "per_second": share}:
            steps = [(row, start) for row in range(first, last) for start in range(0, LISTED, size)]
            parts = [
                {"list": key, "row": row, "from": start, "to": start + size, "per_second": share}
                for row, start in steps
            ]
            return Split(parts, {})
        case {"choose": True}:
            return walk(run, Post.by_day, spec, cursor, tally, partial(_choose, run))
        case {"shard": shard}:
            return _list_users(run, shard, cursor, tally)
    if cursor is None:
        choosing = [{"choose": True, "keys": [key]} for key in digest.week(run.now)]
        return Split([*choosing, *({"shard": shard} for shard in shards())], {}, cursor="send")
    return _split_sending(run, tally)


def _choose(run: Run, page: list[Post], found: Counter[Any]) -> None:
    """Keep the best of a page of posts and those before."""
    ranked = digest.ranked([post.post_id for post in page], run.now)
    found["best"] = digest.best([*(found["best"] or []), *ranked])  # type: ignore[misc, assignment]


def _list_users(run: Run, shard: int, cursor: Any, tally: Tally) -> Tally | Unfinished:
    """List a shard's users who have been around, as far as time allows.

    It goes from the oldest day to the newest: who logs in meanwhile moves to a newer one of the same shard, and is met
    there. The rows are this invocation's alone, so that no duplicate of it changes what others send by.
    """
    key = f"{run.task.name}#users {run.context.aws_request_id}#{run.id}"
    days = [day_keys(day)[shard] for day in _days(run.now)]
    (number, last), users, row = cursor or (0, None), tally.get("users", 0), 0
    while number < len(days):
        rows = User.by_login.query(days[number], last_evaluated_key=last, limit=LISTED, page_size=LISTED)
        if page := [user.user_id for user in rows]:
            SweepPart(key, _row(row), spec={"users": page}, expires=kept_until()).save()
            users, row = users + len(page), row + 1
        last = rows.last_evaluated_key
        if last is None:
            number += 1
        if number < len(days) and run.seconds_left < SECONDS_TO_STOP:
            break
    counted = {"users": users, "lists": [*tally.get("lists", []), *([[key, row]] if row else [])]}
    return Unfinished([number, last], counted) if number < len(days) else counted


def _merge(tallies: Iterable[Tally]) -> Tally:
    """The best posts of all parts, all lists of users, and the sums of the rest."""
    total: Counter[str] = Counter()
    best: list[digest.Ranked] = []
    lists: list[Any] = []
    for tally in tallies:
        best = digest.best([*best, *tally.get("best", [])])
        lists += tally.get("lists", [])
        total.update({name: number for name, number in tally.items() if name not in ("best", "lists")})
    return {**total, **({"best": best} if best else {}), **({"lists": lists} if lists else {})}


def _split_sending(run: Run, found: Tally) -> Worked:
    """Keep the posts that were chosen, and split the lists of users into parts, each with its share of the pace."""
    chosen = [post_id for *_, post_id in found.get("best", [])]
    digest.keep(run.now, chosen, run.now + digest.KEPT)
    if not chosen or not found.get("users"):
        return {}
    share, size = _pace_of_a_part(run.now, found["users"])
    at_once = MOST_PARTS // -(-LISTED // size)
    parts = [
        {"list": key, "rows": [first, min(first + at_once, rows)], "size": size, "per_second": share}
        for key, rows in found["lists"]
        for first in range(0, rows, at_once)
    ]
    return Split(parts, {})


def _pace_of_a_part(now: datetime, users: int) -> tuple[float, int]:
    """How many mails a second one part may send, and to how many users.

    Raises:
        Rejected: They would not be done before the week ends.
    """
    per_second = _pace(users)
    # No more parts than these send at a time; fewer of them are slower than allowed, and never faster.
    share = per_second / int(os.environ["DIGEST_SENDERS"])
    # Whole mails: an invocation that would have to wait too long for the next one leaves it to the following.
    size = max(1, min(MOST_USERS, INVOCATIONS_OF_A_PART * int(share * SECONDS_OF_AN_INVOCATION)))
    week_ends = datetime.combine(now.date() + timedelta(days=7 - now.weekday()), datetime.min.time(), UTC)
    needed = timedelta(seconds=users / per_second)
    if now + needed > week_ends or share * LONGEST_INTERVAL < 1:
        raise Rejected(
            "too_slow",
            f"{users} users at {per_second:.3g} mails a second take {needed}, in parts which each send one mail in"
            f" {1 / share:.3g} s. They must be done by {week_ends:%Y-%m-%d %H:%M} UTC, with at most"
            f" {LONGEST_INTERVAL} s between two mails of a part."
            " Ask SES for a higher rate and quota, or set another Capacity.",
        )
    return share, size


def _row(number: int) -> str:
    return f"part#{number:06}"


def _days(now: datetime) -> list[date]:
    """The days on which who is to get a digest may have logged in last: from a week before `now` to a week after."""
    return [(now + timedelta(days=days)).date() for days in range(-WEEK.days, WEEK.days + 1)]


def _active_users(now: datetime) -> Iterator[str]:
    """Users who logged in from a week before `now` on; those included who have done so since, in a late run."""
    for day in _days(now):
        for key in day_keys(day):
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
