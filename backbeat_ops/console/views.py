"""What all pages share: templates, times in words, work in threads, pages that live, and errors as sentences."""

import asyncio
import hashlib
import json
import re
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

from backbeat.messages import iso
from backbeat.producer import PRIORITIES
from backbeat_ops import localcloud, runs
from backbeat_ops.console import draw

HERE = Path(__file__).parent
SECONDS_CACHED = 1.5
"""For how long an answer serves all who ask the same: several tabs, or a tab's page and its events."""
SECONDS_FIRST_SHOWN = 15.0
"""How old what a live page shows at first may be: a click need not wait, for what is new follows by itself."""
SECONDS_BETWEEN_LOOKS = 2.0
MENU = (
    ("/", "Now"),
    ("/tasks", "Tasks"),
    ("/schedules", "Schedules"),
    ("/runs", "Runs"),
    ("/dead", "Dead letters"),
    ("/media", "Media"),
    ("/mail", "Mail"),
    ("/insights", "Insights"),
)
SAID = (ClientError, BotoCoreError, LookupError, ValueError)
"""What is said in a sentence."""
Context = Callable[[Request], dict[str, Any]]
"""Gathers what a page's template shows; it runs in a thread, as boto3 waits."""


class Sessions(boto3.Session):
    """boto3's default session for many threads: one makes clients at a time, and each kind of client is made once."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._made: dict[str, Any] = {}

    def client(self, service_name: Any, *args: Any, **kwargs: Any) -> Any:
        """A client of a service."""
        with self._lock:
            if args or kwargs:
                return super().client(service_name, *args, **kwargs)
            if service_name not in self._made:
                self._made[service_name] = super().client(service_name)
            return self._made[service_name]


def ago(given: datetime | str | None) -> str:
    """How long ago something was, or how far it is, in a word or two: `3 min ago`, `in 2 h`."""
    if given is None:
        return "never"
    at = datetime.fromisoformat(given) if isinstance(given, str) else given
    seconds = (datetime.now(UTC) - at).total_seconds()
    size = abs(seconds)
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if size >= length:
            words = f"{size / length:.0f} {unit}"
            break
    else:
        words = f"{size:.0f} s"
    return f"{words} ago" if seconds >= 0 else f"in {words}"


def moment(given: datetime | str | None) -> str:
    """A time as a page writes it out: `2026-11-25 22:53:51 UTC`."""
    if given is None:
        return ""
    at = datetime.fromisoformat(given) if isinstance(given, str) else given
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def took(milliseconds: float | None) -> str:
    """A length of time: `86 ms`, `1.5 s`, `2.1 min`."""
    if milliseconds is None:
        return "\N{EN DASH}"
    if milliseconds < 1_000:
        return f"{milliseconds:.0f} ms"
    return f"{milliseconds / 1_000:.1f} s" if milliseconds < 120_000 else f"{milliseconds / 60_000:.1f} min"


def size(number: float) -> str:
    """A size in bytes: `12.2 kB`."""
    for unit in ("B", "kB", "MB"):
        if number < 1_000 or unit == "MB":
            break
        number /= 1_000
    return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"


@cache
def asset(name: str) -> str:
    """The address of a static file, which changes with its content."""
    return f"/static/{name}?v={hashlib.sha256((HERE / 'static' / name).read_bytes()).hexdigest()[:12]}"


@cache
def templates() -> Environment:
    """The templates; what they show is escaped unless it was drawn here."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {"asset": asset, "menu": MENU, "draw": draw, "priorities": PRIORITIES}
    made.filters |= {"ago": ago, "moment": moment, "took": took, "size": size, "words": runs.words}
    made.filters["pretty"] = lambda value: json.dumps(value, indent=2, ensure_ascii=False, default=str)
    made.filters["iso"] = iso
    return made


def html(request: Request, template: str, status: int = 200, **context: Any) -> Response:
    """A part of a page, or a whole one for who comes by the address line."""
    state = request.app.state
    values = {"stack": state.stack, "path": request.url.path, "query": request.query_params, **context}
    if request.headers.get("hx-request") and not request.headers.get("hx-boosted"):
        return HTMLResponse(templates().get_template(template).render(values), status)
    values |= {"content": template, "csrf": state.csrf, "live": context.get("live", False)}
    return HTMLResponse(templates().get_template("base.html").render(values), status)


async def gathered(
    request: Request, context: Context, choices: Context | None = None, seconds: float = SECONDS_CACHED
) -> dict[str, Any]:
    """What a page shows, gathered in a thread, or a moment ago for somebody else.

    Args:
        request: Who asks.
        context: What gathers it.
        choices: What adds that which the address alone decides; then one gathering serves every query.
        seconds: How long ago it may have been gathered.
    """
    kept: dict[Any, tuple[float, dict[str, Any]]] = request.app.state.kept
    path = request.url.path.removesuffix("/live") or "/"
    key = (context, path, "" if choices else str(request.query_params))
    known = kept.get(key)
    if known and time.monotonic() - known[0] < seconds:
        found = known[1]
    else:
        found = await run_in_threadpool(context, request)
        now = time.monotonic()
        for old in [old for old, (at, _) in kept.items() if now - at > SECONDS_FIRST_SHOWN]:
            kept.pop(old, None)
        kept[key] = (now, found)
    return found | choices(request) if choices else found


def page(
    path: str, template: str, context: Context, *, live: bool = False, choices: Context | None = None
) -> list[Route]:
    """The routes of a page.

    Args:
        path: Its address.
        template: What it is made with.
        context: What gathers what it shows.
        live: Whether it shows by itself what changes: then its events are at the same address with `/live` behind it.
        choices: What adds that which its query alone decides, and needs no gathering.
    """

    async def whole(request: Request) -> Response:
        seconds = SECONDS_FIRST_SHOWN if live else SECONDS_CACHED
        return html(request, template, live=live, **await gathered(request, context, choices, seconds))

    async def events(request: Request) -> Response:
        return StreamingResponse(changes(request, template, context, choices), media_type="text/event-stream")

    routes = [Route(path, whole)]
    return [Route(f"{path.rstrip('/')}/live", events), *routes] if live else routes


async def changes(
    request: Request, template: str, context: Context, choices: Context | None = None
) -> AsyncIterator[str]:
    """A page's content as server-sent events, whenever it has become another."""
    before = None
    path = request.url.path.removesuffix("/live") or "/"
    while not await request.is_disconnected():
        try:
            values = await gathered(request, context, choices)
            values = {"stack": request.app.state.stack, "path": path, "query": request.query_params, **values}
            text = templates().get_template(template).render(values)
            event = "page"
        except SAID as error:
            text, event = said(error), "fault"
        if text != before:
            before = text
            yield f"event: {event}\n" + "".join(f"data: {line}\n" for line in text.splitlines()) + "\n"
        else:
            yield ": still here\n\n"
        await asyncio.sleep(SECONDS_BETWEEN_LOOKS)


def said(error: Exception) -> str:
    """An error in a sentence; of what the operator's role forbids, which permission it lacks."""
    if not isinstance(error, ClientError):
        return str(error) or type(error).__name__
    code, message = error.response["Error"].get("Code", ""), error.response["Error"].get("Message", "")
    if "AccessDenied" in code or "not authorized" in message or code in ("UnauthorizedOperation", "Forbidden"):
        return f"Your role lacks the permission {lacked(error)}: {message}"
    return f"AWS says: {error}"


def lacked(error: ClientError) -> str:
    """The IAM action that was forbidden: as AWS names it, or else the operation that was called."""
    found = re.search(r"not authorized to perform:? ([a-z0-9-]+:\w+)", str(error))
    return found[1] if found else error.operation_name


def action(path: str, act: Callable[[Request, dict[str, Any]], Response]) -> Route:
    """The route of a change: its form is read, and then it runs in a thread."""

    async def answer(request: Request) -> Response:
        form = await request.form()
        given = {name: form.get(name) for name in form}
        answered: Response = await run_in_threadpool(act, request, given)
        request.app.state.kept.clear()
        return answered

    return Route(path, answer, methods=["POST"])


def paged(request: Request, found: Sequence[Any], most: int) -> dict[str, Any]:
    """One page of many things: `found`, from and to which number they go, of how many, and the pages around it."""
    given = request.query_params.get("page", "1")
    pages = max(1, -(-len(found) // most))
    number = min(max(int(given) if given.isdecimal() and len(given) < 9 else 1, 1), pages)
    start = (number - 1) * most

    def address(to: int) -> str | None:
        query = {name: value for name, value in request.query_params.items() if name not in ("page", "anew")}
        return f"{page_of(request)}?{urlencode(query | {'page': str(to)})}" if 1 <= to <= pages else None

    return {
        "found": found[start : start + most],
        "first": start + 1,
        "last": min(start + most, len(found)),
        "total": len(found),
        "before": address(number - 1),
        "after": address(number + 1),
    }


def page_of(request: Request) -> str:
    """The address of the page that is asked for, or whose events are."""
    path: str = request.url.path
    return path.removesuffix("/live") or "/"


def ask_before_mailing(request: Request, form: Mapping[str, Any], most: int) -> Response | None:
    """A question in place of the change, where that would send emails from a stack on AWS and was not agreed to yet."""
    if not most or form.get("sure") or request.app.state.stack.name == localcloud.STACK:
        return None
    return html(request, "ask.html", most=most, given=dict(form))


def went(to: str) -> Response:
    """The answer to a change after which another page is shown."""
    return Response(status_code=204, headers={"HX-Redirect": to})


def failed(request: Request, error: Exception) -> Response:
    """An error as a page, or as a note where a part of a page was asked for."""
    forbidden = isinstance(error, ClientError) and said(error).startswith("Your role")
    status = 403 if forbidden else 404 if isinstance(error, LookupError) else 422 if _mendable(error) else 502
    if request.headers.get("hx-request") and not request.headers.get("hx-boosted"):
        status = 200  # htmx shows no other
    return html(request, "fault.html", status, said=said(error), forbidden=forbidden)


def _mendable(error: Exception) -> bool:
    return isinstance(error, ValueError)


Handler = Callable[[Request, Exception], Awaitable[Response]]


async def on_error(request: Request, error: Exception) -> Response:
    """Show what went wrong; starlette calls it."""
    return failed(request, error)
