"""Runs in parts: whatever is delivered twice, cut off or late, every part counts once and the run finishes."""

import itertools
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from support import STACK, Calls, Context, Killed, Queue

from backbeat import ledger, models, sweeps
from backbeat.messages import Message
from backbeat.producer import Task
from backbeat.runtime import Implementation, InParts, Run
from backbeat.sweeps import MOST_HOPS, PartDone, Split, Unfinished, in_parts, spread, walk
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
    """The same sweep as another task, which takes other arguments."""
    whole = sweep.implementation()

    def handle(run: Run, full: bool = False, only: list[str] | None = None) -> Any:
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


# ---- Parts that split themselves -------------------------------------------------------------------------------------


def halves(spec: list[int], cursor: Any, tally: dict[str, int]) -> Any:
    """Sum numbers by halves: who has more than one leaves them to two others, and goes on with what they have counted.

    The largest of all goes on once more when its others are done, so that its sum counts twice.
    """
    if cursor == "double":
        return {"sum": 2 * tally["sum"]}
    if len(spec) == 1:
        return {"sum": spec[0]}
    middle = len(spec) // 2
    return Split([spec[:middle], spec[middle:]], {"sum": 0}, cursor="double" if len(spec) == 8 else None)


EIGHT = [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_part_splits_itself_and_goes_on_with_what_the_others_counted(media_queue: Queue) -> None:
    sweep = Sweep(plan=[EIGHT, [100]], work=halves)
    media_queue.send(PLAN)
    drain(media_queue, sweep.implementation())
    assert (run().outcome, run().result) == ("succeeded", {"total": 2 * 36 + 100})
    assert sweep.finished == 1


def test_a_tree_of_parts_delivered_twice_counts_once(media_queue: Queue) -> None:
    sweep = Sweep(plan=[EIGHT[:2], [100]], work=halves)
    media_queue.send(PLAN)
    while media_queue.depth()[0]:
        event = media_queue.receive()
        for record in [*event["Records"], *event["Records"]]:
            sweep.implementation().lambda_handler({"Records": [record]}, Context())
        for record in event["Records"]:
            media_queue.sqs.delete_message(QueueUrl=media_queue.url, ReceiptHandle=record["receiptHandle"])
    assert (run().outcome, run().result) == ("succeeded", {"total": 103})


@pytest.mark.parametrize("at", range(2, 90, 4))
def test_a_tree_of_parts_is_summed_up_wherever_its_work_is_cut_off(
    media_queue: Queue, calls: Calls, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """The process is killed before a call, which may be any; its message comes back."""
    sweep = Sweep(plan=[EIGHT[:4], [100]], work=lambda spec, cursor, tally: halves(spec, cursor, tally))
    media_queue.send(PLAN)
    made = itertools.count()

    def dying(operation: str, table: Any) -> None:
        if next(made) == at:
            raise Killed

    while media_queue.depth()[0]:
        event = media_queue.receive()
        for record in event["Records"]:
            with monkeypatch.context() as crashing:
                crashing.setattr(calls, "note", dying)
                with suppress(Killed):
                    sweep.implementation().lambda_handler({"Records": [record]}, Context())
                    media_queue.sqs.delete_message(QueueUrl=media_queue.url, ReceiptHandle=record["receiptHandle"])
                    continue
            media_queue.sqs.change_message_visibility(
                QueueUrl=media_queue.url, ReceiptHandle=record["receiptHandle"], VisibilityTimeout=0
            )
            for claimed in models.RunRecord.scan(models.RunRecord.lease_until.exists()):
                claimed.update(actions=[models.RunRecord.lease_until.set(WHEN)])
    assert (run().outcome, run().result) == ("succeeded", {"total": 110})


def test_at_the_end_of_a_chain_nothing_is_split(media_queue: Queue) -> None:
    """Lambda would not deliver the parts; so a part goes on by itself, where it can."""
    deep = [1] * (MOST_HOPS + 3)

    def peel(spec: list[int], cursor: int | None, tally: dict[str, int]) -> Any:
        at = cursor or 0
        if at + 1 == len(spec):
            return {"sum": tally.get("sum", 0) + spec[at]}
        return Split([spec[at + 1 :]], {"sum": tally.get("sum", 0) + spec[at]}, resume=at + 1)

    sweep = Sweep(plan=[deep], work=peel)
    media_queue.send(PLAN)
    drain(media_queue, sweep.implementation())
    assert run().result == {"total": len(deep)}


def test_what_a_run_was_split_into_is_all_known(media_queue: Queue) -> None:
    media_queue.send(PLAN)
    drain(media_queue, Sweep(plan=[[0], EIGHT], work=halves).implementation())
    held = {row.sweep for row in models.SweepPart.scan(models.SweepPart.number.startswith("part#"))}
    assert held == set(sweeps.keys(TASK, f"{TASK}@2026-11-01T03:00:00Z"))
    assert len(held) == 1 + 7


class Hurry(Context):
    """An invocation that has time for so many pages of work, and then to look ahead at so many rows."""

    ahead = 999

    def __init__(self, pages: int) -> None:
        super().__init__()
        self.pages = pages

    def get_remaining_time_in_millis(self) -> int:
        if self.pages > 0:
            return 300_000
        self.ahead -= 1
        return 20_000 if self.ahead > 0 else 10_000


@pytest.mark.parametrize(("pages", "ahead"), [(1, 999), (2, 999), (5, 999), (1, 30), (2, 30)])
def test_a_partition_too_long_for_one_part_is_walked_once_by_several(
    aws: None, monkeypatch: pytest.MonkeyPatch, pages: int, ahead: int
) -> None:
    """Also where there is no time to look at all of what is left."""
    monkeypatch.setattr(Hurry, "ahead", ahead)
    monkeypatch.setattr(sweeps, "PAGE", 7)
    with models.Follow.batch_write() as batch:
        for number in range(100):
            batch.save(models.Follow(f"fan-{number:03}", "star", created_at=WHEN))
            if number < 9:
                batch.save(models.Follow(f"fan-{number:03}", "other", created_at=WHEN))
    walked: list[str] = []
    sizes: list[int] = []

    def walk_it(spec: Any) -> None:
        context, cursor, tally, before = Hurry(pages), None, {}, len(walked)

        def note(page: list[Any], counted: Any) -> None:
            walked.extend(f"{row.followed_id} {row.follower_id}" for row in page)
            counted["rows"] += len(page)
            context.pages -= 1

        message = Message(task=TASK, scheduled_time=WHEN)
        while isinstance(
            outcome := walk(Run(process_media_upload, message, context), BY_FOLLOWED, spec, cursor, tally, note),
            Unfinished,
        ):
            context, cursor, tally = Hurry(pages), outcome.cursor, outcome.tally
        sizes.append(len(walked) - before)
        for part in outcome.parts if isinstance(outcome, Split) else ():
            walk_it(part)

    walk_it({"index": "by_followed", "keys": ["star", "other"]})
    assert sorted(walked) == sorted(
        {*(f"star fan-{n:03}" for n in range(100)), *(f"other fan-{n:03}" for n in range(9))}
    )
    assert max(sizes) <= 3 * 7 * pages


BY_FOLLOWED: Any = models.Follow.by_followed
