"""After an upgrade: what the version before left on queues, in schedules and in tables is read, and gone on from."""

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from support import STACK, Queue, function_environment

import cleanup_expired_tokens
import cleanup_old_posts
import generate_content_analytics
import send_notification
import update_post_engagement_scores
import update_trending_hashtags
import update_user_statistics
from backbeat import ledger, messages, models
from backbeat.app import erasing
from backbeat.models import Notification, Post, Report, RunRecord, Token, TokenReused, User
from backbeat.posts import archive
from backbeat.tasks import TASKS

SAMPLES = Path(__file__).parent.parent / "samples"
NOW = datetime(2026, 11, 1, 3, tzinfo=UTC)
DAY = timedelta(days=1)


def samples(name: str) -> list[dict[str, Any]]:
    return [
        json.loads(line, object_hook=unpacked) for line in (SAMPLES / f"{name}.jsonl").read_text("utf-8").splitlines()
    ]


def unpacked(value: dict[str, Any]) -> Any:
    """A binary value, which JSON has no form for."""
    return base64.b64decode(value["base64"]) if value.keys() == {"base64"} else value


@pytest.fixture
def _tables(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stack as the version before has left it."""
    for function in ("CleanupOldPostsFunction", "GenerateContentAnalyticsFunction"):
        for name, value in function_environment(function).items():
            if name.endswith("_BUCKET"):
                monkeypatch.setenv(name, value)
    for sample in samples("rows"):
        table = models.TABLES[sample["table"]][0].Meta.table_name
        boto3.client("dynamodb").put_item(TableName=table, Item=sample["row"])
    for line in (SAMPLES / "archive.jsonl").read_text("utf-8").splitlines():
        found = json.loads(line)
        body = base64.b64decode(found["base64"])
        boto3.client("s3").put_object(Bucket="archivebucket", Key=found["key"], Body=body)


@pytest.mark.parametrize("sample", [*samples("messages"), *samples("delayed")], ids=lambda sample: sample["queue"])
def test_every_message_is_for_its_task_still(sample: dict[str, Any]) -> None:
    body = sample.get("message") or sample["input"]
    task = TASKS[sample["queue"].split("-", 1)[1]]
    message = messages.parse(json.dumps(body), task.name, "an-id", NOW)
    assert message is not None
    assert (message.task, message.id) == (task.name, body["id"])
    assert task.queue == f"{STACK}-{sample['queue']}"
    task.parse(message.kwargs)


@pytest.mark.usefixtures("_tables")
def test_every_row_is_read_whole() -> None:
    """By its model, which writes it back as it was but for what it does not know."""
    seen = set()
    for variable, of in models.TABLES.items():
        table = of[0].Meta.table_name
        for row in boto3.client("dynamodb").scan(TableName=table)["Items"]:
            (model,) = (model for model in of if fits(model, row))
            read = model.from_raw_data(row)
            written = read.to_dynamodb_dict()
            assert {name: ordered(written[name]) for name in row} == {name: ordered(row[name]) for name in row}
            seen.add(model.__name__)
        assert variable in {sample["table"] for sample in samples("rows")}
    assert {"User", "Post", "Token", "Report", "DayCounts", "SweepPart", "Watermark", "Delivery"} <= seen


def ordered(value: dict[str, Any]) -> Any:
    """An attribute's value, a set in order, and JSON as what it says."""
    ((kind, content),) = value.items()
    if kind == "S" and content[:1] in "{[":
        return json.loads(content)
    if kind == "B" and isinstance(content, str):
        return base64.b64decode(content)
    return sorted(content) if kind in ("SS", "NS") else content


def fits(model: Any, row: dict[str, Any]) -> bool:
    """Whether a row of a table is one of a model's, by its key, as several share tables."""
    key = str(next((row[name]["S"] for name in ("task_day", "series", "tag", "period") if name in row), ""))
    match model.__name__:
        case "DayTotals":
            return key.startswith("totals#")
        case "SweepRun":
            return key.startswith("sweep#") and row["run_id"]["S"] == "run"
        case "SweepPart":
            return key.startswith("sweep#") and row["run_id"]["S"] != "run"
        case "Flight":
            return key == "in flight"
        case "ErasedUser":
            return key == "erased"
        case "Trial":
            return key == "trials"
        case "Watermark":
            return key.startswith("watermark#")
        case "DigestSelection":
            return key.startswith("digest#")
        case "RunRecord":
            return not key.startswith(("totals#", "sweep#", "watermark#", "digest#", "changes#"))
        case "Changed":
            return key.startswith("changes#")
        case "DayCounts":
            return key == "counts"
        case "Report":
            return key == "daily"
        case "TrendingHashtags":
            return key == "#"
        case "Hashtag":
            return key != "#"
        case "HourMark":
            return key == "again"
        case "HashtagTally":
            return key != "again"
    return True


@pytest.mark.usefixtures("_tables")
def test_runs_that_were_under_way_are_finished() -> None:
    """Their parts are on the queue; one of a report is done, with a tally as it was then."""
    for module in (generate_content_analytics, update_post_engagement_scores):
        name = f"analytics-{module.__name__}"
        queue = Queue(f"{STACK}-{name}")
        for sample in samples("messages"):
            if sample["queue"] == name:
                queue.send(sample["message"])
        queue.drain(module.handle)
        assert queue.dead() == []
    outcomes = {
        (run.task, run.outcome)
        for run in RunRecord.scan(RunRecord.task.is_in("generate_content_analytics", "update_post_engagement_scores"))
        if "#parts" not in run.task_day
    }
    assert {outcome for _, outcome in outcomes} == {"succeeded"}
    top = Report.get("daily", "2026-10-31").figures["top_posts"]
    assert [(post["post_id"], post["text"]) for post in top] == [("p1", "Up early #hills #Dawn")]


@pytest.mark.usefixtures("_tables")
def test_dead_letters_and_delayed_messages_run() -> None:
    User.join("nobody", name="No", email="nobody@example.com", at=NOW)
    queue = Queue(f"{STACK}-default-send_notification")
    bodies = [json.loads(letter["body"]) for letter in samples("letters")]
    bodies += [sample.get("message") or sample["input"] for sample in (*samples("messages"), *samples("delayed"))]
    for body in bodies:
        if body["task"] == "send_notification":
            queue.send({**body, "sent_at": NOW.isoformat()})  # by now they are all due
    queue.drain(send_notification.handle)
    assert queue.dead() == []
    told = {row.user_id: [] for row in Notification.scan()}
    for row in Notification.scan():
        told[row.user_id].append(row.text)
    assert sorted(told["ann"]) == ["Bob likes your post", "Later", "Now"] and told["nobody"] == ["Hi"]


@pytest.mark.usefixtures("_tables", "few_parts")
def test_the_next_runs_go_on_from_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleanup_old_posts, "BRAKE", 1.0)
    for module, queue_class in (
        (cleanup_old_posts, "maintenance"),
        (cleanup_expired_tokens, "maintenance"),
        (update_user_statistics, "analytics"),
        (update_post_engagement_scores, "analytics"),
        (generate_content_analytics, "analytics"),
        (update_trending_hashtags, "analytics"),
    ):
        queue = Queue(f"{STACK}-{queue_class}-{module.__name__}")
        queue.send({"task": module.__name__, "scheduled_time": (NOW + 2 * DAY).isoformat()})
        queue.drain(module.handle)
        (run, *_) = ledger.recent(module.__name__, (NOW + 2 * DAY).date(), 5)
        assert run.outcome == "succeeded", (module.__name__, run.error)


@pytest.mark.usefixtures("_tables")
def test_the_archive_and_the_tokens_are_as_good_as_before(few_parts: None) -> None:
    run = "cleanup_old_posts@2026-11-01T02:00:00Z"
    restored = archive.restore(run, at=NOW + DAY)
    assert (restored.posts, restored.comments, restored.shown) == (1, 1, 1)
    assert (Post.get("gone").text, Post.get("old").visibility) == ("Longer ago", "public")
    with pytest.raises(TokenReused):
        Token.rotate("ann", "r1", "r9", at=NOW, expires_at=NOW + DAY)
    assert Token.is_banned("ann", "a2")
    erased = erasing.erase("ann", at=NOW + DAY)
    assert (erased.user, erased.posts) == (True, 3)
