"""How long the oldest message of a queue has waited. SQS itself tells it to CloudWatch alone."""

import json
import os
import urllib.parse
import urllib.request
from datetime import UTC, datetime, timedelta

from botocore.config import Config

from backbeat.aws import client
from backbeat_ops import localcloud

LOOKED_BACK = timedelta(minutes=15)
"""How far back CloudWatch is asked: SQS tells it an age each minute, and wakes for a quiet queue within 15 minutes
("Available CloudWatch metrics for Amazon SQS")."""


def oldest(stack: str, queue: str, now: datetime) -> timedelta | None:
    """How long the oldest message of a queue has waited; None where that is not known.

    Args:
        stack: The stack's name; on the local cloud, which has no metrics, the emulator shows its messages.
        queue: The queue's name.
        now: A time with its time zone.
    """
    return _of_the_local_cloud(queue, now) if stack == localcloud.STACK else _of_cloudwatch(queue, now)


def _of_cloudwatch(queue: str, now: datetime) -> timedelta | None:
    points = client("cloudwatch", Config()).get_metric_statistics(
        Namespace="AWS/SQS",
        MetricName="ApproximateAgeOfOldestMessage",
        Dimensions=[{"Name": "QueueName", "Value": queue}],
        StartTime=now - LOOKED_BACK,
        EndTime=now,
        Period=60,
        Statistics=["Maximum"],
    )["Datapoints"]
    if not points:
        return None
    return timedelta(seconds=max(points, key=lambda point: point["Timestamp"])["Maximum"])


def _of_the_local_cloud(queue: str, now: datetime) -> timedelta | None:
    """Looking there receives nothing, so no message counts one receipt more."""
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    asked = urllib.parse.urlencode({"QueueUrl": f"{endpoint}/000000000000/{queue}"})
    with urllib.request.urlopen(f"{endpoint}/_ministack/sqs/messages?{asked}", timeout=10) as answer:  # noqa: S310
        accounts = json.load(answer)["messages"]
    sent = [
        message["SentTimestamp"]
        for regions in accounts.values()
        for queues in regions.values()
        for messages in queues.values()
        for message in messages
    ]
    return now - datetime.fromtimestamp(min(sent), UTC) if sent else timedelta(0)
