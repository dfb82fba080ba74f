"""Every task, declared once: its name, class, typed arguments and retry policy.

A producer needs only this module: `process_media_upload.delay(bucket=..., key=...)` checks the arguments and puts one
message on the task's queue. It imports none of the code that does the work. The declarations are at the end.
"""

import inspect
import json
import os
import random
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

    from backbeat.runtime import Implementation

P = ParamSpec("P")
R = TypeVar("R")

PRIORITIES: Mapping[str, int] = {
    "media": 9,
    "emails": 8,
    "users": 7,
    "analytics": 5,
    "maintenance": 3,
    "default": 1,
}
"""The priority classes and their priorities: the ratio in which the template shares out capacity."""


class InvalidTaskArguments(TypeError):
    """The arguments do not fit the task's declaration; nothing was sent."""


class QueueNotFound(LookupError):
    """No queue of the task's name exists in this account and region; nothing was sent."""


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a task is tried, and how long it waits in between.

    Attributes:
        attempts: Attempts in all; when the last one fails, the message is dead.
        first_wait: Upper bound of the wait after the first attempt, in seconds; it doubles with each attempt.
        longest_wait: Upper bound of every wait, in seconds (SQS keeps a message hidden for 12 hours at most).
    """

    attempts: int = 5
    first_wait: float = 10
    longest_wait: float = 900

    def wait(self, attempt: int) -> int:
        """Seconds to wait after failed attempt number `attempt` (from 1), with full jitter.

        Full jitter draws evenly between zero and the exponential bound, so that messages that failed
        together do not come back together (Brooker, "Exponential Backoff And Jitter", AWS, 2015).
        """
        bound = min(self.longest_wait, self.first_wait * 2 ** (attempt - 1))
        return round(random.uniform(0, bound))  # noqa: S311 - a spread, not a secret


class Task(Generic[P]):
    """A declared task: what a producer sends to and what a function implements.

    Attributes:
        name: The task's name, which its function, folder, queue and runs all bear.
        task_class: Its priority class, a key of `PRIORITIES`.
        retry: Its retry policy.
    """

    def __init__(self, declaration: Callable[P, None], task_class: str, retry: Retry) -> None:
        if task_class not in PRIORITIES:
            raise ValueError(f"task {declaration.__name__}: no priority class {task_class!r}")
        self.name = declaration.__name__
        self.task_class = task_class
        self.retry = retry
        self.signature = inspect.signature(declaration, eval_str=True)
        self.__doc__ = declaration.__doc__
        fields: dict[str, Any] = {
            name: (p.annotation, ... if p.default is p.empty else p.default)
            for name, p in self.signature.parameters.items()
        }
        config = ConfigDict(extra="forbid", strict=True)
        self._arguments: type[BaseModel] = create_model(self.name, __config__=config, **fields)

    def __repr__(self) -> str:
        return f"<task {self.name}, class {self.task_class}>"

    def queue_name(self, stack: str) -> str:
        """The name of the task's queue in the stack named `stack`."""
        return f"{stack}-{self.task_class}-{self.name}"

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """Send one message that runs the task with these arguments; return the message's id.

        Raises:
            InvalidTaskArguments: An argument is missing, unknown or of the wrong type.
            QueueNotFound: The stack's queue for the task does not exist.
        """
        try:
            given = self.signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise InvalidTaskArguments(f"{self.name}: {error}") from error
        return self.apply_async(kwargs=given)

    def apply_async(self, kwargs: Mapping[str, Any] | None = None, *, countdown: float = 0) -> str:
        """Send one message that runs the task with `kwargs`, `countdown` seconds from now at the earliest.

        Args:
            kwargs: The task's arguments by name.
            countdown: Seconds to wait before the message can be received, 0 to 900 (SQS's longest delay).

        Raises:
            InvalidTaskArguments: An argument is missing, unknown or of the wrong type.
            QueueNotFound: The stack's queue for the task does not exist.
            ValueError: `countdown` is negative or over 900.
        """
        if not 0 <= countdown <= 900:
            raise ValueError(f"{self.name}: countdown is {countdown} s; a queue delays by 0 to 900 s")
        try:
            arguments = self._arguments(**dict(kwargs or {})).model_dump(mode="json", exclude_unset=True)
        except ValidationError as error:
            raise InvalidTaskArguments(f"{self.name}: {explain(error)}") from error
        now = datetime.now(UTC)
        message_id = f"{sortable(now)}-{secrets.token_hex(8)}"
        body = {
            "task": self.name,
            "id": message_id,
            "kwargs": arguments,
            "sent_at": (now + timedelta(seconds=countdown)).isoformat(),
        }
        sqs().send_message(
            QueueUrl=queue_url(self.queue_name(stack_name())),
            MessageBody=json.dumps(body, ensure_ascii=False),
            DelaySeconds=round(countdown),
        )
        return message_id

    def parse(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Turn a message's JSON arguments into the task's typed ones.

        Raises:
            InvalidTaskArguments: They do not fit the declaration.
        """
        try:
            parsed = self._arguments.model_validate_json(json.dumps(kwargs))
        except ValidationError as error:
            raise InvalidTaskArguments(f"{self.name}: {explain(error)}") from error
        return {name: getattr(parsed, name) for name in self._arguments.model_fields}

    def implementation(self, function: Callable[..., R]) -> "Implementation[R]":
        """Decorate the function that does the work; its `lambda_handler` is what Lambda calls."""
        # Here, so that a producer needs neither Powertools nor PynamoDB.
        from backbeat.runtime import Implementation

        return Implementation(self, function)


def explain(error: ValidationError) -> str:
    """A validation error as one line that names each field and what is wrong with it."""
    return "; ".join(
        f"{'.'.join(map(str, detail['loc'])) or 'value'}: {detail['msg']}"
        for detail in error.errors(include_url=False, include_context=False)
    )


def sortable(time: datetime) -> str:
    """The start of an id: a UTC time to the millisecond, so that ids sort as they happened."""
    utc = time.astimezone(UTC)
    return f"{utc:%Y%m%dT%H%M%S}.{utc.microsecond // 1000:03}Z"


def stack_name() -> str:
    """The name of the stack whose queues are meant: `BACKBEAT_STACK`, or `backbeat`."""
    return os.environ.get("BACKBEAT_STACK", "backbeat")


@cache
def sqs() -> "SQSClient":
    """The process's SQS client; its timeouts fit inside a function's."""
    config = Config(connect_timeout=2, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 3})
    return boto3.client("sqs", config=config)


@cache
def queue_url(name: str) -> str:
    """The URL of the queue named `name`.

    Raises:
        QueueNotFound: There is none in this account and region.
    """
    try:
        return sqs().get_queue_url(QueueName=name)["QueueUrl"]
    except ClientError as error:
        if error.response["Error"]["Code"] not in (
            "AWS.SimpleQueueService.NonExistentQueue",
            "QueueDoesNotExist",
        ):
            raise
        raise QueueNotFound(
            f"no queue {name!r} in {sqs().meta.region_name}: is BACKBEAT_STACK the stack's name?"
        ) from error


TASKS: dict[str, Task[Any]] = {}
"""Every declared task by name."""


def task(task_class: str = "default", retry: Retry | None = None) -> Callable[[Callable[P, None]], Task[P]]:
    """Declare a task: the decorated function's name, parameters and docstring are the declaration."""

    def declare(declaration: Callable[P, None]) -> Task[P]:
        declared = Task(declaration, task_class, retry or Retry())
        TASKS[declared.name] = declared
        return declared

    return declare


@task("media")
def process_media_upload(
    bucket: str,
    key: str,
    version_id: str | None = None,
    sequencer: str | None = None,
) -> None:
    """Turn an uploaded picture into the renditions the application serves, and say so on its post.

    Args:
        bucket: The bucket that holds the upload.
        key: The upload's key, `posts/<post_id>/<filename>`.
        version_id: The version that was uploaded; the newest where it is not given.
        sequencer: S3's order of the events of one key.
    """
