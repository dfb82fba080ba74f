"""What travels: a message to a task, and in that form what else arrives on a queue, S3's and EventBridge's events."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import unquote_plus

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import from_json

LONGEST_ID = 200
"""Characters of a message's id."""
FIRST_YEAR, LAST_YEAR = 1970, 2999
"""What a logical time lies in, so that tasks can reckon with years on both sides of it."""
LATEST = datetime(LAST_YEAR, 12, 31, tzinfo=UTC)
"""The last time that a producer may ask for."""
MOST_FAULTS = 5
"""How many faults of a message are told."""
LONGEST_FIELD = 60
"""Characters of a field's name in an error."""


class InvalidMessage(ValueError):
    """The body is no message this project knows; the text says what is wrong with it."""


class Message(BaseModel):
    """One message to one task.

    Attributes:
        task: The task's name.
        id: The run's identity: two deliveries with one id are duplicates of each other.
        kwargs: The task's arguments, as JSON.
        scheduled_time: When a schedule meant the run to happen.
        sent_at: When a producer sent it, or meant it to run (or the event it stands for happened).
        part: The part's number, in a run that was split into parts.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: str
    id: str = ""
    kwargs: dict[str, Any] = {}
    scheduled_time: AwareDatetime | None = None
    sent_at: AwareDatetime | None = None
    part: Annotated[int, Field(ge=0, lt=10**60)] | None = None  # after ten splits of splits it has 53 digits

    @model_validator(mode="after")
    def _has_time_and_identity(self) -> "Message":
        if self.scheduled_time is None and self.sent_at is None:
            raise ValueError("neither scheduled_time nor sent_at is given")
        for name in ("scheduled_time", "sent_at"):
            _check(name, getattr(self, name))
        if not self.id:
            if self.scheduled_time is None:
                raise ValueError("id is missing")
            object.__setattr__(self, "id", f"{self.task}@{iso(self.scheduled_time)}")
        if len(self.id) > LONGEST_ID:
            raise ValueError(f"id has {len(self.id)} characters, more than {LONGEST_ID}")
        return self

    @property
    def logical_time(self) -> datetime:
        """The "now" of the run, in UTC."""
        time = self.scheduled_time or self.sent_at
        assert time is not None  # the validator has seen to it
        return time.astimezone(UTC)

    def to_json(self) -> str:
        """The message as the body that travels; what is not given is left out."""
        return json.dumps(self.model_dump(mode="json", exclude_none=True), ensure_ascii=False)

    def for_part(self, number: int | None) -> "Message":
        """The same run's message for one of its parts, or, without a number, for the whole of it."""
        return self.model_copy(update={"part": number})


def _check(name: str, time: datetime | None) -> None:
    """Refuse a time that cannot be reckoned with, or that UTC does not know."""
    if time is None:
        return
    if time.utcoffset() is None:
        raise ValueError(f"{name} has no time zone")
    try:
        year = time.astimezone(UTC).year
    except OverflowError:
        year = 0
    if not FIRST_YEAR <= year <= LAST_YEAR:
        raise ValueError(f"{name} {time.isoformat()} is not in the years {FIRST_YEAR} to {LAST_YEAR}")


def iso(time: datetime) -> str:
    """A time as ISO 8601 in UTC with `Z`, without a fraction where it has none."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def sortable(time: datetime) -> str:
    """The start of an id: a UTC time to the millisecond, so that ids sort as they happened."""
    utc = time.astimezone(UTC)
    return f"{utc:%Y%m%dT%H%M%S}.{utc.microsecond // 1000:03}Z"


def digest_of(text: str) -> str:
    """Sixteen characters that stand for a text in an id, which outlives whom the text names."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def as_json(value: Any) -> Any:
    """A value as plain JSON values: a dataclass as an object, a time as its text."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    return json.loads(json.dumps(value, default=str))


def explain(error: ValidationError) -> str:
    """A validation error as one line that names the fields, as many as one reads, and what is wrong with each."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    told = [
        f"{shortened('.'.join(map(str, fault['loc'])), LONGEST_FIELD) or 'value'}: {fault['msg']}"
        for fault in faults[:MOST_FAULTS]
    ]
    more = len(faults) - len(told)
    return "; ".join([*told, f"and {more} more faults"] if more else told)


def shortened(text: str, most: int) -> str:
    """A text of so many characters at most; where it is cut off, it ends in an ellipsis."""
    return text if len(text) <= most else text[: most - 1] + "…"


def split(body: str) -> list[str]:
    """The bodies of single-record notifications that an S3 notification of several records stands for.

    Each record is a run of its own, with its own retries and its own dead letter. Any other body is
    returned as it is.
    """
    try:
        records = _decode(body)["Records"]
    except (ValueError, KeyError, TypeError):
        return [body]
    if not isinstance(records, list) or len(records) < 2:
        return [body]
    if not all(isinstance(record, dict) and "s3" in record for record in records):
        return [body]
    return [json.dumps({"Records": [record]}, ensure_ascii=False) for record in records]


def _decode(body: str) -> Any:
    """A body's JSON, as deep as 200 levels. Numbers that are none, and halves of surrogate pairs, are no JSON.

    Raises:
        ValueError: It is none.
    """
    return from_json(body.encode("utf-8", "surrogatepass"), allow_inf_nan=False)


def parse(body: str, task: str, message_id: str, sent: datetime) -> Message | None:
    """Turn a message's body into a message for `task`, or None for S3's test event, which asks for nothing.

    Args:
        body: The message's body.
        task: The name of the task whose queue it came from.
        message_id: SQS's message id, the identity of a message that brings none of its own.
        sent: SQS's SentTimestamp, the logical time of a message that brings none of its own.

    Raises:
        InvalidMessage: The body is none of the forms known, or is for another task.
    """
    try:
        content = _decode(body)
    except ValueError as error:
        raise InvalidMessage(f"the body is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise InvalidMessage(f"the body is a JSON {type(content).__name__}, not an object")
    if content.get("Event") == "s3:TestEvent":  # S3 sends one for every new notification
        return None
    try:
        if "Records" in content:
            return _from_s3(content["Records"], task)
        if "detail-type" in content:
            return _from_eventbridge(content, task)
        if "scheduled_time" not in content:
            content = {"id": message_id, "sent_at": sent, **content}
        message = Message.model_validate(content)
    except ValidationError as error:
        raise InvalidMessage(explain(error)) from error
    if message.task != task:
        raise InvalidMessage(f"the message is for task {message.task!r}, and this is the queue of {task!r}")
    return message


def _from_s3(records: Any, task: str) -> Message:
    """An S3 notification of one record as a message; keys arrive URL-encoded."""
    if not isinstance(records, list) or len(records) != 1:
        raise InvalidMessage("not an S3 notification: Records is no list of one record")
    try:
        (record,) = records
        bucket = record["s3"]["bucket"]["name"]
        s3_object = record["s3"]["object"]
        key = unquote_plus(s3_object["key"], errors="strict")
        time = datetime.fromisoformat(record["eventTime"])
        _check("eventTime", time)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InvalidMessage(f"not an S3 notification: {error!r}") from error
    version_id, sequencer = s3_object.get("versionId"), s3_object.get("sequencer")
    # The same for every delivery of one event, unlike SQS's message id.
    identity = digest_of(f"{bucket}\n{key}\n{version_id}\n{sequencer}")
    return Message(
        task=task,
        id=f"{sortable(time)}-{identity}",
        kwargs={
            "bucket": bucket,
            "key": key,
            "version_id": version_id,
            "sequencer": sequencer,
            **({"event_name": record["eventName"]} if "eventName" in record else {}),
        },
        sent_at=time,
    )


def _from_eventbridge(event: Mapping[str, Any], task: str) -> Message:
    """An EventBridge event as a message."""
    try:
        kwargs = {"detail_type": event["detail-type"], "detail": event["detail"]}
        return Message(task=task, id=event["id"], kwargs=kwargs, sent_at=event["time"])
    except KeyError as error:
        raise InvalidMessage(f"not an EventBridge event: {error} is missing") from error
