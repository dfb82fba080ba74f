"""The process's AWS clients, and the names by which it finds its stack.

Region, credentials and endpoint are boto3's own. A client is made when it is first asked for; its time-outs fit inside
a function's.
"""

import os
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_scheduler import EventBridgeSchedulerClient
    from mypy_boto3_sqs import SQSClient


def stack_name() -> str:
    """The name of the stack that is meant: `BACKBEAT_STACK`, or `backbeat`."""
    return os.environ.get("BACKBEAT_STACK", "backbeat")


def is_local() -> bool:
    """Whether this is a function of a stack of the stage `local`, which may run what is still to come."""
    return os.environ.get("STAGE") == "local"


def schedule_group(stack: str) -> str:
    """The name of the group that holds a stack's recurring schedules, each named after its task."""
    return f"{stack}-schedules"


def delayed_group(stack: str) -> str:
    """The name of the group that holds a stack's one-time schedules, each named after its message."""
    return f"{stack}-delayed"


@cache
def sqs() -> "SQSClient":
    """The process's SQS client."""
    return boto3.client("sqs", config=_config(read_timeout=10))


@cache
def scheduler() -> "EventBridgeSchedulerClient":
    """The process's EventBridge Scheduler client."""
    return boto3.client("scheduler", config=_SENDING)


@cache
def sending_sqs() -> "SQSClient":
    """The producers' SQS client, which gives up early: whoever sends has a user waiting."""
    return boto3.client("sqs", config=_SENDING)


@cache
def cloudformation() -> "CloudFormationClient":
    """The process's CloudFormation client, which gives up early as well."""
    return boto3.client("cloudformation", config=_SENDING)


@cache
def eventbridge() -> Any:
    """The process's EventBridge client, which gives up early: what it tells can be missed."""
    return boto3.client("events", config=_SENDING)


@cache
def s3() -> "S3Client":
    """The process's S3 client."""
    return boto3.client("s3", config=_config(read_timeout=20))


@cache
def dynamodb() -> "DynamoDBClient":
    """The process's DynamoDB client for what the models cannot do: whole rows as they are, and facts about tables."""
    return boto3.client("dynamodb", config=_config(read_timeout=5, attempts=4))


def forget_clients() -> None:
    """Make every client anew when it is next asked for."""
    for client in (sqs, sending_sqs, scheduler, eventbridge, s3, dynamodb, cloudformation):
        client.cache_clear()


_SENDING = Config(connect_timeout=0.9, read_timeout=0.9, retries={"mode": "standard", "total_max_attempts": 1})
"""One attempt that takes 1.8 s at the most; `backbeat.producer` tries again what failed at once."""


def _config(*, read_timeout: int, attempts: int = 3) -> Config:
    """How a client behaves, given how long it waits for an answer, in seconds, and how often it asks in all."""
    retries: Any = {"mode": "standard", "total_max_attempts": attempts}
    return Config(connect_timeout=2, read_timeout=read_timeout, retries=retries)
