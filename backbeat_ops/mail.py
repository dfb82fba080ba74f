"""The commands `backbeat mail`: what was sent, how an email looks, and the end of an unknown delivery."""

import json
import os
import urllib.request
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

import boto3
import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from backbeat import queues
from backbeat.mail import deliveries, digest, sending
from backbeat.mail.deliveries import NotUnknown, State
from backbeat.mail.sending import Site
from backbeat.messages import Message, sortable
from backbeat.models import Delivery, User
from backbeat.tasks import TASKS
from backbeat_ops.stack import Stack
from backbeat_ops.terminal import AsJson, ago, console, fail, print_json, the_stack

FIELDS = ("delivery_id", "email", "user_id", "state", "attempt", "claimed_at", "message_id", "reason", "feedback")
COLOURS = {"sent": "green", "unknown": "bold red", "refused": "yellow", "sending": "cyan"}
LISTED_DAYS = 2

app = typer.Typer(help="List emails, look at one, settle one that is unknown.", no_args_is_help=True)


@app.command("list")
def listing(
    context: typer.Context,
    state: Annotated[Literal["unknown", "refused", "sent"] | None, typer.Option(help="Only these.")] = None,
    day: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], metavar="DAY", help="Those of this day (UTC).")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List emails: those unknown, of any day, then those of today and yesterday, the newest first."""
    the_stack(context)
    now = datetime.now(UTC)
    days = [day.date()] if day else [now.date() - timedelta(days=back) for back in range(LISTED_DAYS)]
    found = list(islice(_rows(now, days, state), limit))
    seen = _seen_by_the_emulator()
    shown = [_as_json(row, now) | seen.get(row.message_id, {}) for row in found]
    if as_json:
        print_json(shown)
        return
    table = Table(box=SIMPLE_HEAD)
    for column in ("state", "delivery", "when", "tries", "what became of it"):
        table.add_column(column, overflow="fold", justify="right" if column == "tries" else "left")
    for row, item in zip(found, shown, strict=True):
        said = item["feedback"] or item["reason"] or ""
        read_back = f"{item['to']}: {item['subject']}" if "to" in item else ""
        table.add_row(
            f"[{COLOURS[item['state']]}]{item['state']}[/]",
            escape(row.delivery_id),
            ago(row.claimed_at),
            f"{row.attempt:.0f}",
            escape("\n".join(text for text in (said, read_back) if text)),
        )
    console.print(table if found else "There are no emails.")


@app.command()
def preview(
    context: typer.Context,
    email: Annotated[Literal["welcome", "content_digest"], typer.Argument(help="Which email.")],
    user: Annotated[str, typer.Option(metavar="USER_ID", help="Whom it would go to.")],
    locale: Annotated[str | None, typer.Option(help="The language; the user's own if not given.")] = None,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FILE", help="An .html, .txt or .eml file to write.", dir_okay=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Render an email for a user into a file, without sending it. Its unsubscribe link does not work."""
    stack = the_stack(context)
    try:
        whom = User.get(user)
    except User.DoesNotExist:
        fail(f"There is no user {user!r}.")
    if locale is not None and locale not in sending.LOCALES:
        fail(f"There are no emails in {locale!r}, only in {' and '.join(sending.LOCALES)}.")
    file = to or Path(f"{email}-{user}.html")
    if file.suffix not in (".html", ".txt", ".eml"):
        fail(f"{file} must end in .html, .txt or .eml.")
    site = _site(stack)
    content: dict[str, Any] = {}
    if email == "content_digest":
        content["posts"] = digest.pick(user, digest.load(datetime.now(UTC)), site.base_url)
        if not content["posts"]:
            fail("There is no public post of the last seven days, so there would be no digest.")
    link = f"{site.unsubscribe_url}?token=preview"
    rendered = sending.render(email, locale or sending.locale_of(whom), site, whom, link, **content)
    match file.suffix:
        case ".html":
            file.write_text(rendered.html, "utf-8")
        case ".txt":
            file.write_text(rendered.text, "utf-8")
        case _:
            file.write_bytes(sending.compose(site, whom, rendered, link).as_bytes())
    if as_json:
        print_json({"file": str(file.resolve()), "subject": rendered.subject})
    else:
        console.print(f"{file}: {rendered.subject}", markup=False, soft_wrap=True)


@app.command()
def settle(
    context: typer.Context,
    delivery_id: Annotated[str, typer.Argument(metavar="DELIVERY", help="As `backbeat mail list` names it.")],
    sent: Annotated[bool, typer.Option("--sent", help="It arrived, or is not to be sent again.")] = False,
    resend: Annotated[bool, typer.Option("--resend", help="It did not arrive: send it once more.")] = False,
    as_json: AsJson = False,
) -> None:
    """Close an unknown delivery. Its dead letter, retried, is skipped then."""
    if sent == resend:
        fail("Say either --sent or --resend.")
    stack = the_stack(context)
    try:
        row = deliveries.settle_by_hand(delivery_id, sent=sent)
    except Delivery.DoesNotExist:
        fail(f"There is no delivery {delivery_id!r}.")
    except NotUnknown as error:
        fail(f"{error}.")
    if resend:
        _send_again(stack, row)
    if as_json:
        print_json(_as_json(row, datetime.now(UTC)))
    else:
        console.print(f"{delivery_id} {'counts as sent' if sent else 'is sent once more'}.", markup=False)


def _rows(now: datetime, days: list[date], state: str | None) -> Iterator[Delivery]:
    """The deliveries to list, the newest first; unknown ones before all others."""

    def newest_first(rows: Iterator[Delivery]) -> list[Delivery]:
        return sorted(rows, key=lambda row: row.claimed_at, reverse=True)

    if state in (None, State.UNKNOWN):
        yield from newest_first(deliveries.unsettled(now))
    for day in days if state != State.UNKNOWN else []:
        yield from (row for row in newest_first(deliveries.of_day(day)) if state in (None, row.state))


def _as_json(row: Delivery, now: datetime) -> dict[str, Any]:
    known = row.to_simple_dict()
    shown = {name: known.get(name) for name in FIELDS}
    if row.state == State.SENDING and row.lease_until < now:
        shown |= {"state": State.UNKNOWN.value, "reason": "the sender went silent"}
    return shown


def _seen_by_the_emulator() -> dict[str, dict[str, str]]:
    """On the local cloud, what was sent as the emulator shows it: by message id, the address and the subject."""
    url = os.environ.get("AWS_ENDPOINT_URL")
    if not url:
        return {}
    with urllib.request.urlopen(f"{url}/_ministack/ses/messages", timeout=10) as answer:  # noqa: S310 - our own
        accounts = json.load(answer)["messages"]
    return {
        message["MessageId"]: {"to": ", ".join(message["To"]), "subject": message["Subject"]}
        for messages in accounts.values()
        for message in messages
    }


def _site(stack: Stack) -> Site:
    """Who writes, from the environment of the function that does."""
    function = boto3.client("lambda").get_function_configuration(FunctionName=f"{stack.name}-send_welcome_email")
    return Site.of(function["Environment"]["Variables"])


def _send_again(stack: Stack, row: Delivery) -> None:
    """Send the message for the one user, at the logical time of the run whose delivery it was."""
    task = TASKS[f"send_{row.email}_email"]
    message = Message(
        task=task.name,
        id=f"{sortable(datetime.now(UTC))}-{row.user_id}",
        kwargs={"user_id": row.user_id},
        sent_at=row.logical_time,
    )
    queues.put(task.queue_name(stack.name), message.to_json())
