"""How much a stack does, how long that takes, and whether what it may run at once is enough.

On AWS the figures are CloudWatch's, of every attempt; the local cloud has no metrics, so that they are worked out from
the ledger's last runs.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from math import ceil
from typing import Any

import boto3

from backbeat import ledger
from backbeat.producer import PRIORITIES
from backbeat_ops import age, localcloud, pausing
from backbeat_ops.deployed import Deployed
from backbeat_ops.stack import Stack

MOST_OF_A_DAY = 1_000
"""How many of a task's runs of a day are looked at in the ledger."""
NEAR = 0.8
"""The share of a function's time-out from which its slowest runs are too slow."""
LEAST_BUSY = 0.25
"""The share of what may run at once below which there is too much of it."""
QUERIES_IN_A_CALL = 500
"""Of GetMetricData ("GetMetricData")."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one task did in a stretch of time.

    Attributes:
        runs: How many attempts came to an end.
        busiest_hour: How many of them in the hour that had most.
        p50_ms: How long half of them took at the most, in milliseconds; None where there were none.
        p95_ms: The same of 95 in a hundred.
        at_once: How many ran at once, at the most; None where that is not known.
        oldest_s: For how many seconds a message has waited, at the most; None where that is not known.
        throttled: How often Lambda would not run one more; None where that is not known.
    """

    runs: int = 0
    busiest_hour: int = 0
    p50_ms: float | None = None
    p95_ms: float | None = None
    at_once: int | None = None
    oldest_s: float | None = None
    throttled: int | None = None


@dataclass(frozen=True, slots=True)
class Configured:
    """What a task is given.

    Attributes:
        at_once: How many of its invocations may run at once.
        timeout_s: How long one may take, in seconds.
        late_s: For how many seconds a message may wait before an alarm rings.
    """

    at_once: int
    timeout_s: int
    late_s: int


def advice(load: Load, configured: Configured, paused: bool = False) -> str:
    """What to do about it, in a sentence; the most pressing only."""
    most, used = configured.at_once, load.at_once or 0
    waits = load.oldest_s is not None and load.oldest_s > configured.late_s
    if paused:
        return "It is paused: its messages wait until `backbeat resume`, or until the pause ends."
    if load.throttled:
        return "Lambda throttled it: the account's own limit is too low, and `backbeat doctor` says what to ask for."
    if waits and used >= most:
        return f"Work waits for too long while all {most} are busy: a larger Capacity lets more run at once."
    if waits:
        return (
            f"Work waits for too long though only {used} of {most} are busy: `backbeat runs` says what is tried again."
        )
    if load.p95_ms is not None and load.p95_ms > NEAR * configured.timeout_s * 1000:
        return f"The slowest come near the time-out of {configured.timeout_s} s: give it more Memory or Timeout."
    if not load.runs:
        return "Nothing ran."
    if used >= most:
        return f"At times all {most} are busy, and nothing waits for too long: it is enough."
    if most > 2 and used <= LEAST_BUSY * most:
        return f"At most {used} of {most} are busy: a smaller Capacity would be enough for it."
    return "It is enough."


def capacity(stack: Stack, hours: int, now: datetime) -> dict[str, Any]:
    """Each class and task of a stack: what it did in the last hours, what it is given, and what to do about it."""
    known, given, paused = stack.tasks(), configured(stack), pausing.paused(stack)
    local = stack.name == localcloud.STACK
    loads = _of_the_ledger(stack, known, hours, now) if local else _of_cloudwatch(stack, known, hours, now)
    tasks = [
        {
            "task": name,
            "class": known[name]["class"],
            **asdict(loads[name]),
            "configured": asdict(given[name]),
            "advice": advice(loads[name], given[name], name in paused),
        }
        for name in sorted(known, key=lambda name: -PRIORITIES[known[name]["class"]])
    ]
    return {
        "stack": stack.name,
        "source": "ledger" if local else "CloudWatch",
        "hours": hours,
        "classes": [_of_class(task_class, tasks) for task_class in PRIORITIES],
        "tasks": tasks,
    }


def _of_class(task_class: str, tasks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    own = [task for task in tasks if task["class"] == task_class]
    waits = [task["oldest_s"] for task in own if task["oldest_s"] is not None]
    return {
        "class": task_class,
        "runs": sum(task["runs"] for task in own),
        "at_once": sum(task["at_once"] or 0 for task in own),
        "may_at_once": sum(task["configured"]["at_once"] for task in own),
        "oldest_s": max(waits, default=None),
    }


def configured(stack: Stack) -> dict[str, Configured]:
    """What each task is given: at once by its mapping, as it is, the rest by the template's table."""
    deployed, there = Deployed(stack), pausing.mappings(stack)
    rows = {row["Name"]: row for row in deployed.template["Mappings"]["Tasks"].values()}
    capacity = deployed.parameters["Capacity"]
    return {
        name: Configured(
            int(there.get(name, {}).get("ScalingConfig", {}).get("MaximumConcurrency") or rows[name][capacity]),
            int(rows[name]["Timeout"]),
            int(rows[name]["Late"]),
        )
        for name in stack.tasks()
    }


# ---- On the local cloud ----------------------------------------------------------------------------------------------


def _of_the_ledger(stack: Stack, known: dict[str, Any], hours: int, now: datetime) -> dict[str, Load]:
    since = now - timedelta(hours=hours)
    days = [since.date() + timedelta(days=day) for day in range((now.date() - since.date()).days + 1)]
    found = {}
    for name, task in known.items():
        runs = [run for day in days for run in ledger.recent(name, day, MOST_OF_A_DAY)]
        spans = [(run.started, float(run.duration_ms)) for run in runs if run.started >= since and run.duration_ms]
        waited = age.oldest(stack.name, task["queue"], now)
        found[name] = of_spans(spans, None if waited is None else waited.total_seconds())
    return found


def of_spans(spans: Sequence[tuple[datetime, float]], oldest_s: float | None = None) -> Load:
    """The load of attempts that began at a time and took so many milliseconds."""
    if not spans:
        return Load(at_once=0, oldest_s=oldest_s)
    hours = Counter(start.astimezone(UTC).replace(minute=0, second=0, microsecond=0) for start, _ in spans)
    took = sorted(milliseconds for _, milliseconds in spans)
    return Load(
        runs=len(spans),
        busiest_hour=max(hours.values()),
        p50_ms=_percentile(took, 0.5),
        p95_ms=_percentile(took, 0.95),
        at_once=_most_at_once(spans),
        oldest_s=oldest_s,
    )


def _percentile(ordered: Sequence[float], share: float) -> float:
    """By nearest rank."""
    return ordered[ceil(share * len(ordered)) - 1]


def _most_at_once(spans: Iterable[tuple[datetime, float]]) -> int:
    edges = [edge for at, ms in spans for edge in ((at, 1), (at + timedelta(milliseconds=ms), -1))]
    return max(accumulate(change for _, change in sorted(edges)))  # at one moment, who ends goes first


# ---- On AWS ----------------------------------------------------------------------------------------------------------


def _of_cloudwatch(stack: Stack, known: dict[str, Any], hours: int, now: datetime) -> dict[str, Load]:
    """Durations are the runtime's own metric, of each attempt; the rest is Lambda's and SQS's."""
    hour, whole = 3_600, hours * 3_600
    wanted: dict[str, tuple[str, str, dict[str, str], str, int]] = {}
    for number, (name, task) in enumerate(known.items()):
        own = {"service": name, "stack": stack.name, "task": name, "task_class": task["class"]}
        function, queue = {"FunctionName": task["function"]}, {"QueueName": task["queue"]}
        wanted[f"p50_{number}"] = ("Backbeat", "Duration", own, "p50", whole)
        wanted[f"p95_{number}"] = ("Backbeat", "Duration", own, "p95", whole)
        wanted[f"runs_{number}"] = ("Backbeat", "Duration", own, "SampleCount", hour)
        wanted[f"used_{number}"] = ("AWS/Lambda", "ConcurrentExecutions", function, "Maximum", whole)
        wanted[f"throttled_{number}"] = ("AWS/Lambda", "Throttles", function, "Sum", whole)
        wanted[f"age_{number}"] = ("AWS/SQS", "ApproximateAgeOfOldestMessage", queue, "Maximum", whole)
    values = _metrics(wanted, now - timedelta(hours=hours), now)
    found = {}
    for number, name in enumerate(known):
        runs = values[f"runs_{number}"]
        found[name] = Load(
            runs=int(sum(runs)),
            busiest_hour=int(max(runs, default=0)),
            p50_ms=max(values[f"p50_{number}"], default=None),
            p95_ms=max(values[f"p95_{number}"], default=None),
            at_once=int(max(values[f"used_{number}"], default=0)),
            oldest_s=max(values[f"age_{number}"], default=None),
            throttled=int(sum(values[f"throttled_{number}"])),
        )
    return found


def _metrics(
    wanted: dict[str, tuple[str, str, dict[str, str], str, int]], start: datetime, end: datetime
) -> dict[str, list[float]]:
    queries: list[Any] = [
        {
            "Id": label,
            "MetricStat": {
                "Metric": {
                    "Namespace": namespace,
                    "MetricName": metric,
                    "Dimensions": [{"Name": key, "Value": value} for key, value in dimensions.items()],
                },
                "Period": period,
                "Stat": statistic,
            },
        }
        for label, (namespace, metric, dimensions, statistic, period) in wanted.items()
    ]
    found: dict[str, list[float]] = {label: [] for label in wanted}
    paginator = boto3.client("cloudwatch").get_paginator("get_metric_data")
    for first in range(0, len(queries), QUERIES_IN_A_CALL):
        some = queries[first : first + QUERIES_IN_A_CALL]
        for page in paginator.paginate(MetricDataQueries=some, StartTime=start, EndTime=end):
            for result in page["MetricDataResults"]:
                found[result["Id"]] += result["Values"]
    return found
