"""Now: the verdict, the six classes as streams, and the last runs as a timeline."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.requests import Request

from backbeat import ledger
from backbeat.producer import PRIORITIES
from backbeat.tasks import TASKS
from backbeat_ops import runs, status
from backbeat_ops.console import views
from backbeat_ops.stack import Stack

CLASSES = tuple(sorted(PRIORITIES, key=lambda name: -PRIORITIES[name]))
SPANS = {"15m": timedelta(minutes=15), "1h": timedelta(hours=1), "6h": timedelta(hours=6), "24h": timedelta(days=1)}
RUNS_OF_A_TASK = 60
READERS = 6


def last_runs(limit: int = RUNS_OF_A_TASK) -> list[dict[str, Any]]:
    """The last runs of every task, the newest first."""
    with ThreadPoolExecutor(READERS) as pool:
        found = [run for of_task in pool.map(lambda task: runs.recent(task, limit), TASKS) for run in of_task]
    found += runs.not_recorded(found)
    return [runs.shown(run) for run in sorted(found, key=lambda run: run.started, reverse=True)]


def in_the_hour(task: str, found: Sequence[dict[str, Any]], now: datetime) -> int:
    """How many runs of a task started in the last hour; the ledger counts those that `found`, its last ones, lacks."""
    own = [datetime.fromisoformat(run["started"]) for run in found if run["task"] == task]
    since = now - timedelta(hours=1)
    recent = sum(started >= since for started in own)
    return recent if recent < RUNS_OF_A_TASK else max(recent, ledger.started_since(task, since))


def verdict(found: dict[str, Any], busy: int) -> tuple[str, list[str], str]:
    """How the stack fares: in a sentence, what else is to be said, and the colour.

    Args:
        found: The verdict, as `backbeat_ops.status` has it.
        busy: How many messages wait or are at work.
    """
    first, *others = [said[:1].upper() + said[1:].partition(": `")[0] for said in found["wrong"]] or [None]
    if first:
        return f"{first}.", [*others, *found["known"]], "bad"
    says = (
        f"All is well: {busy:,} message{'s' if busy > 1 else ''} on the way." if busy else "All is well, all is quiet."
    )
    return says, found["known"], "warn" if found["known"] else "good"


def context(request: Request) -> dict[str, Any]:
    """What the page shows."""
    stack: Stack = request.app.state.stack
    now = datetime.now(UTC)
    whole = status.status(stack, causes=False)
    tasks = whole["tasks"]
    found = last_runs()
    busy = sum(task["waiting"] + task["in_flight"] for task in tasks.values())
    says, others, colour = verdict(whole["verdict"], busy)
    lanes = []
    for name in CLASSES:
        own = {task: of for task, of in tasks.items() if of["class"] == name}
        ended = [run for run in found if run["class"] == name and run["duration_ms"] is not None]
        lanes.append(
            {
                "name": name,
                "priority": PRIORITIES[name],
                "tasks": own,
                "waiting": sum(task["waiting"] for task in own.values()),
                "busy": sum(task["in_flight"] for task in own.values()),
                "dead": sum(task["dead"] for task in own.values()),
                "oldest": max(
                    (task["oldest_s"] for task in own.values() if task["oldest_s"] is not None), default=None
                ),
                "paused": [task for task, of in own.items() if of["paused"]],
                "hour": sum(in_the_hour(task, found, now) for task in own),
                "ticks": [(run["outcome"], run["duration_ms"]) for run in reversed(ended[:24])],
            }
        )
    return {
        "title": "Now",
        "verdict": says,
        "others": others,
        "colour": colour,
        "lanes": lanes,
        "most": max((lane["waiting"] for lane in lanes), default=0),
        "runs": found,
        "classes": CLASSES,
        "spans": SPANS,
        "now": now,
    }


def span(request: Request) -> dict[str, Any]:
    """How far back the last runs are shown."""
    name = request.query_params.get("span", "1h")
    name = name if name in SPANS else "1h"
    return {"span": name, "back": SPANS[name]}


ROUTES = views.page("/", "now.html", context, live=True, choices=span)
