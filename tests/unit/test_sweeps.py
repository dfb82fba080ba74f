"""Runs in parts: whatever is delivered twice, cut off or late, every part counts once and the run finishes."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from support import STACK, Context, Queue

from backbeat import ledger, models
from backbeat.messages import Message
from backbeat.producer import Task
from backbeat.runtime import Implementation, InParts, Run
from backbeat.sweeps import MOST_HOPS, PartDone, Unfinished, in_parts, spread
from backbeat.tasks import process_media_upload, update_user_statistics

TASK = "process_media_upload"
WHEN = datetime(2026, 11, 1, 3, tzinfo=UTC)
PLAN = {"task": TASK, "kwargs": {"bucket": "b", "key": "k"}, "scheduled_time": WHEN.isoformat()}


@dataclass
class Sum:
    total: int


@dataclass
class Sweep:
    """A sweep that sums numbers, with a switch for each thing that can go wrong."""

    plan: list[list[int]] = field(default_factory=lambda: [[1, 2], [3], [4, 5, 6]])
    worked: list[Any] = field(default_factory=list)
    work: Callable[[Any, Any, Any], Any] | None = None
    finished: int = 0

    def implementation(self) -> Implementation[Any]:
        def add(spec: Any, cursor: Any, tally: Any) -> Any:
            self.worked.append(spec)
            return self.work(spec, cursor, tally) if self.work else {"sum": sum(spec)}

        def sum_up(tallies: list[Any]) -> Sum:
            self.finished += 1
            return Sum(sum(tally["sum"] for tally in tallies))

        def handle(
            bucket: str,
            key: str,
            run: Run,
            version_id: str | None = None,
            sequencer: str | None = None,
            event_name: str = "",
        ) -> Sum | InParts | PartDone:
            return in_parts(run, plan=lambda: self.plan, work=add, finish=sum_up)

        return Implementation(process_media_upload, handle)


def test_no_part_is_told_more_than_a_row_holds() -> None:
    for keys in (
        [f"{year:04}-01-01#0" for year in range(10_000)] * 100,
        [f"{n:04}" + 1_000 * "é" for n in range(9_999)],
    ):
        parts = spread("by_day", keys)
        assert [key for part in parts for key in part["keys"]] == keys
        assert max(len(json.dumps(part, ensure_ascii=False).encode()) for part in parts) < 400_000
    assert [len(part["keys"]) for part in spread("by_day", keys[:33])] == [2] * 16 + [1]
    assert spread("by_day", []) == []


def replace_task(sweep: Sweep, task: Task[Any]) -> Implementation[Any]:
    """The same sweep as another task, which takes one argument."""
    whole = sweep.implementation()

    def handle(run: Run, full: bool = False) -> Any:
        return whole("b", "k", run=run)

    return Implementation(task, handle)


def run() -> models.RunRecord:
    (only,) = ledger.recent(TASK, WHEN.date(), 10)
    return only


def drain(queue: Queue, implementation: Implementation[Any]) -> None:
    for _ in range(100):
        if not queue.depth()[0]:
            return
        queue.deliver(implementation)
    pytest.fail(f"{queue.name} does not run empty")


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda low, high: 0)


def test_a_run_is_planned_done_in_parts_and_summed_up(media_queue: Queue) -> None:
    sweep = Sweep()
    media_queue.send(PLAN)
    media_queue.deliver(sweep.implementation())
    assert (run().outcome, run().result) == ("in parts", {"parts": 3})
    drain(media_queue, sweep.implementation())
    assert (run().outcome, run().result) == ("succeeded", {"total": 21})
    assert sorted(sweep.worked) == sorted(sweep.plan)
    assert sweep.finished == 1
    (totals,) = ledger.totals(WHEN.date())
    assert (totals.succeeded, totals.skipped) == (1, 0)


def test_a_plan_without_parts_is_finished_at_once(media_queue: Queue) -> None:
    media_queue.send(PLAN)
    media_queue.deliver(Sweep(plan=[]).implementation())
    assert (run().outcome, run().result) == ("succeeded", {"total": 0})
    assert media_queue.depth() == (0, 0)


def test_parts_delivered_twice_count_once(media_queue: Queue) -> None:
    sweep = Sweep()
    media_queue.send(PLAN)
    media_queue.deliver(sweep.implementation())
    event = media_queue.receive()
    for record in [*event["Records"], *event["Records"]]:
        sweep.implementation().lambda_handler({"Records": [record]}, Context())
    assert run().result == {"total": 21}
    assert len(sweep.worked) == 3


def test_planned_again_only_what_is_pending_is_sent(media_queue: Queue) -> None:
    sweep = Sweep()
    media_queue.send(PLAN)
    media_queue.deliver(sweep.implementation())
    parts = media_queue.receive()["Records"]
    sweep.implementation().lambda_handler({"Records": parts[:2]}, Context())
    media_queue.send(PLAN)
    media_queue.deliver(sweep.implementation())
    (again,) = media_queue.receive()["Records"]
    assert json.loads(again["body"])["part"] == json.loads(parts[2]["body"])["part"]
    sweep.implementation().lambda_handler({"Records": [again]}, Context())
    assert (run().outcome, run().result) == ("succeeded", {"total": 21})


def test_a_part_short_of_time_resumes_where_it_stopped(media_queue: Queue) -> None:
    sweep = Sweep(work=one_at_a_time)
    media_queue.send(PLAN)
    drain(media_queue, sweep.implementation())
    assert run().result == {"total": 21}
    assert len(sweep.worked) == 6


def test_a_part_that_never_ends_is_stopped_and_leaves_the_run_incomplete(media_queue: Queue) -> None:
    sweep = Sweep(plan=[[1]], work=lambda spec, cursor, tally: Unfinished(0, {"sum": 0}))
    media_queue.send(PLAN)
    drain(media_queue, sweep.implementation())
    assert len(sweep.worked) == MOST_HOPS + process_media_upload.retry.attempts
    assert run().outcome == "incomplete"
    assert "split it finer" in run().error


def one_at_a_time(spec: list[int], cursor: int | None, tally: dict[str, int]) -> Any:
    at = cursor or 0
    tally = {"sum": tally.get("sum", 0) + spec[at]}
    return Unfinished(at + 1, tally) if at + 1 < len(spec) else tally


def test_a_part_that_may_not_be_sent_on_goes_on_by_coming_back(media_queue: Queue) -> None:
    """Otherwise the chain of messages grew longer than Lambda lets it."""
    sweep = Sweep(plan=[[1] * (MOST_HOPS + process_media_upload.retry.attempts)], work=one_at_a_time)
    media_queue.send(PLAN)
    drain(media_queue, sweep.implementation())
    assert (run().outcome, run().result) == ("succeeded", {"total": 15})


def test_a_dead_part_goes_on_where_it_stopped_once_it_is_retried(media_queue: Queue) -> None:
    sweep = Sweep(plan=[[1] * (MOST_HOPS + process_media_upload.retry.attempts + 3)], work=one_at_a_time)
    media_queue.send(PLAN)
    drain(media_queue, sweep.implementation())
    (letter,) = media_queue.dead()
    media_queue.send(letter["body"])
    drain(media_queue, sweep.implementation())
    assert (run().outcome, run().result) == ("succeeded", {"total": 18})
    assert len(sweep.worked) == 18


def test_a_dead_part_is_named_and_its_retry_finishes_the_run(media_queue: Queue) -> None:
    def broken(spec: Any, cursor: Any, tally: Any) -> Any:
        if spec == [3]:
            raise ConnectionError("away")
        return {"sum": sum(spec)}

    sweep = Sweep(work=broken)
    media_queue.send(PLAN)
    drain(media_queue, sweep.implementation())
    assert (run().outcome, run().error) == ("incomplete", "part 1 is dead: ConnectionError: away")
    (letter,) = media_queue.dead()
    sweep.work = None
    media_queue.send(letter["body"])
    drain(media_queue, sweep.implementation())
    assert (run().outcome, run().result, run().error) == ("succeeded", {"total": 21}, None)


def test_a_finish_that_was_cut_off_is_made_up_for(media_queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = Sweep(plan=[[7]])
    media_queue.send(PLAN)
    media_queue.deliver(sweep.implementation())
    with monkeypatch.context() as cut:
        cut.setattr(ledger, "finish", lambda *_: 1 / 0)
        assert len(media_queue.deliver(sweep.implementation())) == 1
    assert run().outcome == "in parts"
    media_queue.deliver(sweep.implementation())
    assert (run().outcome, run().result) == ("succeeded", {"total": 7})
    assert len(sweep.worked) == 1


def test_planning_that_was_cut_off_may_split_differently(media_queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = Sweep(plan=[[1], [2], [3]])
    media_queue.send(PLAN)
    with monkeypatch.context() as cut:
        cut.setattr(models.SweepRun, "save", lambda *_: 1 / 0)
        assert len(media_queue.deliver(sweep.implementation())) == 1
    sweep.plan = [[10], [20]]
    drain(media_queue, sweep.implementation())
    assert run().result == {"total": 30}


def test_too_many_parts_are_refused(media_queue: Queue) -> None:
    media_queue.send(PLAN)
    media_queue.deliver(Sweep(plan=[[1]] * 1001).implementation())
    assert run().error == "ValueError: the plan has 1001 parts; a run has at most 1000"


def test_a_part_that_was_never_planned_waits(media_queue: Queue) -> None:
    media_queue.send({**PLAN, "part": 4})
    assert len(media_queue.deliver(Sweep().implementation())) == 1


def test_one_id_sent_to_two_tasks_is_two_runs(media_queue: Queue) -> None:
    """Who sends a message names it, and nobody knows what others call theirs."""
    first = Sweep(plan=[[1], [2]])
    media_queue.send({"task": TASK, "id": "nightly", "kwargs": PLAN["kwargs"], "sent_at": WHEN.isoformat()})
    drain(media_queue, first.implementation())
    other = replace_task(first, update_user_statistics)
    queue = Queue(f"{STACK}-analytics-update_user_statistics")
    queue.send({"task": "update_user_statistics", "id": "nightly", "sent_at": WHEN.isoformat()})
    drain(queue, other)
    assert first.worked == [[1], [2], [1], [2]]
    (of_the_other,) = ledger.recent("update_user_statistics", WHEN.date(), 10)
    assert (of_the_other.outcome, of_the_other.result) == ("succeeded", {"total": 3})


def test_parts_that_were_planned_before_an_update_finish_their_run(media_queue: Queue) -> None:
    """The version before kept them under a key without the task."""
    old = f"sweep#{TASK}@2026-11-01T03:00:00Z"
    for number, spec in enumerate([[1, 2], [3]]):
        models.SweepPart(old, f"part#{number:04}", spec=spec).save()
        media_queue.send({**PLAN, "part": number})
    models.SweepRun(old, parts=2, pending={0, 1}, started=WHEN).save()
    message = Message(task=TASK, scheduled_time=WHEN)
    ledger.claim(message, "media", datetime.now(UTC), "before")
    ledger.settle(message, ledger.Attempt(ledger.Outcome.IN_PARTS, datetime.now(UTC), 1, "before"))
    drain(media_queue, Sweep().implementation())
    assert (run().outcome, run().result) == ("succeeded", {"total": 6})
