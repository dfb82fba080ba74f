"""A pull can follow the runs: it hears of one that has finished at once, and of none for some minutes at the most."""

import io
from typing import Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError
from django.core.management import CommandError, call_command

from backbeat import aws as clients
from backbeat import queues
from backbeat_django import listening
from backbeat_django.mapping import mapping

pytestmark = pytest.mark.usefixtures("db", "aws")


class Clock:
    """A clock that only a wait moves on."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(listening, "time", clock)
    queues.bind(mapping().stack)
    return clock


@pytest.fixture
def queue() -> str:
    return str(boto3.client("sqs").create_queue(QueueName=f"{mapping().stack}-run-events")["QueueUrl"])


def test_whatever_was_told_is_answered_at_once_and_together(queue: str, clock: Clock) -> None:
    for number in range(12):
        boto3.client("sqs").send_message(QueueUrl=queue, MessageBody=f"run {number}")
    listening.until_a_run_has_finished(60)
    assert clock.now == 0
    assert "Messages" not in boto3.client("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10)


def test_it_waits_no_longer_than_it_may_though_aws_is_away(
    queue: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(**_: Any) -> None:
        raise EndpointConnectionError(endpoint_url="https://sqs")

    monkeypatch.setattr(clients.sqs(), "receive_message", away)
    listening.until_a_run_has_finished(25)
    assert clock.now == 25


def test_a_stack_that_tells_nobody_is_named(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backbeat_django.management.commands.backbeat_pull.connected", dict)
    with pytest.raises(CommandError, match="RunEvents=yes"):
        call_command("backbeat_pull", "--follow", stdout=io.StringIO())
