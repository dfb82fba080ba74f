"""Work that takes long is held by signs of life: it is listed, and a killed worker's is back soon."""

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from support import STACK, Context, Killed, Queue
from typer.testing import CliRunner

from backbeat import aws, heartbeat, ledger
from backbeat.messages import Message, iso
from backbeat.models import RunRecord
from backbeat.runtime import Implementation, Run
from backbeat.tasks import process_media_upload
from backbeat_ops import commands, pausing, status
from backbeat_ops.cli import app
from backbeat_ops.stack import Stack

TASK = "process_media_upload"
WHEN = datetime(2026, 11, 1, 4, tzinfo=UTC)
LONG = 300_000
SECONDS = 30
"""How long a test waits for another thread before it fails."""


def message(**changes: Any) -> dict[str, Any]:
    kwargs = {"bucket": "b", "key": "posts/1/a.jpg"}
    return {"task": TASK, "id": "run-1", "kwargs": kwargs, "sent_at": WHEN.isoformat(), **changes}


SCHEDULED = {**message(), "scheduled_time": WHEN.isoformat(), "id": f"{TASK}@{iso(WHEN)}", "sent_at": None}


def implement(does: Callable[[Run], Any]) -> Implementation[Any]:
    def handle(
        bucket: str,
        key: str,
        run: Run,
        version_id: str | None = None,
        sequencer: str | None = None,
        event_name: str = "",
    ) -> Any:
        return does(run)

    return Implementation(process_media_upload, handle)


def killed(run: Run) -> Any:
    raise Killed


class Beats:
    """The signs of life, as they reach SQS; work can wait for one."""

    def __init__(self) -> None:
        self.hidden: list[int] = []
        self.came = threading.Condition()

    def note(self, **call: Any) -> None:
        with self.came:
            self.hidden.append(call["VisibilityTimeout"])
            self.came.notify_all()

    def wait(self, number: int) -> None:
        with self.came:
            assert self.came.wait_for(lambda: len(self.hidden) >= number, SECONDS)


@pytest.fixture
def beats(media_queue: Queue, monkeypatch: pytest.MonkeyPatch) -> Beats:
    beats = Beats()
    monkeypatch.setattr(aws.sqs(), "change_message_visibility", beats.note)
    return beats


def deliver(queue: Queue, does: Callable[[Run], Any], remaining_ms: int = LONG) -> list[str]:
    return queue.deliver(implement(does), Context(remaining_ms))


def test_long_work_is_held_again_and_again_and_then_let_go(
    media_queue: Queue, beats: Beats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "SECONDS_BETWEEN_BEATS", 0)
    seen: list[Any] = []

    def work(run: Run) -> dict[str, int]:
        beats.wait(3)
        seen.extend(ledger.in_flight())
        return {"done": 1}

    before = datetime.now(UTC)
    media_queue.send(message())
    assert deliver(media_queue, work) == []
    assert set(beats.hidden) == {90}
    (flight,) = seen
    assert (flight.task, flight.message_id, flight.part) == (TASK, "run-1", None)
    assert before <= flight.since <= datetime.now(UTC)
    assert flight.until >= before + heartbeat.HELD_FOR
    assert ledger.in_flight() == []
    after = len(beats.hidden)
    assert [thread.name for thread in threading.enumerate() if thread.name == "heartbeat"] == []
    assert len(beats.hidden) == after


def test_a_retry_waits_as_long_as_it_should_not_as_long_as_it_was_held(
    media_queue: Queue, beats: Beats, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(run: Run) -> Any:
        raise ConnectionError("away")

    monkeypatch.setattr("random.uniform", lambda low, high: 7)
    media_queue.send(message())
    assert len(deliver(media_queue, fail)) == 1
    assert beats.hidden == [90, 7]
    assert ledger.in_flight() == []


def test_short_work_is_left_to_the_queue(media_queue: Queue, beats: Beats) -> None:
    media_queue.send(message())
    assert deliver(media_queue, lambda run: ledger.in_flight(), 60_000) == []
    assert beats.hidden == []


@pytest.mark.parametrize("body", [message(), SCHEDULED])
def test_a_killed_workers_message_is_back_when_it_was_due_for_a_sign_of_life(
    media_queue: Queue, monkeypatch: pytest.MonkeyPatch, body: dict[str, Any]
) -> None:
    media_queue.send(body)
    with monkeypatch.context() as kill:
        kill.setattr(heartbeat, "HELD_FOR", timedelta(0))
        kill.setattr(ledger, "let_go", lambda *_: None)  # it is gone: it says nothing at its end
        with pytest.raises(Killed):
            deliver(media_queue, killed)
    (flight,) = ledger.in_flight(TASK)
    assert flight.until < datetime.now(UTC)
    assert media_queue.depth() == (1, 0)
    assert deliver(media_queue, lambda run: {"done": 1}) == []
    run = ledger.find(Message.of({key: value for key, value in body.items() if value}))
    assert run is not None
    assert run.outcome == "succeeded"
    assert ledger.in_flight() == []


def test_a_scheduled_runs_claim_lasts_as_long_as_the_signs_of_life(
    media_queue: Queue, beats: Beats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "SECONDS_BETWEEN_BEATS", 0)
    leases: list[datetime] = []

    def work(run: Run) -> None:
        for _ in range(2):
            beats.wait(len(beats.hidden) + 3)  # from now on: they may have run ahead of the last look
            row = ledger.find(run.message)
            assert row is not None
            leases.append(row.lease_until)

    media_queue.send(SCHEDULED)
    before = datetime.now(UTC)
    assert deliver(media_queue, work) == []
    assert before + heartbeat.HELD_FOR < leases[0] < leases[1] < datetime.now(UTC) + heartbeat.HELD_FOR
    (row,) = ledger.recent(TASK, WHEN.date(), 1)
    assert (row.outcome, row.lease_until) == ("succeeded", None)


def test_a_second_worker_takes_nothing_from_the_first(media_queue: Queue, beats: Beats) -> None:
    def while_another_works(run: Run) -> dict[str, int]:
        media_queue.send(message())
        assert deliver(media_queue, lambda run: {"by": 2}) == []
        (flight,) = ledger.in_flight()
        assert flight.request_id == run.context.aws_request_id
        return {"by": 1}

    media_queue.send(message())
    assert deliver(media_queue, while_another_works) == []
    assert ledger.in_flight() == []
    (run,) = ledger.recent(TASK, WHEN.date(), 1)
    assert run.result == {"by": 2}, "who is done first has done it"


def test_a_sign_of_life_that_gets_lost_stops_no_work(
    media_queue: Queue, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*arguments: Any) -> None:
        boto3.client("dynamodb").describe_table(TableName="no-such-table")

    monkeypatch.setattr(ledger, "hold", away)
    media_queue.send(message())
    assert deliver(media_queue, lambda run: {"done": 1}) == []
    assert "a sign of life got lost" in caplog.messages


def test_what_is_at_work_is_listed_with_since_when(media_queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.now(UTC)
    for part, since, until in ((None, 10, 80), (3, 200, -110)):
        attempt = ledger.Attempt(ledger.Outcome.RUNNING, now - timedelta(seconds=since), 0, f"request-{part}")
        held = Message(task=TASK, id="run-1", sent_at=WHEN, part=part)
        ledger.hold(held, attempt, now + timedelta(seconds=until))
    stack = Stack(STACK)
    urls = {"queue_url": media_queue.url, "dead_queue_url": media_queue.dead_url}
    described = {"tasks": {TASK: {"class": "media", "queue": TASK, **urls}}}
    monkeypatch.setattr(pausing, "mappings", lambda stack: {})
    monkeypatch.setattr(Stack, "resources", {})
    monkeypatch.setattr(Stack, "describe", lambda self: {"stack": STACK, "endpoint": "here", **described})
    found = status.status(stack)["tasks"][TASK]["at_work"]
    assert [(work["run_id"], work["part"], work["silent"]) for work in found] == [
        ("run-1", 3, True),
        ("run-1", None, False),
    ]
    assert found[1]["since"] == iso(now - timedelta(seconds=10))

    monkeypatch.setattr(commands.runs, "the_stack", lambda context: stack)
    done = CliRunner().invoke(app, ["runs", "--json"])
    (run,) = json.loads(done.stdout)
    assert (run["run_id"], run["outcome"], run["started"]) == ("run-1", "running", found[1]["since"])
    assert list(RunRecord.query(f"{TASK}#{WHEN.date()}")) == []
