"""The process's AWS clients, and the names by which it finds its stack.

Region, credentials and endpoint are boto3's own, but boto3 itself is not imported: what it adds to botocore, above all
S3's transfer manager with asyncio and multiprocessing, would cost each cold start a fifth of its time. A client is made
when it is first asked for; its time-outs fit inside a function's.
"""

import os
import sys
from functools import cache
from threading import RLock
from typing import TYPE_CHECKING, Any

import botocore.session
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


def client(service: str, config: Config) -> Any:
    """A new client of an AWS service, from the session that boto3 has where it is in use, or the process's own.

    Sessions make one client at a time (botocore's are not thread-safe).
    """
    boto3 = sys.modules.get("boto3")
    with _MAKING:
        if boto3 and boto3.DEFAULT_SESSION:
            return boto3.DEFAULT_SESSION.client(service, config=config)
        return session().create_client(service, config=config)


@cache
def session() -> botocore.session.Session:
    """The process's session: all of its clients share the descriptions of services that it has read.

    They say who they are in one short text: botocore puts its own together twice for each call, in a twentieth of the
    time that a call takes.
    """
    made = botocore.session.get_session()
    made.set_default_client_config(Config(user_agent=f"backbeat botocore/{botocore.__version__}"))
    return made


_MAKING = RLock()
"""Held while a client is made, as botocore makes one at a time."""


@cache
def sqs() -> "SQSClient":
    """The process's SQS client."""
    made: SQSClient = client("sqs", config=_config(read_timeout=10))
    return made


@cache
def scheduler() -> "EventBridgeSchedulerClient":
    """The process's EventBridge Scheduler client."""
    made: EventBridgeSchedulerClient = client("scheduler", config=_SENDING)
    return made


@cache
def sending_sqs() -> "SQSClient":
    """The producers' SQS client, which gives up early: whoever sends has a user waiting."""
    made: SQSClient = client("sqs", config=_SENDING)
    return made


@cache
def cloudformation() -> "CloudFormationClient":
    """The process's CloudFormation client, which gives up early as well."""
    made: CloudFormationClient = client("cloudformation", config=_SENDING)
    return made


@cache
def eventbridge() -> Any:
    """The process's EventBridge client, which gives up early: what it tells can be missed."""
    return client("events", config=_SENDING)


@cache
def s3() -> "S3Client":
    """The process's S3 client."""
    made: S3Client = client("s3", config=_config(read_timeout=20))
    return made


@cache
def dynamodb() -> "DynamoDBClient":
    """The process's DynamoDB client for what the models cannot do: whole rows as they are, and facts about tables."""
    made: DynamoDBClient = client("dynamodb", config=_config(read_timeout=5, attempts=4))
    return made


@cache
def secretsmanager() -> Any:
    """The process's Secrets Manager client."""
    return client("secretsmanager", config=_config(read_timeout=5))


_models_clients: dict[tuple[str | None, str | None], Any] = {}


def models_client(region: str | None, endpoint: str | None, config: Config) -> Any:
    """The DynamoDB client of all models in one place, made with what the first of them asks for."""
    with _MAKING:
        if (region, endpoint) not in _models_clients:
            made = session().create_client("dynamodb", region, endpoint_url=endpoint, config=config)
            _models_clients[region, endpoint] = made
        return _models_clients[region, endpoint]


def forget_clients() -> None:
    """Make every client, and the session, anew when it is next asked for."""
    _models_clients.clear()
    for made in (session, sqs, sending_sqs, scheduler, eventbridge, s3, dynamodb, cloudformation, secretsmanager):
        made.cache_clear()


_SENDING = Config(connect_timeout=0.9, read_timeout=0.9, retries={"mode": "standard", "total_max_attempts": 1})
"""One attempt that takes 1.8 s at the most; `backbeat.producer` tries again what failed at once."""


def _config(*, read_timeout: int, attempts: int = 3) -> Config:
    """How a client behaves, given how long it waits for an answer, in seconds, and how often it asks in all."""
    retries: Any = {"mode": "standard", "total_max_attempts": attempts}
    return Config(connect_timeout=2, read_timeout=read_timeout, retries=retries)
