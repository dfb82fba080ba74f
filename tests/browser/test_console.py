"""The console in a browser, over the local cloud: each page on every screen, and what an operator does there.

`make shots` keeps the pictures for docs/console.md.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urljoin

import pytest
from playwright.sync_api import Page, Route, expect

from backbeat import aws, queues
from backbeat.mail import digest
from backbeat.messages import Message
from backbeat.models import Delivery, DigestSelection
from backbeat.producer import Task
from backbeat.tasks import TASKS
from backbeat_ops import localcloud, runs, sample, schedules
from backbeat_ops.console import views
from backbeat_ops.console.server import Console
from backbeat_ops.stack import Stack

Shots = Callable[..., list[Path]]


@pytest.fixture(scope="module")
def address(local_cloud: None) -> Iterator[str]:
    """The address that `backbeat console` prints, over the sample's network."""
    before = dict(os.environ)
    localcloud.stack().bind()
    sample.seed(datetime.now(UTC))
    os.environ.clear()
    os.environ.update(before)
    console = subprocess.Popen(
        [Path(sys.executable).parent / "backbeat", "console", "--port", "0", "--json"],
        env={**os.environ, "BACKBEAT_HOME": str(localcloud.HOME), "BACKBEAT_STACK": "", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert console.stdout
    lines = []
    for line in console.stdout:
        lines.append(line)
        if line.startswith("}"):
            break
    yield json.loads("".join(lines))["url"]
    console.terminate()
    console.communicate(timeout=60)


@pytest.fixture
def at(page: Page, address: str, cloud: Stack) -> Callable[[str], None]:
    """Go to a page of the console."""
    page.goto(address)

    def go(path: str) -> None:
        page.goto(address.partition("/?")[0] + path)

    return go


def test_every_page_on_every_screen(page: Page, at: Callable[[str], None], shots: Shots) -> None:
    for name, path in {
        "tasks": "/tasks",
        "task": "/tasks/send_notification",
        "schedules": "/schedules",
        "runs": "/runs",
        "mail": "/mail",
        "insights": "/insights",
        "tag": "/insights/tag?tag=photo",
        "now": "/",
    }.items():
        at(path)
        expect(page.locator("h1").first).to_be_visible()
        expect(page.locator(".fault")).to_have_count(0)
        shots(name)


def test_a_photo_is_dropped_in_and_seen(page: Page, at: Callable[[str], None], photo: bytes, shots: Shots) -> None:
    at("/media")
    dropped = {"name": "sunrise.jpg", "mimeType": "image/jpeg", "buffer": photo}
    page.get_by_label("A photo or a video").set_input_files(dropped)
    expect(page.get_by_text("ready", exact=True)).to_be_visible()
    picture = page.get_by_role("img", name="800.webp")
    expect(picture).to_be_visible()
    for image in page.locator("main img").all():
        image.scroll_into_view_if_needed()
        expect(image).to_have_js_property("complete", True)
        assert image.evaluate("image => image.naturalWidth") > 0
    page.evaluate("scrollTo(0, 0)")
    shots("media")


def test_what_is_no_photo_is_refused_with_why(page: Page, at: Callable[[str], None]) -> None:
    at("/media")
    page.get_by_label("A photo or a video").set_input_files(
        {"name": "text.jpg", "mimeType": "image/jpeg", "buffer": b"this is a text, and no picture at all"}
    )
    expect(page.get_by_role("heading", name="Why it was refused")).to_be_visible()


def test_a_dead_letter_is_edited_and_tried(page: Page, at: Callable[[str], None], cloud: Stack, shots: Shots) -> None:
    task = TASKS["send_notification"]
    left = queues.queue_url(queues.dead_queue(task.queue_name(cloud.name)))
    aws.sqs().purge_queue(QueueUrl=left)  # what other tests of this local cloud left
    for number in range(3):
        kwargs = {"user_id": f"user-{number + 1}", "kind": "like", "text": ""}
        queues.put(task.queue_name(cloud.name), task.message(kwargs, datetime.now(UTC)).to_json())
    at("/")
    expect(page.get_by_role("link", name="3 dead letters of default")).to_be_visible()
    shots("dead-now")
    at("/dead?task=send_notification")
    shots("dead")
    page.get_by_role("link", name="invalid_text").click()
    page.locator("tbody a.mono").first.click()
    message = page.get_by_label("The message")
    message.fill(message.input_value().replace('"text": ""', '"text": "Ada likes your post"'))
    shots("dead-letter")
    page.get_by_role("button", name="Try it").click()
    expect(page.get_by_text("Its run has succeeded.")).to_be_visible()
    at("/dead?task=send_notification")
    expect(page.get_by_text("2 letters, 1 cause")).to_be_visible()
    page.locator("tbody a").first.click()
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Retry all 2").click()
    expect(page.get_by_text("2 sent to the queue.")).to_be_visible()
    expect(page.get_by_role("heading", name="Retrying send_notification")).to_be_visible()
    shots("work")
    at("/")
    expect(page.get_by_role("link", name="2 dead letters of default")).to_be_visible()
    at("/dead?task=send_notification&anew=1")
    page.locator("tbody a").first.click()
    page.get_by_label("Why they are not needed").fill("nobody is there")
    page.get_by_role("button", name="Discard all").click()
    expect(page.get_by_text("2 discarded.")).to_be_visible()


def test_a_schedule_is_edited(page: Page, at: Callable[[str], None], cloud: Stack, shots: Shots) -> None:
    name = "update_trending_hashtags"
    (before,) = schedules.named(cloud.name, [name])
    at(f"/schedules/{name}")
    page.get_by_label(re.compile("^Expression")).fill("cron(17 4 * * ? *)")
    page.get_by_role("button", name="Show the times").click()
    expect(page.get_by_role("heading", name="daily 04:17")).to_be_visible()
    shots("schedule")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("daily 04:17, UTC")).to_be_visible()
    (after,) = schedules.named(cloud.name, [name])
    assert after.definition["ScheduleExpression"] == "cron(17 4 * * ? *)"
    schedules.change(after, ScheduleExpression=before.definition["ScheduleExpression"])


def test_a_schedule_is_paused_and_resumed(page: Page, at: Callable[[str], None], cloud: Stack) -> None:
    at("/schedules/cleanup_old_posts")
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Let it fire").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    (schedule,) = schedules.named(cloud.name, ["cleanup_old_posts"])
    assert schedule.enabled


@pytest.mark.parametrize(
    ("expression", "button", "answer"),
    [("cron(17 4 * * ? *)", "Show the times", "daily 04:17"), ("cron(every day)", "Save", "That did not work")],
)
def test_what_is_pressed_before_the_page_is_ready_is_done_once_it_is(
    page: Page, at: Callable[[str], None], cloud: Stack, expression: str, button: str, answer: str
) -> None:
    held: list[Route] = []
    asked: list[str] = []
    page.route("**/htmx.min.js*", lambda route: held.append(route))
    page.on("request", lambda request: asked.append(request.url) if request.method == "POST" else None)
    address = urljoin(page.url, "/schedules/update_trending_hashtags")
    page.goto(address, wait_until="commit")
    page.get_by_label(re.compile("^Expression")).fill(expression)
    page.get_by_role("button", name=button).dblclick()
    assert asked == []
    (script,) = held
    script.continue_()
    expect(page.locator("main")).to_contain_text(answer)
    assert len(asked) == 1
    assert page.url == address


def test_a_stretch_is_played_and_its_report_is_read(
    page: Page, at: Callable[[str], None], cloud: Stack, shots: Shots
) -> None:
    today = datetime.now(UTC).date()
    at("/schedules/generate_content_analytics")
    page.get_by_label("From").fill(f"{today}T00:00")
    page.get_by_label("Up to").fill(f"{today}T00:01")
    page.get_by_role("button", name="Play", exact=True).click()
    expect(page.get_by_text("0 sent, 0 were known already, 0 failed.")).to_be_visible()
    at("/schedules/generate_content_analytics")
    page.get_by_label("From").fill(f"{today - timedelta(days=5)}T03:00")
    page.get_by_label("Up to").fill(f"{today - timedelta(days=1)}T05:00")
    page.get_by_role("button", name="Play", exact=True).click()
    expect(page.get_by_text("5 sent, 0 were known already, 0 failed.")).to_be_visible()
    now = datetime.now(UTC)
    at("/schedules/update_trending_hashtags")
    page.get_by_label("From").fill(f"{now - timedelta(hours=4):%Y-%m-%dT%H:01}")
    page.get_by_label("Up to").fill(f"{now - timedelta(hours=1):%Y-%m-%dT%H:01}")
    page.get_by_role("button", name="Play", exact=True).click()
    expect(page.get_by_text(re.compile("[23] sent, [01] were known already, 0 failed."))).to_be_visible()
    at("/insights")
    expect(page.locator(".trend li").first).to_be_visible()
    shots("insights-full")
    page.get_by_role("link", name=str(today - timedelta(days=2)), exact=True).click()
    expect(page.frame_locator("iframe").locator("h1").first).to_be_visible()


def test_a_wrong_expression_is_refused_in_a_sentence(page: Page, at: Callable[[str], None]) -> None:
    at("/schedules/update_trending_hashtags")
    page.get_by_label(re.compile("^Expression")).fill("cron(every day)")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text("update_trending_hashtags")


def test_the_digest_of_last_week_is_shown(page: Page, at: Callable[[str], None], shots: Shots) -> None:
    week = digest.week_of(datetime.now(UTC))
    DigestSelection(f"digest#{week}", "posts").delete()  # what another test's digest chose is gone by now
    at("/mail/look?email=content_digest&user=user-1&locale=fr")
    frame = page.frame_locator("iframe[title='The email']")
    expect(frame.locator("h1").first).to_be_visible()
    shots("mail-look")
    page.get_by_role("link", name="headers").click()
    expect(page.get_by_text("List-Unsubscribe-Post")).to_be_visible()


def test_an_email_is_shown_as_it_was_sent(page: Page, at: Callable[[str], None], cloud: Stack) -> None:
    task = TASKS["send_welcome_email"]
    queues.put(task.queue_name(cloud.name), task.message({"user_id": "user-2"}, datetime.now(UTC)).to_json())
    at("/mail")
    sent = page.get_by_role("row").filter(has_text="welcome for user-2")
    expect(sent.get_by_text("sent", exact=True)).to_be_visible()
    sent.get_by_role("link").click()
    expect(page.get_by_text("As it was sent")).to_be_visible()
    expect(page.frame_locator("iframe[title='The email']").locator("h1").first).to_be_visible()
    page.get_by_role("link", name="headers").click()
    expect(page.get_by_text("Message-ID")).to_be_visible()


def test_an_unknown_email_is_settled(page: Page, at: Callable[[str], None], cloud: Stack) -> None:
    now = datetime.now(UTC)
    told = {"state": "unknown", "reason": "SES gave no clear answer", "attempt": 1, "run_id": "a-run"}
    times = {"claimed_at": now, "logical_time": now}
    Delivery("welcome:user-1", email="welcome", user_id="user-1", shelf="open#0", **told, **times).save()
    at("/mail?state=unknown")
    page.get_by_role("button", name="It was sent").click()
    expect(page.get_by_text("SES gave no clear answer")).to_have_count(0)
    assert Delivery.get("welcome:user-1", consistent_read=True).state == "sent"


def test_a_task_is_run_from_its_form_and_its_run_is_seen(page: Page, at: Callable[[str], None], shots: Shots) -> None:
    at("/tasks/send_notification")
    page.get_by_label(re.compile("^user_id")).fill("user-2")
    page.get_by_label(re.compile("^kind")).fill("like")
    page.get_by_label(re.compile("^text")).fill("Ada likes your post")
    page.get_by_role("button", name="Run", exact=True).click()
    page.locator("#sent a").click()
    expect(page.get_by_text("succeeded").first).to_be_visible()
    expect(page.get_by_text("user-2").first).to_be_visible()
    shots("run")
    page.get_by_label("kind", exact=True).fill("like")
    page.get_by_label("text", exact=True).fill("Ada likes your post")
    now = page.locator("main time").first.text_content()
    expect(page.locator("main time").first).not_to_have_text(now or "")  # it lives, and what is typed stays
    page.get_by_role("button", name="Replay").click()
    expect(page.get_by_role("heading", name="The replay; nothing was written")).to_be_visible()


def test_whoever_would_mail_many_on_aws_answers_a_question_before_anything_is_sent(
    page: Page, address: str, cloud: Stack, shots: Shots, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[dict[str, Any]] = []

    def by_hand(stack: str, task: Task[Any], kwargs: dict[str, Any], at: datetime) -> Message:
        sent.append(kwargs)
        return task.message(kwargs, at)

    monkeypatch.setattr(views, "localcloud", SimpleNamespace(STACK="another"))  # as if this stack were on AWS
    monkeypatch.setattr(runs, "by_hand", by_hand)
    console = Console(cloud, 0)
    with console.beside():
        page.goto(console.url)
        page.goto(urljoin(console.url, "/tasks/send_content_digest_email"))
        page.get_by_role("button", name="Run", exact=True).click()
        asked = page.get_by_role("alert")
        expect(asked).to_contain_text(re.compile(r"This sends up to [1-9]\d* emails? to users of backbeat-local\."))
        shots("asked")
        assert sent == []
        page.set_viewport_size({"width": 390, "height": 844})
        page.evaluate("scrollTo(0, 0)")
        page.get_by_role("button", name="Run", exact=True).click()
        expect(page.get_by_role("button", name="Send them")).to_be_in_viewport(ratio=1)
        page.get_by_label(re.compile("^user_id")).fill("user-1")
        page.get_by_role("button", name="Run", exact=True).click()
        expect(page.locator("#sent a")).to_be_visible()  # one email needs no question
        assert [kwargs.get("user_id") for kwargs in sent] == ["user-1"]
        page.get_by_label(re.compile("^user_id")).fill("")
        page.get_by_role("button", name="Run", exact=True).click()
        asked.get_by_role("button", name="Send them").click()
        expect(page.locator("#sent a")).to_be_visible()
        assert [kwargs.get("user_id") for kwargs in sent] == ["user-1", None]


def test_the_scheme_is_switched_and_kept(page: Page, at: Callable[[str], None]) -> None:
    page.emulate_media(color_scheme="light")
    at("/runs")
    page.get_by_role("button", name="Dark").press("Enter")
    at("/tasks")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 18, 24)"


def test_nobody_else_is_let_in(page: Page, address: str) -> None:
    """A fresh profile without the token sees nothing; the refusal is no error of the page's."""
    answer = page.request.get(address.partition("?")[0])
    assert answer.status == 401
