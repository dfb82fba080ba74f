"""Runs, and one run with all that is known of it."""

import os
import subprocess
import sys
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from backbeat.tasks import TASKS
from backbeat_ops import mail, onerun, runs
from backbeat_ops.console import views
from backbeat_ops.console.pages import now, tasks

SHOWN = 100
MOST_OF_ONE, MOST_OF_EACH = 1_000, 200
"""Runs that are listed of a task that was chosen, and of each where none was."""
OUTCOMES = ("failed", "succeeded", "retrying", "running", "skipped")
SECONDS_TO_REPLAY = 300
BAD = ("rejected", "dead", "incomplete")


def context(request: Request) -> dict[str, Any]:
    """What the list shows."""
    task, outcome = request.query_params.get("task", ""), request.query_params.get("outcome", "")
    if task:
        recent = runs.recent(runs.the_task(task).name, MOST_OF_ONE, days=7)
        found = [runs.shown(run) for run in [*runs.not_recorded(recent, task), *recent]]
        more = len(recent) == MOST_OF_ONE
    else:
        found = now.last_runs(MOST_OF_EACH)
        more = MOST_OF_EACH in Counter(run["task"] for run in found).values()
    if outcome:
        wanted = BAD if outcome == "failed" else ("running", "in parts") if outcome == "running" else (outcome,)
        found = [run for run in found if run["outcome"] in wanted]
    return {
        "title": "Runs",
        "page": views.paged(request, found, SHOWN),
        "more": more,
        "task": task,
        "outcome": outcome,
        "tasks": sorted(TASKS),
        "outcomes": OUTCOMES,
    }


def one(request: Request) -> dict[str, Any]:
    """What the page of one run shows."""
    run_id = request.query_params.get("id", "")
    try:
        found = onerun.look(request.app.state.stack, run_id, datetime.now(UTC))
    except LookupError:
        if not run_id or run_id.endswith("?"):
            raise
        return {"title": run_id, "one": None, "run_id": run_id}
    task = TASKS.get(found.run["task"])
    return {
        "title": found.run["run_id"],
        "run_id": run_id,
        "one": found,
        "attempts": [asdict(attempt) for attempt in found.attempts],
        "fields": {field["name"]: field for field in tasks.fields(task)} if task else {},
    }


def again(request: Request, form: dict[str, Any]) -> Response:
    """Make a run again, with other arguments where they are given."""
    run = onerun.find(str(form.get("id") or ""), datetime.now(UTC).date())
    task = runs.the_task(run.task)
    at = tasks.time_of(str(form["at"])) if form.get("at") else None
    kwargs = runs.arguments_given(task, _given(form))
    most = mail.most_mailed_by([onerun.message_of(run, kwargs, at or run.logical_time)])
    if question := views.ask_before_mailing(request, form, most):
        return question
    message = onerun.again(request.app.state.stack, run, kwargs, at)
    return views.html(request, "tasks_sent.html", run_id=message.id, task=task.name)


def _given(form: dict[str, Any]) -> list[str]:
    """What a form gives of the arguments that the ledger does not keep, as `key=value`."""
    return [f"{name[4:]}={value}" for name, value in form.items() if name.startswith("arg-") and value]


def replay(request: Request, form: dict[str, Any]) -> Response:
    """Replay a run in a process of its own, in which nothing is written; show what came of it."""
    run_id, name = str(form.get("id") or ""), request.app.state.stack.name
    program = [sys.executable, "-c", "from backbeat_ops.cli import main; main()"]
    command = [*program, "--stack", name, "replay", "--", run_id, *_given(form)]
    try:
        done = subprocess.run(
            command,
            env={**os.environ, "COLUMNS": "100", "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS_TO_REPLAY,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"The replay has not ended within {SECONDS_TO_REPLAY} s, and was stopped.") from None
    return views.html(request, "run_replayed.html", said=(done.stdout + done.stderr).strip(), failed=done.returncode)


ROUTES = [
    *views.page("/runs", "runs.html", context, live=True),
    *views.page("/runs/one", "run.html", one, live=True),
    views.action("/runs/again", again),
    views.action("/runs/replay", replay),
]
