"""What this checkout would deploy: its template, and samconfig.toml."""

import tomllib
from functools import cache
from typing import Any

from backbeat_ops import localcloud
from backbeat_ops.stack import NotFound


@cache
def template() -> dict[str, Any]:
    """The template, read as `sam`, which stands beside the command, reads it.

    Raises:
        NotFound: This is no checkout.
        ImportError: `sam` is not in this environment.
    """
    from samtranslator.yaml_helper import yaml_parse  # only a machine that builds has it

    path = localcloud.ROOT / "template.yaml"
    if not path.exists():
        raise NotFound("there is no template.yaml here: run this in a checkout of the project.")
    found: dict[str, Any] = yaml_parse(path.read_text("utf-8"))
    return found


def samconfig(stack: str) -> dict[str, str]:
    """The parameters that samconfig.toml gives a stack.

    Raises:
        NotFound: It has none of that name.
    """
    config = tomllib.loads((localcloud.ROOT / "samconfig.toml").read_text("utf-8"))
    for stage in config.values():
        if isinstance(stage, dict) and stage.get("deploy", {}).get("parameters", {}).get("stack_name") == stack:
            given: str | list[str] = stage["global"]["parameters"]["parameter_overrides"]
            pairs = given.split() if isinstance(given, str) else given
            return dict(pair.split("=", 1) for pair in pairs)
    raise NotFound(f"samconfig.toml deploys no stack {stack!r}.")


def schedules(stack: str) -> dict[str, dict[str, str]]:
    """When each schedule would fire, and whether, if this checkout were deployed; by name.

    Raises:
        NotFound: This is no checkout, or it deploys no such stack.
        ImportError: `sam` is not in this environment.
    """
    known = template()
    given = {name: str(of.get("Default", "")) for name, of in known["Parameters"].items()} | samconfig(stack)
    return {
        row["Name"]: {
            "ScheduleExpression": row["Cron"],
            "ScheduleExpressionTimezone": "UTC",
            "State": given["ScheduleState"],
        }
        for row in known["Mappings"]["Tasks"].values()
        if "Cron" in row
    }
