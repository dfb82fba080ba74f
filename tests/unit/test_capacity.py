"""Capacity: what is worked out of runs, what is asked of CloudWatch, and what is advised."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.client import BaseClient
from typer.testing import CliRunner

from backbeat_ops import capacity, commands, pausing
from backbeat_ops.capacity import Configured, Load, advice
from backbeat_ops.cli import app
from backbeat_ops.stack import Stack

NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)
GIVEN = Configured(at_once=8, timeout_s=60, late_s=600)


def span(seconds: float, milliseconds: float) -> tuple[datetime, float]:
    return NOW + timedelta(seconds=seconds), milliseconds


def test_percentiles_are_by_nearest_rank() -> None:
    load = capacity.of_spans([span(10 * number, number) for number in range(1, 101)])
    assert (load.runs, load.p50_ms, load.p95_ms, load.at_once) == (100, 50, 95, 1)
    one = capacity.of_spans([span(0, 7)], oldest_s=3)
    assert (one.p50_ms, one.p95_ms, one.oldest_s) == (7, 7, 3)


@pytest.mark.parametrize(
    ("spans", "most"),
    [
        ([span(0, 1000), span(1, 1000)], 1),  # one ends as the other begins
        ([span(0, 1001), span(1, 1000)], 2),
        ([span(0, 9000), span(1, 1000), span(3, 1000), span(3.5, 1000)], 3),
    ],
)
def test_how_many_ran_at_once(spans: Any, most: int) -> None:
    assert capacity.of_spans(spans).at_once == most


def test_the_busiest_hour_is_one_of_the_clock() -> None:
    assert capacity.of_spans([span(-1, 5), span(0, 5), span(3_599, 5), span(3_600, 5)]).busiest_hour == 2
    assert capacity.of_spans([]) == Load(at_once=0)


@pytest.mark.parametrize(
    ("load", "said"),
    [
        (Load(), "Nothing ran."),
        (Load(runs=9, at_once=8, oldest_s=601, p95_ms=1), "all 8 are busy: a larger Capacity"),
        (Load(runs=9, at_once=3, oldest_s=601, p95_ms=1), "only 3 of 8 are busy: `backbeat runs`"),
        (Load(runs=9, at_once=3, oldest_s=600, p95_ms=48_001), "near the time-out of 60 s"),
        (Load(runs=9, at_once=8, oldest_s=600, p95_ms=48_000), "At times all 8 are busy"),
        (Load(runs=9, at_once=2, p95_ms=1), "At most 2 of 8 are busy: a smaller Capacity"),
        (Load(runs=9, at_once=3, p95_ms=1), "It is enough."),
        (Load(runs=9, at_once=3, oldest_s=9_999, throttled=1), "the account's own limit is too low"),
    ],
)
def test_one_sentence_of_advice_for_what_presses_most(load: Load, said: str) -> None:
    assert said in advice(load, GIVEN)


def test_a_paused_task_waits_because_it_is_meant_to() -> None:
    assert "It is paused" in advice(Load(oldest_s=9_999), GIVEN, paused=True)
    assert advice(Load(runs=1, at_once=0), Configured(2, 60, 600)) == "It is enough.", "there is no less than 2"


def test_on_aws_cloudwatch_is_asked_once_for_all_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    answers = {
        ("Duration", "p50"): [120.0],
        ("Duration", "p95"): [900.0],
        ("Duration", "SampleCount"): [40.0, 2.0],
        ("ConcurrentExecutions", "Maximum"): [3.0],
        ("Throttles", "Sum"): [0.0],
    }

    def answered(client: BaseClient, operation: str, parameters: dict[str, Any]) -> Any:
        assert operation == "GetMetricData"
        asked.append(parameters)
        queries = [(query["Id"], query["MetricStat"]) for query in parameters["MetricDataQueries"]]
        return {
            "MetricDataResults": [
                {"Id": label, "Values": answers.get((stat["Metric"]["MetricName"], stat["Stat"]), [])}
                for label, stat in queries
            ]
        }

    monkeypatch.setattr(BaseClient, "_make_api_call", answered)
    task = {"class": "emails", "function": "prod-send_welcome_email", "queue": "prod-emails-send_welcome_email"}
    monkeypatch.setattr(Stack, "tasks", lambda stack: {"send_welcome_email": task})
    monkeypatch.setattr(capacity, "configured", lambda stack: {"send_welcome_email": GIVEN})
    monkeypatch.setattr(pausing, "paused", lambda stack: {})
    monkeypatch.setattr(commands.capacity, "the_stack", lambda context: Stack("prod"))
    assert CliRunner().invoke(app, ["capacity", "--json"]).exit_code == 0
    asked.clear()
    found = capacity.capacity(Stack("prod"), 24, NOW)
    (welcome,) = found["tasks"]
    assert (welcome["runs"], welcome["busiest_hour"], welcome["p50_ms"], welcome["p95_ms"]) == (42, 40, 120, 900)
    assert (welcome["at_once"], welcome["oldest_s"], welcome["advice"]) == (3, None, "It is enough.")
    assert found["source"] == "CloudWatch"
    emails = next(item for item in found["classes"] if item["class"] == "emails")
    assert (emails["runs"], emails["may_at_once"]) == (42, 8)
    (call,) = asked
    dimensions = call["MetricDataQueries"][0]["MetricStat"]["Metric"]["Dimensions"]
    assert {item["Name"]: item["Value"] for item in dimensions} == {
        "service": "send_welcome_email",
        "stack": "prod",
        "task": "send_welcome_email",
        "task_class": "emails",
    }
    assert call["EndTime"] - call["StartTime"] == timedelta(hours=24)
