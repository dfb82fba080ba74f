"""From a delivery to an outcome: nothing is acknowledged and lost, nothing runs that has been done."""

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import STACK, Context, Queue

from backbeat import aws, ledger, models
from backbeat.runtime import (
    LONGEST_ERROR,
    Implementation,
    NotYet,
    Rejected,
    Run,
    RunFailed,
    Skipped,
    fit_to_keep,
    implementation,
)
from backbeat.tasks import process_media_upload
from backbeat_ops import runs as operators

TASK = "process_media_upload"
KWARGS = {"bucket": "b", "key": "posts/1/a.jpg"}
WHEN = datetime(2026, 11, 1, 4, tzinfo=UTC)


@dataclass
class Made:
    key: str
    at: datetime


def message(**changes: Any) -> dict[str, Any]:
    return {"task": TASK, "id": "run-1", "kwargs": KWARGS, "sent_at": WHEN.isoformat(), **changes}


def scheduled() -> dict[str, Any]:
    return {"task": TASK, "kwargs": KWARGS, "scheduled_time": WHEN.isoformat()}


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


def failing(run: Run) -> Any:
    raise ConnectionError("the database is away")


def succeeding(run: Run) -> Made:
    return Made("k", run.now)


def runs() -> list[models.RunRecord]:
    return list(ledger.recent(TASK, WHEN.date(), 10))


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries wait for nothing."""
    monkeypatch.setattr("random.uniform", lambda low, high: 0)


def test_a_message_is_run_at_its_logical_time_and_recorded(media_queue: Queue) -> None:
    media_queue.send(message())
    assert media_queue.deliver(implement(succeeding)) == []
    (run,) = runs()
    assert (run.outcome, run.attempts, run.task_class) == ("succeeded", 1, "media")
    assert run.logical_time == WHEN
    assert run.result == {"key": "k", "at": str(WHEN)}
    assert run.expires > datetime.now(UTC) + timedelta(days=29)
    assert media_queue.depth() == (0, 0)
    kinds = [models.DayTotals.of_kind(WHEN.date(), TASK, kind) for kind in ("Made", "Other")]
    assert kinds == [1, 0]


def test_each_record_of_a_batch_goes_its_own_way(media_queue: Queue) -> None:
    def by_id(run: Run) -> Any:
        return failing(run) if run.id == "bad" else succeeding(run)

    media_queue.send(message(id="good"))
    bad = media_queue.send(message(id="bad"))
    media_queue.send("{")
    assert media_queue.deliver(implement(by_id)) == [bad]
    assert {run.run_id: run.outcome for run in runs()} == {"good": "succeeded", "bad": "retrying"}
    assert [letter["reason"] for letter in media_queue.dead()] == ["invalid_message"]


def test_when_every_record_fails_the_batch_still_answers(media_queue: Queue) -> None:
    sent = {media_queue.send(message(id="a")), media_queue.send(message(id="b"))}
    assert set(media_queue.deliver(implement(failing))) == sent


def test_a_failure_waits_hidden_before_it_comes_back(media_queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[float] = []
    monkeypatch.setattr("random.uniform", lambda low, high: drawn.append(high) or high)
    media_queue.send(message())
    assert len(media_queue.deliver(implement(failing))) == 1
    assert drawn == [process_media_upload.retry.first_wait]
    assert media_queue.depth() == (0, 1)
    assert runs()[0].error == "ConnectionError: the database is away"


def test_retries_are_counted_until_the_message_is_dead(media_queue: Queue, at_once: None) -> None:
    body = json.dumps(message())
    media_queue.send(body)
    for _ in range(process_media_upload.retry.attempts - 1):
        assert len(media_queue.deliver(implement(failing))) == 1
        assert runs()[0].outcome == "retrying"
    assert media_queue.deliver(implement(failing)) == []
    (run,) = runs()
    assert (run.outcome, run.attempts) == ("dead", process_media_upload.retry.attempts)
    (letter,) = media_queue.dead()
    assert letter["body"] == body
    assert (letter["outcome"], letter["reason"], letter["run_id"], letter["task"]) == (
        "dead",
        "ConnectionError",
        "run-1",
        TASK,
    )
    assert letter["error"] == "ConnectionError: the database is away"
    assert media_queue.depth() == (0, 0)


def test_a_retry_that_succeeds_leaves_no_error_behind(media_queue: Queue, at_once: None) -> None:
    media_queue.send(message())
    media_queue.deliver(implement(failing))
    media_queue.deliver(implement(succeeding))
    (run,) = runs()
    assert (run.outcome, run.attempts, run.error) == ("succeeded", 2, None)


def test_a_dead_letter_that_is_sent_again_counts_anew(media_queue: Queue, at_once: None) -> None:
    media_queue.send(message())
    for _ in range(process_media_upload.retry.attempts):
        media_queue.deliver(implement(failing))
    media_queue.send(media_queue.dead()[0]["body"])
    assert len(media_queue.deliver(implement(failing))) == 1
    assert (runs()[0].outcome, runs()[0].attempts) == ("retrying", 1)


def test_no_ones_address_gets_into_the_ledger_or_a_dead_letters_attributes(media_queue: Queue, at_once: None) -> None:
    def refused(run: Run) -> Any:
        raise ConnectionError("The following identities failed the check in region US-EAST-1: ada@example.net")

    media_queue.send(message())
    media_queue.drain(implement(refused))
    said = "ConnectionError: The following identities failed the check in region US-EAST-1: [address]"
    assert runs()[0].error == said
    (letter,) = media_queue.dead()
    assert letter["error"] == said


def test_a_rejection_is_not_retried(media_queue: Queue) -> None:
    def reject(run: Run) -> Any:
        raise Rejected("broken", "not a picture \x00 at all")

    media_queue.send(message())
    assert media_queue.deliver(implement(reject)) == []
    assert (runs()[0].outcome, runs()[0].error) == ("rejected", "not a picture \x00 at all")
    (letter,) = media_queue.dead()
    assert (letter["reason"], letter["error"]) == ("broken", "not a picture \N{REPLACEMENT CHARACTER} at all")


def test_a_failure_is_kept_with_its_code_and_the_file_that_it_is_about(media_queue: Queue) -> None:
    """Eight broken files have eight errors, and one cause."""

    def broken(run: Run) -> Any:
        raise Rejected("broken", f"{run.message.kwargs['key']} ends too early")

    for number in range(2):
        kwargs = {"bucket": "b", "key": f"posts/{number}/a.jpg"}
        media_queue.send(message(id=f"run-{number}", kwargs=kwargs))
    media_queue.deliver(implement(broken))
    assert {(run.about, run.reason) for run in runs()} == {("posts/0/a.jpg", "broken"), ("posts/1/a.jpg", "broken")}
    shown = operators.shown(runs()[0])
    assert (shown["about"], shown["reason"]) == (runs()[0].about, "broken")
    media_queue.send(message(id="run-0", kwargs={"bucket": "b", "key": "posts/1/ada@example.net.jpg"}))
    media_queue.deliver(implement(succeeding))
    assert {run.run_id: (run.about, run.reason) for run in runs()}["run-0"] == ("[address]", None)


def test_arguments_that_do_not_fit_are_rejected_by_name(media_queue: Queue) -> None:
    media_queue.send(message(kwargs={"bucket": "b", "colour": "red"}))
    assert media_queue.deliver(implement(succeeding)) == []
    (letter,) = media_queue.dead()
    assert letter["reason"] == "invalid_arguments"
    assert "colour" in letter["error"]
    assert "key" in letter["error"]


def test_wrong_arguments_to_another_task_are_a_failure_not_a_rejection(media_queue: Queue) -> None:
    def send_on(run: Run) -> Any:
        process_media_upload.delay()  # type: ignore[call-arg]

    media_queue.send(message())
    assert len(media_queue.deliver(implement(send_on))) == 1
    assert runs()[0].outcome == "retrying"


def test_what_is_not_there_yet_is_retried(media_queue: Queue) -> None:
    def too_early(run: Run) -> Any:
        raise NotYet("no post 1 yet")

    media_queue.send(message())
    assert len(media_queue.deliver(implement(too_early))) == 1
    assert (runs()[0].outcome, runs()[0].error) == ("retrying", "no post 1 yet")


def test_a_duplicate_does_not_overwrite_the_success_before_it(media_queue: Queue) -> None:
    media_queue.send(message())
    media_queue.deliver(implement(succeeding))
    media_queue.send(message())
    assert media_queue.deliver(implement(lambda run: Skipped("done before"))) == []
    (run,) = runs()
    assert (run.outcome, run.result["key"]) == ("succeeded", "k")
    (totals,) = ledger.totals(WHEN.date())
    assert (totals.succeeded, totals.skipped) == (1, 1)


def test_if_the_dead_queue_cannot_be_reached_the_message_stays(
    media_queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    boto3.client("sqs").delete_queue(QueueUrl=media_queue.dead_url)
    sent = media_queue.send("{")
    assert media_queue.deliver(implement(succeeding)) == [sent]


def test_a_record_that_could_not_finish_is_handed_back_unstarted(media_queue: Queue) -> None:
    sent = media_queue.send(message())
    assert media_queue.deliver(implement(succeeding), Context(remaining_ms=9_000)) == [sent]
    assert runs() == []
    assert media_queue.depth() == (1, 0)


def test_a_notification_of_several_records_becomes_a_message_each(media_queue: Queue) -> None:
    record = {"eventTime": "2026-11-01T04:00:00.000Z", "s3": {"bucket": {"name": "b"}, "object": {"key": "posts/1/a"}}}
    media_queue.send({"Records": [record, record]})
    assert media_queue.deliver(implement(succeeding)) == []
    assert runs() == []
    assert media_queue.depth() == (2, 0)


def test_the_s3_test_event_is_acknowledged(media_queue: Queue) -> None:
    media_queue.send({"Service": "Amazon S3", "Event": "s3:TestEvent"})
    assert media_queue.deliver(implement(failing)) == []
    assert media_queue.dead() == []


class TestScheduledRuns:
    def test_a_second_delivery_of_a_finished_run_does_nothing(self, media_queue: Queue) -> None:
        media_queue.send(scheduled())
        media_queue.deliver(implement(succeeding))
        media_queue.send(scheduled())
        assert media_queue.deliver(implement(failing)) == []
        (run,) = runs()
        assert (run.run_id, run.outcome, run.attempts) == (f"{TASK}@2026-11-01T04:00:00Z", "succeeded", 1)

    def test_a_second_delivery_of_a_running_run_waits(self, media_queue: Queue) -> None:
        def meanwhile(run: Run) -> Made:
            media_queue.send(scheduled())
            assert len(media_queue.deliver(implement(failing))) == 1
            return succeeding(run)

        media_queue.send(scheduled())
        media_queue.deliver(implement(meanwhile))
        (run,) = runs()
        assert (run.outcome, run.attempts) == ("succeeded", 1)
        assert media_queue.depth() == (0, 1)

    def test_a_run_whose_invocation_went_silent_is_taken_over(self, media_queue: Queue, at_once: None) -> None:
        message = ledger.Message(task=TASK, scheduled_time=WHEN)
        assert ledger.claim(message, "media", datetime.now(UTC) - timedelta(seconds=1), "silent") == 1
        media_queue.send(scheduled())
        assert media_queue.deliver(implement(succeeding)) == []
        assert (runs()[0].outcome, runs()[0].attempts) == ("succeeded", 2)

    def test_the_one_that_was_taken_for_silent_cannot_settle(self, aws: None) -> None:
        message = ledger.Message(task=TASK, scheduled_time=WHEN)
        ledger.claim(message, "media", datetime.now(UTC) - timedelta(seconds=1), "first")
        ledger.claim(message, "media", datetime.now(UTC) + timedelta(seconds=60), "second")
        late = ledger.Attempt(ledger.Outcome.DEAD, datetime.now(UTC), 1, "first")
        ledger.settle(message, late)
        assert runs()[0].outcome == "running"

    def test_attempts_that_never_answered_end_in_the_dead_queue(self, media_queue: Queue) -> None:
        message = ledger.Message(task=TASK, scheduled_time=WHEN)
        for _ in range(process_media_upload.retry.attempts):
            ledger.claim(message, "media", datetime.now(UTC) - timedelta(seconds=1), "silent")
        media_queue.send(scheduled())
        assert media_queue.deliver(implement(succeeding)) == []
        assert runs()[0].outcome == "dead"
        assert media_queue.dead()[0]["reason"] == "no_answer"

    def test_a_failing_run_is_retried_and_then_dead(self, media_queue: Queue, at_once: None) -> None:
        media_queue.send(scheduled())
        for _ in range(process_media_upload.retry.attempts):
            media_queue.deliver(implement(failing))
        (run,) = runs()
        assert (run.outcome, run.attempts, run.lease_until) == ("dead", 5, None)
        assert media_queue.dead()[0]["run_id"] == run.run_id


class TestBareMessages:
    def test_succeeds_with_the_result(self, media_queue: Queue) -> None:
        answer = implement(succeeding).lambda_handler(message(), Context())
        assert answer["outcome"] == "succeeded"
        assert answer["result"]["key"] == "k"

    def test_a_failure_is_raised_to_the_invoker(self, media_queue: Queue) -> None:
        with pytest.raises(RunFailed, match="retrying: ConnectionError: the database is away"):
            implement(failing).lambda_handler(message(), Context())

    def test_a_rejection_is_raised_and_kept(self, media_queue: Queue) -> None:
        with pytest.raises(RunFailed, match="rejected"):
            implement(succeeding).lambda_handler({"hello": 1}, Context())
        assert json.loads(media_queue.dead()[0]["body"]) == {"hello": 1}


def test_the_implementation_must_have_the_declared_arguments() -> None:
    with pytest.raises(TypeError, match="process_media_upload is declared with"):

        @implementation(process_media_upload)
        def handle(bucket: str, run: Run) -> None: ...


def test_every_attempt_is_one_log_line_and_its_metrics(
    media_queue: Queue, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    media_queue.send(message())
    media_queue.deliver(implement(succeeding))
    (log,) = [vars(record) for record in caplog.records if record.name == "service_undefined"]
    assert (log["msg"], log["task"], log["run_id"], log["attempt"]) == ("succeeded", TASK, "run-1", 1)
    assert log["logical_time"] == "2026-11-01T04:00:00Z"
    (emf,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (described,) = emf["_aws"]["CloudWatchMetrics"]
    assert described["Dimensions"] == [["stack", "task", "task_class"]]
    assert (emf["Succeeded"], emf["stack"], emf["task"], emf["task_class"]) == ([1.0], STACK, TASK, "media")


def test_if_the_ledger_is_away_the_message_stays(media_queue: Queue) -> None:
    boto3.client("dynamodb").delete_table(TableName=models.RunRecord.Meta.table_name)
    sent = media_queue.send(message())
    assert media_queue.deliver(implement(succeeding)) == [sent]


def test_a_receipt_that_ran_out_still_reports_the_failure(media_queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise ClientError(
            {"Error": {"Code": "ReceiptHandleIsInvalid", "Message": "it ran out"}}, "ChangeMessageVisibility"
        )

    monkeypatch.setattr(aws.sqs(), "change_message_visibility", refuse)
    sent = media_queue.send(message())
    assert media_queue.deliver(implement(failing)) == [sent]


DEEP = "[" * 100_000
TOO_EARLY = "0001-01-01T00:00:00+14:00"
POISON = [
    DEEP,
    '{"task": "process_media_upload", "kwargs": {"bucket": "b", "key": ' + "[" * 190 + "]" * 190 + "}}",
    '{"task": "process_media_upload", "id": "\\ud800"}',
    json.dumps(message(sent_at=TOO_EARLY)),
    '{"task": "process_media_upload", "scheduled_time": "9999-12-31T23:59:59-14:00"}',
    json.dumps({**message(), "hello " + "x" * 250_000: 1}),
    json.dumps(message(kwargs={**KWARGS, **{f"ada@{number}.example": 1 for number in range(10_000)}})),
    json.dumps(message(kwargs={"bucket": "b", "key": "x" * 250_000})),
    json.dumps(message(kwargs={"bucket": "", "key": ""})),
    json.dumps({"task": "x" * 250_000}),
    json.dumps(
        {
            "Records": [
                {"s3": {"bucket": {"name": "b"}, "object": {"key": "k"}}, "eventTime": "0001-01-01T00:00:00+14:00"}
            ]
        }
    ),
    json.dumps({"Records": list(range(1_000))}),
    json.dumps({"detail-type": "x", "detail": {}, "id": "e", "time": TOO_EARLY}),
]


@pytest.mark.parametrize("body", POISON, ids=range(len(POISON)))
def test_what_can_never_be_read_is_rejected_once_with_a_sentence(
    body: str, media_queue: Queue, capsys: pytest.CaptureFixture[str]
) -> None:
    sqs_id = media_queue.send(body)
    assert media_queue.deliver(implement(succeeding)) == []
    (letter,) = media_queue.dead()
    assert letter["body"] == body
    assert (letter["outcome"], letter["reason"] in ("invalid_message", "invalid_arguments")) == ("rejected", True)
    assert 10 < len(letter["error"]) <= LONGEST_ERROR
    (run,) = [*ledger.recent(TASK, datetime.now(UTC).date(), 10), *runs()]
    assert run.run_id in (sqs_id, "run-1")
    assert (run.outcome, run.error) == ("rejected", letter["error"])
    assert "@" not in run.error
    assert media_queue.depth() == (0, 0)


def test_an_error_is_cut_off_for_all_who_keep_it(media_queue: Queue, at_once: None) -> None:
    def wordy(run: Run) -> Any:
        raise ValueError("x" * 980 + " ada.lovelace@example.net " + "y" * 300_000)

    media_queue.send(message())
    media_queue.drain(implement(wordy))
    (letter,) = media_queue.dead()
    assert letter["error"] == runs()[0].error
    assert letter["error"].startswith("ValueError: xxx")
    assert letter["error"].endswith("x…")


def test_half_of_a_character_in_an_error_can_be_kept() -> None:
    assert fit_to_keep("KeyError: '\udc00'") == "KeyError: '?'"


def test_a_letter_without_room_for_attributes_is_sent_all_the_same(media_queue: Queue) -> None:
    body = "x" * 1_024
    boto3.client("sqs").set_queue_attributes(QueueUrl=media_queue.dead_url, Attributes={"MaximumMessageSize": "1024"})
    media_queue.send(body)
    assert media_queue.deliver(implement(succeeding)) == []
    assert [letter["body"] for letter in media_queue.dead()] == [body]


def test_what_is_still_to_come_is_rejected_on_aws_and_run_on_the_local_cloud(
    media_queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistyped month: what a run writes holds off every run until then."""
    soon, later = datetime.now(UTC) + timedelta(minutes=4), datetime.now(UTC) + timedelta(minutes=6)
    media_queue.send(message(sent_at=soon.isoformat()))
    assert media_queue.deliver(implement(succeeding)) == []
    assert media_queue.dead() == [], "clocks differ"
    ahead = [message(id="run-2", sent_at=later.isoformat()), {**scheduled(), "scheduled_time": later.isoformat()}]
    for body in ahead:
        media_queue.send(body)
    assert media_queue.deliver(implement(succeeding)) == []
    letters = media_queue.dead()
    assert [letter["reason"] for letter in letters] == ["invalid_message"] * 2
    assert all("is still to come" in letter["error"] for letter in letters)
    monkeypatch.setenv("STAGE", "local")
    media_queue.send(message(id="run-3", sent_at=later.isoformat()))
    media_queue.deliver(implement(succeeding))
    assert ledger.find(ledger.Message(task=TASK, id="run-3", sent_at=later)).outcome == "succeeded"  # type: ignore[union-attr]


FIELDS = st.sampled_from(["task", "Records", "id", "kwargs", "sent_at", "scheduled_time", "detail-type", "Event", "s3"])
TEXTS = st.text(st.characters(codec=None))
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.just(TASK)
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS | TEXTS, inner, max_size=3), max_leaves=6
)
OWN = st.fixed_dictionaries(
    {"task": st.just(TASK)},
    optional={
        "id": TEXTS | LEAVES,
        "kwargs": st.just(KWARGS) | st.fixed_dictionaries({"bucket": LEAVES, "key": JSON}) | JSON,
        "sent_at": st.datetimes(timezones=st.timezones()).map(datetime.isoformat) | LEAVES,
        "scheduled_time": st.datetimes(timezones=st.timezones()).map(datetime.isoformat) | LEAVES,
        "part": LEAVES,
    },
)
S3 = st.fixed_dictionaries(
    {
        "eventTime": st.datetimes(timezones=st.none() | st.timezones()).map(datetime.isoformat) | LEAVES,
        "s3": JSON | st.fixed_dictionaries({"bucket": JSON | st.fixed_dictionaries({"name": JSON}), "object": JSON}),
    }
).map(lambda record: {"Records": [record]})
EVENT = st.fixed_dictionaries({"detail-type": JSON, "detail": JSON, "id": JSON, "time": JSON})


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(OWN | S3 | EVENT | JSON)
def test_any_body_is_settled_and_told_in_a_sentence(media_queue: Queue, content: Any) -> None:
    sent = media_queue.send(json.dumps(content))
    assert media_queue.deliver(implement(succeeding)) == [], sent
    client, dead = boto3.client("sqs"), media_queue.dead_url
    letters = client.receive_message(QueueUrl=dead, MessageAttributeNames=["All"]).get("Messages", [])
    for letter in letters:
        client.delete_message(QueueUrl=dead, ReceiptHandle=letter["ReceiptHandle"])
        assert letter["Body"] == json.dumps(content)
        assert 0 < len(letter["MessageAttributes"]["error"]["StringValue"]) <= LONGEST_ERROR
    assert len(letters) <= 1


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(OWN | S3 | EVENT | JSON)
def test_any_direct_invocation_is_answered_or_fails_as_a_run(media_queue: Queue, content: Any) -> None:
    with contextlib.suppress(RunFailed):
        implement(succeeding).lambda_handler(content, Context())


def test_a_direct_invocation_nested_too_deep_is_rejected(media_queue: Queue) -> None:
    nested: Any = {}
    for _ in range(100_000):
        nested = {"a": nested}
    with pytest.raises(RunFailed, match="rejected"):
        implement(succeeding).lambda_handler(nested, Context())
