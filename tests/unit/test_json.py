"""Each command's JSON is as docs/backbeat.schema.json has it: here what no other test of a command holds to it."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import click
import pytest
from documented import documented
from support import ROOT, STACK, Queue, resolve
from typer.testing import CliRunner

from backbeat import ledger, letters
from backbeat.ledger import Attempt, Outcome
from backbeat.messages import Message
from backbeat.tasks import TASKS
from backbeat_ops import cli, commands, deployment, localcloud, logs, onerun
from backbeat_ops.commands import cloud, dev
from backbeat_ops.console.server import Console
from backbeat_ops.invoke import Answer
from backbeat_ops.logs import Entry
from backbeat_ops.new.task import Written
from backbeat_ops.replay import Replayed, Withheld
from backbeat_ops.stack import Stack

NOW = datetime.now(UTC).replace(microsecond=0)
NOTIFY = "send_notification"
ENTRY = Entry(NOW, NOTIFY, "ERROR", "failed", {"run_id": "n"}, ("Traceback", "oh"))
ELSEWHERE = {
    "capacity": "test_capacity",
    "cost": "test_scale",
    "doctor": "test_doctor",
    "erase": "test_members",
    "mail list": "test_mail_commands",
    "mail preview": "test_mail_commands",
    "mail settle": "test_mail_commands",
    "pause": "test_pausing",
    "play": "test_schedules",
    "restore": "test_members",
    "resume": "test_pausing",
    "rewind": "test_rewind",
    "run": "test_schedules",
    "schedules": "test_schedules",
    "schedules disable": "test_schedules",
    "schedules edit": "test_schedules",
    "schedules enable": "test_schedules",
    "schedules reset": "test_schedules",
    "schedules run": "test_schedules",
    "seed": "test_seed",
    "simulate": "test_scale",
    "status": "test_local_cloud",
    "unhide": "test_members",
    "verify": "test_verify",
}
"""By which of these files the other commands' answers are held to the schema: the fixtures there see to it."""
HERE: dict[str, Callable[..., None]] = {}


def of(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Marks a test as that of some commands."""

    def marked(test: Callable[..., None]) -> Callable[..., None]:
        HERE.update(dict.fromkeys(names, test))
        return test

    return marked


class Asked:
    """Runs commands; each must print JSON that was held to the schema."""

    def __init__(self, held: list[str]) -> None:
        self.held = held

    def __call__(self, *words: str, code: int = 0, stack: str = STACK) -> Any:
        before = len(self.held)
        done = CliRunner().invoke(cli.app, [*words, "--json"], env={"BACKBEAT_STACK": stack}, catch_exceptions=False)
        assert done.exit_code == code, done.output
        assert len(self.held) > before, f"{words}: held to no schema"
        return json.loads(done.stdout.splitlines()[0] if words[0] in ("logs", "dev") else done.stdout)


@pytest.fixture
def asked(aws: None, held_to_the_schema: list[str], monkeypatch: pytest.MonkeyPatch) -> Asked:
    for module in (commands.dead, commands.runs, commands.logs, commands.uploads, commands.invoke, commands.console):
        monkeypatch.setattr(module, "the_stack", lambda context: Stack(STACK))
    monkeypatch.setattr(letters, "SECONDS_TO_ASK", 0)
    return Asked(held_to_the_schema)


@pytest.fixture
def dead_letters(asked: Asked) -> Queue:
    """Three letters of one cause, of which the ledger knows one; nothing is heard of what is sent."""
    queue = Queue(TASKS[NOTIFY].queue_name(STACK))
    dead = boto3.client("sqs").get_queue_url(QueueName=f"{queue.name}-dead")["QueueUrl"]
    for number in range(3):
        message = Message(task=NOTIFY, id=f"n{number}", kwargs={"user_id": "7", "kind": "like"}, sent_at=NOW)
        attributes = {
            "outcome": "rejected",
            "reason": "invalid_arguments",
            "error": "text: it is missing",
            "task": NOTIFY,
            "run_id": message.id,
            "first_sent": NOW.isoformat(),
        }
        boto3.client("sqs").send_message(
            QueueUrl=dead,
            MessageBody=message.to_json(),
            MessageAttributes={n: {"DataType": "String", "StringValue": v} for n, v in attributes.items()},
        )
    ledger.record(message, "default", Attempt(Outcome.REJECTED, NOW, 12, "r", reason="invalid_arguments", error="no"))
    return queue


@of("dead", "dead list", "dead show", "dead edit", "dead retry", "dead discard")
def test_dead_letters(dead_letters: Queue, asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    (cause,) = asked("dead")
    assert cause["letters"] == 3
    assert len(asked("dead", "list")) == 3
    assert asked("dead", "show", "n1")["message"]["kwargs"]["kind"] == "like"
    assert asked("dead", "retry", "--all", "--dry-run") == asked(
        "dead", "discard", "--all", "--reason", "x", "--dry-run"
    )
    monkeypatch.setattr(click, "edit", lambda text, extension: None)
    assert asked("dead", "edit", "n1")["done"] == []
    assert asked("dead", "discard", "n0", "--reason", "a test", "--yes")["done"] == ["n0"]
    monkeypatch.setattr(commands.dead.dead, "outcome_of", lambda letter, before, seconds: onerun.find("n2", NOW.date()))
    assert asked("dead", "retry", "n2", "--wait", code=1)["outcome"] == "rejected"
    assert asked("dead", "retry", "--all", "--yes")["done"] == ["n1"]


@of("runs", "runs show", "again", "replay", "logs")
def test_runs_and_logs(dead_letters: Queue, asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs.Log, "new", lambda self, now: [ENTRY, ENTRY])
    assert [run["run_id"] for run in asked("runs")] == ["n2"]
    assert asked("runs", "--summary")[0]["runs"] == 1
    one = asked("runs", "show", "n2")
    assert (one["run"]["outcome"], one["arguments"]) == ("rejected", {"user_id": "7"})
    assert asked("again", "n2", "kind=like", "text=Hello")["outcome"] == "queued"
    made = Replayed(
        NOTIFY, "n2", None, {}, "2026-11-01T00:00:00Z", "succeeded", {"a": 1}, None, None, [], 3,
        [Withheld("dynamodb", "PutItem", {"TableName": "x"})],
    )  # fmt: skip
    monkeypatch.setattr(commands.runs.replays, "replay", lambda stack, message: made)
    assert asked("replay", "n2", "kind=like", "text=Hello")["withheld"][0]["operation"] == "PutItem"
    asked("logs")


@of("upload")
def test_an_upload(asked: Asked, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bucket = resolve({"Ref": "UploadsBucket"})
    monkeypatch.setattr(Stack, "buckets", {"uploads": bucket})
    file = tmp_path / "a.jpg"
    file.write_bytes(b"x")
    assert asked("upload", str(file))["bytes"] == 1
    became = {"media_status": "ready", "media_reason": None, "media": {"renditions": []}}
    monkeypatch.setattr(commands.uploads.uploads, "wait", lambda made, seconds: became)
    assert asked("upload", str(file), "--wait")["media_status"] == "ready"


@of("up", "down", "dev", "invoke", "console", "new task", "new event")
def test_those_that_start_and_make_something(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(localcloud, "start", lambda port: False)
    monkeypatch.setattr(localcloud, "use", lambda url: None)
    monkeypatch.setattr(localcloud, "endpoint", lambda: "http://127.0.0.1:4566")
    monkeypatch.setattr(localcloud, "stop", lambda: True)
    monkeypatch.setattr(localcloud, "forget", lambda: None)
    monkeypatch.setattr(localcloud, "find", lambda: None)
    monkeypatch.setattr(localcloud, "stack", lambda: Stack(STACK))
    monkeypatch.setattr(deployment, "deploy", lambda say: True)
    monkeypatch.setattr(Stack, "buckets", {"media": "m"})
    monkeypatch.setattr(Stack, "tables", {"USERS_TABLE": "u"})
    monkeypatch.setattr(Stack, "tasks", lambda self: {NOTIFY: {"class": "default"}})
    monkeypatch.setattr(Stack, "bind", lambda self: None)
    assert asked("up", "--detach", stack="")["tables"] == {"users": "u"}
    assert asked("down", "--keep-data", stack="") == {"stopped": True}
    monkeypatch.setattr(cloud, "delete", lambda stack: {"MediaBucket": "m"})
    assert asked("down", stack="")["kept"] == {"MediaBucket": "m"}
    monkeypatch.setattr(dev, "_keep_up", lambda show: show(ENTRY))
    asked("dev", stack="")
    events = ROOT / "events" / NOTIFY / "typical.json"
    monkeypatch.setattr(commands.invoke.sample, "seed", lambda now: None)
    monkeypatch.setattr(commands.invoke, "ready", lambda say: "127.0.0.1")
    monkeypatch.setattr(commands.invoke, "call", lambda *of: Answer(["sam"], {"batchItemFailures": []}, [], ""))
    assert asked("invoke", NOTIFY, str(events), stack="")[0]["payload"] == {"batchItemFailures": []}
    monkeypatch.setattr(Console, "__init__", lambda self, stack, port: setattr(self, "url", "http://127.0.0.1:4560"))
    monkeypatch.setattr(Console, "serve", lambda self: None)
    asked("console")
    monkeypatch.setattr(commands.new, "new_task", lambda *of: Written("greet", ["a"], {"minimal": {"greet": 2}}))
    asked("new", "task", "greet", "--class", "emails")
    asked("new", "event", NOTIFY, "user_id=7", "kind=like", "text=Hi")


def test_every_command_is_held_to_the_schema() -> None:
    def walk(command: Any, path: str) -> Iterator[str]:
        if any("--json" in parameter.opts for parameter in command.params):
            yield path
        for name, below in getattr(command, "commands", {}).items():
            yield from walk(below, f"{path} {name}".strip())

    assert HERE.keys().isdisjoint(ELSEWHERE)
    assert HERE.keys() | ELSEWHERE.keys() == documented().keys() == set(walk(cli.whole(), ""))
    for name, file in ELSEWHERE.items():
        texts = [path.read_text("utf-8") for path in (ROOT / "tests").glob(f"*/{file}.py")]
        assert any("--json" in text and name.split()[-1] in text for text in texts), (name, file)
