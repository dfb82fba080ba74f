"""Finished runs are told to whoever listens, once an invocation, and never at a run's cost."""

import json
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.exceptions import ConnectTimeoutError
from support import STACK, Calls, Queue, resolve, template

from backbeat import aws as clients
from backbeat import events
from backbeat.runtime import Implementation, Rejected, Run
from backbeat.sweeps import in_parts
from backbeat.tasks import process_media_upload

BUS = "RunEventsBus"
TASK = "process_media_upload"
WHEN = "2026-11-01T04:00:00Z"
KWARGS = {"bucket": "b", "key": "k"}


def message(run_id: str) -> dict[str, Any]:
    return {"task": TASK, "id": run_id, "kwargs": KWARGS, "sent_at": WHEN}


def scheduled() -> dict[str, Any]:
    return {"task": TASK, "kwargs": KWARGS, "scheduled_time": WHEN}


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


def succeeding(run: Run) -> dict[str, int]:
    return {"made": 3}


def failing(run: Run) -> Any:
    raise ConnectionError("the database is away")


def refusing(*_: Any) -> Any:
    raise Rejected("no_such_thing", "it can never work")


def in_two(work: Callable[..., Any]) -> Implementation[Any]:
    """A run of two parts, whose tallies are added up."""

    def add_up(tallies: list[Any]) -> dict[str, int]:
        return {"sum": sum(tally["sum"] for tally in tallies)}

    return implement(lambda run: in_parts(run, plan=lambda: [1, 2], work=work, finish=add_up))


@pytest.fixture
def told(aws: None, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The events that the bus was given, by call; the detail of each is read."""
    calls: list[dict[str, Any]] = []

    def note(params: dict[str, Any], **_: Any) -> None:
        calls.append({"runs": [{**entry, "Detail": json.loads(entry["Detail"])} for entry in params["Entries"]]})

    clients.forget_clients()
    monkeypatch.setenv("RUN_EVENTS_BUS", BUS)
    boto3.client("events").create_event_bus(Name=BUS)
    clients.eventbridge().meta.events.register("before-parameter-build.events.PutEvents", note)
    return calls


def test_a_batch_is_told_in_one_call(told: list[dict[str, Any]], media_queue: Queue) -> None:
    media_queue.send(message("a"))
    media_queue.send(message("b"))
    media_queue.deliver(implement(succeeding))
    (call,) = told
    first, second = sorted(call["runs"], key=lambda event: str(event["Detail"]["run_id"]))
    assert (first["EventBusName"], first["Source"], first["DetailType"]) == (BUS, "backbeat", "Backbeat Run Finished")
    assert second["Detail"].pop("duration_ms") >= 0
    assert second["Detail"] == {
        "version": 1,
        "stack": STACK,
        "task": "process_media_upload",
        "class": "media",
        "run_id": "b",
        "logical_time": "2026-11-01T04:00:00Z",
        "outcome": "succeeded",
        "result": {"made": 3},
    }


def test_what_comes_back_is_not_told_and_what_never_works_is(told: list[dict[str, Any]], media_queue: Queue) -> None:
    media_queue.send(message("never"))
    media_queue.deliver(implement(refusing))
    media_queue.send(message("again"))
    media_queue.deliver(implement(failing))
    (event,) = (run for call in told for run in call["runs"])
    assert (event["Detail"]["outcome"], event["Detail"]["reason"]) == ("rejected", "no_such_thing")


def test_a_run_in_parts_is_told_once_it_is_whole(told: list[dict[str, Any]], media_queue: Queue) -> None:
    media_queue.send(scheduled())
    media_queue.drain(in_two(lambda spec, cursor, tally: {"sum": spec}))
    (event,) = (run for call in told for run in call["runs"])
    assert (event["Detail"]["outcome"], event["Detail"]["result"]) == ("succeeded", {"sum": 3})


def test_a_dead_part_makes_its_run_incomplete(told: list[dict[str, Any]], media_queue: Queue) -> None:
    def second_fails(spec: Any, cursor: Any, tally: Any) -> Any:
        return {"sum": 1} if spec == 1 else refusing()

    media_queue.send(scheduled())
    media_queue.drain(in_two(second_fails))
    (event,) = (run for call in told for run in call["runs"])
    assert (event["Detail"]["outcome"], event["Detail"]["reason"]) == ("incomplete", "no_such_thing")


def test_a_bus_that_does_not_answer_fails_no_run(
    told: list[dict[str, Any]], media_queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(**_: Any) -> None:
        raise ConnectTimeoutError(endpoint_url="https://events")

    monkeypatch.setattr(clients.eventbridge(), "put_events", silent)
    media_queue.send(message("a"))
    assert media_queue.deliver(implement(succeeding)) == []
    monkeypatch.undo()
    events.publish()
    assert told == []  # nor are they told later, by another invocation


def test_the_queue_hears_what_is_told() -> None:
    rule = template()["Resources"]["RunEventsRule"]["Properties"]
    assert rule["EventPattern"] == {"source": [events.SOURCE]}
    assert resolve(template()["Resources"]["RunEventsQueue"]["Properties"]["QueueName"]) == f"{STACK}-run-events"


def test_without_a_bus_nothing_is_told(aws: None, media_queue: Queue, calls: Calls) -> None:
    media_queue.send(message("a"))
    media_queue.deliver(implement(succeeding))
    assert "PutEvents" not in [name for name, _ in calls.made]
