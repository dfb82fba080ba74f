"""Dead letters: what lies in a task's dead queue, whoever put it there, read in one way.

Four put letters there: the runtime, with the reason beside the message; SQS, where a function gave no answer; the
scheduler or a rule, where the queue could not be reached; and Lambda, for a function that was invoked without a queue.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

from backbeat import messages
from backbeat.aws import sqs
from backbeat.messages import InvalidMessage, Message, iso
from backbeat.producer import Task
from backbeat.queues import MOST_IN_A_CALL, dead_queue, queue_url

HELD = timedelta(seconds=60)
"""How long a letter that is looked at is hidden from others, at most."""
SECONDS_TO_ASK = 1
"""How long an empty queue is asked, so that all of SQS's servers are (ReceiveMessage, "Long polling")."""
NO_ANSWER = "no_answer"
"""The reason where a function said nothing: it crashed, ran out of time, or was throttled."""
NOT_DELIVERED = "not_delivered"
"""The reason where the scheduler or a rule could not reach the queue."""
KEYWORD = "<aws.scheduler.scheduled-time>"
"""What the scheduler replaces by a run's time, and may have left in a letter."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter.

    Attributes:
        letter_id: SQS's id for it.
        receipt: By which this look at it lets it go, or deletes it.
        task: The task in whose dead queue it lies.
        outcome: `rejected` or `dead`.
        reason: A short code for why it is there.
        error: The same for people.
        run_id: Its run's identity.
        part: The part of the run that it is, or None.
        first_sent: When the message was sent first.
        body: The message, as the task's queue is to get it again.
        raw: What lies in the queue: the same, or what it is wrapped in.
        attributes: What is said beside it.
        cannot: Why it cannot be sent as it is, or None.
        told: Whether the letter itself says why it is there.
    """

    letter_id: str
    receipt: str
    task: str
    outcome: str
    reason: str
    error: str
    run_id: str
    part: int | None
    first_sent: datetime
    body: str
    raw: str
    attributes: dict[str, str] = field(default_factory=dict)
    cannot: str | None = None
    told: bool = True

    @property
    def id(self) -> str:
        """By which an operator names it: its run's id, and with `#` the part's number."""
        return self.run_id if self.part is None else f"{self.run_id}#{self.part}"

    def message(self) -> Message | None:
        """What it asks for, or None where it is no message that the task knows."""
        return _message(self.body, self.task, self.run_id, self.first_sent)


class Looking:
    """One look at the letters of a dead queue. Each is held until the look ends, for a minute at most."""

    def __init__(self, task: Task[Any]) -> None:
        self._task = task
        self._url = queue_url(dead_queue(task.queue))
        self._held: dict[str, str] = {}

    def __iter__(self) -> Iterator[Letter]:
        """Every letter once. Where there are more than can be read in a minute, those that come within it."""
        for page in self.pages():
            yield from page

    def pages(self) -> Iterator[list[Letter]]:
        """The same, up to ten at a time."""
        last_new = monotonic()
        while monotonic() - last_new < HELD.total_seconds():
            got = sqs().receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=MOST_IN_A_CALL,
                VisibilityTimeout=round(HELD.total_seconds()),
                WaitTimeSeconds=SECONDS_TO_ASK,
                MessageAttributeNames=["All"],
                AttributeNames=["All"],
            )
            found = got.get("Messages", [])
            if not found:
                return
            new = [received for received in found if received["MessageId"] not in self._held]
            self._held |= {received["MessageId"]: received["ReceiptHandle"] for received in found}
            if new:
                last_new = monotonic()
                yield [read(self._task.name, received) for received in new]

    def remove(self, letters: Sequence[Letter]) -> list[Letter]:
        """Delete letters; return those that SQS did not take."""
        failed: list[Letter] = []
        for start in range(0, len(letters), MOST_IN_A_CALL):
            some = letters[start : start + MOST_IN_A_CALL]
            entries: Any = [
                {"Id": str(number), "ReceiptHandle": self._held.get(letter.letter_id, letter.receipt)}
                for number, letter in enumerate(some)
            ]
            answer = sqs().delete_message_batch(QueueUrl=self._url, Entries=entries)
            not_taken = {int(entry["Id"]) for entry in answer.get("Failed", [])}
            failed += [letter for number, letter in enumerate(some) if number in not_taken]
            for number, letter in enumerate(some):
                if number not in not_taken:
                    self._held.pop(letter.letter_id, None)
        return failed

    def let_go(self) -> None:
        """Show others the letters that are left. Of a letter that this fails for, a minute does the same."""
        receipts = list(self._held.values())
        for start in range(0, len(receipts), MOST_IN_A_CALL):
            entries: Any = [
                {"Id": str(number), "ReceiptHandle": receipt, "VisibilityTimeout": 0}
                for number, receipt in enumerate(receipts[start : start + MOST_IN_A_CALL])
            ]
            sqs().change_message_visibility_batch(QueueUrl=self._url, Entries=entries)
        self._held.clear()


@contextmanager
def looking(task: Task[Any]) -> Iterator[Looking]:
    """Look at a task's dead letters; those that are not removed are let go at the end.

    Raises:
        QueueNotFound: The stack has no dead queue for the task.
    """
    look = Looking(task)
    try:
        yield look
    finally:
        look.let_go()


def number(task: Task[Any]) -> int:
    """About how many letters a task has, those that somebody looks at included."""
    asked = sqs().get_queue_attributes(QueueUrl=queue_url(dead_queue(task.queue)), AttributeNames=["All"])
    got = asked["Attributes"]
    return int(got["ApproximateNumberOfMessages"]) + int(got["ApproximateNumberOfMessagesNotVisible"])


def read(task: str, received: Any) -> Letter:
    """A letter of a task's, given as SQS's ReceiveMessage answers."""
    raw, letter_id = received["Body"], received["MessageId"]
    said = {name: value.get("StringValue", "") for name, value in received.get("MessageAttributes", {}).items()}
    sent = datetime.fromtimestamp(int(received["Attributes"]["SentTimestamp"]) / 1000, UTC)
    body, cannot, told = raw, None, True
    outcome, run_id = "dead", letter_id
    match said:
        case {"outcome": outcome, "reason": reason, "error": error, "run_id": run_id, "first_sent": first_sent}:
            sent = _time(first_sent) or sent
        case {"ERROR_CODE": code, **others}:
            reason, error = NOT_DELIVERED, _joined(code, others.get("ERROR_MESSAGE", ""))
            scheduled = _time(others.get("SCHEDULED_TIME", ""))
            if scheduled is not None:
                body = body.replace(KEYWORD, iso(scheduled))
            elif KEYWORD in body:
                cannot = "the scheduler does not say for when it was"
            if others.get("IS_PAYLOAD_TRUNCATED", "").lower() == "true":
                cannot = "it was too long for the dead queue, and was cut off"
        case {"RequestID": _, "ErrorCode": code, **others}:
            reason, error = NO_ANSWER, _joined(f"Lambda's answer was {code}", others.get("ErrorMessage", ""))
        case _:
            unwrapped = _of_destination(raw)
            if unwrapped is None:
                reason, error, told = NO_ANSWER, "no attempt gave an answer: crashed, out of time, or throttled", False
            else:
                body, reason, error, cannot = unwrapped
    message = _message(body, task, run_id, sent)
    if message is not None and cannot is None:
        body = _whole(body, message)
    return Letter(
        letter_id=letter_id,
        receipt=received["ReceiptHandle"],
        task=task,
        outcome=outcome,
        reason=reason,
        error=error,
        run_id=message.id if message is not None else run_id,
        part=message.part if message is not None else None,
        first_sent=sent,
        body=body,
        raw=raw,
        attributes=said,
        cannot=cannot,
        told=told,
    )


def _of_destination(raw: str) -> tuple[str, str, str, str | None] | None:
    """What Lambda's on-failure destination has wrapped: body, reason, error, and why it cannot be sent; or None."""
    try:
        match json.loads(raw):
            case {"requestContext": {"condition": condition}, "requestPayload": payload, **others}:
                answer = others.get("responsePayload")
            case _:
                return None
    except (ValueError, RecursionError):
        return None
    error = str(condition)
    if isinstance(answer, dict) and "errorMessage" in answer:
        error = _joined(str(answer.get("errorType", condition)), str(answer["errorMessage"]))
    records = payload.get("Records") if isinstance(payload, dict) else None
    bodies = [record["body"] for record in records or [] if isinstance(record, dict) and "body" in record]
    if len(bodies) > 1:
        return raw, NO_ANSWER, error, f"it holds {len(bodies)} messages, which Lambda was invoked with at once"
    return bodies[0] if bodies else json.dumps(payload, ensure_ascii=False), NO_ANSWER, error, None


def _whole(body: str, message: Message) -> str:
    """A body with its identity and time, which SQS gave it where it had none: those of its next delivery would differ.

    Any other stays as it is.
    """
    content = json.loads(body)
    own = "task" not in content or "scheduled_time" in content or {"id", "sent_at"} <= content.keys()
    return body if own else message.to_json()


def _message(body: str, task: str, run_id: str, sent: datetime) -> Message | None:
    try:
        return messages.parse(body, task, run_id, sent)
    except InvalidMessage:
        return None


def _time(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.utcoffset() is not None else None


def _joined(code: str, text: str) -> str:
    return f"{code}: {text}" if text else code
