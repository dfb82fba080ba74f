"""Declarations and producers: what is wrong fails at the caller, before anything is sent."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import Queue

from backbeat import messages, tasks
from backbeat.tasks import PRIORITIES, InvalidTaskArguments, QueueNotFound, Retry, Task, process_media_upload


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


@pytest.mark.parametrize("countdown", [-1, 901])
def test_a_countdown_that_no_queue_can_keep_is_refused(media_queue: Queue, countdown: int) -> None:
    with pytest.raises(ValueError, match=str(countdown)):
        process_media_upload.apply_async({"bucket": "b", "key": "k"}, countdown=countdown)


def test_what_is_sent_is_what_is_parsed(media_queue: Queue) -> None:
    kwargs = {"bucket": "b", "key": "k", "sequencer": "07"}
    message_id = process_media_upload.apply_async(kwargs)
    (record,) = media_queue.receive()["Records"]
    message = messages.parse(record["body"], "process_media_upload", "sqs-id", datetime.now(UTC))
    assert message is not None
    assert message.id == message_id
    assert process_media_upload.parse(message.kwargs) == {**kwargs, "version_id": None}


def test_an_unknown_class_is_refused_at_the_declaration() -> None:
    def wash_dishes() -> None: ...

    with pytest.raises(ValueError, match="kitchen"):
        Task(wash_dishes, "kitchen", Retry())


def test_a_task_without_a_class_is_of_the_default_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "TASKS", {})

    @tasks.task()
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
