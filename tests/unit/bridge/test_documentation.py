"""The page on Django shows what the code takes."""

import re
from typing import Any

import pytest
from django.core.management import get_commands, load_command_class
from support import ROOT

from backbeat_django.mapping import OWN, SHAPES, read

PAGE = (ROOT / "docs/django.md").read_text("utf-8")
MIGRATING = (ROOT / "docs/migrating-from-celery.md").read_text("utf-8")


def test_the_settings_shown_are_understood(db: None) -> None:
    (shown,) = re.findall(r"^BACKBEAT = (\{.*?^\})", PAGE, re.MULTILINE | re.DOTALL)
    given: dict[str, Any] = eval(shown)
    ours = {"posts": "network", "accounts": "network"}
    for spec in given.values():
        if isinstance(spec, dict):
            app, _, model = spec["model"].partition(".")
            spec["model"] = f"{ours[app]}.{model}"
    names = {"content": "text", "user": "member", "following": "followed"}
    for kind, spec in given.items():
        if isinstance(spec, dict):
            given[kind] = {name: names.get(path, path) for name, path in spec.items()}
    assert read(given)[1] == []


def test_every_kind_and_field_is_described() -> None:
    for name, shape in SHAPES.items():
        assert f"`{name}`" in PAGE
        missing = [each for each in (*shape.needed, *shape.optional, *shape.results) if f"`{each}`" not in PAGE]
        assert missing == [], name
    assert [name for name in OWN if f'"{name}"' not in PAGE] == []


@pytest.mark.parametrize("page", [PAGE, MIGRATING], ids=["django", "migrating"])
def test_every_command_and_option_is_there(page: str) -> None:
    called = re.findall(r"manage\.py (backbeat_\w+)((?: --[a-z]+| \w+)*)", page)
    assert called
    for name, rest in called:
        assert get_commands()[name] == "backbeat_django"
        parser = load_command_class("backbeat_django", name).create_parser("manage.py", name)
        known = {option for action in parser._actions for option in action.option_strings}
        assert set(re.findall(r"--[a-z]+", rest)) <= known


def test_every_command_is_described() -> None:
    assert [name for name, app in get_commands().items() if app == "backbeat_django" and name not in PAGE] == []
