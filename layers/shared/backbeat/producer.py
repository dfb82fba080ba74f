"""What a declared task is, and how a producer sends to it: `.delay()` and `.apply_async()`.

The declarations are in `backbeat.tasks`. What a task does is not known here: a function implements a declaration with
`backbeat.runtime.implementation`.
"""

import inspect
import math
import random
import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from threading import Thread
from time import monotonic
from types import NoneType, UnionType
from typing import Annotated, Any, Generic, Literal, ParamSpec, Union, get_args, get_origin

import msgspec
from botocore.exceptions import BotoCoreError, ClientError
from msgspec import Meta

from backbeat import queues
from backbeat.aws import delayed_group, scheduler, sending_sqs, stack_name
from backbeat.messages import LATEST, LONGEST_FIELD, Message, Misfit, fitted, said_of, shortened, sortable
from backbeat.sent import Sent

P = ParamSpec("P")

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


KEPT = "kept in the ledger"
"""What marks a text, in a parameter's annotation, as an id: the ledger may keep it. `backbeat.tasks.Key` has it."""


class InvalidTaskArguments(TypeError):
    """The arguments do not fit the task's declaration; nothing was sent."""


class OptionRefused(TypeError):
    """An option of Celery's that is not honoured here; nothing was sent."""


class NotSent(ConnectionError):
    """AWS did not take the message in time; it was probably not sent, and may be sent again."""


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


_DECLARED = "the task's declaration says it"
_WATCHED = "dead letters ring an alarm, and `backbeat runs` shows what failed"
INSTEAD: Mapping[str, str] = {
    "queue": _DECLARED,
    "routing_key": _DECLARED,
    "exchange": _DECLARED,
    "priority": "the task's class has a share of the capacity, in its declaration",
    "expires": "have the task compare run.now with what it finds, and return Skipped",
    "link": "have the task send the next message at its end",
    "link_error": _WATCHED,
    "retry": "a send that fails raises NotSent within two seconds; in Django the outbox sends it later",
    "retry_policy": "a send that fails raises NotSent within two seconds; in Django the outbox sends it later",
    "task_id": "a message's id is made here; what must happen once has a key of its own, as a welcome has its user",
    "time_limit": "the function's time-out in the template",
    "soft_time_limit": "the function's time-out in the template",
    "ignore_result": "a result is a row of the ledger, which goes after 30 days",
    "serializer": "messages are JSON",
    "compression": "messages are JSON, uncompressed",
    "headers": "what a task needs to know is an argument",
    "connection": "the region and credentials are boto3's own",
    "producer": "the region and credentials are boto3's own",
}
"""Options of Celery's `apply_async` that are refused, and what to do instead."""


class Task(Generic[P]):
    """A declared task: what a producer sends to and what a function implements.

    Attributes:
        name: The task's name, which its function, folder, queue and runs all bear.
        task_class: Its priority class, a key of `PRIORITIES`.
        retry: Its retry policy.
        about: The argument that says what a run is about, such as a file, for whoever looks at runs; None where
            that is nobody's business.
        keeps: The arguments that the ledger keeps with a run: ids, choices, numbers and times, no texts.
        side_by_side: How many messages of a batch one function works on at a time.
    """

    def __init__(
        self,
        declaration: Callable[P, None],
        task_class: str,
        retry: Retry,
        about: str | None = None,
        side_by_side: int = 1,
    ) -> None:
        if task_class not in PRIORITIES:
            raise ValueError(f"task {declaration.__name__}: no priority class {task_class!r}")
        self.name = declaration.__name__
        self.task_class = task_class
        self.retry = retry
        self.about = about
        self.side_by_side = side_by_side
        self.signature = inspect.signature(declaration, eval_str=True)
        self.__doc__ = declaration.__doc__
        parameters = self.signature.parameters.items()
        for name, p in parameters:
            for said in said_of(p.annotation):
                if not (isinstance(said, Meta | str) or callable(said)):
                    raise TypeError(f"task {self.name}: {name} is annotated with {said!r}, which means nothing here")
        self._types = {name: p.annotation for name, p in parameters}
        self._defaults = {name: p.default for name, p in parameters if p.default is not p.empty}
        self._required = [name for name in self._types if name not in self._defaults]
        self.keeps = frozenset(name for name, p in self.signature.parameters.items() if _may_be_kept(p.annotation))

    def __repr__(self) -> str:
        return f"<task {self.name}, class {self.task_class}>"

    def queue_name(self, stack: str) -> str:
        """The name of the task's queue in the stack named `stack`."""
        return queues.queue_name(stack, self.task_class, self.name)

    @property
    def queue(self) -> str:
        """The name of the task's queue in the process's stack."""
        return self.queue_name(stack_name())

    def __call__(self, *_: Any, **__: Any) -> None:
        """Say that a task is not called: what it does is in its function, which a producer has not got.

        Raises:
            TypeError: Always.
        """
        raise TypeError(
            f"{self.name} is a task's declaration, and does nothing here: send it with {self.name}.delay(...), "
            "or run it in a test with backbeat_testing.run"
        )

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> Sent:
        """Send one message that runs the task with these arguments; return the message's id.

        Raises:
            InvalidTaskArguments: An argument is missing, unknown or of the wrong type.
            QueueNotFound: The stack's queue for the task does not exist.
            NotSent: AWS did not take it within two seconds.
        """
        return self.apply_async(kwargs=self._by_name(*args, **kwargs))

    def apply_async(
        self,
        args: Sequence[Any] | Mapping[str, Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        countdown: float | None = None,
        eta: datetime | None = None,
        **options: Any,
    ) -> Sent:
        """Send one message that runs the task with these arguments, now or later; return the message's id.

        Up to 900 seconds the queue itself holds the message back. A longer wait becomes a one-time schedule that is
        named after the message and deletes itself; it fires within the minute of its time. The run's logical time
        is the time that was asked for.

        Args:
            args: The task's arguments in their order, or by name.
            kwargs: Its arguments by name.
            countdown: Seconds from now before which the task does not run.
            eta: The time before which the task does not run, with its time zone; one in the past means now.
            options: Celery's other options, which are refused, each with what to do instead.

        Raises:
            InvalidTaskArguments: An argument is missing, unknown or of the wrong type.
            OptionRefused: There is an option that is not honoured here.
            QueueNotFound: The stack's queue for the task does not exist.
            ScheduleGroupNotFound: The stack's group for one-time schedules does not exist.
            NotSent: AWS did not take it within two seconds.
            ValueError: Both `countdown` and `eta` are given, `countdown` is negative or no number, `eta` has no
                time zone, or they lead beyond the year 2999.
        """
        for option in options:
            instead = INSTEAD.get(option, "there is no such option")
            raise OptionRefused(f"{self.name}: {option} is not taken here: {instead}")
        if not isinstance(kwargs or {}, Mapping):
            raise InvalidTaskArguments(f"{self.name}: kwargs is a {type(kwargs).__name__}; arguments go by name")
        given = dict(kwargs or {})
        if isinstance(args, Mapping):
            given = {**args, **given}
        elif args:
            given = self._by_name(*args, **given)
        now = datetime.now(UTC)
        time = self._time(now, countdown, eta)
        message = self.message(given, time)
        (_hand_over or Task.send)(self, message, time)
        return Sent(message.id, self.name, time)

    def send(self, message: Message, time: datetime) -> None:
        """Put a message of the task's on its queue, or into a schedule, to be run at a time.

        Raises:
            QueueNotFound: The stack's queue for the task does not exist.
            ScheduleGroupNotFound: The stack's group for one-time schedules does not exist.
            NotSent: AWS did not take it within two seconds.
        """
        wait = max(timedelta(0), time - datetime.now(UTC))
        if wait <= LONGEST_DELAY:
            seconds = math.ceil(wait.total_seconds())
            whose = message.kwargs.get("user_id")
            _in_time(lambda: queues.put(self.queue, message.to_json(), delay=seconds, hurried=True, whose=whose))
        else:
            _in_time(lambda: self._schedule(message, time))

    def _by_name(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Arguments as a call gives them, by their names."""
        try:
            return self.signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise InvalidTaskArguments(f"{self.name}: {error}") from error

    def message(self, kwargs: Mapping[str, Any], time: datetime) -> Message:
        """A new message that runs the task with `kwargs` at a logical time.

        Raises:
            InvalidTaskArguments: An argument is missing, unknown or of the wrong type.
        """
        if not isinstance(kwargs, Mapping):
            raise InvalidTaskArguments(f"{self.name}: kwargs is a {type(kwargs).__name__}; arguments go by name")
        message_id = f"{sortable(time)}-{secrets.token_hex(8)}"
        try:
            arguments = msgspec.to_builtins(fitted(kwargs, self._types, self._required))
            message = Message(task=self.name, id=message_id, kwargs=arguments, sent_at=time.astimezone(UTC))
            message.to_json().encode()
        except UnicodeEncodeError as error:
            raise InvalidTaskArguments(f"{self.name}: a text holds half of a surrogate pair, no character") from error
        except (TypeError, ValueError) as error:  # what JSON does not know
            raise InvalidTaskArguments(f"{self.name}: {error}") from error
        return message

    def _time(self, now: datetime, countdown: float | None, eta: datetime | None) -> datetime:
        """When the task is to run, given what the caller asked for."""
        if countdown is not None and eta is not None:
            raise ValueError(f"{self.name}: give countdown or eta, not both")
        if countdown is not None:
            said = f"{self.name}: countdown is {shortened(repr(countdown), LONGEST_FIELD)}"
            if not isinstance(countdown, int | float) or not 0 <= countdown < math.inf:
                raise ValueError(f"{said}, not a number of seconds from 0 up")
            if countdown > (LATEST - now).total_seconds():
                raise ValueError(f"{said}, so many seconds lead beyond {LATEST:%Y}")
            return now + timedelta(seconds=countdown)
        if eta is None:
            return now
        if not hasattr(eta, "utcoffset"):
            raise ValueError(f"{self.name}: eta is {shortened(repr(eta), LONGEST_FIELD)}, not a datetime")
        if eta.utcoffset() is None:
            raise ValueError(f"{self.name}: eta {eta.isoformat()} has no time zone; say datetime.now(UTC) + ...")
        if eta > LATEST:
            raise ValueError(f"{self.name}: eta {eta.isoformat()} is beyond {LATEST:%Y}")
        return max(now, eta)

    def _schedule(self, message: Message, time: datetime) -> None:
        """Make a one-time schedule that puts a message on the task's queue, with the stack's own role."""
        stack = stack_name()
        url = queues.queue_url(self.queue_name(stack), hurried=True)
        asked = sending_sqs().get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        queue_arn = asked["Attributes"]["QueueArn"]
        _, partition, _, region, account, _ = queue_arn.split(":")
        at = time.astimezone(UTC) + timedelta(microseconds=999_999)  # rounded up: at() knows whole seconds
        group = delayed_group(stack)
        try:
            scheduler().create_schedule(
                Name=message.id,
                GroupName=group,
                ScheduleExpression=f"at({at:%Y-%m-%dT%H:%M:%S})",
                FlexibleTimeWindow={"Mode": "OFF"},
                ActionAfterCompletion="DELETE",
                Target={
                    "Arn": queue_arn,
                    "RoleArn": f"arn:{partition}:iam::{account}:role/{stack}-scheduler-{region}",
                    # The scheduler replaces its keywords wherever they stand; here they are somebody's words.
                    "Input": message.to_json().replace("<aws.scheduler.", r"\u003caws.scheduler."),
                    "DeadLetterConfig": {"Arn": queues.dead_queue(queue_arn)},
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
            return {**self._defaults, **fitted(kwargs, self._types, self._required)}
        except Misfit as error:
            raise InvalidTaskArguments(f"{self.name}: {error}") from error


SECONDS_TO_SEND = 2.0
"""How long a producer tries to send, with whoever waits for it."""


def _in_time(send: Callable[[], None]) -> None:
    """Send, and wait for that no longer than one may.

    The clients' own time-outs do not add up to that: a name may take long to be found, an endpoint has several
    addresses, and a schedule takes three calls. What takes longer goes on in a thread that holds up nothing. Making the
    clients, which finds the credentials, is no part of it: a first send takes so much longer.

    Raises:
        NotSent: AWS did not take it.
    """
    sending_sqs()
    sent = Future[None]()

    def run() -> None:
        try:
            _send_twice(send)
            sent.set_result(None)
        except BaseException as error:  # noqa: BLE001 - for whoever waits
            sent.set_exception(error)

    Thread(target=run, daemon=True).start()
    try:
        sent.result(SECONDS_TO_SEND)
    except TimeoutError as error:
        raise NotSent(f"AWS did not take the message within {SECONDS_TO_SEND:g} s") from error


def _send_twice(send: Callable[[], None]) -> None:
    """Send, and once more where that failed at once.

    Raises:
        NotSent: AWS did not take it.
    """
    started = monotonic()
    for attempt in (1, 2):
        try:
            send()
        except (BotoCoreError, ClientError) as error:
            code = error.response["ResponseMetadata"]["HTTPStatusCode"] if isinstance(error, ClientError) else 500
            if attempt == 1 and code >= 500 and monotonic() - started < SECONDS_TO_SEND / 20:
                continue
            if code < 500:
                raise
            raise NotSent(f"AWS did not take the message within {SECONDS_TO_SEND:g} s: {error}") from error
        return


HandOver = Callable[[Task[Any], Message, datetime], None]
_hand_over: HandOver | None = None


def hand_over_to(other: HandOver | None) -> HandOver | None:
    """Have messages handed to something else than AWS: an application's own outbox, or a test's.

    Args:
        other: Takes each message with its task and the time at which it is to run, and calls `Task.send` when it may
            be sent; None sends them at once again.

    Returns:
        What they were handed to before.
    """
    global _hand_over  # one for the process
    before, _hand_over = _hand_over, other
    return before


def _may_be_kept(annotation: Any) -> bool:
    """Whether all that a parameter may hold is an id, a choice, a number or a time."""
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        return KEPT in more or _may_be_kept(inner)
    if get_origin(annotation) in (Union, UnionType):
        return all(map(_may_be_kept, get_args(annotation)))
    return get_origin(annotation) is Literal or annotation in (NoneType, bool, int, float, date, datetime)


DECLARED: dict[str, Task[Any]] = {}
"""Every task declared so far, by name; `backbeat.tasks` has them all."""


def task(
    task_class: str = "default", retry: Retry | None = None, *, about: str | None = None, side_by_side: int = 1
) -> Callable[[Callable[P, None]], Task[P]]:
    """Declare a task: the decorated function's name, parameters and docstring are the declaration."""

    def declare(declaration: Callable[P, None]) -> Task[P]:
        declared = Task(declaration, task_class, retry or Retry(), about, side_by_side)
        DECLARED[declared.name] = declared
        return declared

    return declare
