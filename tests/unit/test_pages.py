"""What the pages show is what the code takes."""

import json
import re
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from support import ROOT, STACK, Queue

from backbeat import messages, models
from backbeat.ledger import Outcome
from backbeat.models import Hashtag, Notification, Post, RunRecord, TrendingHashtags, User
from backbeat.producer import OptionRefused, Retry
from backbeat.tasks import TASKS
from backbeat_ops import emulator, runs, stack
from backbeat_testing import captured


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text("utf-8")


def section(name: str, heading: str) -> str:
    """The part of a page under one heading of the second level."""
    return page(name).split(f"\n## {heading}\n")[1].split("\n## ")[0]


def python(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


MIGRATING = page("migrating-from-celery")


def test_the_message_for_other_languages_is_one_that_its_task_takes() -> None:
    text = section("producing", "From other languages")
    queue = re.search(r"--queue-name backbeat-([a-z]+)-([a-z_]+)", text)
    body = re.search(r"```json\n(.*?)```", text, re.DOTALL)
    assert queue is not None and body is not None
    task = TASKS[queue[2]]
    assert task.task_class == queue[1]
    message = messages.parse(body[1], task.name, "sqs-id", datetime.now(UTC))
    assert message is not None
    assert message.id != "sqs-id"
    assert message.logical_time == datetime(2026, 11, 1, 4, tzinfo=UTC)
    task.parse(message.kwargs)


def test_the_fields_of_a_message_are_described() -> None:
    text = section("producing", "From other languages")
    described = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    assert described == set(messages.Message.__dataclass_fields__) - {"scheduled_time", "part"}


def test_the_schedules_of_the_migration_guide_are_understood() -> None:
    shown = re.findall(r"(?:cron|rate)\([^.)]+\)", MIGRATING)
    assert len(shown) >= 4
    made = datetime(2026, 11, 1, tzinfo=UTC)
    for expression in shown:
        times = emulator.times({"ScheduleExpression": expression, "CreationDate": made}, made)
        assert next(times) > made, expression


def test_the_options_that_the_migration_guide_rules_out_are_refused_by_name() -> None:
    ruled_out = re.findall(
        r"`(\w+)`", "".join(re.findall(r"^\| (`.*?`) \|", MIGRATING.split("| option |")[1], re.MULTILINE))
    )
    assert len(ruled_out) >= 7
    for option in ruled_out:
        with pytest.raises(OptionRefused, match=option):
            TASKS["send_welcome_email"].apply_async(kwargs={"user_id": "42"}, **{option: 1})


def test_the_retry_of_the_migration_guide_is_one() -> None:
    (shown,) = re.findall(r"Retry\((attempts=\d.*?)\)", MIGRATING)
    Retry(**{name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", shown)})


def test_the_producers_example_sends(aws: None) -> None:
    (example,) = python(section("producing", "From Python"))
    exec(example, {})
    welcomes = Queue(f"{STACK}-emails-send_welcome_email")
    attributes = welcomes.sqs.get_queue_attributes(QueueUrl=welcomes.url, AttributeNames=["All"])["Attributes"]
    assert welcomes.depth() == (1, 0)
    assert attributes["ApproximateNumberOfMessagesDelayed"] == "1"  # the countdown's
    assert Queue(f"{STACK}-default-send_notification").depth() == (1, 0)
    later = boto3.client("scheduler").list_schedules(GroupName=f"{STACK}-delayed")["Schedules"]
    assert len(later) == 1


def test_the_models_example_writes(aws: None) -> None:
    (example,) = python(section("data", "Write through the models"))
    exec(example, {})
    assert User.get("ada").followers_count == 1
    post = Post.get("p1")
    assert (post.likes_count, post.comments_count, post.shares_count, post.views_count) == (1, 1, 1, 20)


def test_the_example_of_changes_changes(aws: None) -> None:
    for heading in ("Write through the models", "Change what is there"):
        (example,) = python(section("data", heading))
        exec(example, {})
    assert (User.get("ada").name, User.get("ada").email) == ("Ada L.", "ada@example.net")
    assert (Post.get("p1").hashtags, Post.get("p1").shares_count) == ({"dawn"}, 0)
    assert User.get("noor").deleted_at is None


def test_the_example_of_binding_finds_the_stacks_tables(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = python(section("data", "Say which stack you mean"))
    tables = {stack.table_id(variable): stack.table_id(variable) for variable in models.TABLES}
    queues = {url: url for url in boto3.client("sqs").list_queues()["QueueUrls"]}
    monkeypatch.setattr(stack.Stack, "resources", tables | queues)
    described = json.dumps(stack.Stack(STACK).describe())
    monkeypatch.setattr("subprocess.run", lambda *_, **__: SimpleNamespace(stdout=described))
    models.bind(dict.fromkeys(models.TABLES, "another"))
    exec(example, {})
    assert User.join("ada", name="Ada", email="ada@example.com", at=datetime(2026, 11, 1, tzinfo=UTC))


def test_the_notifications_example_reads(aws: None) -> None:
    (example,) = python(section("data", "Show a user's notifications"))
    now = datetime(2026, 11, 1, tzinfo=UTC)
    Notification("ada", "n1", kind="like", text="Noor likes your post", created_at=now).save()
    exec(example, {"now": now})
    assert Notification.get("ada", "n1").read_at == now


def test_the_trends_example_reads(aws: None) -> None:
    (example,) = python(section("data", "Show what is trending"))
    now = datetime(2026, 11, 1, tzinfo=UTC)
    Hashtag("jazz", shown="Jazz", authors=2, posts=3, trending=True, as_of=now).save()
    TrendingHashtags(tags=[{"tag": "jazz"}], as_of=now).save()
    read: dict[str, Any] = {}
    exec(example, read)
    assert (read["board"].tags, read["jazz"].posts) == ([{"tag": "jazz"}], 3)


def test_the_outcomes_are_listed() -> None:
    listed = re.findall(r"^\| `([a-z ]+)` \|", section("operating", "Look back").split("\n### ")[0], re.MULTILINE)
    assert sorted(listed) == sorted(Outcome)


def test_every_field_of_a_run_is_described() -> None:
    text = page("operating").split("### The shape of a run in JSON")[1].split("\n#")[0]
    described = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?`) \|", text, re.MULTILINE)))
    assert described == list(runs.shown(RunRecord(logical_time=datetime(2026, 11, 1, tzinfo=UTC))))


def test_old_names_lead_to_the_tasks_with_their_arguments() -> None:
    names: dict[str, Any] = {}
    (module,) = [block for block in python(MIGRATING) if block.startswith("# posts/tasks.py")]
    exec(module, names)
    with captured() as outbox:
        names["send_welcome"].delay(42)
        names["send_welcome"].apply_async(args=[42], countdown=60)
        names["notify"].delay(42, "Hello", kind="like")
        with pytest.raises(OptionRefused, match="queue"):
            names["notify"].apply_async([42, "Hello"], queue="high")
        with pytest.raises(TypeError, match=r"send_welcome_email\.delay"):
            names["send_welcome"](42)
    assert [(sent.task, sent.kwargs) for sent in outbox] == [
        ("send_welcome_email", {"user_id": "42"}),
        ("send_welcome_email", {"user_id": "42"}),
        ("send_notification", {"user_id": "42", "kind": "like", "text": "Hello"}),
    ]


def test_what_each_task_takes_is_what_the_migration_guide_says() -> None:
    table = MIGRATING.split("| task | takes |")[1].split("\n\n")[0]
    rows = re.findall(r"^\| (`.*?) \| (.*?) \|", table, re.MULTILINE)
    said = {name: set(re.findall(r"`(\w+)`", takes)) for names, takes in rows for name in re.findall(r"`(\w+)`", names)}
    assert set(said) == set(TASKS) - {"record_email_feedback"}
    for name, arguments in said.items():
        assert arguments <= set(TASKS[name].signature.parameters), name
