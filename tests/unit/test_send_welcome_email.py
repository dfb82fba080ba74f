"""One welcome per user: whatever is repeated, refused, or cut off between any two steps."""

import contextlib
import itertools
import json
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import permissions
import pytest
from botocore.exceptions import ConnectTimeoutError, ReadTimeoutError
from support import STACK, Calls, Context, Killed, Outbox, Queue, answers, event, fails

from backbeat import ledger
from backbeat.mail import deliveries, sending
from backbeat.models import Delivery, User
from backbeat.tasks import send_welcome_email
from send_welcome_email import handle

WHEN = datetime(2026, 11, 1, 9, tzinfo=UTC)


class Clock:
    """A monotonic clock on which nothing takes time but to sleep."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


@pytest.fixture
def clock(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(sending, "time", clock)
    return clock


@pytest.fixture
def queue(outbox: Outbox, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Queue:
    monkeypatch.setattr("random.uniform", lambda low, high: 0)
    return Queue(f"{STACK}-emails-send_welcome_email")


def member(user_id: str = "user-1", **more: Any) -> User:
    user = User(user_id, **{"name": "Ada", "email": f"{user_id}@example.net", "created_at": WHEN, **more})
    user.save()
    return user


def welcome(user_id: str = "user-1", number: int = 1) -> dict[str, Any]:
    kwargs = {"user_id": user_id}
    return {"task": "send_welcome_email", "id": f"run-{number}", "kwargs": kwargs, "sent_at": WHEN.isoformat()}


def delivery(user_id: str = "user-1") -> Delivery:
    return Delivery.get(f"welcome:{user_id}")


def runs() -> dict[str, tuple[str, Any]]:
    return {
        run.run_id: (run.outcome, run.result or run.error)
        for run in ledger.recent("send_welcome_email", WHEN.date(), 99)
    }


def test_a_new_member_is_welcomed(queue: Queue, outbox: Outbox) -> None:
    member()
    queue.send(welcome())
    assert queue.deliver(handle) == []
    (mail,) = outbox.mails
    assert mail.to == "user-1@example.net"
    assert mail.message["Subject"] == "Welcome to Backbeat, Ada"
    row = delivery()
    assert (row.state, row.attempt, row.shelf) == ("sent", 1, deliveries.day_key(row.claimed_at, "welcome:user-1"))
    assert runs() == {"run-1": ("succeeded", {"message_id": row.message_id})}
    assert list(deliveries.unsettled(datetime.now(UTC))) == []


def test_a_network_with_a_name_beyond_ascii_can_send(
    queue: Queue, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENDER_NAME", 'Café "Réseau"')
    member()
    queue.send(welcome())
    queue.deliver(handle)
    (mail,) = outbox.mails
    assert mail.request["FromEmailAddress"].isascii()
    (sender,) = mail.message["From"].addresses
    assert (sender.display_name, sender.addr_spec) == ('Café "Réseau"', "hello@example.com")


def test_the_producer_and_the_events_of_lambda_agree(queue: Queue, outbox: Outbox) -> None:
    member()
    send_welcome_email.delay(user_id="user-1")
    queue.deliver(handle)
    for name in ("typical", "duplicate"):
        assert handle.lambda_handler(event("send_welcome_email", name), Context()) == {"batchItemFailures": []}
    assert len(outbox.mails) == 1


def test_each_record_of_a_batch_goes_its_own_way(queue: Queue, outbox: Outbox) -> None:
    member("user-1")
    member("user-3")
    for number, user_id in enumerate(["user-1", "nobody", "user-3"]):
        queue.send(welcome(user_id, number))
    queue.send('{"task": ')
    assert len(queue.deliver(handle)) == 1
    assert sorted(outbox.addresses()) == ["user-1@example.net", "user-3@example.net"]
    assert runs()["run-1"] == ("retrying", "there is no user 'nobody' (yet)")
    assert [letter["reason"] for letter in queue.dead()] == ["invalid_message"]


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"deleted_at": WHEN}, "user user-1 has left"),
        ({"email_status": "bounced"}, "user user-1 is not written to: email_status is 'bounced'"),
        ({"email_status": "complained"}, "user user-1 is not written to: email_status is 'complained'"),
    ],
)
def test_who_has_left_or_is_suppressed_is_skipped(queue: Queue, outbox: Outbox, more: dict[str, Any], why: str) -> None:
    member(**more)
    queue.send(welcome())
    queue.deliver(handle)
    assert (outbox.mails, runs()) == ([], {"run-1": ("skipped", why)})


def test_a_user_who_is_not_there_yet_is_waited_for(queue: Queue, outbox: Outbox) -> None:
    """The message may be faster than the row of the user, which an application mirrors."""
    sent = queue.send(welcome())
    assert queue.deliver(handle) == [sent]
    assert runs() == {"run-1": ("retrying", "there is no user 'user-1' (yet)")}
    member()
    assert queue.deliver(handle) == []
    assert outbox.addresses() == ["user-1@example.net"]


def test_a_user_who_never_comes_is_a_dead_letter(queue: Queue, outbox: Outbox) -> None:
    queue.send(welcome("nobody"))
    queue.drain(handle)
    assert runs() == {"run-1": ("dead", "there is no user 'nobody' (yet)")}
    assert queue.dead()[0]["reason"] == "not_yet"


@pytest.mark.parametrize(
    "address",
    ["no address", "a@b@c\r\nBcc: x@example.net", "ü@example.net", "", "bo@[10", "bo@example.net.."],
)
def test_an_address_that_is_none_is_rejected(queue: Queue, outbox: Outbox, address: str) -> None:
    member(email=address)
    queue.send(welcome())
    queue.deliver(handle)
    assert outbox.mails == []
    (letter,) = queue.dead()
    assert (letter["reason"], letter["outcome"]) == ("invalid_address", "rejected")
    assert letter["error"].startswith("user 'user-1' has an invalid address: ")


@pytest.mark.parametrize(
    ("stored", "sent_to"),
    [
        ("max@straße.de", "max@xn--strae-oqa.de"),
        ("ada@bücher.example", "ada@xn--bcher-kva.example"),
        (" ada@example.net.", "ada@example.net"),
    ],
)
def test_an_address_is_sent_to_in_the_form_that_ses_takes(
    queue: Queue, outbox: Outbox, stored: str, sent_to: str
) -> None:
    member(email=stored)
    queue.send(welcome())
    assert queue.deliver(handle) == []
    (mail,) = outbox.mails
    assert (mail.to, mail.message["To"]) == (sent_to, sent_to)


def test_a_row_that_cannot_be_read_is_rejected(queue: Queue, outbox: Outbox) -> None:
    member()
    with permissions.by_another():
        boto3.client("dynamodb").update_item(
            TableName=User.Meta.table_name,
            Key={"user_id": {"S": "user-1"}},
            UpdateExpression="SET created_at = :when",
            ExpressionAttributeValues={":when": {"S": "yesterday"}},
        )
    queue.send(welcome())
    queue.deliver(handle)
    assert (outbox.mails, queue.dead()[0]["reason"]) == ([], "unreadable_user")


def test_a_mail_that_cannot_be_put_together_is_rejected_before_it_is_claimed(
    queue: Queue, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any, **__: Any) -> Any:
        raise IndexError("string index out of range")

    monkeypatch.setattr("email.message.EmailMessage.as_bytes", failing)
    member()
    queue.send(welcome())
    assert queue.deliver(handle) == []
    (letter,) = queue.dead()
    assert letter["reason"] == "not_a_mail"
    assert letter["error"].endswith("IndexError: string index out of range")
    with pytest.raises(Delivery.DoesNotExist):
        delivery()


def test_a_site_that_cannot_send_is_nobodys_outcome(
    queue: Queue, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENDER", "hello@[10")
    member()
    queue.send(welcome())
    assert len(queue.deliver(handle)) == 1
    assert runs()["run-1"][0] == "retrying"


def test_a_user_id_too_long_for_a_tag_is_rejected_before_anything_is_sent(queue: Queue, outbox: Outbox) -> None:
    member("u" * 200, email="long@example.net")
    queue.send(welcome("u" * 200))
    queue.deliver(handle)
    assert (outbox.mails, queue.dead()[0]["reason"]) == ([], "id_too_long")


@pytest.mark.parametrize(
    "answer",
    [
        answers(429, "TooManyRequestsException", "Maximum sending rate exceeded."),
        answers(400, "SendingPausedException", "Email sending is disabled."),
        answers(403, "AccessDeniedException", "no"),
        fails(ConnectTimeoutError(endpoint_url="https://email.example")),
    ],
    ids=["throttled", "paused", "denied", "no connection"],
)
def test_a_refusal_that_passes_is_tried_again(queue: Queue, outbox: Outbox, answer: Any) -> None:
    member()
    queue.send(welcome())
    outbox.answer = answer
    assert len(queue.deliver(handle)) == 1
    assert delivery().state == "refused"
    assert len(outbox.mails) == 1, "the client tries once"
    outbox.answer = lambda request: None
    assert queue.deliver(handle) == []
    assert (delivery().state, delivery().attempt, delivery().reason) == ("sent", 2, None)


def test_a_mail_that_ses_rejects_is_a_dead_letter_that_can_be_retried(queue: Queue, outbox: Outbox) -> None:
    member()
    queue.send(welcome())
    outbox.answer = answers(400, "MessageRejected", "The message contains invalid content.")
    assert queue.deliver(handle) == []
    assert (delivery().state, "invalid content" in delivery().reason) == ("refused", True)
    (letter,) = queue.dead()
    assert letter["reason"] == "refused"
    outbox.answer = lambda request: None
    queue.send(letter["body"])
    queue.deliver(handle)
    assert delivery().state == "sent"


@pytest.mark.parametrize(
    "text",
    [
        "Email address is not verified. The following identities failed the check in region US-EAST-1: hello@x.example",
        "Sending paused for this account. For more information, please check the inbox of the email address",
    ],
)
def test_what_ses_holds_against_the_account_is_tried_again_and_then_dead(
    queue: Queue, outbox: Outbox, text: str
) -> None:
    member()
    queue.send(welcome())
    outbox.answer = answers(400, "MessageRejected", text)
    for _ in range(send_welcome_email.retry.attempts - 1):
        assert len(queue.deliver(handle)) == 1
    assert queue.deliver(handle) == []
    (letter,) = queue.dead()
    assert (letter["outcome"], letter["reason"]) == ("dead", "MessageRejected")


@pytest.mark.parametrize(
    "answer",
    [
        answers(500, "InternalFailure", "oh"),
        answers(503, "ServiceUnavailable", "later"),
        fails(ReadTimeoutError(endpoint_url="https://email.example")),
    ],
    ids=["500", "503", "no answer"],
)
def test_a_mail_without_a_clear_answer_is_unknown_and_never_sent_again(
    queue: Queue, outbox: Outbox, answer: Any
) -> None:
    member()
    queue.send(welcome())
    outbox.answer = answer
    assert queue.deliver(handle) == []
    outbox.answer = lambda request: None
    queue.send(welcome(number=2))
    queue.deliver(handle)
    assert len(outbox.mails) == 1
    assert [row.delivery_id for row in deliveries.unsettled(datetime.now(UTC))] == ["welcome:user-1"]
    letters = queue.dead()
    assert [letter["reason"] for letter in letters] == ["unknown_delivery"] * 2
    assert "backbeat mail settle" in letters[0]["error"]


CRASHES = {
    "before the claim": "backbeat.mail.deliveries.claim",
    "before the send": "claimed",
    "before the settling": "backbeat.mail.deliveries.settle_sent",
    "after the settling": "settled",
}


def crash_at(step: str, outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the process die at one step."""

    def killed(*_: Any, **__: Any) -> Any:
        raise Killed

    settle = deliveries.settle_sent

    def settled(*args: Any) -> None:
        settle(*args)
        raise Killed

    match CRASHES[step]:
        case "claimed":
            client = "backbeat.mail.sending.ses"
            monkeypatch.setattr(client, lambda: type("Gone", (), {"send_email": staticmethod(killed)}))
        case "settled":
            monkeypatch.setattr(deliveries, "settle_sent", settled)
        case target:
            monkeypatch.setattr(target, killed)


@pytest.mark.parametrize("first", CRASHES)
def test_a_crash_between_any_two_steps_sends_nobody_two(
    queue: Queue, outbox: Outbox, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    member()
    monkeypatch.setattr(deliveries, "LEASE", timedelta(seconds=-1))  # it has run out when the next one looks
    with monkeypatch.context() as crash:
        crash_at(first, outbox, crash)
        queue.send(welcome())
        with pytest.raises(Killed):
            queue.deliver(handle)
    for number in (1, 2):  # the message comes back, and its duplicate
        queue.send(welcome(number=number))
        queue.deliver(handle)
    unknown = [row.delivery_id for row in deliveries.unsettled(datetime.now(UTC))]
    mails = len(outbox.mails)
    assert (mails, unknown) == {
        "before the claim": (1, []),
        "before the send": (0, ["welcome:user-1"]),
        "before the settling": (1, ["welcome:user-1"]),
        "after the settling": (1, []),
    }[first]


def test_however_often_it_crashes_a_missing_welcome_is_listed(
    queue: Queue, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "LEASE", timedelta(seconds=-1))
    for number, steps in enumerate(itertools.product(CRASHES, CRASHES)):
        user = member(f"user-{number}")
        for step in (*steps, None):
            with monkeypatch.context() as crash, contextlib.suppress(Killed):
                if step:
                    crash_at(step, outbox, crash)
                handle.lambda_handler({"Records": [record(welcome(user.user_id))]}, Context())
        mails = outbox.addresses().count(user.email)
        unknown = [row.delivery_id for row in deliveries.unsettled(datetime.now(UTC))]
        assert mails <= 1, steps
        assert delivery(user.user_id).state == ("unknown" if f"welcome:{user.user_id}" in unknown else "sent")
        assert mails or f"welcome:{user.user_id}" in unknown, steps


def record(body: dict[str, Any]) -> dict[str, Any]:
    return {**event("send_welcome_email", "typical")["Records"][0], "body": json.dumps(body)}


def test_while_one_sender_is_at_work_another_waits(queue: Queue, outbox: Outbox) -> None:
    member()
    queue.send(welcome())

    def meanwhile(request: Any) -> None:
        outbox.answer = lambda request: None
        assert handle.lambda_handler({"Records": [record(welcome(number=2))]}, Context())["batchItemFailures"]

    outbox.answer = meanwhile
    queue.deliver(handle)
    assert len(outbox.mails) == 1
    assert delivery().state == "sent"
    assert runs()["run-2"] == ("retrying", "welcome:user-1 is being sent by another delivery of its message")


def test_a_mail_is_not_begun_with_too_little_time_left(queue: Queue, outbox: Outbox) -> None:
    member()
    queue.send(welcome())
    assert len(queue.deliver(handle, Context(remaining_ms=19_000))) == 1
    assert outbox.mails == []
    queue.deliver(handle)
    assert (delivery().state, delivery().attempt) == ("sent", 1)


def test_an_operator_settles_an_unknown_welcome(queue: Queue, outbox: Outbox) -> None:
    member()
    outbox.answer = answers(500, "InternalFailure")
    queue.send(welcome())
    queue.deliver(handle)
    outbox.answer = lambda request: None
    deliveries.settle_by_hand("welcome:user-1", sent=False)
    queue.send(queue.dead()[0]["body"])
    queue.deliver(handle)
    assert (len(outbox.mails), delivery().state, delivery().attempt) == (2, "sent", 2)
    with pytest.raises(deliveries.NotUnknown, match="welcome:user-1 is sent, not unknown"):
        deliveries.settle_by_hand("welcome:user-1", sent=True)


def test_settled_as_sent_it_stays_so(queue: Queue, outbox: Outbox) -> None:
    member()
    outbox.answer = answers(500, "InternalFailure")
    queue.send(welcome())
    queue.deliver(handle)
    deliveries.settle_by_hand("welcome:user-1", sent=True)
    queue.send(welcome(number=2))
    queue.deliver(handle)
    assert (len(outbox.mails), runs()["run-2"]) == (1, ("skipped", "welcome:user-1 has been sent"))


def test_a_crashed_sender_is_listed_before_anyone_looks_again(
    queue: Queue, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    member()
    with monkeypatch.context() as crash:
        crash_at("before the send", outbox, crash)
        queue.send(welcome())
        with pytest.raises(Killed):
            queue.deliver(handle)
    now = datetime.now(UTC)
    assert list(deliveries.unsettled(now)) == []
    (row,) = deliveries.unsettled(now + deliveries.LEASE)
    assert row.state == "sending"
    with pytest.raises(deliveries.NotUnknown, match="is sending"):
        deliveries.settle_by_hand(row.delivery_id, sent=False)
    row.update(actions=[Delivery.lease_until.set(now - timedelta(seconds=1))])
    assert deliveries.settle_by_hand(row.delivery_id, sent=False).state == "refused"


def test_a_batch_of_ten_mails_goes_five_at_a_time_in_33_calls(queue: Queue, outbox: Outbox, calls: Calls) -> None:
    for number in range(11):
        member(f"user-{number}")
    queue.send(welcome("user-10", 10))
    assert queue.deliver(handle) == []  # the key of the links, which a process reads once
    for number in range(10):
        queue.send(welcome(f"user-{number}", number))
    event, together = queue.receive(), threading.Barrier(5)

    def all_at_once(_: Any) -> None:  # none is answered until all five are asked
        together.wait(60)

    outbox.answer = all_at_once
    calls.clear()
    assert handle.lambda_handler(event, Context()) == {"batchItemFailures": []}
    assert Counter(calls.made) == {
        ("BatchGetItem", None): 1,
        ("TransactWriteItems", None): 10,
        ("UpdateItem", "DeliveriesTable"): 10,
        ("SendEmail", None): 10,
        ("BatchExecuteStatement", None): 1,  # the runs
        ("UpdateItem", "RunsTable"): 1,  # the day's totals
    }
    assert sorted(outbox.addresses()[1:]) == [f"user-{number}@example.net" for number in range(10)]
    assert {outcome for outcome, _ in runs().values()} == {"succeeded"}
    (totals,) = ledger.totals(WHEN.date())
    assert totals.succeeded == 11


def test_no_connection_serves_a_second_mail(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither end leaves it to the other."""
    pools = sending.ses()._endpoint.http_session._manager  # type: ignore[attr-defined]
    pool = pools.connection_from_url("https://email.us-east-1.amazonaws.com")
    connection, closed = pool._get_conn(), []
    monkeypatch.setattr(connection, "close", lambda: closed.append(True))
    pool._put_conn(connection)
    assert closed == [True]
    assert pool._get_conn() is connection, "to be opened anew"


def test_mails_go_as_they_come_until_ses_throttles_one(queue: Queue, outbox: Outbox, clock: Clock) -> None:
    for number in range(15):
        member(f"user-{number}")
        queue.send(welcome(f"user-{number}", number))
    queue.deliver(handle)
    assert (len(outbox.mails), clock.now) == (10, 0)
    outbox.answer = answers(429, "TooManyRequestsException", "Maximum sending rate exceeded.")
    assert len(queue.deliver(handle)) == 5
    assert {outcome for outcome, _ in runs().values()} == {"succeeded", "retrying"}, "each has its own back-off"
    outbox.answer = lambda request: None
    while queue.depth()[0]:
        queue.deliver(handle)
    assert sorted(outbox.addresses()[15:]) == sorted(f"user-{number}@example.net" for number in range(10, 15))
    assert clock.now > 1.5, "five mails, from two a second on"
    assert {outcome for outcome, _ in runs().values()} == {"succeeded"}


def test_a_rate_that_was_throttled_is_halved_once_and_doubles_with_time(outbox: Outbox, clock: Clock) -> None:
    pacer = sending.AdaptivePacer()
    assert [pacer.wait(60) for _ in range(3)] == [0, 0, 0]
    for _ in range(5):  # at work at a time, they tell one thing
        pacer.throttled(0)
        clock.now += 0.001
    pacer.throttled(pacer.wait(60))
    turns = [pacer.wait(60) for _ in range(6)]
    gaps = [later - turn for turn, later in itertools.pairwise(turns[1:])]
    assert all(0.7 < gap <= 1 for gap in gaps), "one a second, and soon more"
    assert gaps == sorted(gaps, reverse=True)
    clock.now += pacer.SECONDS_TO_DOUBLE
    first = pacer.wait(60)
    assert pacer.wait(60) - first < 0.5
    clock.now += pacer.SECONDS_TO_FORGET
    assert pacer.wait(60) == pacer.wait(60)


def test_no_mail_waits_longer_for_its_turn_than_its_function_has_time(outbox: Outbox, clock: Clock) -> None:
    pacer = sending.AdaptivePacer()
    for _ in range(9):
        clock.now += 1
        pacer.throttled(clock.now)
    pacer.wait(0)
    pacer.wait(3)
    assert clock.now == 12
    pacer.wait(-1)
    assert clock.now == 12


def test_each_mail_of_a_batch_has_its_own_outcome(queue: Queue, outbox: Outbox) -> None:
    for user_id in ("user-1", "user-2", "refused"):
        member(user_id)
    refused = answers(400, "MessageRejected", "no")
    outbox.answer = lambda request: refused(request) if b"refused@" in request.body else None
    ids = [
        queue.send(welcome(user_id, number))
        for number, user_id in enumerate(("user-1", "nobody", "user-2", "refused", "user-1"))
    ]
    queue.send("not a message")
    assert queue.deliver(handle) == [ids[1]]
    assert {run: outcome for run, (outcome, _) in runs().items() if run.startswith("run-")} == {
        "run-0": "succeeded",
        "run-1": "retrying",
        "run-2": "succeeded",
        "run-3": "rejected",
        "run-4": "skipped",  # of two that ask for the same, the second waits for the first
    }
    assert sorted(letter["reason"] for letter in queue.dead()) == ["invalid_message", "refused"]
    assert sorted(outbox.addresses()) == ["refused@example.net", "user-1@example.net", "user-2@example.net"]


def test_a_batch_that_cannot_be_read_at_once_is_read_one_by_one(queue: Queue, outbox: Outbox) -> None:
    member("user-1")
    member("user-2")
    broken = User("user-3", name="Eve", email="eve@example.net", created_at=WHEN)
    broken.save()
    boto3.client("dynamodb").update_item(
        TableName="UsersTable",
        Key={"user_id": {"S": "user-3"}},
        UpdateExpression="SET created_at = :x",
        ExpressionAttributeValues={":x": {"S": "yesterday"}},
    )
    for number in (1, 2, 3):
        queue.send(welcome(f"user-{number}", number))
    assert queue.deliver(handle) == []
    assert {run: outcome for run, (outcome, _) in runs().items()} == {
        "run-1": "succeeded",
        "run-2": "succeeded",
        "run-3": "rejected",
    }


def test_runs_that_cannot_be_written_at_once_are_written_one_by_one(
    queue: Queue, outbox: Outbox, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2, 3):
        member(f"user-{number}")
        queue.send(welcome(f"user-{number}", number))

    def no_answer() -> None:
        raise ConnectTimeoutError(endpoint_url="https://dynamodb.example")

    calls.before("BatchExecuteStatement", None, no_answer)
    calls.before("UpdateItem", "RunsTable", no_answer)
    assert len(queue.deliver(handle)) == 1, "only its own message comes back"
    assert [outcome for outcome, _ in runs().values()] == ["succeeded"] * 2
    for number in (1, 2, 3):
        queue.send(welcome(f"user-{number}", number))
    assert queue.deliver(handle) == []
    assert len(outbox.mails) == 3
    assert sorted(outcome for outcome, _ in runs().values()) == ["skipped", "succeeded", "succeeded"]


def test_a_run_that_was_tried_before_counts_its_attempts_in_a_batch(queue: Queue, outbox: Outbox) -> None:
    member("user-1")
    queue.send(welcome("user-1", 1))
    queue.send(welcome("user-2", 2))
    queue.deliver(handle)
    member("user-2")
    member("user-3")
    queue.send(welcome("user-3", 3))
    while queue.depth()[0]:
        queue.deliver(handle)
    rows = {run.run_id: run for run in ledger.recent("send_welcome_email", WHEN.date(), 99)}
    assert {run_id: (run.outcome, run.attempts, len(run.tries)) for run_id, run in rows.items()} == {
        "run-1": ("succeeded", 1, 1),
        "run-2": ("succeeded", 2, 2),
        "run-3": ("succeeded", 1, 1),
    }
