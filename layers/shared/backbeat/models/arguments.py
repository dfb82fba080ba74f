"""What every method of the models asks of its arguments, so that nothing is written by halves."""

import functools
import inspect
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

LONGEST_ID = 1_024
"""Bytes of an id in UTF-8: what DynamoDB takes as a sort key."""
_ROOM = timedelta(days=400)
"""What times are reckoned with on both sides; the calendar ends with the year 9999."""


class InvalidArgument(TypeError, ValueError):
    """An argument of a method is nothing that a row can hold; the text names it. Nothing was written."""


def checked(method: Callable[P, R]) -> Callable[P, R]:
    """Refuse arguments that no row can hold, before anything is written.

    An id is a text that is not empty; a text holds no half of a surrogate pair; a time has an offset from UTC.

    Raises:
        InvalidArgument: Of the method: one of its arguments is none of these.
    """
    signature = inspect.signature(method)

    @functools.wraps(method)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        for name, kind, value in _given(signature, args, kwargs):
            if (name.endswith("_id") or name in ("family", "survey")) and value is not None:
                _check_id(name, value)
            elif kind is datetime or isinstance(value, datetime):
                _check_time(name, value)
            elif kind is str or isinstance(value, str):
                _check_text(name, value)
        return method(*args, **kwargs)

    return wrapped


def _given(signature: inspect.Signature, args: Any, kwargs: Any) -> Iterator[tuple[str, Any, Any]]:
    """Each argument's name, its declared type, and its value."""
    for name, value in signature.bind(*args, **kwargs).arguments.items():
        parameter = signature.parameters[name]
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            yield from ((more, None, its) for more, its in value.items())
        else:
            yield name, parameter.annotation, value


def _check_text(name: str, value: Any) -> int:
    """Check a text; return its length in bytes."""
    if not isinstance(value, str):
        raise InvalidArgument(f"{name} must be a text, not {value!r}, which is of type {type(value).__name__}")
    try:
        return len(value.encode())
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"{name} {value!r} holds half of a surrogate pair, which is no character") from error


def _check_id(name: str, value: Any) -> None:
    if not 0 < _check_text(name, value) <= LONGEST_ID:
        raise InvalidArgument(f"{name} must have 1 to {LONGEST_ID:,} bytes in UTF-8, and is {value[:40]!r}")


def _check_time(name: str, value: Any) -> None:
    if not isinstance(value, datetime):
        raise InvalidArgument(f"{name} must be a datetime, not {value!r}, which is of type {type(value).__name__}")
    if value.utcoffset() is None:
        raise InvalidArgument(f"{name} must have a time zone, as datetime.now(UTC) has; {value.isoformat()} has none")
    try:
        in_utc = value.astimezone(UTC)
        if name in ("at", "created_at"):
            in_utc += _ROOM  # until what is written of it expires
    except OverflowError as error:
        raise InvalidArgument(f"{name} {value.isoformat()} is outside the years 1 to 9998 in UTC") from error
