"""Every task, declared once: its name, class, typed arguments and retry policy.

A producer needs only this module: `process_media_upload.delay(bucket=..., key=...)` checks the arguments and puts one
message on the task's queue. It imports none of the code that does the work. The declarations are at the end.
"""

import inspect
import json
import math
import os
import random
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, ParamSpec, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

if TYPE_CHECKING:
    from mypy_boto3_scheduler import EventBridgeSchedulerClient
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


LONGEST_DELAY = timedelta(seconds=900)
"""The longest that a queue itself delays a message (SQS, `DelaySeconds`)."""


class InvalidTaskArguments(TypeError):
    """The arguments do not fit the task's declaration; nothing was sent."""


class QueueNotFound(LookupError):
    """No queue of the task's name exists in this account and region; nothing was sent."""


class ScheduleGroupNotFound(LookupError):
    """The stack has no group for one-time schedules in this account and region; nothing was sent."""


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

    def apply_async(
        self,
        kwargs: Mapping[str, Any] | None = None,
        *,
        countdown: float | None = None,
        eta: datetime | None = None,
    ) -> str:
        """Send one message that runs the task with `kwargs`, now or later; return the message's id.

        Up to 900 seconds the queue itself holds the message back. A longer wait becomes a one-time schedule that is
        named after the message and deletes itself; it fires within the minute of its time. The run's logical time
        is the time that was asked for.

        Args:
            kwargs: The task's arguments by name.
            countdown: Seconds from now before which the task does not run.
            eta: The time before which the task does not run, with its time zone; one in the past means now.

        Raises:
            InvalidTaskArguments: An argument is missing, unknown or of the wrong type.
            QueueNotFound: The stack's queue for the task does not exist.
            ScheduleGroupNotFound: The stack's group for one-time schedules does not exist.
            ValueError: Both `countdown` and `eta` are given, `countdown` is negative or no number, or `eta` has no
                time zone.
        """
        now = datetime.now(UTC)
        time = self._time(now, countdown, eta)
        message_id, body = self.message(kwargs or {}, time)
        wait = time - now
        if wait <= LONGEST_DELAY:
            self._send(body, wait)
        else:
            self._schedule(message_id, body, time)
        return message_id

    def message(self, kwargs: Mapping[str, Any], time: datetime) -> tuple[str, str]:
        """The id and the JSON body of a new message that runs the task with `kwargs` at a logical time.

        Raises:
            InvalidTaskArguments: An argument is missing, unknown or of the wrong type.
        """
        if not isinstance(kwargs, Mapping):
            raise InvalidTaskArguments(f"{self.name}: kwargs is a {type(kwargs).__name__}; arguments go by name")
        try:
            arguments = self._arguments.model_validate(dict(kwargs)).model_dump(mode="json", exclude_unset=True)
        except ValidationError as error:
            raise InvalidTaskArguments(f"{self.name}: {explain(error)}") from error
        message_id = f"{sortable(time)}-{secrets.token_hex(8)}"
        body = {
            "task": self.name,
            "id": message_id,
            "kwargs": arguments,
            "sent_at": time.astimezone(UTC).isoformat(),
        }
        return message_id, json.dumps(body, ensure_ascii=False)

    def _time(self, now: datetime, countdown: float | None, eta: datetime | None) -> datetime:
        """When the task is to run, given what the caller asked for."""
        if countdown is not None and eta is not None:
            raise ValueError(f"{self.name}: give countdown or eta, not both")
        if countdown is not None:
            if not 0 <= countdown < math.inf:
                raise ValueError(f"{self.name}: countdown is {countdown}, not a number of seconds from 0 up")
            return now + timedelta(seconds=countdown)
        if eta is None:
            return now
        if eta.utcoffset() is None:
            raise ValueError(f"{self.name}: eta {eta.isoformat()} has no time zone; say datetime.now(UTC) + ...")
        return max(now, eta)

    def _send(self, body: str, wait: timedelta) -> None:
        """Put a message on the task's queue, hidden for so long, rounded up to seconds."""
        sqs().send_message(
            QueueUrl=queue_url(self.queue_name(stack_name())),
            MessageBody=body,
            DelaySeconds=math.ceil(wait.total_seconds()),
        )

    def _schedule(self, message_id: str, body: str, time: datetime) -> None:
        """Make a one-time schedule that puts a message on the task's queue, with the stack's own role."""
        stack = stack_name()
        attributes = sqs().get_queue_attributes(QueueUrl=queue_url(self.queue_name(stack)), AttributeNames=["QueueArn"])
        queue_arn = attributes["Attributes"]["QueueArn"]
        _, partition, _, region, account, _ = queue_arn.split(":")
        at = time.astimezone(UTC) + timedelta(microseconds=999_999)  # rounded up: at() knows whole seconds
        group = delayed_group(stack)
        try:
            scheduler().create_schedule(
                Name=message_id,
                GroupName=group,
                ClientToken=message_id,
                ScheduleExpression=f"at({at:%Y-%m-%dT%H:%M:%S})",
                FlexibleTimeWindow={"Mode": "OFF"},
                ActionAfterCompletion="DELETE",
                Target={
                    "Arn": queue_arn,
                    "RoleArn": f"arn:{partition}:iam::{account}:role/{stack}-scheduler-{region}",
                    # The scheduler replaces its keywords wherever they stand; here they are somebody's words.
                    "Input": body.replace("<aws.scheduler.", r"\u003caws.scheduler."),
                    "DeadLetterConfig": {"Arn": f"{queue_arn}-dead"},
                },
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise
            raise ScheduleGroupNotFound(
                f"no schedule group {group!r} in {region}: is the stack {stack!r} deployed with this version?"
            ) from error

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


_CLIENTS = Config(connect_timeout=2, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 3})
"""How the clients behave; their timeouts fit inside a function's."""


@cache
def sqs() -> "SQSClient":
    """The process's SQS client."""
    return boto3.client("sqs", config=_CLIENTS)


@cache
def scheduler() -> "EventBridgeSchedulerClient":
    """The process's EventBridge Scheduler client."""
    return boto3.client("scheduler", config=_CLIENTS)


def schedule_group(stack: str) -> str:
    """The name of the group that holds a stack's recurring schedules, each named after its task."""
    return f"{stack}-schedules"


def delayed_group(stack: str) -> str:
    """The name of the group that holds a stack's one-time schedules, each named after its message."""
    return f"{stack}-delayed"


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
    event_name: str = "ObjectCreated:Put",
) -> None:
    """Turn an upload into the renditions the application serves, or remove those of a deleted one.

    Args:
        bucket: The bucket that holds the upload.
        key: The upload's key, `posts/<post_id>/<filename>`.
        version_id: The version that was uploaded; the newest where it is not given.
        sequencer: S3's order of the events of one key.
        event_name: What S3 says has happened: `ObjectCreated:...` or `ObjectRemoved:...`.
    """


MAIL_RETRY = Retry(attempts=8, first_wait=30)
"""Some twenty minutes, on average: a mail may wait until SES takes mail again."""


@task("emails", MAIL_RETRY)
def send_welcome_email(user_id: str) -> None:
    """Welcome a new member by email, once.

    Args:
        user_id: The member.
    """


@task("emails", MAIL_RETRY)
def send_content_digest_email(user_id: str | None = None) -> None:
    """Send the week's digest to every active user, or to one; each gets one a week.

    Args:
        user_id: The one user who gets it; all where it is not given.
    """


@task()
def send_notification(user_id: str, kind: str, text: str, link: str | None = None) -> None:
    """Tell a user something inside the application.

    Args:
        user_id: The user.
        kind: What it is about, such as `like` or `follow`.
        text: What it says, 1 to 1,000 characters.
        link: Where it leads, within the application.
    """


@task("users")
def record_email_feedback(detail_type: str, detail: dict[str, Any]) -> None:
    """Settle an email's delivery by what SES tells of it, and mark addresses that bounced or complained.

    Args:
        detail_type: The kind of event, as EventBridge calls it, `Email Bounced` and the like.
        detail: SES's event.
    """


@task("analytics")
def update_trending_hashtags(top: Annotated[int, Field(ge=1, le=100)] = 10, full: bool = False) -> None:
    """Rank the hashtags of the last seven days by how far they rise above their own past, and mark the first ones.

    Args:
        top: How many are marked as trending.
        full: Whether every hour of the week, and of the four weeks before, is counted from its posts again, not only
            what may have changed.
    """


@task("analytics")
def generate_content_analytics(full: bool = False) -> None:
    """Report yesterday in figures, and the three days before it again.

    Args:
        full: Whether the rows of every day are counted again for the totals, not only what may have changed.
    """


@task("analytics")
def update_user_statistics(full: bool = False) -> None:
    """Make the users' counts of followers, followed and posts true.

    Args:
        full: Recount every user, not only those who were touched and tonight's slice.
    """


@task("analytics")
def update_post_engagement_scores(full: bool = False) -> None:
    """Score the posts that are young or were touched.

    Args:
        full: Score every post, however old.
    """


@task("maintenance")
def cleanup_expired_tokens(idle_days: Annotated[int, Field(ge=1)] = 30, full: bool = False) -> None:
    """Delete the tokens that are worthless: expired, of a session unseen, or of a user who stays away.

    Args:
        idle_days: After how many days a session is unseen, and a user away, for good.
        full: Begin with the oldest, as the first run does, not with what became due since the last one.
    """


@task("maintenance")
def cleanup_old_posts(
    mode: Literal["clean", "report"] = "clean", survey: str | None = None, full: bool = False
) -> None:
    """Hide old posts that nobody cared for, and 30 days later archive and delete them.

    Args:
        mode: `report` only says what a run would take.
        survey: Take what the run of this id has found, and nothing else, however much of the table it is.
        full: Begin with the oldest post, as the first run does, not with what came of age since the last one.
    """
