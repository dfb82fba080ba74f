"""Notifications are written once, listed newest first, and go 30 days after they were read."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support import STACK, Context, Queue, event

from backbeat import ledger
from backbeat.models import NOTIFICATION_KEPT, Notification, User
from send_notification import handle

WHEN = datetime(2026, 11, 1, 9, tzinfo=UTC)


@pytest.fixture
def queue(aws: None) -> Queue:
    User("user-1", name="Ada", email="ada@example.net", created_at=WHEN).save()
    User("user-2", name="Bo", email="bo@example.net", created_at=WHEN, deleted_at=WHEN).save()
    return Queue(f"{STACK}-default-send_notification")


def send(queue: Queue, number: int = 1, at: datetime = WHEN, **more: Any) -> None:
    kwargs = {"user_id": "user-1", "kind": "like", "text": f"number {number}", **more}
    queue.send({"task": "send_notification", "id": f"run-{number}", "kwargs": kwargs, "sent_at": at.isoformat()})
    assert queue.deliver(handle) == []


def texts(now: datetime = WHEN) -> list[str]:
    return [row.text for row in Notification.of("user-1", now=now)]


def test_a_notification_is_written_once(queue: Queue) -> None:
    for _ in range(2):
        send(queue, link="/posts/1")
    (row,) = Notification.of("user-1", now=WHEN)
    assert (row.kind, row.text, row.link, row.created_at, row.read_at) == ("like", "number 1", "/posts/1", WHEN, None)


def test_they_are_listed_newest_first_in_whatever_order_they_come(queue: Queue) -> None:
    for number in (2, 3, 1):
        send(queue, number, WHEN + timedelta(minutes=number))
    assert texts() == ["number 3", "number 2", "number 1"]


def test_one_that_was_read_goes_after_thirty_days(queue: Queue) -> None:
    send(queue, 1)
    send(queue, 2)
    last = Notification.of("user-1", now=WHEN)[-1].notification_id
    assert Notification.mark_read("user-1", last, at=WHEN)
    assert not Notification.mark_read("user-1", last, at=WHEN + timedelta(days=9)), "it counts from the first time"
    assert texts(WHEN + NOTIFICATION_KEPT - timedelta(seconds=1)) == ["number 2", "number 1"]
    assert texts(WHEN + NOTIFICATION_KEPT) == ["number 2"]
    assert not Notification.mark_read("user-1", "nothing", at=WHEN)
    assert texts() == ["number 2", "number 1"]


@pytest.mark.parametrize(
    "wrong", [{"kind": ""}, {"text": " "}, {"text": "\u3164\u200b"}, {"text": "\x00"}, {"text": "x" * 1_001}]
)
def test_one_that_says_nothing_or_too_much_is_rejected(queue: Queue, wrong: dict[str, str]) -> None:
    send(queue, **wrong)
    assert (texts(), queue.dead()[0]["reason"]) == ([], "invalid_text")


def outcomes() -> dict[str, tuple[str, str | None]]:
    return {run.run_id: (run.outcome, run.error) for run in ledger.recent("send_notification", WHEN.date(), 9)}


def test_who_has_left_gets_none(queue: Queue) -> None:
    send(queue, user_id="user-2")
    assert outcomes() == {"run-1": ("skipped", "user user-2 has left")}
    assert list(Notification.query("user-2")) == []


def test_a_user_who_is_not_there_yet_is_waited_for(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message may be faster than the row of the user, which an application mirrors."""
    monkeypatch.setattr("random.uniform", lambda low, high: 0)
    kwargs = {"user_id": "user-9", "kind": "like", "text": "hello"}
    body = {"task": "send_notification", "id": "run-1", "kwargs": kwargs, "sent_at": WHEN.isoformat()}
    assert queue.send(body) in queue.deliver(handle)
    assert outcomes() == {"run-1": ("retrying", "there is no user 'user-9' (yet)")}
    User("user-9", name="Noor", email="noor@example.net", created_at=WHEN).save()
    assert queue.deliver(handle) == []
    assert [row.text for row in Notification.of("user-9", now=WHEN)] == ["hello"]
    queue.send({**body, "id": "run-2", "kwargs": {**kwargs, "user_id": "nobody"}})
    queue.drain(handle)
    assert outcomes()["run-2"] == ("dead", "there is no user 'nobody' (yet)")
    assert queue.dead()[0]["reason"] == "not_yet"


def test_the_user_is_read_as_the_row_is_now(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Any] = []
    get = User.get
    monkeypatch.setattr(User, "get", lambda *args, **more: read.append(more) or get(*args, **more))
    send(queue)
    assert read == [{"consistent_read": True}]


def test_the_events_of_lambda_are_understood(queue: Queue) -> None:
    for name in ("typical", "duplicate", "poison"):
        assert handle.lambda_handler(event("send_notification", name), Context()) == {"batchItemFailures": []}, name
    assert texts() == ["Bo likes your post"]
    assert [letter["reason"] for letter in queue.dead()] == ["invalid_arguments"]
    unknown = handle.lambda_handler(event("send_notification", "unknown_user"), Context())
    assert len(unknown["batchItemFailures"]) == 1
