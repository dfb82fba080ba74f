"""Declarations and producers: what is wrong fails at the caller, before anything is sent."""

import json
import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from threading import Event
from typing import Annotated, Any

import boto3
import botocore.client
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta
from support import STACK, Queue, resolve, resources

from backbeat import aws, ledger, messages, producer, queues
from backbeat.ledger import Attempt, Outcome
from backbeat.messages import Message
from backbeat.producer import (
    INSTEAD,
    PRIORITIES,
    InvalidTaskArguments,
    NotSent,
    OptionRefused,
    Retry,
    ScheduleGroupNotFound,
    Task,
)
from backbeat.queues import NotTaken, QueueNotFound
from backbeat.sent import TaskFailed, runs_table
from backbeat.tasks import process_media_upload, send_notification

KWARGS = {"bucket": "b", "key": "k"}
DEFAULTS = {"version_id": None, "event_name": "ObjectCreated:Put"}
NOW = datetime(2026, 11, 1, 4, tzinfo=UTC)


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The producer's clock stands at NOW."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return NOW

    monkeypatch.setattr(producer, "datetime", Clock)


@pytest.fixture
def calls(media_queue: Queue, frozen: None, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What a producer sends: the calls to AWS, but for the look-up of its queue."""
    seen: list[tuple[str, dict[str, Any]]] = []
    call = botocore.client.BaseClient._make_api_call

    def watch(client: Any, operation: str, parameters: dict[str, Any]) -> Any:
        if operation != "GetQueueUrl":
            seen.append((operation, parameters))
        return call(client, operation, parameters)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", watch)
    return seen


def delayed() -> list[dict[str, Any]]:
    """The one-time schedules that wait."""
    client = boto3.client("scheduler")
    listed = client.list_schedules(GroupName=f"{STACK}-delayed")["Schedules"]
    return [client.get_schedule(GroupName=s["GroupName"], Name=s["Name"]) for s in listed]


def message_in(body: str) -> Message:
    """The message, as its function would read it."""
    message = messages.parse(body, "process_media_upload", "sqs-id", datetime.now(UTC))
    assert message is not None
    return message


def sent(queue: Queue) -> list[dict[str, object]]:
    return [json.loads(record["body"]) for record in queue.receive()["Records"]]


def test_delay_sends_one_message_with_the_arguments(media_queue: Queue) -> None:
    before = datetime.now(UTC)
    message_id = process_media_upload.delay(bucket="b", key="posts/1/é.jpg")
    (message,) = sent(media_queue)
    assert message["task"] == "process_media_upload"
    assert message["id"] == message_id
    assert message["kwargs"] == {"bucket": "b", "key": "posts/1/é.jpg"}
    assert before <= datetime.fromisoformat(str(message["sent_at"])) <= datetime.now(UTC)


def test_positional_arguments_are_named_in_the_message(media_queue: Queue) -> None:
    process_media_upload.delay("b", "posts/1/a.jpg")
    assert sent(media_queue)[0]["kwargs"] == {"bucket": "b", "key": "posts/1/a.jpg"}


@pytest.mark.parametrize(
    ("kwargs", "names"),
    [
        ({"bucket": "b"}, "key"),
        ({"bucket": "b", "key": "k", "colour": "red"}, "colour"),
        ({"bucket": "b", "key": 7}, "key"),
        ({"bucket": None, "key": "k"}, "bucket"),
    ],
)
def test_wrong_arguments_are_refused_by_name_and_nothing_is_sent(
    media_queue: Queue, kwargs: dict[str, object], names: str
) -> None:
    with pytest.raises(InvalidTaskArguments, match=names):
        process_media_upload.delay(**kwargs)  # type: ignore[arg-type]
    with pytest.raises(InvalidTaskArguments, match=names):
        process_media_upload.apply_async(kwargs=kwargs)
    assert media_queue.depth() == (0, 0)


def test_a_missing_queue_is_named(media_queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKBEAT_STACK", "elsewhere")
    with pytest.raises(QueueNotFound, match="elsewhere-media-process_media_upload"):
        process_media_upload.delay(bucket="b", key="k")


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"countdown": -1}, "countdown is -1"),
        ({"countdown": float("nan")}, "countdown is nan"),
        ({"countdown": float("inf")}, "countdown is inf"),
        ({"countdown": 1e15}, "countdown is 1000000000000000.0, so many seconds lead beyond 2999"),
        ({"countdown": 1e11}, "countdown is 1[0.]+, so many seconds"),
        ({"countdown": 10**400}, "countdown is 10+…, so many seconds"),
        *(({"countdown": value}, "not a number of seconds") for value in ("5", Decimal("NaN"), timedelta(1), [1])),
        *(({"eta": value}, "eta is .*, not a datetime") for value in ("2030-01-01", date(2030, 1, 1), 5)),
        ({"eta": datetime.max.replace(tzinfo=UTC)}, "eta 9999-12-31.* is beyond 2999"),
        ({"eta": datetime(2030, 1, 1)}, "no time zone"),  # noqa: DTZ001 - what is refused
        ({"eta": datetime(2030, 1, 1, tzinfo=UTC), "countdown": 0}, "not both"),
    ],
)
def test_a_time_that_means_nothing_is_refused_and_nothing_is_sent(
    media_queue: Queue, options: dict[str, Any], wrong: str
) -> None:
    with pytest.raises(ValueError, match=wrong):
        process_media_upload.apply_async(KWARGS, **options)
    assert media_queue.depth() == (0, 0)
    assert delayed() == []


def test_what_a_declaration_says_is_heeded_or_refused() -> None:
    def strange(number: Annotated[int, {"ge": 1}]) -> None: ...

    with pytest.raises(TypeError, match=r"strange: number is annotated with \{'ge': 1\}, which means nothing here"):
        producer.Task(strange, "default", producer.Retry())

    def plain(number: Annotated[int, Meta(ge=1)] | None, detail: dict[str, Any]) -> None: ...

    task = producer.Task(plain, "default", producer.Retry())
    assert task.parse({"number": None, "detail": {}}) == {"number": None, "detail": {}}
    for number, detail in ((0, {}), (True, {}), ("1", {}), (1, {"x": float("nan")}), (1, {"x": object()})):
        with pytest.raises(InvalidTaskArguments, match=r"^plain: "):
            task.message({"number": number, "detail": detail}, NOW)


@pytest.mark.parametrize("kwargs", [[1], "user", {"user_id": "u", "kind": "k", "text": "\udc00"}])
def test_what_could_not_be_sent_is_refused_by_name(aws: None, kwargs: Any) -> None:
    with pytest.raises(InvalidTaskArguments, match="send_notification: "):
        send_notification.apply_async(kwargs=kwargs)


def test_arguments_come_by_position_by_name_or_both(media_queue: Queue) -> None:
    ways: tuple[dict[str, Any], ...] = (
        {"args": ["b", "k"]},
        {"args": ("b",), "kwargs": {"key": "k"}},
        {"kwargs": {"bucket": "b", "key": "k"}},
    )
    for way in ways:
        process_media_upload.apply_async(**way, countdown=0)
        (record,) = media_queue.receive()["Records"]
        assert json.loads(record["body"])["kwargs"] == {"bucket": "b", "key": "k"}
    with pytest.raises(InvalidTaskArguments, match="multiple values for argument 'bucket'"):
        process_media_upload.apply_async(["b", "k"], {"bucket": "b"})


@pytest.mark.parametrize("option", [*INSTEAD, "prioritty"])
def test_an_option_that_is_not_honoured_is_refused_by_name(media_queue: Queue, option: str) -> None:
    with pytest.raises(OptionRefused, match=f"^process_media_upload: {option} is not taken here: ..."):
        process_media_upload.apply_async(kwargs=KWARGS, **{option: 1})
    assert media_queue.depth() == (0, 0)


def test_calling_a_task_says_what_to_do_instead() -> None:
    with pytest.raises(TypeError, match=r"process_media_upload.delay\(...\)"):
        process_media_upload(bucket="b", key="k")


def test_what_was_sent_tells_what_became_of_it(media_queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNS_TABLE", "RunsTable")
    runs_table.cache_clear()
    aws.forget_clients()
    sent = process_media_upload.delay(**KWARGS)
    assert (sent.id, sent.status, sent.ready()) == (str(sent), "waiting", False)
    with pytest.raises(TimeoutError, match="is waiting after 0 s"):
        sent.get(timeout=0)
    message = Message(task=sent.task, id=sent.id, sent_at=sent.time)
    attempt = Attempt(Outcome.SUCCEEDED, sent.time, 5, "r", result={"renditions": 4})
    ledger.record(message, "media", attempt)
    assert (sent.status, sent.ready(), sent.get()) == ("succeeded", True, {"renditions": 4})
    failed = process_media_upload.delay(**KWARGS)
    message = Message(task=failed.task, id=failed.id, sent_at=failed.time)
    ledger.record(message, "media", replace(attempt, outcome=Outcome.REJECTED, result=None, error="not a picture"))
    with pytest.raises(TaskFailed, match="is rejected: not a picture"):
        failed.get(timeout=1)


def test_a_send_gives_up_after_one_attempt_that_takes_no_two_seconds(
    media_queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = aws.sending_sqs().meta.config
    assert config.connect_timeout + config.read_timeout < 2
    assert config.retries["total_max_attempts"] == 1
    calls: list[str] = []
    clock = iter([0.0, 1.9])

    def silent(self: Any, operation: str, parameters: Any) -> Any:
        calls.append(operation)
        raise ReadTimeoutError(endpoint_url="https://sqs")

    monkeypatch.setattr(producer, "monotonic", lambda: next(clock))
    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", silent)
    with pytest.raises(NotSent, match="within 2 s"):
        process_media_upload.delay(**KWARGS)
    assert len(calls) == 1


def test_a_send_is_given_up_in_time_whatever_the_clients_wait_for(
    media_queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that is not found, or an endpoint of many addresses, is no client's time-out."""
    answered = Event()

    def hangs(*_: Any) -> Any:
        answered.wait(60)
        raise EndpointConnectionError(endpoint_url="https://sqs")

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", hangs)
    monkeypatch.setattr(producer, "SECONDS_TO_SEND", 0.0)
    with pytest.raises(NotSent):
        process_media_upload.delay(**KWARGS)
    answered.set()


def test_making_the_client_is_no_part_of_the_time_to_send(media_queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    thread, client = producer.Thread, producer.sending_sqs

    def noted(*arguments: Any, **more: Any) -> Any:
        order.append("thread")
        return thread(*arguments, **more)

    monkeypatch.setattr(producer, "Thread", noted)
    monkeypatch.setattr(producer, "sending_sqs", lambda: (order.append("client"), client())[1])
    process_media_upload.delay(**KWARGS)
    assert order[:2] == ["client", "thread"]
    assert media_queue.depth() == (1, 0)


def test_a_send_that_fails_at_once_is_tried_once_more(media_queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    real, failures = botocore.client.BaseClient._make_api_call, iter([True, False, False, False])

    def flaky(self: Any, operation: str, parameters: Any) -> Any:
        if next(failures):
            answer: Any = {"Error": {"Code": "x"}, "ResponseMetadata": {"HTTPStatusCode": 503}}
            raise ClientError(answer, operation)
        return real(self, operation, parameters)

    with monkeypatch.context() as once:
        once.setattr(botocore.client.BaseClient, "_make_api_call", flaky)
        process_media_upload.delay(**KWARGS)
    assert media_queue.depth() == (1, 0)


@pytest.mark.parametrize(("countdown", "seconds"), [(0, 0), (0.2, 1), (60, 60), (899.5, 900), (900, 900)])
def test_up_to_900_seconds_the_queue_delays(
    calls: list[tuple[str, dict[str, Any]]], countdown: float, seconds: int
) -> None:
    process_media_upload.apply_async(KWARGS, countdown=countdown)
    ((operation, sent_to_queue),) = calls
    assert operation == "SendMessage"
    assert sent_to_queue["DelaySeconds"] == seconds
    assert message_in(sent_to_queue["MessageBody"]).logical_time == NOW + timedelta(seconds=countdown)


def test_an_eta_within_900_seconds_is_the_logical_time(calls: list[tuple[str, dict[str, Any]]]) -> None:
    paris = timezone(timedelta(hours=1))
    process_media_upload.apply_async(KWARGS, eta=datetime(2026, 11, 1, 5, 10, tzinfo=paris))
    ((_, sent_to_queue),) = calls
    assert sent_to_queue["DelaySeconds"] == 600
    assert message_in(sent_to_queue["MessageBody"]).logical_time == datetime(2026, 11, 1, 4, 10, tzinfo=UTC)


def test_an_eta_in_the_past_means_now(calls: list[tuple[str, dict[str, Any]]]) -> None:
    process_media_upload.apply_async(KWARGS, eta=NOW - timedelta(days=400))
    ((_, sent_to_queue),) = calls
    assert sent_to_queue["DelaySeconds"] == 0
    assert message_in(sent_to_queue["MessageBody"]).logical_time == NOW


def test_a_longer_wait_is_a_one_time_schedule_named_after_the_message(media_queue: Queue, frozen: None) -> None:
    message_id = process_media_upload.apply_async(KWARGS, countdown=900.25)
    assert media_queue.depth() == (0, 0)
    (schedule,) = delayed()
    assert schedule["Name"] == message_id
    assert schedule["ScheduleExpression"] == "at(2026-11-01T04:15:01)"  # never earlier than asked
    assert schedule["ScheduleExpressionTimezone"] == "UTC"
    assert schedule["ActionAfterCompletion"] == "DELETE"
    assert schedule["FlexibleTimeWindow"] == {"Mode": "OFF"}
    target = schedule["Target"]
    assert target["Arn"] == f"arn:aws:sqs:us-east-1:123456789012:{media_queue.name}"
    assert target["DeadLetterConfig"]["Arn"] == f"{target['Arn']}-dead"
    message = message_in(target["Input"])
    assert message.id == message_id
    assert message.logical_time == NOW + timedelta(seconds=900.25)
    assert process_media_upload.parse(message.kwargs) == {**KWARGS, **DEFAULTS, "sequencer": None}


def test_the_role_and_group_of_one_time_schedules_are_those_of_the_template(media_queue: Queue) -> None:
    process_media_upload.apply_async(KWARGS, countdown=86_400)
    (schedule,) = delayed()
    role = resolve(resources("AWS::IAM::Role")["SchedulerRole"]["Properties"]["RoleName"])
    assert schedule["Target"]["RoleArn"] == f"arn:aws:iam::123456789012:role/{role}"
    assert schedule["GroupName"] in [
        resolve(group["Properties"]["Name"]) for group in resources("AWS::Scheduler::ScheduleGroup").values()
    ]


def test_the_schedulers_keywords_in_an_argument_stay_as_they_are(media_queue: Queue) -> None:
    key = "posts/1/<aws.scheduler.execution-id>.jpg"
    process_media_upload.apply_async({"bucket": "b", "key": key}, countdown=86_400)
    (schedule,) = delayed()
    assert "<aws.scheduler." not in schedule["Target"]["Input"]
    assert message_in(schedule["Target"]["Input"]).kwargs["key"] == key


def test_a_stack_without_a_group_for_one_time_schedules_is_named(
    media_queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_the_group(**_: Any) -> None:  # moto answers 500
        error = {"Code": "ResourceNotFoundException", "Message": "Schedule group does not exist."}
        raise ClientError({"Error": error}, "CreateSchedule")

    monkeypatch.setattr(aws.scheduler(), "create_schedule", without_the_group)
    with pytest.raises(ScheduleGroupNotFound, match=f"'{STACK}-delayed' in us-east-1"):
        process_media_upload.apply_async(KWARGS, countdown=86_400)
    assert media_queue.depth() == (0, 0)


def test_several_messages_go_ten_to_a_call(calls: list[tuple[str, dict[str, Any]]], media_queue: Queue) -> None:
    queues.put_all(media_queue.name, [f"{number}" for number in range(21)])
    assert [(operation, len(sent["Entries"])) for operation, sent in calls] == [
        ("SendMessageBatch", 10),
        ("SendMessageBatch", 10),
        ("SendMessageBatch", 1),
    ]
    assert [entry["MessageBody"] for _, sent in calls for entry in sent["Entries"]] == [f"{n}" for n in range(21)]


def test_what_the_queue_did_not_take_of_several_is_named(media_queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> dict[str, Any]:
        return {"Failed": [{"Id": "1", "SenderFault": False, "Code": "InternalError", "Message": "try again"}]}

    monkeypatch.setattr(aws.sqs(), "send_message_batch", refuse)
    with pytest.raises(NotTaken, match=f"{media_queue.name} did not take message 2 of 3: try again"):
        queues.put_all(media_queue.name, ["a", "b", "c"])


def test_what_is_sent_is_what_is_parsed(media_queue: Queue) -> None:
    kwargs = {"bucket": "b", "key": "k", "sequencer": "07"}
    message_id = process_media_upload.apply_async(kwargs)
    (record,) = media_queue.receive()["Records"]
    message = messages.parse(record["body"], "process_media_upload", "sqs-id", datetime.now(UTC))
    assert message is not None
    assert message.id == message_id
    assert process_media_upload.parse(message.kwargs) == {**kwargs, **DEFAULTS}


def test_an_unknown_class_is_refused_at_the_declaration() -> None:
    def wash_dishes() -> None: ...

    with pytest.raises(ValueError, match="kitchen"):
        Task(wash_dishes, "kitchen", Retry())


def test_a_task_without_a_class_is_of_the_default_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(producer, "DECLARED", {})

    @producer.task()
    def anything() -> None: ...

    assert anything.task_class == "default"
    assert PRIORITIES[anything.task_class] == min(PRIORITIES.values())


@given(attempt=st.integers(1, 60))
def test_waits_are_within_their_bounds(attempt: int) -> None:
    retry = Retry(attempts=60, first_wait=10, longest_wait=900)
    assert 0 <= retry.wait(attempt) <= min(900, 10 * 2 ** (attempt - 1))


def test_waits_grow_to_their_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    retry = Retry(first_wait=10, longest_wait=60)
    assert [retry.wait(n) for n in range(1, 6)] == [10, 20, 40, 60, 60]


@pytest.mark.parametrize("user_id", ["ada", "Ünïcøde and spaces", "x" * 200])
def test_what_is_sent_for_a_user_is_of_their_group(aws: None, user_id: str) -> None:
    """So that one user's thousand messages do not hold up everybody's; the name takes few characters."""
    send_notification.delay(user_id=user_id, text="Hi", kind="like")
    send_notification.delay(user_id="another", text="Hi", kind="like")
    url = queues.queue_url(send_notification.queue)
    received = boto3.client("sqs").receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"]
    )
    groups = {
        json.loads(m["Body"])["kwargs"]["user_id"]: m["Attributes"]["MessageGroupId"] for m in received["Messages"]
    }
    assert len(set(groups.values())) == 2
    assert all(re.fullmatch(r"[0-9a-f]{64}", group) for group in groups.values())
