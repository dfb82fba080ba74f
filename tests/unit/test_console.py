"""The console lets its operator in and nobody else; what is vendored is what it says; a form fits its task."""

import hashlib
import json
from collections.abc import Coroutine
from typing import Any

import pytest
from botocore.exceptions import ClientError

from backbeat.tasks import TASKS
from backbeat_ops.console import draw, views
from backbeat_ops.console.guard import Guard
from backbeat_ops.console.pages import now, tasks

TOKEN, HOST = "the-token", "127.0.0.1:4560"
STATIC = views.HERE / "static"


def done(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run what waits for nothing: no loop, and so no socket, is needed."""
    with pytest.raises(StopIteration):
        coroutine.send(None)


class Asked:
    """What the console answers to one request."""

    def __init__(self, path: str = "/", method: str = "GET", query: str = "", **headers: str) -> None:
        self.status, self.headers, self.body = 0, {}, b""
        given = {"host": HOST, **{name.replace("_", "-"): value for name, value in headers.items()}}

        async def page(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"a page"})

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                self.status = message["status"]
                self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            else:
                self.body += message["body"]

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        }
        guard = Guard(page, TOKEN, 4560)
        done(guard(scope, None, send))  # type: ignore[arg-type]


GUARD = Guard(None, TOKEN, 4560)  # type: ignore[arg-type]
COOKIE = f"{GUARD.cookie}={GUARD.session}"


def test_the_token_lets_in_once_and_leaves_the_address() -> None:
    answer = Asked("/runs", query=f"task=a&token={TOKEN}")
    assert (answer.status, answer.headers["location"]) == (303, "/runs?task=a")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie and TOKEN not in cookie
    assert Asked(cookie=COOKIE).body == b"a page"


def test_the_token_leads_to_no_other_host() -> None:
    assert Asked("//192.0.2.1/x", query=f"token={TOKEN}").headers["location"] == "/192.0.2.1/x"


@pytest.mark.parametrize("headers", [{}, {"cookie": f"{GUARD.cookie}=other"}, {"cookie": f"{GUARD.cookie}={TOKEN}"}])
def test_nobody_comes_in_without_it(headers: dict[str, str]) -> None:
    assert Asked(**headers).status == 401
    assert Asked(query="token=other", **headers).status == 401


@pytest.mark.parametrize("host", ["example.com", "example.com:4560", "127.0.0.1", "127.0.0.1:4561", ""])
def test_another_name_of_this_machine_is_refused(host: str) -> None:
    assert Asked(host=host, cookie=COOKIE).status == 403


def test_a_change_needs_what_only_a_page_of_the_console_has() -> None:
    assert Asked(method="POST", cookie=COOKIE).status == 403
    assert Asked(method="POST", cookie=COOKIE, x_csrf_token=GUARD.session).status == 403
    assert Asked(method="POST", cookie=COOKIE, x_csrf_token=GUARD.csrf, origin="http://example.com").status == 403
    assert Asked(method="POST", cookie=COOKIE, x_csrf_token=GUARD.csrf, origin="null").status == 403
    assert Asked(method="POST", cookie=COOKIE, x_csrf_token=GUARD.csrf, origin=f"http://{HOST}").status == 200
    assert Asked(method="POST", query=f"token={TOKEN}").status == 401


def test_every_answer_says_what_a_browser_may_do_with_it() -> None:
    for answer in (Asked(cookie=COOKIE), Asked(), Asked(host="example.com")):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"


def test_what_is_vendored_is_what_was_published() -> None:
    vendored = json.loads((STATIC / "vendored.json").read_text())
    for name, of in vendored.items():
        assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == of["sha256"]
        assert of["version"] in (STATIC / name).read_text("utf-8")
    assert "Zero-Clause BSD" in (STATIC / "htmx.LICENSE").read_text()


def test_templates_have_no_style_and_no_script_of_their_own() -> None:
    """The policy would refuse them."""
    for path in (views.HERE / "templates").glob("*.html"):
        text = path.read_text("utf-8")
        assert " style=" not in text and "<style" not in text and " onclick" not in text, path.name
        assert "<script>" not in text and "|safe" not in text, path.name


def test_a_form_has_a_field_for_each_argument() -> None:
    fields = {field["name"]: field for field in tasks.fields(TASKS["update_trending_hashtags"])}
    assert (fields["top"]["kind"], fields["top"]["default"]) == ("number", 10)
    assert fields["full"]["kind"] == "check"
    assert fields["full"]["says"].startswith("Whether every hour of the week")
    fields = {field["name"]: field for field in tasks.fields(TASKS["record_email_feedback"])}
    assert [field["kind"] for field in fields.values()] == ["text", "json"]
    assert all(field["needed"] for field in fields.values())


@pytest.mark.parametrize("text", ["tomorrow", "9999-01-01", "2026-13-01T00:00"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=text):
        tasks.time_of(text)


def test_the_verdict_names_what_is_wrong_first() -> None:
    well = {"ok": True, "wrong": [], "known": []}
    assert now.verdict(well, 0) == ("All is well, all is quiet.", [], "good")
    assert now.verdict(well, 2) == ("All is well: 2 messages on the way.", [], "good")
    assert now.verdict(well | {"known": ["a is paused"]}, 0)[1:] == (["a is paused"], "warn")
    wrong = {"ok": False, "wrong": ["1 message is dead of a: `backbeat dead --task a`", "b is late by 5m: `x`"]}
    assert now.verdict(wrong | {"known": ["c"]}, 0) == ("1 message is dead of a.", ["B is late by 5m", "c"], "bad")


def test_a_role_that_may_not_is_told_which_permission_it_lacks() -> None:
    message = "User: x is not authorized to perform: sqs:ReceiveMessage on resource: y"
    error = ClientError({"Error": {"Code": "AccessDenied", "Message": message}}, "ReceiveMessage")
    assert views.lacked(error) == "sqs:ReceiveMessage"
    assert "lacks the permission sqs:ReceiveMessage" in views.said(error)


def test_texts_in_pictures_are_escaped() -> None:
    assert "<b>" not in draw.bars([("2026-<b>", 1), ("2026-11-02", 2)])


def test_a_placeholder_has_the_colours_of_its_blurhash() -> None:
    """One component is one colour: its four digits in base 83 are its RGB, here 0xff0000."""
    digits, value = "", 0xFF0000
    for place in (83**3, 83**2, 83, 1):
        digits += draw._DIGITS[value // place % 83]
    drawn = draw.placeholder(f"00{digits}", 4, 4)
    assert "#ff0000" in drawn and drawn.count("fill=") == drawn.count("#ff0000")
