"""`backbeat dead`: letters of every origin are read, grouped by cause, retried, edited, discarded; none is lost."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from support import Context, Queue
from typer.testing import CliRunner

from backbeat import ledger, letters, queues
from backbeat.ledger import Attempt, Outcome
from backbeat.letters import Letter
from backbeat.messages import Message
from backbeat.models import RunRecord
from backbeat.tasks import TASKS
from backbeat_ops import cli, dead, mail
from backbeat_ops.commands import dead as commands
from backbeat_ops.stack import NotFound

MEDIA, WELCOME = "process_media_upload", "send_welcome_email"
SENT = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _ask_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letters, "SECONDS_TO_ASK", 0)


def queue(task: str) -> Queue:
    return Queue(TASKS[task].queue)


def body(run_id: str, task: str = MEDIA, **kwargs: Any) -> str:
    given = kwargs or {"bucket": "uploads", "key": f"posts/{run_id}/a.jpg"}
    return Message(task=task, id=run_id, kwargs=given, sent_at=SENT).to_json()


def bury(run_id: str, error: str, *, reason: str = "broken", task: str = MEDIA, text: str | None = None) -> None:
    """A letter as the runtime writes it."""
    said = {"outcome": "rejected", "reason": reason, "error": error, "task": task, "run_id": run_id}
    said["first_sent"] = "2026-11-02T09:00:00Z"
    queues.put(queues.dead_queue(TASKS[task].queue), text or body(run_id, task), attributes=said)


def waiting(task: str) -> list[dict[str, Any]]:
    """What lies on a task's queue."""
    return [json.loads(record["body"]) for record in queue(task).receive()["Records"]]


def received(body: str, **attributes: str) -> Letter:
    said = {name: {"StringValue": value, "DataType": "String"} for name, value in attributes.items()}
    sent = {"SentTimestamp": str(round(SENT.timestamp() * 1000))}
    message = {"MessageId": "m-1", "ReceiptHandle": "r", "Body": body, "Attributes": sent, "MessageAttributes": said}
    return letters.read("update_user_statistics", message)


def test_a_letter_of_the_scheduler_gets_the_time_for_which_it_was() -> None:
    letter = received(
        '{"task": "update_user_statistics", "scheduled_time": "<aws.scheduler.scheduled-time>"}',
        ERROR_CODE="AWS.SQS.NonExistentQueue",
        ERROR_MESSAGE="gone",
        SCHEDULED_TIME="2026-11-02T03:00:00Z",
        IS_PAYLOAD_TRUNCATED="false",
    )
    assert (letter.reason, letter.error) == ("not_delivered", "AWS.SQS.NonExistentQueue: gone")
    assert letter.id == "update_user_statistics@2026-11-02T03:00:00Z"
    assert json.loads(letter.body)["scheduled_time"] == "2026-11-02T03:00:00Z"
    assert letter.cannot is None


def test_a_letter_that_was_cut_off_or_has_no_time_cannot_be_sent() -> None:
    cut = received('{"task": "upd', ERROR_CODE="X", IS_PAYLOAD_TRUNCATED="true")
    timeless = received('{"task": "t", "scheduled_time": "<aws.scheduler.scheduled-time>"}', ERROR_CODE="X")
    assert "cut off" in (cut.cannot or "")
    assert "does not say" in (timeless.cannot or "")


def test_a_letter_of_lambdas_own_is_unwrapped() -> None:
    asked = {"task": "update_user_statistics", "id": "u1", "sent_at": "2026-11-02T09:00:00Z", "kwargs": {}}
    wrapped = {
        "version": "1.0",
        "requestContext": {"requestId": "q", "condition": "RetriesExhausted", "approximateInvokeCount": 3},
        "requestPayload": asked,
        "responsePayload": {"errorType": "RunFailed", "errorMessage": "dead: no table"},
    }
    letter = received(json.dumps(wrapped))
    assert (letter.id, letter.error) == ("u1", "RunFailed: dead: no table")
    assert json.loads(letter.body) == asked
    batch = {"Records": [{"eventSource": "aws:sqs", "body": json.dumps(asked)}]}
    assert json.loads(received(json.dumps(wrapped | {"requestPayload": batch})).body) == asked
    two = {"Records": batch["Records"] * 2}
    assert "2 messages" in (received(json.dumps(wrapped | {"requestPayload": two})).cannot or "")
    plain = received(json.dumps(asked), RequestID="q", ErrorCode="200", ErrorMessage="no table")
    assert (plain.id, plain.error) == ("u1", "Lambda's answer was 200: no table")


def test_a_message_without_an_identity_keeps_the_one_that_sqs_gave_it() -> None:
    letter = received('{"task": "update_user_statistics", "kwargs": {}}')
    again = json.loads(letter.body)
    assert letter.reason == "no_answer"
    assert (again["id"], again["sent_at"]) == ("m-1", "2026-11-02T09:00:00Z")
    event = '{"Records": [{"s3": {}}]}'
    assert received(event).body == event


def test_what_differs_only_in_files_names_and_numbers_is_one_cause(aws: None) -> None:
    for number in range(8):
        bury(f"p{number}", f"posts/p{number}/a.jpg: image file is truncated ({number} bytes not processed)")
    bury("q", "posts/q/a.jpg: not an image")
    bury("w", "there is no user 'w'", reason="unknown_user", task=WELCOME)
    bury("v", "there is no user 'v'", reason="unknown_user", task=WELCOME)
    found = dead.causes(dead.look())
    assert [(each.task, each.reason, each.letters) for each in found] == [
        (MEDIA, "broken", 8),
        (MEDIA, "broken", 1),
        (WELCOME, "unknown_user", 2),
    ]
    assert found[0].error == "…: image file is truncated (N bytes not processed)"
    assert found[2].error == "there is no user '…'"
    assert len(dead.chosen(dead.look(), cause=found[0].cause)) == 8
    assert len(dead.chosen(dead.look(), cause="broken")) == 9
    assert len(dead.chosen(dead.look(), task_class="emails")) == 2
    with pytest.raises(NotFound, match="no cause 'x'"):
        dead.chosen(dead.look(), cause="x")


def test_looking_holds_no_letter_longer_than_the_look(aws: None) -> None:
    bury("p1", "x")
    assert [letter.id for letter in dead.look()] == ["p1"]
    assert [letter.id for letter in dead.look()] == ["p1"]
    with letters.looking(TASKS[MEDIA]) as look:
        assert len(list(look)) == 1
        assert letters.number(TASKS[MEDIA]) == 1
        assert dead.look() == []


def test_a_retried_letter_is_on_its_queue_with_its_runs_id_and_the_others_stay(aws: None) -> None:
    for number in range(25):
        bury(f"p{number}", f"x {number}")
    bury("q", "something else")
    told: list[int] = []
    waits: list[float] = []
    wanted = [letter for letter in dead.look() if letter.id != "q"]
    done = dead.retry(wanted, rate=10, progress=told.append, pause=waits.append)
    assert sorted(done.done) == sorted(f"p{number}" for number in range(25))
    assert (done.failed, done.missed) == ({}, [])
    assert told[-1] == 25
    assert waits, "it keeps to the rate"
    assert [letter.id for letter in dead.look()] == ["q"]
    assert queue(MEDIA).depth() == (25, 0)
    assert {message["id"] for message in waiting(MEDIA)} <= {f"p{number}" for number in range(25)}


def test_of_two_copies_one_is_sent(aws: None) -> None:
    bury("p1", "x")
    bury("p1", "x")
    assert dead.causes(dead.look())[0].letters == 1
    done = dead.retry(dead.find("p1"))
    assert done.done == ["p1"]
    assert len(waiting(MEDIA)) == 1
    assert dead.look() == []


def test_a_letter_that_its_queue_did_not_take_stays(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    bury("p1", "x")
    wanted = dead.look()
    monkeypatch.setattr(
        dead.sqs(), "send_message_batch", lambda **_: {"Failed": [{"Id": "0", "Code": "E", "Message": "too busy"}]}
    )
    assert dead.retry(wanted).failed == {"p1": "too busy"}
    assert [letter.id for letter in dead.look()] == ["p1"]

    def breaks(**_: Any) -> Any:
        raise ClientError({"Error": {"Code": "E", "Message": "no"}}, "SendMessageBatch")

    monkeypatch.setattr(dead.sqs(), "send_message_batch", breaks)
    with pytest.raises(ClientError):
        dead.retry(wanted)
    assert [letter.id for letter in dead.look()] == ["p1"]


def test_a_crash_between_sending_and_deleting_leaves_a_letter_and_no_loss(
    aws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    bury("p1", "x")
    wanted = dead.look()

    def crash(self: Any, some: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as crashing:
        crashing.setattr(letters.Looking, "remove", crash)
        with pytest.raises(KeyboardInterrupt):
            dead.retry(wanted)
    assert [message["id"] for message in waiting(MEDIA)] == ["p1"]
    assert [letter.id for letter in dead.look()] == ["p1"]


def test_a_letter_that_is_gone_is_missed(aws: None) -> None:
    bury("p1", "x")
    wanted = dead.look()
    dead.discard(wanted, "seen to")
    assert dead.retry(wanted) == dead.Done([], {}, ["p1"])
    assert queue(MEDIA).depth() == (0, 0)


def test_a_discarded_letters_reason_is_kept_in_the_ledger(aws: None) -> None:
    message = Message(task=MEDIA, id="p1", sent_at=SENT)
    ledger.record(message, "media", Attempt(Outcome.REJECTED, SENT, 1, Context().aws_request_id, error="x"))
    bury("p1", "x")
    bury("unheard-of", "no answer")
    assert dead.discard(dead.look(), "a test's").done == ["p1", "unheard-of"]
    assert dead.look() == []
    rows = {run.run_id: run for run in RunRecord.query(f"{MEDIA}#2026-11-02")}
    assert rows["p1"].discarded.endswith("Z: a test's")
    assert (rows["p1"].outcome, rows["unheard-of"].outcome) == ("rejected", "rejected")
    assert (rows["unheard-of"].error, rows["unheard-of"].started) == ("no answer", SENT)
    ledger.record(message, "media", Attempt(Outcome.SUCCEEDED, SENT, 1, Context().aws_request_id))
    assert ledger.find(message).discarded is None  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="1 to 500"):
        dead.discard([], " ")


def test_an_edit_is_checked_against_the_declaration_and_keeps_the_run(aws: None) -> None:
    bury("p1", "not there")
    (letter,) = dead.look()
    text = dead.draft(letter)
    assert dead.edited(letter, text) == letter.body
    better = dead.edited(letter, text.replace("a.jpg", "b.jpg"))
    assert json.loads(better)["kwargs"]["key"] == "posts/p1/b.jpg"
    assert [line[0] for line in dead.changes(letter, better)] == ["-", "+"]
    for wrong, why in [
        (text.replace("bucket", "pail"), "bucket: Field required"),
        (text.replace('"id": "p1"', '"id": "p2"'), "its id"),
        (text.replace(MEDIA, WELCOME), "is for task"),
        (text[:-2], "not JSON"),
        ('{"Event": "s3:TestEvent"}', "asks for nothing"),
    ]:
        with pytest.raises(dead.NotFit, match=why):
            dead.edited(letter, wrong)


def test_what_is_no_message_is_edited_into_one_of_its_run(aws: None) -> None:
    bury("m-1", "the body is not JSON", reason="invalid_message", text="{oops")
    (letter,) = dead.look()
    assert dead.draft(letter) == "{oops"
    given = {"task": MEDIA, "kwargs": {"bucket": "uploads", "key": "posts/p/a.jpg"}}
    assert json.loads(dead.edited(letter, json.dumps(given)))["id"] == "m-1"


def test_a_letter_without_room_for_its_reason_has_it_from_the_ledger(aws: None) -> None:
    message = Message(task=MEDIA, id="p1", sent_at=SENT)
    attempt = Attempt(Outcome.REJECTED, SENT, 1, Context().aws_request_id, error="too large", reason="broken")
    ledger.record(message, "media", attempt)
    queues.put(queues.dead_queue(TASKS[MEDIA].queue), body("p1"))
    queues.put(queues.dead_queue(TASKS[MEDIA].queue), body("p2"))
    found = {letter.id: letter for letter in dead.look()}
    assert (found["p1"].outcome, found["p1"].reason, found["p1"].error) == ("rejected", "broken", "too large")
    assert found["p2"].reason == "no_answer"


def test_one_letter_is_found_by_its_runs_id_its_part_or_sqss_id(aws: None) -> None:
    part = Message(task="update_user_statistics", id="u", sent_at=SENT, part=3).to_json()
    bury("u", "x", task="update_user_statistics", text=part)
    (letter,) = dead.find("u#3")
    assert dead.find(letter.letter_id)[0].id == "u#3"
    assert dead.shown(letter)["part"] == 3
    with pytest.raises(NotFound, match="no dead letter 'u'"):
        dead.find("u")


def test_what_somebody_looks_at_counts(aws: None) -> None:
    bury("p1", "x")
    boto3.client("sqs").receive_message(QueueUrl=queue(MEDIA).dead_url)
    assert letters.number(TASKS[MEDIA]) == 1


def test_what_letters_would_mail_is_counted_once_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def letter(task: str, run_id: str, **kwargs: Any) -> Letter:
        text = Message(task=task, id=run_id, kwargs=kwargs, sent_at=SENT).to_json()
        return replace(received(text), task=task, run_id=run_id, body=text)

    digest = "send_content_digest_email"
    monkeypatch.setattr(mail.User.by_login, "count", lambda key: 100)
    days = mail.most_mailed(digest, {}, SENT)
    assert days >= 1_000
    everybody = letter(digest, "d")
    assert mail.most_mailed_again([everybody, everybody]) == days
    assert mail.most_mailed_again([everybody, letter(digest, "e", user_id="ada"), letter(WELCOME, "w")]) == days + 2
    assert mail.most_mailed_again([letter(MEDIA, "m")]) == 0


@pytest.mark.parametrize(("where", "asks"), [("prod", True), ("backbeat-local", False)])
def test_one_letter_that_mails_everybody_on_aws_is_asked_about(
    monkeypatch: pytest.MonkeyPatch, where: str, asks: bool
) -> None:
    sent: list[Any] = []
    text = Message(task="send_content_digest_email", id="d", sent_at=SENT).to_json()
    found = [replace(received(text), task="send_content_digest_email", run_id="d", body=text)]
    monkeypatch.setattr(commands, "the_stack", lambda context: None)
    monkeypatch.setattr(dead, "find", lambda given: found)
    monkeypatch.setattr(dead, "run_of", lambda letter: None)
    monkeypatch.setattr(dead, "retry", lambda wanted, **_: sent.extend(wanted) or dead.Done(["d"], {}, []))
    monkeypatch.setattr(mail, "most_mailed_again", lambda wanted: 1_200)
    said = CliRunner().invoke(cli.app, ["--stack", where, "dead", "retry", "d"], input="n\n", env={"COLUMNS": "200"})
    assert ("Retry 1 letter, which sends up to 1,200 emails?" in said.output) is asks
    assert len(sent) == (not asks)
