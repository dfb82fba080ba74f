"""The stack's queues: what they are called, and the one way to put a message on one."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from botocore.exceptions import ClientError

from backbeat.aws import forget_clients, sending_sqs, sqs

MOST_IN_A_CALL = 10
"""Messages that SQS takes in one call (SendMessageBatch)."""


class QueueNotFound(LookupError):
    """No queue of that name exists in this account and region; nothing was sent."""


class NotTaken(RuntimeError):
    """SQS did not take some messages of several; the others are on the queue."""


def queue_name(stack: str, task_class: str, task: str) -> str:
    """The name of a task's queue in a stack; each class is a family of queues, one for each task."""
    return f"{stack}-{task_class}-{task}"


def dead_queue(queue: str) -> str:
    """The name (or the ARN) of the queue that holds the dead letters of another."""
    return f"{queue}-dead"


@cache
def queue_url(name: str, *, hurried: bool = False) -> str:
    """The URL of the queue named `name`.

    Args:
        name: The name.
        hurried: Whether somebody waits, so that it is better to give up early.

    Raises:
        QueueNotFound: There is none in this account and region.
    """
    try:
        return (sending_sqs() if hurried else sqs()).get_queue_url(QueueName=name)["QueueUrl"]
    except ClientError as error:
        if error.response["Error"]["Code"] not in (
            "AWS.SimpleQueueService.NonExistentQueue",
            "QueueDoesNotExist",
        ):
            raise
        raise QueueNotFound(
            f"no queue {name!r} in {sqs().meta.region_name}: is BACKBEAT_STACK the stack's name, and the task deployed "
            "to it?"
        ) from error


def put(
    queue: str,
    body: str,
    *,
    delay: int = 0,
    attributes: Mapping[str, str] | None = None,
    hurried: bool = False,
    whose: str | None = None,
) -> None:
    """Put one message on a queue.

    Args:
        queue: The queue's name.
        body: The message, as its consumer reads it.
        delay: Seconds for which the queue holds it back, 900 at most.
        attributes: What is said of the message beside its body, in characters that SQS takes.
        hurried: Whether somebody waits, so that it is better to give up early.
        whose: The user whose work it is: where there is very much of one's, SQS delivers the others' first ("Amazon SQS
            fair queues", SQS developer guide).

    Raises:
        QueueNotFound: There is no such queue.
    """
    client, url = sending_sqs() if hurried else sqs(), queue_url(queue, hurried=hurried)
    said: Any = {name: {"DataType": "String", "StringValue": value} for name, value in (attributes or {}).items()}
    # A group's name takes letters, digits and punctuation only, and a user's id may be anything.
    group: Any = {"MessageGroupId": hashlib.sha256(whose.encode()).hexdigest()} if whose else {}
    client.send_message(QueueUrl=url, MessageBody=body, DelaySeconds=delay, MessageAttributes=said, **group)


def put_all(queue: str, bodies: Sequence[str]) -> None:
    """Put several messages on a queue, ten to a call.

    Raises:
        NotTaken: SQS did not take some of them.
        QueueNotFound: There is no such queue.
    """
    for start in range(0, len(bodies), MOST_IN_A_CALL):
        entries: Any = [
            {"Id": str(start + number), "MessageBody": body}
            for number, body in enumerate(bodies[start : start + MOST_IN_A_CALL])
        ]
        failed = sqs().send_message_batch(QueueUrl=queue_url(queue), Entries=entries).get("Failed", [])
        if failed:
            why = failed[0].get("Message") or failed[0]["Code"]
            raise NotTaken(f"{queue} did not take message {int(failed[0]['Id']) + 1} of {len(bodies)}: {why}")


def bind(stack: str) -> None:
    """Point the producers at one stack, for a program that is given its name after its start."""
    os.environ["BACKBEAT_STACK"] = stack
    forget_clients()
    queue_url.cache_clear()
