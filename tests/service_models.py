"""What AWS accepts, enforced in every test: each call is held to botocore's model of its service.

botocore itself checks types, required and unknown members and lower bounds, and none of them for PynamoDB, which
switches it off. Neither it nor moto nor the local cloud checks patterns, upper bounds and enumerations.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from unittest.mock import patch

import regex
from botocore.client import BaseClient
from botocore.model import OperationModel, Shape
from botocore.validate import ParamValidator


@contextmanager
def enforced() -> Iterator[list[str]]:
    """Collect what the calls that are made meanwhile ask for and AWS would refuse."""
    refused: list[str] = []
    convert = BaseClient._convert_to_request_dict  # with the parameters as they go out, those that botocore adds too

    def checked(
        self: BaseClient, api_params: dict[str, Any], operation_model: OperationModel, *rest: Any, **named: Any
    ):
        refused.extend(refusals(operation_model, api_params))
        return convert(self, api_params, operation_model, *rest, **named)

    with patch.object(BaseClient, "_convert_to_request_dict", checked):
        yield refused


def refusals(operation: OperationModel, parameters: dict[str, Any]) -> list[str]:
    """What a service's model does not allow in the parameters of a call, a sentence each."""
    shape = operation.input_shape
    if shape is None:
        return []
    where = f"{operation.service_model.service_name}.{operation.name}"
    report = ParamValidator().validate(parameters, shape)
    if report.has_errors():
        return [f"{where}: {line}" for line in report.generate_report().splitlines()]
    return [f"{where}: {text}" for text in _beyond(shape, parameters, operation.name)]


def _beyond(shape: Shape, value: Any, name: str) -> Iterator[str]:
    """What botocore does not check of a value whose type it has checked."""
    kind, most = shape.type_name, shape.metadata.get("max")
    if kind == "structure":
        if not getattr(shape, "is_document_type", False):
            for member, given in value.items():
                yield from _beyond(shape.members[member], given, f"{name}.{member}")  # type: ignore[attr-defined]
    elif kind == "map":
        for key, given in value.items():
            yield from _beyond(shape.key, key, f"the key {key!r} of {name}")  # type: ignore[attr-defined]
            yield from _beyond(shape.value, given, f"{name}[{key!r}]")  # type: ignore[attr-defined]
    elif kind == "list":
        for number, given in enumerate(value):
            yield from _beyond(shape.member, given, f"{name}[{number}]")  # type: ignore[attr-defined]
    if most is not None and isinstance(value, int | float) and value > most:
        yield f"{name} is {value}, over {most}"
    if most is not None and isinstance(value, str | bytes | list | dict) and len(value) > most:
        yield f"{name} has {len(value)} characters or items, over {most}"
    if kind == "string":
        allowed, expected = shape.metadata.get("enum"), pattern(shape)
        if allowed and value not in allowed:
            yield f"{name} is {value!r}, none of {', '.join(allowed)}"
        if expected is not None and not expected.fullmatch(value):
            yield f"{name} is {value!r}, which {expected.pattern} does not match"


def pattern(shape: Shape) -> Any:
    """The compiled pattern of a string, or None where it has none, or one that only Java understands.

    They are Java's, so `regex` stands in for `re`: it knows `\\p{L}`. A class such as `\\w` means ASCII there.
    """
    text = shape.metadata.get("pattern")
    return None if text is None else _compiled(text)


@cache
def _compiled(text: str) -> Any:
    try:
        return regex.compile(text, 0 if r"\p{" in text else regex.ASCII)
    except regex.error:
        return None
