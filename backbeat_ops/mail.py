"""A stack's emails: what was sent and what is unknown, how one looks, and the end of an unknown delivery."""

import json
import os
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any

import boto3

from backbeat import queues
from backbeat.letters import Letter
from backbeat.mail import deliveries, digest, sending
from backbeat.mail.deliveries import State
from backbeat.mail.sending import Site
from backbeat.messages import Message, digest_of, sortable
from backbeat.models import Delivery, User, day_keys
from backbeat.runtime import Rejected
from backbeat.tasks import TASKS
from backbeat_ops.stack import NotFound, Stack

FIELDS = ("delivery_id", "email", "user_id", "state", "attempt", "claimed_at", "message_id", "reason", "feedback")
MOST_COUNTED = 10_000
"""How many emails that are not shown are counted; more are "or more"."""
SUFFIXES = (".html", ".txt", ".eml")
"""The kinds of file that a preview can be."""


@dataclass(frozen=True, slots=True)
class Sent:
    """An email as SES took it: its subject, its text, its HTML, and those of its headers that are kept."""

    subject: str
    text: str
    html: str
    headers: dict[str, str]


def listed(days: Sequence[date], state: str | None, limit: int, now: datetime) -> tuple[list[dict[str, Any]], str]:
    """The deliveries of some days, the newest first, and before them those that are unknown, of any day.

    Args:
        days: The days, in UTC.
        state: Only those in this state: `unknown`, `refused` or `sent`.
        limit: At most so many.
        now: A delivery whose lease has run out at this time is unknown.

    Returns:
        They, and what is to be said where not all are shown, such as `20 of 57`; else nothing.
    """
    return _most(_rows(now, days, state), limit, now)


def of_user(user_id: str, state: str | None, limit: int, now: datetime) -> tuple[list[dict[str, Any]], str]:
    """A user's emails of the last 90 days, for as long as it is remembered to whom a digest went; the newest first.

    Args:
        user_id: The user.
        state: Only those in this state.
        limit: At most so many.
        now: A time with its time zone.

    Returns:
        As `listed`.
    """
    weeks = range(-1, digest.KEPT // digest.WEEK + 2)
    ids = [f"welcome:{user_id}", *{digest.delivery_id(user_id, now - week * digest.WEEK) for week in weeks}]
    rows = sorted(Delivery.batch_get(ids), key=lambda row: row.claimed_at, reverse=True)
    return _most((row for row in rows if state in (None, shown(row, now)["state"])), limit, now)


def _most(rows: Iterator[Delivery], limit: int, now: datetime) -> tuple[list[dict[str, Any]], str]:
    known = _on_the_local_cloud()
    found = [shown(row, now) | known.get(row.message_id, {}) for row in islice(rows, limit)]
    left = sum(1 for _ in islice(rows, MOST_COUNTED))
    more = " or more" if left == MOST_COUNTED else ""
    return found, f"{len(found)} of {len(found) + left:,}{more}" if left else ""


def most_mailed_by(messages: Iterable[Message]) -> int:
    """How many emails messages would send at the most, one for each user and run."""
    return sum(most_mailed(message.task, message.kwargs, message.logical_time) for message in messages)


def most_mailed(task: str, kwargs: Mapping[str, Any], at: datetime) -> int:
    """How many a run would mail at the most: of a digest for all, everybody who was around in the week before."""
    if task != "send_content_digest_email" or kwargs.get("user_id") is not None:
        return 0
    days = [(at + timedelta(days=days)).date() for days in range(-digest.WEEK.days, digest.WEEK.days + 1)]
    return sum(User.by_login.count(key) for day in days for key in day_keys(day))


def most_mailed_again(letters: Iterable[Letter]) -> int:
    """How many emails dead letters would send at the most, sent again: a run's parts and copies mail everybody once."""
    by_run: dict[tuple[str, str], int] = {}
    for letter in letters:
        if letter.task not in TASKS or TASKS[letter.task].task_class != "emails":
            continue
        if (letter.task, letter.run_id) not in by_run:
            message = letter.message()
            by_run[letter.task, letter.run_id] = max(1, most_mailed_by([message] if message else []))
    return sum(by_run.values())


def shown(row: Delivery, now: datetime) -> dict[str, Any]:
    """A delivery as plain values."""
    known = row.to_simple_dict()
    found = {name: known.get(name) for name in FIELDS} | {"claimed_at": row.claimed_at}
    if row.state == State.SENDING and deliveries.is_silent(row, now):
        found |= {"state": State.UNKNOWN.value, "reason": "the sender went silent"}
    return found


def preview(
    stack: Stack, email: str, user_id: str, locale: str | None, suffix: str, now: datetime
) -> tuple[str, bytes]:
    """Render an email for a user; return its subject, and the file that shows it. Its unsubscribe link does not work.

    Args:
        stack: The stack that would send it.
        email: `welcome` or `content_digest`.
        user_id: Whom it would go to.
        locale: Its language; the user's own if not given.
        suffix: The kind of file, one of `SUFFIXES`.
        now: The end of the week that a digest would be about.

    Raises:
        NotFound: There is no such user or language, no address to write to, or nothing that a digest could be about.
    """
    try:
        whom = User.get(user_id)
    except User.DoesNotExist:
        raise NotFound(f"There is no user {user_id!r} in {stack.name}.") from None
    if locale is not None and locale not in sending.LOCALES:
        raise NotFound(f"There are no emails in {locale!r}. Languages: {', '.join(sending.LOCALES)}.")
    site = site_of(stack, email)
    content: dict[str, Any] = {}
    if email == "content_digest":
        content["posts"] = digest.pick(user_id, digest.load(now), site)
        if not content["posts"]:
            raise NotFound(f"There is no public post of the last seven days by others than {user_id!r}: no digest.")
    link = f"{site.unsubscribe_url}?token=preview"
    rendered = sending.render(email, locale or sending.locale_of(whom), site, whom, link, **content)
    match suffix:
        case ".html":
            return rendered.subject, rendered.html.encode()
        case ".txt":
            return rendered.subject, rendered.text.encode()
        case _:
            try:
                return rendered.subject, sending.compose(site, whom, rendered, link).as_bytes()
            except Rejected as why:
                raise NotFound(f"There would be no mail: {why}.") from None


def settle(stack: Stack, delivery_id: str, *, sent: bool) -> dict[str, Any]:
    """Close an unknown delivery: it counts as sent, or is sent once more; return it.

    Raises:
        NotFound: There is no such delivery.
        NotUnknown: It is known what became of it, or it is being sent.
    """
    try:
        row = deliveries.settle_by_hand(delivery_id, sent=sent)
    except (Delivery.DoesNotExist, deliveries.Erased):
        raise NotFound(f"There is no delivery {delivery_id!r} in {stack.name}.") from None
    now = datetime.now(UTC)
    if not sent:
        _send_again(stack, row, now)
    return shown(row, now)


def site_of(stack: Stack, email: str) -> Site:
    """Who writes one of the emails, from the environment of the function that does."""
    function = boto3.client("lambda").get_function_configuration(FunctionName=f"{stack.name}-send_{email}_email")
    return Site.of(function["Environment"]["Variables"])


def _rows(now: datetime, days: Sequence[date], state: str | None) -> Iterator[Delivery]:
    """The deliveries to list, the newest first; unknown ones before all others."""

    def newest_first(rows: Iterator[Delivery]) -> list[Delivery]:
        return sorted(rows, key=lambda row: row.claimed_at, reverse=True)

    if state in (None, State.UNKNOWN):
        yield from newest_first(deliveries.unsettled(now))
    for day in days if state != State.UNKNOWN else []:
        yield from (row for row in newest_first(deliveries.of_day(day)) if state in (None, row.state))


def _on_the_local_cloud() -> dict[str, dict[str, str]]:
    """What the local cloud shows of the mail it took: by message id, the address and the subject. On AWS, nothing."""
    return {
        message["MessageId"]: {"to": ", ".join(message["To"]), "subject": message["Subject"]}
        for message in _kept_by_the_local_cloud()
    }


def as_sent(delivery_id: str) -> Sent | None:
    """An email as SES took it, where that is kept: by the local cloud, since it started. On AWS nobody keeps it."""
    try:
        row = Delivery.get(delivery_id)
    except Delivery.DoesNotExist:
        return None
    for message in _kept_by_the_local_cloud():
        if row.message_id and message["MessageId"] == row.message_id:
            headers = {
                "From": message["Source"],
                "To": ", ".join(message["To"]),
                "Subject": message["Subject"],
                "Date": f"{datetime.fromtimestamp(float(message['Timestamp']), UTC):%a, %d %b %Y %H:%M:%S +0000}",
                "Message-ID": message["MessageId"],
            }
            return Sent(message["Subject"], message.get("BodyText") or "", message.get("BodyHtml") or "", headers)
    return None


def _kept_by_the_local_cloud() -> list[dict[str, Any]]:
    """The mail that the local cloud's SES took; nothing on AWS."""
    url = os.environ.get("AWS_ENDPOINT_URL")
    if not url:
        return []
    with urllib.request.urlopen(f"{url}/_ministack/ses/messages", timeout=10) as answer:  # noqa: S310 - our own
        accounts: dict[str, list[dict[str, Any]]] = json.load(answer)["messages"]
    return [message for messages in accounts.values() for message in messages]


def _send_again(stack: Stack, row: Delivery, now: datetime) -> None:
    """Send the message for the one user, at the logical time of the run whose delivery it was."""
    task = TASKS[f"send_{row.email}_email"]
    message = Message(
        task=task.name,
        id=f"{sortable(now)}-{digest_of(row.user_id)}",
        kwargs={"user_id": row.user_id},
        sent_at=row.logical_time,
    )
    queues.put(task.queue_name(stack.name), message.to_json())
