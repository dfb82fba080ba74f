"""What a tab offers: names without a call, ids with one that is given up in time."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from support import STACK
from typer.testing import CliRunner

from backbeat import ledger
from backbeat.ledger import Attempt, Outcome
from backbeat.messages import Message
from backbeat.models import Delivery
from backbeat.models.keys import day_keys
from backbeat_ops import localcloud
from backbeat_ops.cli import app
from backbeat_ops.commands import completing
from backbeat_ops.stack import Stack

Offered = Callable[[str], list[str]]


@pytest.fixture
def offered() -> Offered:
    """What the shell shows after some words, the last of which is being typed."""

    def offered(line: str) -> list[str]:
        words = line.split(" ")
        asked = {"_BACKBEAT_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
        return CliRunner().invoke(app, [], prog_name="backbeat", env=asked).output.split()

    return offered


def test_tasks_and_classes_are_known_without_a_call(offered: Offered, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completing, "_stack", None)  # which would fail if it were called
    assert offered("backbeat runs --task clean") == ["cleanup_expired_tokens", "cleanup_old_posts"]
    assert offered("backbeat run update_t") == ["update_trending_hashtags"]
    assert offered("backbeat pause ma") == ["maintenance"]


@pytest.fixture
def stack(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stack, "bind", lambda stack: None)
    monkeypatch.setattr(completing, "_stack", lambda context: Stack(STACK))


def test_ids_of_runs_and_deliveries_are_asked_for(stack: None, offered: Offered) -> None:
    now = datetime.now(UTC)
    message = Message(task="update_user_statistics", id="", scheduled_time=now.replace(microsecond=0))
    ledger.record(message, "analytics", Attempt(Outcome.SUCCEEDED, now, 1, "request-1"))
    Delivery(
        "welcome:user-1", email="welcome", user_id="user-1", state="sent", claimed_at=now, logical_time=now,
        run_id="r", shelf=day_keys(now.date())[0],
    ).save()  # fmt: skip
    context: Any = None
    assert completing.runs(context, "update_user") == [message.id]
    assert completing.runs(context, "x") == []
    assert completing.deliveries(context, "welcome") == offered("backbeat mail settle welc") == ["welcome:user-1"]


def test_names_of_schedules_are_asked_for(stack: None, offered: Offered) -> None:
    assert offered("backbeat schedules enable x") == []


def test_whoever_presses_tab_does_not_wait_for_an_aws_that_hangs(stack: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completing, "PATIENCE", 0.0)
    answered = threading.Event()

    def hangs(*any: Any) -> Any:
        answered.wait(60)
        return []

    monkeypatch.setattr(ledger, "recent", hangs)
    context: Any = None
    assert completing.runs(context, "") == []
    assert not answered.is_set()
    answered.set()


def test_nothing_is_offered_where_nothing_can_be_asked(monkeypatch: pytest.MonkeyPatch, offered: Offered) -> None:
    monkeypatch.setattr(localcloud, "find", lambda: None)
    assert offered("backbeat mail settle w") == []
