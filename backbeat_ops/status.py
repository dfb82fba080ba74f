"""How a stack fares: what waits, what is dead, how each task ran last."""

from datetime import UTC, datetime
from typing import Any

import boto3

from backbeat import ledger
from backbeat_ops import pausing, runs
from backbeat_ops.stack import Stack


def status(stack: Stack) -> dict[str, Any]:
    """All that any AWS client needs to find its way about a stack, and how each task fares."""
    described, now = stack.describe(), datetime.now(UTC)
    flights, paused = ledger.in_flight(), pausing.paused(stack)
    for name, task in described["tasks"].items():
        task["waiting"], task["in_flight"] = depth(task["queue_url"])
        task["at_work"] = [runs.at_work(flight, now) for flight in flights if flight.task == name]
        task["dead"] = sum(depth(task["dead_queue_url"]))
        task["paused"] = paused[name].shown() if name in paused else None
        last = next(iter(runs.recent(name, 1)), None)
        task["last_run"] = last and runs.shown(last)
    return described


def depth(url: str) -> tuple[int, int]:
    """How many of a queue's messages wait, and how many are being worked on or wait for a retry."""
    got = boto3.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return int(got["ApproximateNumberOfMessages"]), int(got["ApproximateNumberOfMessagesNotVisible"])
