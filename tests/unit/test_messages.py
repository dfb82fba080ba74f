"""What arrives on a queue, in all its forms."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backbeat.messages import InvalidMessage, Message, parse, split

SENT = datetime(2026, 11, 1, 12, tzinfo=UTC)
TASK = "process_media_upload"


def read(body: Any) -> Message | None:
    return parse(body if isinstance(body, str) else json.dumps(body), TASK, "sqs-1", SENT)


def s3_notification(**changes: Any) -> dict[str, Any]:
    s3_object = {"key": "posts/1/a.jpg", "size": 3, "eTag": "e", "versionId": "v", "sequencer": "0A", **changes}
    return {
        "Records": [
            {
                "eventSource": "aws:s3",
                "eventTime": "2026-11-01T11:59:58.123Z",
                "eventName": "ObjectCreated:Put",
                "s3": {"bucket": {"name": "uploads"}, "object": s3_object},
            }
        ]
    }


def s3_notification_at(time: str) -> str:
    notification = s3_notification()
    notification["Records"][0]["eventTime"] = time
    return json.dumps(notification)


def test_our_own_message() -> None:
    body = {"task": TASK, "id": "x", "kwargs": {"a": 1}, "sent_at": "2026-11-01T13:00:00+01:00"}
    message = read(body)
    assert message is not None
    assert (message.id, message.kwargs) == ("x", {"a": 1})
    assert message.logical_time == SENT


def test_a_scheduled_message_is_the_same_run_whenever_it_is_delivered() -> None:
    body = {"task": TASK, "scheduled_time": "2026-11-01T04:00:00Z"}
    message = read(body)
    assert message is not None
    assert message.id == f"{TASK}@2026-11-01T04:00:00Z"
    assert message.logical_time == datetime(2026, 11, 1, 4, tzinfo=UTC)


def test_a_foreign_message_gets_its_time_and_id_from_the_queue() -> None:
    message = read({"task": TASK, "kwargs": {}})
    assert message is not None
    assert (message.id, message.logical_time) == ("sqs-1", SENT)


@pytest.mark.parametrize(
    ("encoded", "key"),
    [
        ("posts/1/a+b.jpg", "posts/1/a b.jpg"),
        ("posts/1/%C3%A9%2B.jpg", "posts/1/é+.jpg"),
        ("posts/1/%F0%9F%8E%89.png", "posts/1/🎉.png"),
    ],
)
def test_s3_keys_arrive_url_encoded(encoded: str, key: str) -> None:
    message = read(s3_notification(key=encoded))
    assert message is not None
    expected = {
        "bucket": "uploads",
        "key": key,
        "version_id": "v",
        "sequencer": "0A",
        "event_name": "ObjectCreated:Put",
    }
    assert message.kwargs == expected
    assert message.logical_time == datetime(2026, 11, 1, 11, 59, 58, 123000, tzinfo=UTC)


def test_the_same_s3_event_twice_is_one_run_and_the_next_event_another() -> None:
    first, again, later = read(s3_notification()), read(s3_notification()), read(s3_notification(sequencer="0B"))
    assert first and again and later
    assert first.id == again.id
    assert first.id != later.id


def test_ids_of_s3_events_sort_by_time() -> None:
    early, late = s3_notification(), s3_notification()
    late["Records"][0]["eventTime"] = "2026-11-01T12:00:01.000Z"
    first, second = read(early), read(late)
    assert first and second
    assert first.id < second.id


def test_the_s3_test_event_asks_for_nothing() -> None:
    assert read({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "uploads"}) is None


def test_an_eventbridge_event() -> None:
    event = {
        "id": "e-1",
        "detail-type": "Email Bounced",
        "source": "aws.ses",
        "time": "2026-11-01T12:00:00Z",
        "detail": {"a": 1},
    }
    message = read(event)
    assert message is not None
    assert (message.id, message.logical_time) == ("e-1", SENT)
    assert message.kwargs == {"detail_type": "Email Bounced", "detail": {"a": 1}}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("{", "not JSON"),
        ("[]", "list"),
        ("null", "NoneType"),
        ('{"task": "another", "id": "x"}', "'another'"),
        ('{"kwargs": {}}', "task"),
        ('{"task": "process_media_upload", "kwargs": []}', "kwargs"),
        ('{"task": "process_media_upload", "sent_at": "2026-11-01T12:00:00"}', "sent_at"),
        ('{"task": "process_media_upload", "scheduled_time": "<aws.scheduler.scheduled-time>"}', "scheduled_time"),
        ('{"task": "process_media_upload", "hello": 1}', "hello"),
        ('{"Records": []}', "S3 notification"),
        ('{"Records": 7}', "S3 notification"),
        ('{"Records": [{"s3": {}}]}', "bucket"),
        (json.dumps(s3_notification(key="%FF")), "S3 notification"),
        (json.dumps(s3_notification(key=5)), "S3 notification"),
        ('{"task": "process_media_upload", "id": "x", "part": -1}', "part"),
        ('{"task": "process_media_upload", "id": "x", "part": ' + "9" * 300 + "}", "part"),
        (
            json.dumps({"Records": [{**s3_notification()["Records"][0], "eventTime": "9999-12-31T23:59:59-01:00"}]}),
            "eventTime",
        ),
        (
            json.dumps({"Records": [{**s3_notification()["Records"][0], "eventTime": "2026-11-01T12:00:00"}]}),
            "time zone",
        ),
        ('{"detail-type": "x", "detail": {}}', "id"),
        ("[" * 100_000, "nested deeper"),
        (
            '{"task": "process_media_upload", "kwargs": {"a": ' + "[" * 500 + "]" * 500 + "}}",
            "nested deeper",
        ),
        ('{"task": "process_media_upload", "id": "\\ud800"}', "not JSON"),
        ('{"task": "process_media_upload", "kwargs": {"a": "\\udc00"}}', "not JSON"),
        ('{"task": "process_media_upload", "kwargs": {"a": NaN}}', "not JSON"),
        ('{"task": "process_media_upload", "kwargs": {"a": ' + "9" * 5_000 + "}}", "out of range"),
        ('{"task": "process_media_upload", "sent_at": "0001-01-01T00:00:00+14:00"}', "years 1970 to 2999"),
        ('{"task": "process_media_upload", "sent_at": "9999-12-31T23:59:59-14:00"}', "years 1970 to 2999"),
        ('{"task": "process_media_upload", "scheduled_time": "0001-01-01T00:00:00Z"}', "years 1970 to 2999"),
        ('{"task": "process_media_upload", "sent_at": 1e300}', "sent_at"),
        (json.dumps({"task": TASK, "id": "x" * 201}), "201"),
    ],
)
def test_what_cannot_be_read_says_why(body: str, says: str) -> None:
    with pytest.raises(InvalidMessage, match=says):
        read(body)


def test_an_error_tells_some_faults_of_many_and_the_beginning_of_a_long_name() -> None:
    with pytest.raises(InvalidMessage) as found:
        read({"task": TASK, "kwargs": {}, **{f"field-{number}-{'x' * 1_000}": 1 for number in range(100)}})
    assert str(found.value).count("Extra inputs") == 5
    assert str(found.value).endswith("and 95 more faults")
    assert len(str(found.value)) < 1_000


FIELDS = st.sampled_from(["task", "Records", "id", "kwargs", "sent_at", "detail-type", "Event", "s3"]) | st.text()
TIMES = st.datetimes(timezones=st.just(UTC) | st.timezones()).map(datetime.isoformat)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | TIMES
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(FIELDS, inner)).map(json.dumps)


@given(st.text() | JSON)
def test_any_body_is_read_or_refused(body: str) -> None:
    try:
        message = read(body)
    except InvalidMessage:
        return
    assert message is None or message.task == TASK


def test_a_notification_of_several_records_is_split_into_one_each() -> None:
    first, second = s3_notification(key="posts/1/a"), s3_notification(key="posts/1/b")
    both = {"Records": first["Records"] + second["Records"]}
    assert [json.loads(body) for body in split(json.dumps(both))] == [first, second]


@pytest.mark.parametrize(
    "body", ["{", "7", '{"Records": "ab"}', json.dumps({"Records": [1] * 1_000}), json.dumps(s3_notification())]
)
def test_other_bodies_are_not_split(body: str) -> None:
    assert split(body) == [body]
