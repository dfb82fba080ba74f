"""What a task is made of, and where each piece goes. `backbeat new task` writes them all."""

import ast
import re
from functools import cache
from typing import Any

import pytest
from support import ROOT, logical_name, written

from backbeat.producer import Task
from backbeat.tasks import TASKS
from backbeat_ops.schedules import in_words

NO_TASKS = {"unsubscribe"}
"""Functions that answer a request instead of a queue."""
EVENTS = ("typical", "duplicate", "poison")


def rows() -> dict[str, dict[str, Any]]:
    """The rows of the template's table of tasks, by what their logical ids begin with."""
    found: dict[str, dict[str, Any]] = written()["Mappings"]["Tasks"]
    return found


def listed(page: str, heading: str) -> dict[str, str]:
    """The tasks in a page's table, each with what stands in the column before its name."""
    table = (ROOT / "docs" / page).read_text("utf-8").partition(heading)[2].partition("\n\n")[0]
    return {task: before for before, task in re.findall(r"^\| (.+?) \| `(\w+)` \|", table, re.MULTILINE)}


@cache
def names() -> list[str]:
    """Whatever is named as a task somewhere."""
    folders = [f.name for kind in ("functions", "events") for f in (ROOT / kind).iterdir() if any(f.glob("*.*"))]
    pages = [*listed("architecture.md", "| class | "), *listed("schedules.md", "| schedule (UTC) | ")]
    return sorted({*TASKS, *(row["Name"] for row in rows().values()), *folders, *pages} - NO_TASKS)


@cache
def lacking(name: str) -> tuple[str, ...]:
    """What a task lacks, each with the file where it goes."""
    logical, resources, lists = logical_name(name), written()["Resources"], written()["Metadata"]["Lists"]
    row = rows().get(logical, {})
    task = TASKS.get(name)
    task_class = task.task_class if task else row.get("Class", "?")
    cron = row.get("Cron")
    events = {path.stem for path in (ROOT / "events" / name).glob("*.json")}
    pieces = {
        "layers/shared/backbeat/tasks.py: its declaration": task is not None,
        f"functions/{name}/{name}.py: its function": (ROOT / "functions" / name / f"{name}.py").is_file(),
        f"tests/unit/test_{name}.py: its tests": (ROOT / f"tests/unit/test_{name}.py").is_file(),
        "template.yaml, Mappings, Tasks: its row": bool(row),
        "template.yaml, Metadata, Lists, Tasks: its name": logical in lists["Tasks"],
        "template.yaml, Metadata, Lists, SentByRoles: its name, or a queue policy of its own": (
            (logical in lists["SentByRoles"]) != (f"{logical}QueuePolicy" in resources)
        ),
        "template.yaml, Metadata, Lists, Scheduled: its name, as its row has a Cron": (
            not cron or logical in lists["Scheduled"]
        ),
        "template.yaml, Mappings, Tasks: the Cron of its row, as Scheduled names it": (
            bool(cron) or logical not in lists["Scheduled"]
        ),
        f"template.yaml, class {task_class}: {logical}Function": f"{logical}Function" in resources,
        f"template.yaml, class {task_class}: {logical}Policy": f"{logical}Policy" in resources,
        **{f"events/{name}/{event}.json: `backbeat new event {name}`": event in events for event in EVENTS},
        f"docs/architecture.md, the tasks: | {task_class} | `{name}` | what it does |": (
            listed("architecture.md", "| class | ").get(name) == task_class
        ),
    }
    when = in_words(cron) if cron else None
    pieces[f"docs/schedules.md, what runs when: {f'| {when} | `{name}` |' if when else 'no line'}"] = (
        listed("schedules.md", "| schedule (UTC) | ").get(name) == when
    )
    return tuple(piece for piece, is_there in pieces.items() if not is_there)


def complete() -> dict[str, Task[Any]]:
    """The tasks that lack nothing: what else holds of tasks is looked at in these, as one test names the others."""
    return {name: task for name, task in TASKS.items() if not lacking(name)}


def functions() -> list[str]:
    """The logical ids of the functions of these tasks, and of those that are no tasks."""
    return [f"{logical_name(name)}Function" for name in (*complete(), *sorted(NO_TASKS))]


whole = pytest.mark.skipif(any(map(lacking, names())), reason="a task lacks what `test_a_task_lacks_nothing` says")
"""For a test that looks at everything at once."""


def in_parts(task: Task[Any]) -> bool:
    """Whether a task's runs are made in parts."""
    source = (ROOT / "functions" / task.name / f"{task.name}.py").read_text("utf-8")
    nodes = ast.walk(ast.parse(source))
    imported = [
        a.name for n in nodes if isinstance(n, ast.ImportFrom) and n.module == "backbeat.sweeps" for a in n.names
    ]
    return "in_parts" in imported
