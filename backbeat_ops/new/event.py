"""Events as Lambda hands them to a task's function, and as `sam local invoke -e` and `backbeat invoke` take them."""

import hashlib
import json
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from backbeat.messages import Message, iso
from backbeat.queues import queue_name

STACK, REGION, ACCOUNT = "backbeat-local", "us-east-1", "000000000000"
"""Where the events of events/ come from: the local cloud."""


def event(task: str, task_class: str, bodies: Sequence[str], sent: datetime) -> dict[str, Any]:
    """What Lambda hands to a task's function for these messages.

    The same messages make the same event, ids included, so that a file written again differs only where it should.

    Args:
        task: The task's name.
        task_class: Its class.
        bodies: The body of each message.
        sent: When SQS took the messages.
    """
    took = round(sent.timestamp() * 1000)
    queue = queue_name(STACK, task_class, task)
    records = []
    for number, body in enumerate(bodies):
        message_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{queue}/{number}/{body}"))
        records.append(
            {
                "messageId": message_id,
                "receiptHandle": f"receipt-{message_id}",
                "body": body,
                "attributes": {
                    "ApproximateReceiveCount": "1",
                    "SentTimestamp": f"{took}",
                    "SenderId": "AIDAJHIPRHEMV73VRJEBU",
                    "ApproximateFirstReceiveTimestamp": f"{took + 24}",
                },
                "messageAttributes": {},
                "md5OfBody": hashlib.md5(body.encode(), usedforsecurity=False).hexdigest(),
                "eventSource": "aws:sqs",
                "eventSourceARN": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}",
                "awsRegion": REGION,
            }
        )
    return {"Records": records}


def scheduled(task: str, kwargs: dict[str, Any], at: datetime) -> str:
    """The body of the message that a task's schedule sends for a time."""
    return json.dumps({"task": task, "kwargs": kwargs, "scheduled_time": iso(at)}, ensure_ascii=False)


def sent(task: str, kwargs: dict[str, Any], at: datetime) -> str:
    """The body of a message that a producer sent at a time, whose id follows from its content."""
    identity = hashlib.sha256(json.dumps([task, kwargs]).encode()).hexdigest()[:16]
    message_id = f"{at:%Y%m%dT%H%M%S}.000Z-{identity}"
    return Message(task=task, id=message_id, kwargs=kwargs, sent_at=at).to_json()


def as_file(content: dict[str, Any]) -> str:
    """An event as the files in events/ hold it."""
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"
