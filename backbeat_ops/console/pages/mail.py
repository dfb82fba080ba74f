"""Mail: what was sent, what is unknown, and how any email looks for anybody."""

import email
import email.policy
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backbeat.mail.sending import EMAILS, LOCALES
from backbeat_ops import mail
from backbeat_ops.console import views
from backbeat_ops.console.pages.tasks import time_of

SHOWN = 100
DAYS = 7
MAIL_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; sandbox"
"""An email's own policy: its styles are within it; it runs nothing and fetches nothing, not even a picture."""


def context(request: Request) -> dict[str, Any]:
    """What the list shows."""
    now, state = datetime.now(UTC), request.query_params.get("state") or None
    if state not in (None, "sent", "unknown", "refused"):
        raise ValueError(f"There is no state {state!r}.")
    days = [(now - timedelta(days=back)).date() for back in range(DAYS)]
    found, partly = mail.listed(days, state, SHOWN, now)
    return {"title": "Mail", "found": found, "partly": partly, "state": state}


def look(request: Request) -> dict[str, Any]:
    """How an email looks for somebody, in words, headers, and the address of the frame that shows it."""
    query = request.query_params
    which = query.get("email") or EMAILS[0]
    chosen = {
        "email": which if which in EMAILS else EMAILS[0],
        "user": query.get("user", ""),
        "locale": query.get("locale", ""),
        "at": query.get("at", ""),
    }
    shown: dict[str, Any] = {"title": "An email", "emails": EMAILS, "locales": LOCALES, **chosen, "made": None}
    shown |= {"view": query.get("view", "html"), "width": query.get("width", "desktop"), "why": None}
    shown |= {"delivery": query.get("delivery", ""), "as_sent": False}
    sent = mail.as_sent(shown["delivery"]) if shown["delivery"] else None
    if sent:
        made = {"subject": sent.subject, "text": sent.text, "headers": list(sent.headers.items())}
        return shown | {"as_sent": True, "made": made}
    if chosen["user"]:
        try:
            subject, text = _made(request, ".txt")
            headers = email.message_from_bytes(_made(request, ".eml")[1], policy=email.policy.default)
            shown["made"] = {
                "subject": subject,
                "text": text.decode(),
                "headers": [(name, str(value)) for name, value in headers.items()],
            }
        except LookupError as error:
            shown["why"] = str(error)
    return shown


def _made(request: Request, suffix: str) -> tuple[str, bytes]:
    query = request.query_params
    return mail.preview(
        request.app.state.stack,
        query.get("email", EMAILS[0]),
        query.get("user", ""),
        query.get("locale") or None,
        suffix,
        time_of(query.get("at", ""), ahead=True),
    )


async def frame(request: Request) -> Response:
    """The email itself, for a frame that lets it do nothing."""

    def read() -> bytes:
        delivery = request.query_params.get("delivery")
        sent = mail.as_sent(delivery) if delivery else None
        return sent.html.encode() if sent else _made(request, ".html")[1]

    content = await run_in_threadpool(read)
    return Response(content, media_type="text/html", headers={"content-security-policy": MAIL_POLICY})


def settle(request: Request, form: dict[str, Any]) -> Response:
    """Close an unknown delivery: it counts as sent, or goes once more."""
    mail.settle(request.app.state.stack, str(form.get("id") or ""), sent=form.get("as") == "sent")
    return views.went("/mail")


ROUTES = [
    *views.page("/mail", "mail.html", context, live=True),
    *views.page("/mail/look", "mail_look.html", look),
    Route("/mail/frame", frame),
    views.action("/mail/settle", settle),
]
