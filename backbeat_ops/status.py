"""How a stack fares: what waits and since when, what is at work, what is dead and why, how each task ran last."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from backbeat import ledger
from backbeat.aws import sqs
from backbeat.producer import PRIORITIES
from backbeat.tasks import TASKS
from backbeat_ops import age, capacity, dead, pausing, runs
from backbeat_ops.stack import Stack

SPAN = timedelta(minutes=1)
"""Of how long the rate is: runs that started within it."""
ON, PAUSED, OFF, MISSING = "on", "paused", "off", "missing"
"""How it is with what takes from a queue: on, off by `backbeat pause`, off by somebody else, or not there."""


def status(stack: Stack, *, causes: bool = True) -> dict[str, Any]:
    """All that any AWS client needs to find its way about a stack, and how each task fares.

    Args:
        stack: The stack, with this process pointed at it.
        causes: Whether to say what letters are dead for, which holds each of them for as long as it takes to look.
    """
    described, now = stack.describe(), datetime.now(UTC)
    flights, paused, mappings = ledger.in_flight(), pausing.paused(stack), pausing.mappings(stack)

    def look(item: tuple[str, dict[str, Any]]) -> None:
        name, task = item
        task["waiting"], task["in_flight"] = depth(task["queue_url"])
        oldest = age.oldest(stack.name, task["queue"], now) if task["waiting"] else None
        task["oldest_s"] = None if oldest is None else round(oldest.total_seconds())
        task["at_work"] = [runs.at_work(flight, now) for flight in flights if flight.task == name]
        task["dead"] = sum(depth(task["dead_queue_url"]))
        task["causes"] = dead.causes(dead.look([name])) if causes and task["dead"] else []
        task["paused"] = paused[name].shown() if name in paused else None
        task["consumer"] = _consumer(mappings.get(name), name in paused)
        task["rate_per_minute"] = ledger.started_since(name, now - SPAN)
        last = next(iter(runs.recent(name, 1)), None)
        task["last_run"] = last and runs.shown(last)

    with ThreadPoolExecutor(dead.READERS) as pool:
        list(pool.map(look, described["tasks"].items()))
    late = any(task["oldest_s"] for task in described["tasks"].values())
    allowed = {name: each.late_s for name, each in capacity.configured(stack).items()} if late else {}
    described["classes"] = list(_classes(described["tasks"]))
    described["verdict"] = verdict(described["tasks"], allowed)
    described["verdict"]["known"] += [
        *(
            f"{name} is declared in your files, and not deployed to the stack"
            for name in TASKS
            if name not in described["tasks"]
        ),
        *(
            f"{name} is in the stack and not in your files, which are older: see it with newer ones"
            for name in stack.undeclared()
        ),
    ]
    return described


def verdict(tasks: dict[str, dict[str, Any]], allowed: dict[str, int]) -> dict[str, Any]:
    """Whether all is well: `ok`, what is wrong (`wrong`, each with what to type), and what is not but has to be known.

    Args:
        tasks: The tasks, as `status` has them.
        allowed: How many seconds the oldest message of a task may wait.
    """
    wrong, known = [], []
    for name, task in tasks.items():
        if task["dead"]:
            is_dead = "message is" if task["dead"] == 1 else "messages are"
            wrong.append(f"{task['dead']:,} {is_dead} dead of {name}: `backbeat dead --task {name}`")
        if task["consumer"] in (OFF, MISSING):
            off = "its mapping is off" if task["consumer"] == OFF else "it has no mapping"
            wrong.append(f"nothing takes from the queue of {name}, as {off}: `backbeat doctor`")
        late = task["oldest_s"] is not None and name in allowed and task["oldest_s"] > allowed[name]
        if late and task["consumer"] != PAUSED:
            wrong.append(f"{name} is late by {span(task['oldest_s'] - allowed[name])}: `backbeat capacity`")
        if task["paused"]:
            since, until = task["paused"]["since"], task["paused"]["until"]
            known.append(f"{name} is paused since {since} until {until}: `backbeat resume {name}`")
        if any(work["silent"] for work in task["at_work"]):
            known.append(f"a worker of {name} gives no sign of life; its message comes back by itself")
    return {"ok": not wrong, "wrong": wrong, "known": known}


def span(seconds: float) -> str:
    """How long something takes, in one unit: `5m`."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f}{unit}"
    return f"{max(seconds, 0):.0f}s"


def depth(url: str) -> tuple[int, int]:
    """How many of a queue's messages wait, and how many are being worked on or wait for a retry."""
    got = sqs().get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return int(got["ApproximateNumberOfMessages"]), int(got["ApproximateNumberOfMessagesNotVisible"])


@dataclass(frozen=True, slots=True)
class Progress:
    """How work goes on, from several looks.

    Attributes:
        left: How many messages wait or are at work.
        most: How many those were at the most.
        per_second: By how many they became fewer in a second, since they were the most.
        seconds_left: How long that takes to the end; None where they do not become fewer.
    """

    left: int
    most: int
    per_second: float
    seconds_left: float | None

    @property
    def share(self) -> float:
        """Which share is done, from 0 to 1."""
        return 1 - self.left / self.most if self.most else 1.0


def progress(looks: Sequence[tuple[float, int]]) -> Progress:
    """How work goes on.

    Args:
        looks: When each look was, in seconds, and how many were left; the last one is the newest.
    """
    most = max(left for _, left in looks)
    since = max(at for at, left in looks if left == most)
    now, left = looks[-1]
    per_second = (most - left) / (now - since) if now > since else 0.0
    return Progress(left, most, per_second, left / per_second if per_second > 0 else None)


def _consumer(mapping: Any, is_paused: bool) -> str:
    if mapping is None:
        return MISSING
    if mapping["State"] not in pausing.OFF:
        return ON
    return PAUSED if is_paused else OFF


def _classes(tasks: dict[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """What waits, is at work and is dead of each class, the most important first."""
    for name, priority in PRIORITIES.items():
        own = [task for each, task in tasks.items() if TASKS[each].task_class == name]
        ages = [task["oldest_s"] for task in own if task["oldest_s"] is not None]
        sums = {key: sum(task[key] for task in own) for key in ("waiting", "in_flight", "dead", "rate_per_minute")}
        yield {"class": name, "priority": priority, **sums, "oldest_s": max(ages, default=None)}
