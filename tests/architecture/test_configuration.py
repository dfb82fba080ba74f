"""docs/configuration.md has every setting that there is, with its true default, and none that there is not."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from support import ROOT, function_environment, resources, template

PAGE = (ROOT / "docs/configuration.md").read_text("utf-8")
FOLDERS = ("backbeat_ops", "backbeat_django", "backbeat_testing", "layers/shared/backbeat", "functions")
OF_OTHERS = {"EDITOR", "NO_COLOR", "COLUMNS", "PORT", "ONCE", "AWS_REGION", "CAPABILITY_NAMED_IAM", "BACKBEAT"}
"""What click and rich read, the Makefile's words, boto3's own, and what is no variable."""


def read(path: Path) -> Iterator[str]:
    """The environment variables that a file names where it reads them."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        match node:
            case ast.Call(func=ast.Attribute(attr="get" | "pop") as called, args=[ast.Constant(value=str(name)), *_]):
                if ast.unparse(called.value).endswith("environ"):
                    yield name
            case ast.Subscript(slice=ast.Constant(value=str(name))) if ast.unparse(node.value).endswith("environ"):
                yield name
            case ast.keyword(arg="envvar", value=ast.Constant(value=str(name))):
                yield name


def known() -> set[str]:
    of_code = {name for folder in FOLDERS for path in (ROOT / folder).rglob("*.py") for name in read(path)}
    of_functions = {
        name for function in resources("AWS::Serverless::Function") for name in function_environment(function)
    }
    return of_code | of_functions


def test_every_variable_is_there_and_no_other() -> None:
    named = set(re.findall(r"`([A-Z][A-Z0-9_]{3,})(?:=[^`]*)?`", PAGE)) - {"ENABLED", "DISABLED"}
    assert named - OF_OTHERS == known() - OF_OTHERS


def test_every_parameter_is_there_with_its_default_and_no_other() -> None:
    section = PAGE.split("## The template's parameters")[1].split("## A task's row")[0]
    shown = dict(re.findall(r"^\| `(\w+)` \| (.+?) \| .+ \|$", section, re.MULTILINE))
    defaults = {
        name: "none: it must be given"
        if "Default" not in of
        else f"`{of['Default']}`"
        if of["Default"] != ""
        else "empty"
        for name, of in template()["Parameters"].items()
    }
    assert shown == defaults


def test_every_column_of_the_table_of_tasks_is_there() -> None:
    section = PAGE.split("## A task's row")[1].split("## samconfig.toml")[0]
    columns = {name for row in template()["Mappings"]["Tasks"].values() for name in row} - {"Name", "Class"}
    assert columns <= set(re.findall(r"`(\w+)`", section))


def test_every_setting_of_samconfig_is_there() -> None:
    section = PAGE.split("## samconfig.toml")[1].split("## Environment variables")[0]
    config = tomllib.loads((ROOT / "samconfig.toml").read_text("utf-8"))
    stages = [stage for stage in config.values() if isinstance(stage, dict)]
    settings = {name for stage in stages for command in stage.values() for name in command["parameters"]} | {"version"}
    assert settings == set(re.findall(r"`(\w+)`", re.sub(r"\|[^|]*\|$", "", section, flags=re.MULTILINE))) - {
        "local",
        "dev",
        "prod",
    }
