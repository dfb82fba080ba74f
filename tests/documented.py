"""What docs/backbeat.schema.json says of each command's answer, for tests that hold answers to it."""

import json
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator
from support import ROOT


def _closed(schema: Any) -> Any:
    """A schema that takes no field beside its own, but where it says that it does."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _closed(value) for name, value in schema.items()}
    return {"additionalProperties": False, **found} if isinstance(schema.get("properties"), dict) else found


@cache
def documented() -> dict[str, Draft202012Validator]:
    """A validator for each command, by its name such as `dead list`, that takes no field that is not documented."""
    schema = _closed(json.loads((ROOT / "docs/backbeat.schema.json").read_text("utf-8")))
    return {
        name: Draft202012Validator({"$defs": schema["$defs"], **answer}) for name, answer in schema["commands"].items()
    }
