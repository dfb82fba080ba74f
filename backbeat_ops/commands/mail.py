"""`backbeat mail`: list emails, look at one, settle one that is unknown."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape

from backbeat_ops import mail
from backbeat_ops.commands import completing
from backbeat_ops.terminal import AsJson, At, Day, ago, answer, errors, print_json, print_table, table, the_stack

COLOURS = {"sent": "green", "unknown": "bold red", "refused": "yellow", "sending": "cyan"}

app = typer.Typer(help="List emails, look at one, settle one that is unknown.", no_args_is_help=True)


@app.command("list")
def listing(
    context: typer.Context,
    state: Annotated[Literal["unknown", "refused", "sent"] | None, typer.Option(help="Only those so.")] = None,
    user: Annotated[
        str | None, typer.Option(metavar="USER_ID", help="Only this user's, of the last 90 days.", show_default="all")
    ] = None,
    day: Day = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List emails: those unknown, of any day, then those of today and yesterday, the newest first."""
    if user is not None and day is not None:
        raise typer.BadParameter("--user lists those of 90 days: leave --day out.")
    the_stack(context)
    now = datetime.now(UTC)
    days = [day.date()] if day else [now.date(), now.date() - timedelta(days=1)]
    found, partly = mail.of_user(user, state, limit, now) if user else mail.listed(days, state, limit, now)
    if partly:
        errors.print(f"{partly}: --limit shows more.", soft_wrap=True)
    if as_json:
        print_json(found)
        return
    rows = table("state", "email", "when", "tries", "what became of it", numbers=("tries",))
    for item in found:
        said = item["feedback"] or item["reason"] or ""
        read_back = f"{item['to']}: {item['subject']}" if "to" in item else ""
        rows.add_row(
            f"[{COLOURS[item['state']]}]{item['state']}[/]",
            escape(item["delivery_id"]),
            ago(item["claimed_at"]),
            f"{item['attempt']:.0f}",
            escape("\n".join(text for text in (said, read_back) if text)),
        )
    print_table(rows, "There are no emails.")


@app.command()
def preview(
    context: typer.Context,
    email: Annotated[Literal["welcome", "content_digest"], typer.Argument(metavar="EMAIL", help="Which email.")],
    user: Annotated[str, typer.Option(metavar="USER_ID", help="Whom it would go to.")],
    locale: Annotated[str | None, typer.Option(help="The language.", show_default="the user's own")] = None,
    at: At = None,
    to: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="An .html, .txt or .eml file to write.",
            show_default="EMAIL-USER_ID.html",
            dir_okay=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Render an email for a user into a file, without sending it. Its unsubscribe link does not work.

    A digest is that of the week before --at: what was chosen in the last 90 days, or would be, with today's texts.
    """
    file = to or Path(f"{email}-{user}.html")
    if file.suffix not in mail.SUFFIXES:
        raise typer.BadParameter(f"{file} does not end in {', '.join(mail.SUFFIXES[:-1])} or {mail.SUFFIXES[-1]}.")
    subject, content = mail.preview(the_stack(context), email, user, locale, file.suffix, at or datetime.now(UTC))
    file.write_bytes(content)
    answer({"file": str(file.resolve()), "subject": subject}, f"Wrote {file}: {subject}", as_json)


@app.command()
def settle(
    context: typer.Context,
    delivery_id: Annotated[
        str,
        typer.Argument(
            metavar="DELIVERY", help="Its id, as `backbeat mail list` has it.", autocompletion=completing.deliveries
        ),
    ],
    sent: Annotated[bool, typer.Option("--sent", help="It arrived, or is not to be sent again.")] = False,
    resend: Annotated[bool, typer.Option("--resend", help="It did not arrive: send it once more.")] = False,
    as_json: AsJson = False,
) -> None:
    """Close an unknown delivery. Its dead letter, retried, is skipped then."""
    if sent == resend:
        raise typer.BadParameter("Say either --sent or --resend.")
    settled = mail.settle(the_stack(context), delivery_id, sent=sent)
    answer(settled, f"{delivery_id} {'counts as sent' if sent else 'is sent once more'}.", as_json)
