"""Tasks: how each fares, and a form to run one, made from its signature."""

import inspect
import json
import typing
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from backbeat.messages import FIRST_YEAR, LAST_YEAR
from backbeat.producer import PRIORITIES, Task
from backbeat.tasks import TASKS
from backbeat_ops import localcloud, mail, runs, schedules, status
from backbeat_ops.console import views
from backbeat_ops.stack import Stack

LOOKED_AT = 100
"""Runs of a task that its figures are of, the last ones."""
READERS = 6


def context(request: Request) -> dict[str, Any]:
    """What the list shows."""
    found = status.status(request.app.state.stack, causes=False)["tasks"]
    names = sorted(found, key=lambda name: (-PRIORITIES[TASKS[name].task_class], name))
    with ThreadPoolExecutor(READERS) as pool:
        recent = dict(zip(names, pool.map(lambda name: runs.recent(name, LOOKED_AT, days=7), names), strict=True))
    totals = schedules.counts(datetime.now(UTC))
    rows = [{"name": name, **found[name], **figures(recent[name], totals.get(name, {}))} for name in names]
    return {"title": "Tasks", "tasks": rows}


def figures(recent: list[Any], totals: dict[str, int]) -> dict[str, Any]:
    """A task's success, its durations and their course, of its last runs and the week's totals."""
    took = [int(run.duration_ms) for run in recent if run.duration_ms is not None and run.outcome != "skipped"]
    ordered = sorted(took)
    good, bad = totals.get("succeeded", 0), totals.get("rejected", 0) + totals.get("dead", 0)
    return {
        "totals": totals,
        "runs": sum(number for name, number in totals.items() if name != "retrying"),
        "success": good / (good + bad) if good + bad else None,
        "p50": runs.percentile(ordered, 50),
        "p95": runs.percentile(ordered, 95),
        "course": list(reversed(took[:40])),
    }


def one(request: Request) -> dict[str, Any]:
    """What the page of one task shows."""
    task = runs.the_task(request.path_params["name"])
    recent = runs.recent(task.name, LOOKED_AT, days=7)
    stack: Stack = request.app.state.stack
    stack.task(task.name)
    found = status.status(stack, causes=False)["tasks"][task.name]
    return {
        "title": task.name,
        "task": found | {"name": task.name, "doc": inspect.getdoc(task) or ""},
        "words": (task.__doc__ or "").strip().split("\n")[0],
        "fields": fields(task),
        "figures": figures(recent, schedules.counts(datetime.now(UTC)).get(task.name, {})),
        "recent": [runs.shown(run) for run in [*runs.not_recorded(recent, task.name), *recent][:30]],
        "ticks": [(run.outcome, int(run.duration_ms or 0)) for run in reversed(recent[:24])],
    }


def fields(task: Task[Any]) -> list[dict[str, Any]]:
    """What a form asks for to run a task: its parameters, each with its kind, its default and what is said of it."""
    told = _described(task.__doc__ or "")
    made = []
    for name, parameter in task.signature.parameters.items():
        needed = parameter.default is inspect.Parameter.empty
        made.append(
            {
                "name": name,
                "kind": _kind(parameter.annotation),
                "needed": needed,
                "default": None if needed else parameter.default,
                "says": told.get(name, ""),
            }
        )
    return made


def _kind(annotation: Any) -> str:
    """What a field of the form is: `check`, `number`, `json` or `text`."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _kind(typing.get_args(annotation)[0])
    choices = [choice for choice in typing.get_args(annotation) if choice is not type(None)]
    if typing.get_origin(annotation) not in (dict, list, typing.Literal, None) and choices:
        return _kind(choices[0])
    if annotation is bool:
        return "check"
    if annotation is int:
        return "number"
    return "json" if annotation is dict or typing.get_origin(annotation) in (dict, list) else "text"


def _described(doc: str) -> dict[str, str]:
    """What a docstring in Google's style says of each argument."""
    _, _, section = inspect.cleandoc(doc).partition("Args:\n")
    found: dict[str, str] = {}
    last = ""
    for line in section.splitlines():
        if not line.strip():
            break
        name, colon, rest = line.strip().partition(": ")
        if colon and line.startswith("    ") and not line.startswith("     "):
            found[name], last = rest, name
        elif last:
            found[last] += " " + line.strip()
    return found


def run_now(request: Request, form: dict[str, Any]) -> Response:
    """Put a new message for a task on its queue."""
    task = runs.the_task(request.path_params["name"])
    at = time_of(str(form.get("at") or ""), ahead=request.app.state.stack.name == localcloud.STACK)
    given = []
    for field in fields(task):
        value = str(form.get(field["name"]) or "")
        if field["kind"] == "check":
            value = json.dumps(bool(value))
        if value or field["needed"]:
            given.append(f"{field['name']}={value}")
    kwargs = runs.arguments(task, given)
    if question := views.ask_before_mailing(request, form, mail.most_mailed(task.name, kwargs, at)):
        return question
    message = runs.by_hand(request.app.state.stack.name, task, kwargs, at)
    return views.html(request, "tasks_sent.html", run_id=message.id, task=task.name)


def time_of(text: str, *, ahead: bool = False) -> datetime:
    """A time that an operator writes, in UTC where it has no zone; now where there is none.

    Raises:
        ValueError: It is none, or is still to come, which only the local cloud takes.
    """
    now = datetime.now(UTC)
    if not text.strip():
        return now
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"{text!r} is no time; write 2026-11-01T04:00.") from None
    at = at.astimezone(UTC) if at.utcoffset() is not None else at.replace(tzinfo=UTC)
    if not FIRST_YEAR <= at.year <= LAST_YEAR:
        raise ValueError(f"{text!r} is not in the years {FIRST_YEAR} to {LAST_YEAR}.")
    if at > now and not ahead:
        raise ValueError(f"{text!r} is still to come; only the local cloud runs a task as if at such a time.")
    return at


ROUTES = [
    *views.page("/tasks", "tasks.html", context, live=True),
    *views.page("/tasks/{name}", "task.html", one),
    views.action("/tasks/{name}/run", run_now),
]
