"""The console lets its operator in and nobody else; what is vendored is what it says; a form fits its task."""

import hashlib
import json
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from starlette.requests import Request

from backbeat.messages import Message
from backbeat.tasks import TASKS
from backbeat_ops import dead, localcloud
from backbeat_ops.console import draw, kept, views
from backbeat_ops.console.guard import Guard
from backbeat_ops.console.pages import dead as letters_page
from backbeat_ops.console.pages import insights, now, tasks

NOW = datetime(2026, 11, 1, tzinfo=UTC)
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


# ---- What pages share ------------------------------------------------------------------------------------------------


def request(path: str, query: str = "", stack: str = "prod") -> Request:
    app = SimpleNamespace(state=SimpleNamespace(stack=SimpleNamespace(name=stack), csrf="c"))
    headers = [(b"hx-request", b"true")]
    scope = {"type": "http", "path": path, "query_string": query.encode(), "headers": headers, "app": app}
    return Request(scope)


def test_a_long_list_is_paged_and_says_of_how_many() -> None:
    first = views.paged(request("/runs", "task=a&anew=1"), range(120), 50)
    assert (first["first"], first["last"], first["total"], first["before"]) == (1, 50, 120, None)
    assert first["after"] == "/runs?task=a&page=2"
    last = views.paged(request("/runs/live", "page=3"), range(120), 50)
    assert (list(last["found"]), last["before"], last["after"]) == (list(range(100, 120)), "/runs?page=2", None)


@pytest.mark.parametrize(
    ("given", "page"), [("0", 1), ("x", 1), ("", 1), ("-3", 1), ("99", 3), ("9" * 5_000, 1), ("²", 1)]
)
def test_a_page_that_is_not_there_is_the_next_best(given: str, page: int) -> None:
    assert views.paged(request("/runs", f"page={given}"), range(120), 50)["first"] == (page - 1) * 50 + 1


def test_whoever_would_mail_many_on_aws_is_asked_first() -> None:
    form = {"at": "2026-11-02T09:00", "text": "<b>"}
    asked = views.ask_before_mailing(request("/tasks/x/run"), form, 1_200)
    assert asked is not None
    body = bytes(asked.body).decode()
    assert "This sends up to 1,200 emails to users of prod." in body
    assert 'name="at" value="2026-11-02T09:00"' in body and "&lt;b&gt;" in body and 'name="sure"' in body
    assert views.ask_before_mailing(request("/tasks/x/run"), form | {"sure": "yes"}, 1_200) is None
    assert views.ask_before_mailing(request("/tasks/x/run"), form, 0) is None
    assert views.ask_before_mailing(request("/tasks/x/run", stack=localcloud.STACK), form, 1_200) is None


def test_a_letter_that_would_mail_many_on_aws_is_asked_about_before_it_is_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[str] = []

    def start(title: str, *_: Any) -> Any:
        started.append(title)
        return SimpleNamespace(number="1")

    text = Message(task="send_content_digest_email", id="d", sent_at=NOW).to_json()
    letter = SimpleNamespace(id="d", task="send_content_digest_email", body=text)
    monkeypatch.setattr(letters_page.dead, "find", lambda given, letters: [letter])
    monkeypatch.setattr(letters_page.dead, "chosen", lambda letters, cause: [letter])
    monkeypatch.setattr(letters_page, "replace", lambda letter, **changes: letter)
    monkeypatch.setattr(letters_page.mail, "most_mailed_again", lambda letters: 1_200)
    asked = request("/dead/retry")
    asked.app.state.letters = SimpleNamespace(look=lambda **_: ([letter], NOW))
    asked.app.state.jobs = SimpleNamespace(running=list, start=start)
    for form in ({"id": "d"}, {"cause": "c"}):
        body = bytes(letters_page.retry(asked, form).body).decode()
        assert "This sends up to 1,200 emails to users of prod." in body
        assert started == []
        assert letters_page.retry(asked, form | {"sure": "yes"}).status_code == 204
        assert started.pop()


def test_letters_are_read_once_for_all_visits_until_there_are_more_or_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    numbers = {"a": 2}
    monkeypatch.setattr(dead, "look", lambda: looks.append(1) or [])
    monkeypatch.setattr(kept, "_numbers", lambda: dict(numbers))
    shelf = kept.Letters()
    _, first = shelf.look()
    assert shelf.look()[1] == first
    numbers["a"] = 3
    assert shelf.look(still=True)[1] == first  # work goes on, which must find what it looks for
    assert shelf.look()[1] > first
    assert len(looks) == 2
    shelf.look(anew=True)
    shelf.forget()
    shelf.look()
    assert len(looks) == 4


def test_a_tags_place_and_people_are_read_from_each_ranking(monkeypatch: pytest.MonkeyPatch) -> None:
    first = [SimpleNamespace(logical_time=NOW, result={"trending": ["#Cats: 1,200 people in 7 days, none before"]})]
    second = [SimpleNamespace(logical_time=NOW, result={"trending": ["#a: 9 people in 7 days", "#cats: 8 people"]})]
    without = [SimpleNamespace(logical_time=NOW, result=None)]
    monkeypatch.setattr(insights.runs, "recent", lambda *of, days: [*without, *second, *first])
    shown = insights.tag(request("/insights/tag", "tag=%23CATS"))
    assert [(each["place"], each["people"]) for each in shown["ranked"]] == [(2, 8), (1, 1_200)]
    assert (shown["times"], shown["of"], shown["series"]) == (2, 3, [("one", [1_200, 8, None])])


def test_the_hours_runs_are_counted_where_there_are_more_than_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def last(number: int) -> list[dict[str, Any]]:
        return [
            {"task": "process_media_upload", "started": (NOW - timedelta(seconds=second)).isoformat()}
            for second in range(number)
        ]

    monkeypatch.setattr(now.ledger, "started_since", lambda task, since: {NOW - timedelta(hours=1): 500}[since])
    assert now.in_the_hour("process_media_upload", last(500)[: now.RUNS_OF_A_TASK], NOW) == 500
    assert now.in_the_hour("process_media_upload", last(7), NOW) == 7
    assert now.in_the_hour("send_notification", last(now.RUNS_OF_A_TASK), NOW) == 0


def test_a_live_page_shows_at_first_what_its_tab_has_gathered_whatever_of_it_is_chosen() -> None:
    gathered: list[str] = []

    def context(asked: Request) -> dict[str, Any]:
        gathered.append(asked.url.path)
        return {"number": len(gathered)}

    def choices(asked: Request) -> dict[str, Any]:
        return {"span": asked.query_params.get("span", "1h")}

    first, then, other = request("/live"), request("/", "span=6h"), request("/", "span=15m")
    then.app.state = other.app.state = first.app.state
    first.app.state.kept = {}
    clock = iter((100.0, 105.0, 130.0, 130.0))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(views.time, "monotonic", lambda: next(clock))
        patched.setattr(views, "run_in_threadpool", _at_once)
        seen = [
            answered(views.gathered(first, context, choices=choices)),
            answered(views.gathered(then, context, choices=choices, seconds=views.SECONDS_FIRST_SHOWN)),
            answered(views.gathered(other, context, choices=choices, seconds=views.SECONDS_FIRST_SHOWN)),
        ]
    assert seen == [{"number": 1, "span": "1h"}, {"number": 1, "span": "6h"}, {"number": 2, "span": "15m"}]


async def _at_once(function: Any, *arguments: Any) -> Any:
    return function(*arguments)


def answered(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine that waits for nothing returns."""
    with pytest.raises(StopIteration) as ended:
        coroutine.send(None)
    return ended.value.value


def test_a_line_has_a_gap_where_nothing_is_known_and_each_day_is_written_once() -> None:
    names = [f"2026-11-{day}" for day in (23, 24, 25) for _ in range(24)]
    values: list[float | None] = [5.0] * 20 + [None] + [7.0] * 30 + [None, 9.0, None] + [8.0] * 18
    drawn = draw.lines([("one", values)], names)
    assert drawn.count("<polyline") == 3 and drawn.count("<circle") == 1
    assert [drawn.count(f">{day}</text>") for day in ("11-23", "11-24", "11-25")] == [1, 1, 1]
    assert ">9</text>" in drawn
    drawn = draw.lines([("one", values)], names[18:24] + names[24:])
    assert ">11-23</text>" not in drawn and ">11-24</text>" in drawn  # the end of a day has no place for its date
    assert draw.lines([("one", [None, None])], ["2026-11-23", "2026-11-24"]).count("<polyline") == 0
