"""`backbeat runs show`: one run with all that is known of it; what the ledger keeps of a message."""

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import boto3
import pytest
from support import STACK, Context, Queue

from backbeat import ledger, letters, queues
from backbeat.app.erasing import ERASED
from backbeat.ledger import Attempt, Outcome
from backbeat.messages import Message
from backbeat.models import RunRecord, SweepPart, SweepRun
from backbeat.producer import Retry, Task
from backbeat.tasks import TASKS, Key
from backbeat_ops import onerun, runs
from backbeat_ops.logs import Log
from backbeat_ops.stack import NotFound, Stack

NOW = datetime.now(UTC).replace(microsecond=0)
STATISTICS, WELCOME, NOTIFY = "update_user_statistics", "send_welcome_email", "send_notification"


@pytest.fixture(autouse=True)
def _ask_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letters, "SECONDS_TO_ASK", 0)


def made(task: str, run_id: str, outcome: Outcome = Outcome.SUCCEEDED, **given: Any) -> Message:
    """A run in the ledger."""
    kwargs = given.pop("kwargs", {})
    request = given.pop("request", Context().aws_request_id)
    message = Message(task=task, id=run_id, kwargs=kwargs, sent_at=given.pop("at", NOW), part=given.pop("part", None))
    attempt = Attempt(outcome, NOW, 12, request, **given)
    ledger.record(message, TASKS[task].task_class, attempt)
    return message


def look(run_id: str, **given: Any) -> onerun.OneRun:
    return onerun.look(Stack(STACK), run_id, NOW, **{"with_log": False, **given})


def test_a_task_says_by_its_annotations_which_arguments_are_kept() -> None:
    def example(
        user_id: Key,
        other: Key | None,
        mode: Literal["a", "b"],
        many: int,
        full: bool | None,
        when: datetime,
        text: str,
        short: Annotated[str, "up to ten characters"],
        detail: dict[str, Any],
        several: list[Key],
    ) -> None: ...

    assert Task(example, "default", Retry()).keeps == {"user_id", "other", "mode", "many", "full", "when"}
    assert TASKS["process_media_upload"].keeps == {"bucket", "key", "version_id", "sequencer", "event_name"}
    assert TASKS[NOTIFY].keeps == {"user_id"}
    assert TASKS["record_email_feedback"].keeps == set()


def test_the_ledger_keeps_ids_and_no_texts_or_addresses(aws: None) -> None:
    made(NOTIFY, "n", kwargs={"user_id": "ada", "kind": "like", "text": "Hello, Bob"})
    one = look("n")
    assert (one.arguments, one.left_out, one.user) == ({"user_id": "ada"}, ["kind", "text"], "ada")
    made(WELCOME, "w", kwargs={"user_id": "ada@example.com"})
    assert (look("w").arguments, look("w").left_out) == ({}, ["user_id"])
    made(WELCOME, "x", kwargs={"user_id": "a" * 2_000})
    assert look("x").left_out == ["user_id"]


def test_every_attempt_is_kept_with_its_time_and_end(aws: None) -> None:
    made(WELCOME, "w", Outcome.RETRYING, reason="not_yet", error="no user", request="r1")
    made(WELCOME, "w", Outcome.SUCCEEDED, result={"sent": 1}, request="r2")
    one = look("w")
    assert [(a.outcome, a.reason, a.request_id, a.started) for a in one.attempts] == [
        ("retrying", "not_yet", "r1", NOW),
        ("succeeded", None, "r2", NOW),
    ]
    assert (one.run["attempts"], one.run["result"]) == (2, {"sent": 1})


def test_a_scheduled_runs_attempt_is_kept_too(aws: None) -> None:
    message = Message(task=STATISTICS, scheduled_time=NOW)
    ledger.claim(message, "analytics", NOW + timedelta(minutes=5), "r1")
    ledger.settle(message, Attempt(Outcome.SUCCEEDED, NOW, 7, "r1"))
    one = look(message.id)
    assert [(a.outcome, a.duration_ms) for a in one.attempts] == [("succeeded", 7)]
    assert one.arguments == {}


@pytest.mark.parametrize(
    ("run_id", "at"),
    [
        (f"{STATISTICS}@2019-05-06T03:00:00Z", datetime(2019, 5, 6, 3, tzinfo=UTC)),
        ("20190506T030000.000Z-0123", datetime(2019, 5, 6, 3, tzinfo=UTC)),
        ("7f1e-an-events", NOW - timedelta(days=29)),
    ],
)
def test_a_run_is_found_by_its_id_alone(aws: None, run_id: str, at: datetime) -> None:
    made(STATISTICS, run_id, at=at)
    assert onerun.find(run_id, NOW.date()).run_id == run_id
    with pytest.raises(NotFound, match="no run 'x'"):
        onerun.find("x", NOW.date())


def test_parts_are_shown_with_what_became_of_each(aws: None) -> None:
    message = made(STATISTICS, "u", Outcome.IN_PARTS)
    ledger.incomplete(message.for_part(1), "no", "broken")
    key = f"{STATISTICS}#sweep#u"
    SweepRun(key, parts=3, pending={1, 2}, started=NOW).save()
    for number in range(4):  # the fourth is left from a plan that was cut off
        done = number == 0
        SweepPart(key, f"part#{number:04}", spec={}, done=done, tally={"users": 4} if done else None).save()
    made(STATISTICS, "u", Outcome.DEAD, part=1, error="no")
    part = Message(task=STATISTICS, id="u", sent_at=NOW, part=1)
    queues.put(queues.dead_queue(TASKS[STATISTICS].queue), part.to_json())
    one = look("u")
    assert [(p.number, p.outcome, p.attempts, p.error) for p in one.parts] == [
        (0, "done", 0, None),
        (1, "dead", 1, "no"),
        (2, "waiting", 0, None),
    ]
    assert one.parts[0].tally == {"users": 4}
    assert [letter["id"] for letter in one.letters] == ["u#1"]
    assert "backbeat dead retry 'u#1' --wait" in one.next


def test_its_own_log_lines_are_shown_and_nobody_elses(aws: None) -> None:
    made(WELCOME, "w", request="req-1", outcome=Outcome.DEAD, error="KeyError: 'x'")
    group, client = f"/aws/lambda/{STACK}-{WELCOME}", boto3.client("logs")

    def line(message: str, run_id: str | None = None, **more: str) -> str:
        about = {"run_id": run_id} if run_id else {}
        at = f"{NOW:%Y-%m-%d %H:%M:%S},000+0000"
        return json.dumps({"timestamp": at, "level": "ERROR", "message": message, "request_id": "req-1"} | about | more)

    client.create_log_group(logGroupName=group)
    client.create_log_stream(logGroupName=group, logStreamName="s")
    lines = [
        line("failed", "w", exception="Traceback:\nKeyError: 'x'"),
        line("said on the way"),
        line("dead", "w"),
        line("dead", "of-the-same-batch"),
        json.dumps({"_aws": {}, "run_id": "w"}),
        "START RequestId: req-1 Version: 1",
        "of another request",
    ]
    events: Any = [
        {"timestamp": round(NOW.timestamp() * 1000) + number, "message": m} for number, m in enumerate(lines)
    ]
    client.put_log_events(logGroupName=group, logStreamName="s", logEvents=events)
    one = look("w", with_log=True)
    assert one.no_log is None
    assert sorted(entry.message for entry in one.log) == ["dead", "failed", "said on the way"]
    assert one.traceback == ("Traceback:", "KeyError: 'x'")


def test_where_the_log_cannot_be_read_it_says_so(aws: None) -> None:
    made(WELCOME, "w")
    one = look("w", with_log=True)
    assert one.log == []
    assert "ResourceNotFoundException" in (one.no_log or "")


def test_a_run_is_made_again_with_its_arguments_at_its_time(aws: None) -> None:
    at = NOW - timedelta(days=2)
    made(WELCOME, "w", kwargs={"user_id": "ada"}, at=at)
    sent = onerun.again(Stack(STACK), onerun.find("w", NOW.date()), {}, None)
    assert (sent.kwargs, sent.logical_time) == ({"user_id": "ada"}, at)
    assert sent.id != "w"
    (record,) = Queue(TASKS[WELCOME].queue).receive()["Records"]
    assert json.loads(record["body"])["id"] == sent.id


def test_what_the_ledger_did_not_keep_has_to_be_given(aws: None) -> None:
    kwargs = {"user_id": "ada", "kind": "like", "text": "Hello"}
    made(NOTIFY, "n", kwargs=kwargs)
    run = onerun.find("n", NOW.date())
    with pytest.raises(NotFound, match=r"give kind=\.\.\. text=\.\.\."):
        onerun.message_of(run, {})
    assert onerun.message_of(run, {"kind": "like", "text": "Hi"}).kwargs == kwargs | {"text": "Hi"}


def test_a_run_of_a_version_before_or_of_an_erased_user_is_not_made_again(aws: None) -> None:
    """Without its arguments a digest for one user would be one for all."""
    made("send_content_digest_email", "d")
    run = onerun.find("d", NOW.date())
    run.update(actions=[RunRecord.arguments.remove()])
    with pytest.raises(NotFound, match="kept no arguments"):
        onerun.message_of(run, {})
    run.update(actions=[RunRecord.arguments.set({"kept": {"user_id": ERASED}, "left_out": []})])
    with pytest.raises(NotFound, match="was erased"):
        onerun.message_of(run, {})
    assert look("d").next == []


def test_failed_runs_whose_letters_were_discarded_wait_for_nobody(aws: None) -> None:
    message = made(WELCOME, "w", Outcome.DEAD, error="x")
    assert runs.waits_for_somebody(onerun.find("w", NOW.date()))
    ledger.discard(message, "emails", Outcome.DEAD, "x", "x", "seen to")
    assert not runs.waits_for_somebody(onerun.find("w", NOW.date()))


def test_a_summary_counts_ends_and_tells_how_long_most_took(aws: None) -> None:
    for number in range(20):
        made(WELCOME, f"w{number}", Outcome.DEAD if number == 3 else Outcome.SUCCEEDED)
    (one,) = runs.summary(ledger.recent(WELCOME, NOW.date(), 50))
    assert (one.task, one.runs, one.outcomes) == (WELCOME, 20, {"succeeded": 19, "dead": 1})
    assert (one.p50_ms, one.p95_ms, one.longest_ms) == (12, 12, 12)


@pytest.mark.parametrize(("share", "value"), [(50, 3), (95, 6), (100, 6), (0, 1)])
def test_a_percentile_is_the_nearest_rank(share: int, value: int) -> None:
    assert runs.percentile([1, 2, 3, 4, 5, 6], share) == value
    assert runs.percentile([], share) is None


def test_a_log_is_followed_and_no_line_shown_twice(aws: None) -> None:
    group, client = f"/aws/lambda/{STACK}-{WELCOME}", boto3.client("logs")
    client.create_log_group(logGroupName=group)
    client.create_log_stream(logGroupName=group, logStreamName="s")

    def says(text: str, after: int) -> None:
        stored = round(NOW.timestamp() * 1000) + after
        client.put_log_events(logGroupName=group, logStreamName="s", logEvents=[{"timestamp": stored, "message": text}])

    log = Log(STACK, [WELCOME, NOTIFY], NOW)
    says("one", 1)
    assert [entry.message for entry in log.new(NOW)] == ["one"]
    says("two", 2)
    assert [(entry.task, entry.message) for entry in log.new(NOW + timedelta(seconds=1))] == [(WELCOME, "two")]
    assert log.new(NOW + timedelta(seconds=2)) == []
