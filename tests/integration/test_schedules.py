"""Schedules and runs made by hand, on the local cloud."""

import json
from datetime import UTC, date, datetime
from typing import Any

import boto3
import pytest
from support import Backbeat, empty_tables

from backbeat import ledger
from backbeat.messages import Message
from backbeat.tasks import process_media_upload
from backbeat_ops import pausing, runs
from backbeat_ops.stack import Stack


def misplaced(cloud: Stack) -> dict[str, Any]:
    """The arguments of a run that is rejected at once: its upload belongs to no post."""
    return {"bucket": cloud.buckets["uploads"], "key": "misplaced.jpg"}


def test_a_schedule_fires_once_with_the_time_it_was_meant_for_and_is_gone(cloud: Stack) -> None:
    time = datetime(2026, 11, 1, 4, tzinfo=UTC)
    body = {
        "task": "process_media_upload",
        "kwargs": misplaced(cloud),
        "scheduled_time": "<aws.scheduler.scheduled-time>",
    }
    api = boto3.client("scheduler")
    queue = f"{cloud.name}-media-process_media_upload"
    api.create_schedule(
        Name="once",
        GroupName=f"{cloud.name}-delayed",
        ScheduleExpression="at(2026-11-01T04:00:00)",
        FlexibleTimeWindow={"Mode": "OFF"},
        ActionAfterCompletion="DELETE",
        Target={
            "Arn": f"arn:aws:sqs:us-east-1:000000000000:{queue}",
            "RoleArn": f"arn:aws:iam::000000000000:role/{cloud.name}-scheduler-us-east-1",
            "Input": json.dumps(body),
        },
    )
    (run,) = runs.wait([Message.of({**body, "scheduled_time": time})], 60)
    assert run.logical_time == time
    assert (run.outcome, run.attempts) == ("rejected", 1)
    assert api.list_schedules(GroupName=f"{cloud.name}-delayed")["Schedules"] == []


def test_a_message_for_tomorrow_waits_as_a_schedule_of_the_stack(cloud: Stack) -> None:
    message_id = process_media_upload.apply_async(misplaced(cloud), countdown=86_400)
    api = boto3.client("scheduler")
    schedule = api.get_schedule(GroupName=f"{cloud.name}-delayed", Name=message_id)
    role = schedule["Target"]["RoleArn"].rsplit("/", 1)[-1]
    assert boto3.client("iam").get_role(RoleName=role)["Role"]["Arn"] == schedule["Target"]["RoleArn"]
    message = Message.of(json.loads(schedule["Target"]["Input"]))
    assert ledger.find(message) is None
    api.delete_schedule(GroupName=f"{cloud.name}-delayed", Name=message_id)


def test_a_task_is_run_by_hand_to_its_end(cloud: Stack, backbeat: Backbeat) -> None:
    words = [f"{name}={value}" for name, value in misplaced(cloud).items()]
    said = backbeat("run", "process_media_upload", *words, "--at", "2026-11-01T05:00Z", "--wait", fails=True)
    assert "rejected: " in said
    (run,) = [run for run in ledger.recent("process_media_upload", date(2026, 11, 1), 9) if run.logical_time.hour == 5]
    assert (run.outcome, run.attempts) == ("rejected", 1)
    assert "bucket: Field required" in backbeat("run", "process_media_upload", words[1], fails=True)


RUNS_BEFORE_THREE_ON_A_SUNDAY = {
    "cleanup_expired_tokens": 1,
    "cleanup_old_posts": 1,
    "update_trending_hashtags": 3,
}


def test_a_stretch_is_played_to_its_end_and_each_run_made_once_though_played_twice(
    cloud: Stack, backbeat: Backbeat
) -> None:
    empty_tables()  # a clean-up of what other tests left might be more than its brake lets pass
    stretch = ("play", "--from", "2026-11-01", "--to", "2026-11-01T03:00Z", "--json")
    expected = RUNS_BEFORE_THREE_ON_A_SUNDAY
    first, second = backbeat(*stretch), backbeat(*stretch)
    assert {item["schedule"]: item["sent"] for item in first if item["schedule"] in expected} == expected
    assert {item["schedule"]: item["known"] for item in second if item["schedule"] in expected} == expected
    assert [item["schedule"] for item in second if item["sent"]] == []
    for item in (*first, *second):
        assert sum(item["outcomes"].values()) == item["runs"]
        assert set(item["outcomes"]) <= {"succeeded", "skipped"}
    for name in expected:
        made = [run for run in ledger.recent(name, date(2026, 11, 1), 99) if run.run_id.startswith(f"{name}@")]
        assert len(made) == expected[name]
        assert {run.attempts for run in made} <= {1}


def test_a_schedule_is_switched_and_listed(cloud: Stack, backbeat: Backbeat) -> None:
    name = "update_trending_hashtags"
    backbeat("schedules", "disable", name, "--json")
    try:
        (listed,) = [item for item in backbeat("schedules", "--json") if item["name"] == name]
        assert (listed["state"], listed["next"]) == ("DISABLED", [])
    finally:
        (enabled,) = backbeat("schedules", "enable", name, "--json")
    assert (enabled["state"], len(enabled["next"])) == ("ENABLED", 3)
    assert "There is no schedule 'nightly'" in backbeat("schedules", "enable", "nightly", fails=True)


def test_a_schedule_is_edited_differs_and_is_as_the_template_has_it_again(cloud: Stack, backbeat: Backbeat) -> None:
    name = "update_user_statistics"
    edit = ("schedules", "edit", name, "--cron", "0 6 * * ? *", "--timezone", "Europe/Paris", "--yes", "--json")
    edited = backbeat(*edit)
    try:
        assert edited["expression"] == "cron(0 6 * * ? *)"
        assert [text.split(" is ")[0] for text in edited["differs"]] == [
            "ScheduleExpression",
            "ScheduleExpressionTimezone",
        ]
        assert {datetime.fromisoformat(at).minute for at in edited["next"]} == {0}
        assert "'cron(99 6 * * ? *)'" in backbeat("schedules", "edit", name, "--cron", "99 6 * * ? *", fails=True)
        (unchanged,) = [item for item in backbeat("schedules", "--json") if item["name"] == name]
        assert unchanged == edited
    finally:
        reset = backbeat("schedules", "reset", name, "--yes", "--json")
    assert (reset["expression"], reset["differs"]) == ("cron(0 3 * * ? *)", [])


def test_a_pause_keeps_a_message_waiting_and_ends_by_itself(cloud: Stack, backbeat: Backbeat) -> None:
    backbeat("pause", "media", "--for", "2h", "--json")
    message = runs.by_hand(cloud.name, process_media_upload, misplaced(cloud), datetime.now(UTC))
    (pause,) = pausing.paused(cloud).values()
    assert pause.until > datetime.now(UTC)
    assert "cannot be paused for 10 days" in backbeat("pause", "media", "--for", "10d", fails=True)
    assert ledger.find(message) is None

    scheduler, end = boto3.client("scheduler"), {"GroupName": f"{cloud.name}-pauses", "Name": "process_media_upload"}
    known: Any = scheduler.get_schedule(**end)
    kept = {key: known[key] for key in ("FlexibleTimeWindow", "Target", "ActionAfterCompletion")}
    scheduler.update_schedule(**end, **kept, ScheduleExpression="at(2026-11-01T04:00:00)")  # two hours are over
    (run,) = runs.wait([message], 60)
    assert run.outcome == "rejected"
    assert pausing.paused(cloud) == {}


def test_a_schedule_that_aws_refuses_is_refused(cloud: Stack, refused: list[str]) -> None:
    scheduler = boto3.client("scheduler")
    role = "arn:aws:iam::000000000000:role/r"
    wanted: Any = {
        "Name": "refused",
        "GroupName": f"{cloud.name}-delayed",
        "ScheduleExpression": "rate(1 hour)",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": {"Arn": "arn:aws:sqs:us-east-1:000000000000:q", "RoleArn": role, "Input": "{}"},
    }
    for more in ({"ClientToken": "a.b"}, {"ScheduleExpression": "cron(99 * * * ? *)"}):
        with pytest.raises(scheduler.exceptions.ValidationException):
            scheduler.create_schedule(**{**wanted, **more})
    refused.clear()
