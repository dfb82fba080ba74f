"""What travels: a message to a task, and in that form what else arrives on a queue, S3's and EventBridge's events."""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from datetime import UTC, datetime
from typing import Any, get_args, get_origin
from urllib.parse import unquote_plus

import msgspec

from backbeat import trials

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
DEEPEST = 200
"""How many levels a body may be nested: what reads it further on goes about as deep as Python's stack allows."""


class InvalidMessage(ValueError):
    """The body is no message this project knows; the text says what is wrong with it."""


class Misfit(ValueError):
    """Values do not fit what is declared; the text names them, as many as one reads, and what is wrong with each."""


@dataclass(frozen=True)
class Message:
    """One message to one task.

    Attributes:
        task: The task's name.
        id: The run's identity: two deliveries with one id are duplicates of each other.
        kwargs: The task's arguments, as JSON.
        scheduled_time: When a schedule meant the run to happen.
        sent_at: When a producer sent it, or meant it to run (or the event it stands for happened).
        part: The part's number, in a run that was split into parts.

    Raises:
        Misfit: It has no time or no identity, or ones that cannot be used.
    """

    task: str
    id: str = ""
    kwargs: dict[str, Any] = field(default_factory=dict)
    scheduled_time: datetime | None = None
    sent_at: datetime | None = None
    part: int | None = None

    def __post_init__(self) -> None:
        if self.scheduled_time is None and self.sent_at is None:
            raise Misfit("neither scheduled_time nor sent_at is given")
        for name in ("scheduled_time", "sent_at"):
            _check(name, getattr(self, name))
        if not self.id:
            if self.scheduled_time is None:
                raise Misfit("id is missing")
            object.__setattr__(self, "id", f"{self.task}@{iso(self.scheduled_time)}")
        if len(self.id) > LONGEST_ID:
            raise Misfit(f"id has {len(self.id)} characters, more than {LONGEST_ID}")
        if self.part is not None and not 0 <= self.part < MOST_PART:
            raise Misfit("part: it is no number of a part")

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> "Message":
        """The message that a body's content is.

        Raises:
            Misfit: It is none.
        """
        return cls(**fitted(content, _FIELDS, required=("task",)))

    @property
    def logical_time(self) -> datetime:
        """The "now" of the run, in UTC."""
        time = self.scheduled_time or self.sent_at
        assert time is not None  # it would not have been made
        return time.astimezone(UTC)

    @property
    def trial(self) -> str | None:
        """The trial whose message it is; None where it is the network's."""
        return trials.of(self.id)

    def content(self) -> dict[str, Any]:
        """The message as JSON values; what is not given is left out."""
        given = {name: value for name in _FIELDS if (value := getattr(self, name)) is not None}
        return {name: iso(value) if isinstance(value, datetime) else value for name, value in given.items()}

    def to_json(self) -> str:
        """The message as the body that travels.

        Raises:
            ValueError: An argument holds a number that is none.
        """
        return json.dumps(self.content(), ensure_ascii=False, allow_nan=False)

    def for_part(self, number: int | None) -> "Message":
        """The same run's message for one of its parts, or, without a number, for the whole of it."""
        return replace(self, part=number)


_FIELDS: Mapping[str, Any] = {
    "task": str,
    "id": str,
    "kwargs": dict[str, Any],
    "scheduled_time": datetime | None,
    "sent_at": datetime | None,
    "part": int | None,
}
MOST_PART = 10**60
"""What a part's number lies below: after ten splits of splits it has 53 digits."""


def fitted(content: Mapping[str, Any], types: Mapping[str, Any], required: Collection[str]) -> dict[str, Any]:
    """Values by their names, each as its type says, with nothing turned into something else.

    A type is what `msgspec` knows, such as `Annotated[int, msgspec.Meta(ge=1)]`; a function in an `Annotated` is
    called with the value, and raises a ValueError for one that does not fit.

    Raises:
        Misfit: One is missing, unknown, or not of its type.
    """
    found, faults = {}, [(name, "Field required") for name in required if name not in content]
    for name, value in content.items():
        if name not in types:
            faults.append((name, "Extra inputs are not permitted"))
            continue
        try:
            found[name] = msgspec.convert(value, types[name])
            _check_said(types[name], value)
        except ValueError as error:
            faults.append((name, str(error)))
    if faults:
        told = [f"{shortened(str(name), LONGEST_FIELD)}: {why}" for name, why in faults[:MOST_FAULTS]]
        more = len(faults) - len(told)
        raise Misfit("; ".join([*told, f"and {more} more faults"] if more else told))
    return found


def _check_said(annotation: Any, value: Any) -> None:
    """Call the functions in an `Annotated` with the value, or with each of a list's, that they are said of."""
    inner = get_args(annotation)
    if value is None:
        return
    if said := getattr(annotation, "__metadata__", None):
        inner = inner[:1]
        for check in filter(callable, said):
            check(value)
    for each in inner:
        for item in value if get_origin(annotation) is list else (value,):
            _check_said(each, item)


def said_of(annotation: Any) -> list[Any]:
    """What `Annotated` says of a type beside the type, wherever in it that stands."""
    own = getattr(annotation, "__metadata__", ())
    return [*own, *(more for inner in get_args(annotation) if inner not in own for more in said_of(inner))]


def _check(name: str, time: datetime | None) -> None:
    """Refuse a time that cannot be reckoned with, or that UTC does not know."""
    if time is None:
        return
    if time.utcoffset() is None:
        raise Misfit(f"{name} has no time zone")
    try:
        year = time.astimezone(UTC).year
    except OverflowError:
        year = 0
    if not FIRST_YEAR <= year <= LAST_YEAR:
        raise Misfit(f"{name} {time.isoformat()} is not in the years {FIRST_YEAR} to {LAST_YEAR}")


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
    """A body's JSON. Numbers that are none, and halves of surrogate pairs, are no JSON; nor is what is nested too deep.

    Raises:
        ValueError: It is none.
    """
    try:
        content = msgspec.json.decode(body.encode("utf-8", "surrogatepass"))
    except RecursionError:
        content = None
    else:
        if not _is_deeper(content, DEEPEST):
            return content
    raise ValueError(f"it is nested deeper than {DEEPEST} levels")


def _is_deeper(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels < 0 or any(_is_deeper(each, levels - 1) for each in inner)


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
        message = Message.of(content)
    except Misfit as error:
        raise InvalidMessage(str(error)) from error
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
    trial = trials.of(key.removeprefix("posts/"))
    return Message(
        task=task,
        id=_of_trial(trial, f"{sortable(time)}-{identity}"),
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
        trial = None
        match event["detail"]:
            case {"mail": {"destination": [str(address)]}}:
                trial = trials.of_address(address)
        return Message.of(
            {"task": task, "id": _of_trial(trial, event["id"]), "kwargs": kwargs, "sent_at": event["time"]}
        )
    except KeyError as error:
        raise InvalidMessage(f"not an EventBridge event: {error} is missing") from error


def _of_trial(trial: str | None, identity: Any) -> Any:
    """The id of an event's message, which bears the name of the trial that the event is about."""
    return f"{trial}-{identity}" if trial else identity
