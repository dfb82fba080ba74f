"""What is the same for every function: from a delivery on the queue to an outcome in the ledger.

Read from `Implementation.lambda_handler` down. Each record of a batch goes its own way: its message is parsed, its
logical time bound, the task's function called, and the outcome settled so that nothing is acknowledged and lost.
"""

import functools
import inspect
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any, Generic, TypeVar

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import BotoCoreError, ClientError
from pynamodb.exceptions import PynamoDBException, UpdateError

from backbeat import events, heartbeat, ledger, messages, queues
from backbeat.aws import is_local, sqs, stack_name
from backbeat.ledger import AlreadySucceeded, Attempt, Claimed, Outcome
from backbeat.logs import logger, without_addresses
from backbeat.messages import InvalidMessage, Message, as_json, shortened
from backbeat.models import Unreadable
from backbeat.producer import InvalidTaskArguments, Task
from backbeat.queues import dead_queue, queue_url

R = TypeVar("R")

LONGEST_ERROR = 1_000
"""Characters of an error that the ledger and a dead letter keep."""
LONGEST_RESULT = 4_000
"""Characters of a result, as JSON, that the ledger keeps."""
CLOCKS_DIFFER = timedelta(minutes=5)
"""How far a message's time may be ahead of the clock here; AWS refuses requests whose own is further off (Signature
Version 4)."""
SECONDS_TO_START = 10
"""With less time left, the rest of a batch is handed back rather than cut off in its work."""

metrics = Metrics(namespace="Backbeat")
_reporting = Lock()

Ahead = Callable[[list[dict[str, Any]]], Any]


class Rejected(Exception):
    """Raised by a task: this input can never work, so it is not tried again.

    Attributes:
        reason: A short code, for filters and counts.
    """

    def __init__(self, reason: str, explanation: str) -> None:
        super().__init__(explanation)
        self.reason = reason


class NotYet(Exception):
    """Raised by a task: what it needs is not there yet, so it is tried again later.

    Not for what is known to be gone, which is `Skipped`: waiting for it ends in a dead letter.
    """


class RunFailed(Exception):
    """Raised to whoever invoked a function directly: the run did not succeed."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """Returned by a task instead of a result: a duplicate, or nothing to do.

    Attributes:
        why: What made the work unnecessary.
        erased: Whether it was for a user who is not there any more: the ledger then keeps no argument of it.
    """

    why: str
    erased: bool = False


@dataclass(frozen=True, slots=True)
class InParts:
    """Returned by a task whose work goes on in further messages.

    Attributes:
        parts: In how many.
    """

    parts: int


@dataclass(frozen=True, slots=True)
class Run:
    """What a task's function is told about the run it makes.

    Attributes:
        task: The task.
        message: The message that asked for the run.
        context: Lambda's context.
        ahead: What the implementation's `ahead` has read for the whole batch, or None.
    """

    task: Task[Any]
    message: Message
    context: LambdaContext
    ahead: Any = None

    @property
    def id(self) -> str:
        """The run's identity: the same for every delivery, every attempt and every part."""
        return self.message.id

    @property
    def now(self) -> datetime:
        """Its logical time, in UTC; a task never reads the wall clock."""
        return self.message.logical_time

    @property
    def part(self) -> int | None:
        """The part's number, in a run that was split into parts."""
        return self.message.part

    @property
    def seconds_left(self) -> float:
        """How long until Lambda ends this invocation."""
        return self.context.get_remaining_time_in_millis() / 1000


@dataclass(frozen=True, slots=True)
class _Delivery:
    """One delivery of one message: what came, and where an answer to it goes."""

    body: str
    queue: str
    message_id: str
    sent: datetime
    receipt: str | None


@dataclass(frozen=True, slots=True)
class _Ended:
    """How one message of a batch ended well, before that is written."""

    message_id: str
    message: Message
    attempt: Attempt


class _ComesBack(Exception):
    """Tells that a record is to be delivered again."""


class Implementation(Generic[R]):
    """A task's function with everything around it; made by the decorator `implementation`.

    Calling it calls the function itself, as tests do; `lambda_handler` is what Lambda calls.
    """

    def __init__(self, task: Task[Any], function: Callable[..., R], ahead: Ahead | None = None) -> None:
        expected = [*task.signature.parameters, "run"]
        found = list(inspect.signature(function).parameters)
        if sorted(found) != sorted(expected):
            raise TypeError(f"{task.name} is declared with {expected}, and implemented with {found}")
        self.task = task
        self.function = function
        self._ahead = ahead
        self._read_ahead: Any = None
        self._ended: list[_Ended] | None = None
        functools.update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> R:
        """Call the task's function, with nothing around it."""
        return self.function(*args, **kwargs)

    def lambda_handler(self, event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
        """Answer Lambda: a batch from the queue, or one bare message, as an operator may invoke it with.

        Raises:
            RunFailed: A bare message's run did not succeed. A batch never raises.
        """
        logger.append_keys(request_id=context.aws_request_id)
        try:
            if _is_batch(event):
                failed = self._batch(event["Records"], context)
                return {"batchItemFailures": [{"itemIdentifier": record["messageId"]} for record in failed]}
            delivery = _Delivery(
                body=_as_body(event),
                queue=self.task.queue,
                message_id=context.aws_request_id,
                sent=datetime.now(UTC),
                receipt=None,
            )
            attempt, _ = self._run(delivery, context)
            if attempt.outcome in (Outcome.RETRYING, Outcome.REJECTED, Outcome.DEAD):
                raise RunFailed(f"{attempt.outcome}: {attempt.error}")
            return {"outcome": attempt.outcome, "result": attempt.result, "why": attempt.error}
        finally:
            try:
                ledger.write_totals()
            except UpdateError as error:  # what was done is done, and would only be done again
                logger.exception("the day's totals are not written yet", extra={"error": str(error)})
            events.publish()
            if metrics.metric_set:
                metrics.flush_metrics()

    def _batch(self, records: list[dict[str, Any]], context: LambdaContext) -> list[dict[str, Any]]:
        """Run the records of a batch; return those that are to be delivered again.

        As many are at work at a time as the task is declared for; of those that ask for the same, one after the other.
        """
        if self.task.side_by_side == 1 or len(records) == 1:
            return [record for record in records if not self._done_with(record, context)]
        from concurrent.futures import ThreadPoolExecutor  # here, as a batch of one does without

        self._read_ahead, self._ended = self._look_ahead(records), []
        works: dict[str, list[dict[str, Any]]] = {}
        for record in records:
            works.setdefault(_asked_for(record["body"]), []).append(record)
        with ThreadPoolExecutor(self.task.side_by_side) as pool:
            done = pool.map(lambda work: {id(r): self._done_with(r, context) for r in work}, works.values())
            outcomes = {number: outcome for work in done for number, outcome in work.items()}
        ended, self._read_ahead, self._ended = self._ended, None, None
        unwritten = self._write_down(ended)
        return [each for each in records if not outcomes[id(each)] or each["messageId"] in unwritten]

    def _write_down(self, ended: list[_Ended]) -> set[str]:
        """Write the runs of a batch that ended well; return the ids of the messages whose runs are not written.

        Those are delivered again, as any whose run cannot be written, and find their work done.
        """
        unwritten: set[str] = set()
        if not ended:
            return unwritten
        try:
            new = ledger.record_new([(each.message, each.attempt) for each in ended], self.task.task_class)
        except (BotoCoreError, ClientError, TypeError) as error:  # the last is moto's, which takes no parameters there
            logger.warning("each run is written by itself", extra={"error": fit_to_keep(str(error))})
            new = [False] * len(ended)
        for each, is_new in zip(ended, new, strict=True):
            try:
                number = 1 if is_new else ledger.record(each.message, self.task.task_class, each.attempt)
            except PynamoDBException:
                logger.exception("no answer", extra={"message_id": each.message_id})
                unwritten.add(each.message_id)
            else:
                self._tell(each.message, each.attempt, number, 0)
        return unwritten

    def _look_ahead(self, records: list[dict[str, Any]]) -> Any:
        """What the task reads for a whole batch at once; None where that fails, as each run then reads for itself."""
        if self._ahead is None:
            return None
        all_arguments = []
        for record in records:
            try:
                message = messages.parse(record["body"], self.task.name, record["messageId"], datetime.now(UTC))
                all_arguments.append(self.task.parse(message.kwargs) if message else {})
            except (InvalidMessage, InvalidTaskArguments):
                continue  # its own run says why
        try:
            return self._ahead([arguments for arguments in all_arguments if arguments])
        except (BotoCoreError, ClientError, PynamoDBException, TypeError, ValueError) as error:
            logger.warning("each reads for itself", extra={"error": fit_to_keep(str(error))})
            return None

    def _done_with(self, record: dict[str, Any], context: LambdaContext) -> bool:
        """Run one record of a batch; return whether the queue may forget it. Whatever fails, the others go on."""
        try:
            self._receive(record, context)
        except _ComesBack:
            return False
        except Exception:  # it comes back after the queue's own visibility timeout
            logger.exception("no answer", extra={"message_id": record["messageId"]})
            return False
        return True

    def _receive(self, record: dict[str, Any], context: LambdaContext) -> None:
        """Run one record of a batch; raise where it is to be delivered again."""
        delivery = _Delivery(
            body=record["body"],
            queue=record["eventSourceARN"].rsplit(":", 1)[-1],
            message_id=record["messageId"],
            sent=datetime.fromtimestamp(int(record["attributes"]["SentTimestamp"]) / 1000, UTC),
            receipt=record["receiptHandle"],
        )
        if context.get_remaining_time_in_millis() < SECONDS_TO_START * 1000:
            _hide(delivery, 0)
            raise _ComesBack("too little time left to start")
        bodies = messages.split(delivery.body)
        if len(bodies) > 1:
            queues.put_all(delivery.queue, bodies)
            logger.info("split", extra={"records": len(bodies)})
            return
        attempt, wait = self._run(delivery, context)
        if attempt.outcome is Outcome.RETRYING:
            _hide(delivery, wait)
            raise _ComesBack(attempt.error)

    def _run(self, delivery: _Delivery, context: LambdaContext) -> tuple[Attempt, int]:
        """Run one message; return its attempt, and the seconds to wait where it is to be retried."""
        message, invalid = self._read(delivery)
        attempt = Attempt(Outcome.RUNNING, datetime.now(UTC), 0, context.aws_request_id)
        if message is None:
            logger.info("skipped", extra={"why": "an s3:TestEvent asks for nothing"})
            return replace(attempt, outcome=Outcome.SKIPPED, error="an s3:TestEvent asks for nothing"), 0
        if message.trial and not ledger.on_trial(message.trial):
            logger.info("skipped", extra={"run_id": message.id, "why": "the trial is over"})
            return replace(attempt, outcome=Outcome.SKIPPED, error="the trial is over"), 0
        left = timedelta(milliseconds=context.get_remaining_time_in_millis())
        if invalid or left <= timedelta(seconds=heartbeat.SECONDS_OF_SHORT_WORK):
            return self._attempt(delivery, message, invalid, attempt, context, left + timedelta(seconds=5))

        def beat() -> None:
            _hide(delivery, round(heartbeat.HELD_FOR.total_seconds()))
            ledger.hold(message, attempt, datetime.now(UTC) + heartbeat.HELD_FOR)

        with heartbeat.beating(beat, end=lambda: ledger.let_go(message, attempt)):
            return self._attempt(delivery, message, invalid, attempt, context, heartbeat.HELD_FOR)

    def _attempt(
        self,
        delivery: _Delivery,
        message: Message,
        invalid: InvalidMessage | None,
        attempt: Attempt,
        context: LambdaContext,
        lease: timedelta,
    ) -> tuple[Attempt, int]:
        """Make an attempt at a message and settle it; a scheduled run is claimed for the time of `lease`."""
        number = 0
        if message.scheduled_time and message.part is None and not invalid:
            until = attempt.started + lease
            try:
                number = ledger.claim(message, self.task.task_class, until, context.aws_request_id)
            except AlreadySucceeded:
                logger.info("skipped", extra={"run_id": message.id, "why": "the run has been done"})
                return replace(attempt, outcome=Outcome.SKIPPED, error="the run has been done"), 0
            except Claimed as error:
                logger.info("waiting", extra={"run_id": message.id, "why": str(error)})
                wait = max(1, round((error.until - attempt.started).total_seconds()))
                return replace(attempt, outcome=Outcome.RETRYING, error=str(error)), wait

        retry = self.task.retry
        if invalid:
            attempt = replace(attempt, outcome=Outcome.REJECTED, reason="invalid_message", error=str(invalid))
        elif number > retry.attempts:
            attempt = replace(
                attempt, outcome=Outcome.DEAD, reason="no_answer", error="the last attempt gave no answer"
            )
        else:
            attempt = self._call(message, attempt, context)
        about = message.kwargs.get(self.task.about or "")
        attempt = replace(
            attempt,
            error=attempt.error and fit_to_keep(attempt.error),
            about=fit_to_keep(about) if isinstance(about, str) else None,
        )

        if number:
            if attempt.outcome is Outcome.RETRYING and number == retry.attempts:
                attempt = replace(attempt, outcome=Outcome.DEAD)
            ledger.settle(message, attempt)
        elif self._ended is not None and attempt.outcome in (Outcome.SUCCEEDED, Outcome.SKIPPED):
            self._ended.append(_Ended(delivery.message_id, message, attempt))  # all of a batch are written in one call
            return attempt, 0
        else:
            number = ledger.record(message, self.task.task_class, attempt)
            if attempt.outcome is Outcome.RETRYING and number >= retry.attempts:
                attempt = replace(attempt, outcome=Outcome.DEAD)
                ledger.bury(message)

        if attempt.outcome in (Outcome.REJECTED, Outcome.DEAD):
            if message.part is not None:
                ledger.incomplete(message, attempt.error or "", attempt.reason or "")
            if not message.trial:  # whoever makes the trial looks into the ledger
                _send_to_dead_queue(delivery, message, attempt)
        wait = retry.wait(number) if attempt.outcome is Outcome.RETRYING else 0
        self._tell(message, attempt, number, wait)
        return attempt, wait

    def _tell(self, message: Message, attempt: Attempt, number: int, wait: int) -> None:
        events.note(message, self.task.task_class, attempt)
        self._report(message, attempt, number, wait)

    def _read(self, delivery: _Delivery) -> tuple[Message | None, InvalidMessage | None]:
        """A delivery's message, if it asks for anything; or why it is invalid, with a message that stands for it."""
        try:
            message = messages.parse(delivery.body, self.task.name, delivery.message_id, delivery.sent)
        except InvalidMessage as error:
            why = error
        else:
            if is_local() or message is None or message.logical_time <= datetime.now(UTC) + CLOCKS_DIFFER:
                return message, None
            time = messages.iso(message.logical_time)
            why = InvalidMessage(f"{time} is still to come: what a run writes would hold off all others until then")
        return Message(task=self.task.name, id=delivery.message_id, sent_at=delivery.sent), why

    def _call(self, message: Message, attempt: Attempt, context: LambdaContext) -> Attempt:
        """Call the task's function; return how that ended."""
        reason: str | None = None
        error: str | None = None
        result: Any = None
        erased = False
        try:
            arguments = self.task.parse(message.kwargs)
        except InvalidTaskArguments as invalid:
            return replace(attempt, outcome=Outcome.REJECTED, reason="invalid_arguments", error=str(invalid))
        run = Run(self.task, message, context, self._read_ahead)
        try:
            result = self.function(**arguments, run=run)
            outcome = Outcome.SUCCEEDED
        except Rejected as rejected:
            outcome, reason, error = Outcome.REJECTED, rejected.reason, str(rejected)
        except Unreadable as unreadable:
            outcome, reason, error = Outcome.REJECTED, "unreadable_row", str(unreadable)
        except NotYet as not_yet:
            outcome, reason, error = Outcome.RETRYING, "not_yet", str(not_yet)
        except Exception as failure:  # whatever a task raises is a failed attempt
            logger.exception("failed", extra={"run_id": message.id})
            outcome, reason, error = (
                Outcome.RETRYING,
                type(failure).__name__,
                f"{type(failure).__name__}: {failure}",
            )
        if isinstance(result, Skipped):
            outcome, error, erased, result = Outcome.SKIPPED, result.why, result.erased, None
        elif isinstance(result, InParts):
            outcome = Outcome.IN_PARTS
        duration = datetime.now(UTC) - attempt.started
        return replace(
            attempt,
            outcome=outcome,
            duration_ms=round(duration / timedelta(milliseconds=1)),
            result=for_ledger(result),
            kind=None if result is None else type(result).__name__,
            error=error,
            reason=reason,
            erased=erased,
        )

    def _report(self, message: Message, attempt: Attempt, number: int, wait: int) -> None:
        """Write the one log line and the metrics of an attempt; a trial's has none."""
        details = {
            "task_class": self.task.task_class,
            "run_id": message.id,
            "part": message.part,
            "logical_time": messages.iso(message.logical_time),
            "attempt": number,
            "duration_ms": attempt.duration_ms,
            "result": attempt.result,
            "reason": attempt.reason,
            "error": attempt.error,
            "retry_in_s": wait if attempt.outcome is Outcome.RETRYING else None,
        }
        known = {name: value for name, value in details.items() if value is not None}
        level = logger.error if attempt.outcome in (Outcome.REJECTED, Outcome.DEAD) else logger.info
        level(attempt.outcome.value, extra={"task": self.task.name, **known})
        if message.trial:
            return
        with _reporting:
            metrics.add_dimension(name="stack", value=stack_name())  # dev and prod share an account
            metrics.add_dimension(name="task", value=self.task.name)
            metrics.add_dimension(name="task_class", value=self.task.task_class)
            metrics.add_metric(name=attempt.outcome.value.title().replace(" ", ""), unit=MetricUnit.Count, value=1)
            metrics.add_metric(name="Duration", unit=MetricUnit.Milliseconds, value=attempt.duration_ms)


def implementation(task: Task[Any], *, ahead: Ahead | None = None) -> Callable[[Callable[..., R]], Implementation[R]]:
    """Decorate the function that does a task's work: its `lambda_handler` is what Lambda calls.

    The function takes the declaration's parameters, and `run`.

        @implementation(send_welcome_email)
        def handle(user_id: str, run: Run) -> WelcomeSent: ...

        lambda_handler = handle.lambda_handler

    Args:
        task: The declaration.
        ahead: Given the arguments of all messages of a batch that go side by side, reads at once what each of their
            runs would read; they have it as `run.ahead`.

    Raises:
        TypeError: The parameters are not those of the declaration.
    """

    def implement(function: Callable[..., R]) -> Implementation[R]:
        return Implementation(task, function, ahead)

    return implement


def _is_batch(event: Any) -> bool:
    """Whether an event is a batch of an SQS queue, not a bare message."""
    records = event.get("Records") if isinstance(event, dict) else None
    first = records[0] if isinstance(records, list) and records else None
    return isinstance(first, dict) and first.get("eventSource") == "aws:sqs"


def _asked_for(body: str) -> str:
    """What a message asks for, by which two of a batch are told to be about the same work."""
    try:
        return json.dumps(json.loads(body)["kwargs"], sort_keys=True)
    except (ValueError, KeyError, TypeError, RecursionError):
        return body


def _as_body(event: Any) -> str:
    """What a function was invoked with directly, as the body that a queue would have brought."""
    try:
        return json.dumps(event)
    except RecursionError:
        return '"nested too deep to be written down"'


def fit_to_keep(error: str) -> str:
    """An error as it is logged, and as the ledger and a dead letter keep it: without addresses, and not too long.

    Of an error that is cut off, the last word goes first, as it may be half an address.
    """
    error = error.encode("utf-8", "replace").decode()  # half a surrogate pair is nothing that a row can hold
    if len(error) > LONGEST_ERROR:
        whole_words = error[:LONGEST_ERROR].rpartition(" ")[0]
        error = shortened(without_addresses(whole_words) + "…", LONGEST_ERROR)
    return shortened(without_addresses(error), LONGEST_ERROR)


def for_ledger(result: Any) -> Any:
    """A task's result as the ledger keeps it: plain JSON, cut off where it is too long."""
    plain = as_json(result)
    text = json.dumps(plain, ensure_ascii=False)
    return plain if len(text) <= LONGEST_RESULT else {"too_long_to_keep": text[:LONGEST_RESULT]}


def _hide(delivery: _Delivery, seconds: int) -> None:
    """Keep a message hidden for so long before it is delivered again."""
    if delivery.receipt is None:
        return
    try:
        sqs().change_message_visibility(
            QueueUrl=queue_url(delivery.queue), ReceiptHandle=delivery.receipt, VisibilityTimeout=seconds
        )
    except ClientError as error:
        # It comes back all the same, after the queue's own visibility timeout.
        logger.warning("the wait before the retry could not be set", extra={"error": str(error)})


def _send_to_dead_queue(delivery: _Delivery, message: Message, attempt: Attempt) -> None:
    """Send the message, as it came, to the task's dead queue, with what an operator needs to know."""
    attributes = {
        "outcome": attempt.outcome.value,
        "reason": attempt.reason or "unknown",
        "error": attempt.error or "no reason was given",
        "task": message.task,
        "run_id": message.id,
        "first_sent": messages.iso(delivery.sent),
    }
    sendable = {name: _UNSENDABLE.sub("\N{REPLACEMENT CHARACTER}", value) for name, value in attributes.items()}
    try:
        queues.put(dead_queue(delivery.queue), delivery.body, attributes=sendable)
    except ClientError as error:
        if error.response["Error"]["Code"] not in _TOO_LONG:
            raise
        # A body of the greatest size that a message may have leaves no room beside it; the ledger has the reason.
        queues.put(dead_queue(delivery.queue), delivery.body)


_TOO_LONG = ("InvalidParameterValue", "InvalidParameterValueException")
"""What SQS answers to a message that is too long with its attributes; it has no code of its own for it."""
_UNSENDABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that SQS refuses in a message (SendMessage, "Message characters")."""
