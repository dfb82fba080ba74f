"""What tests of applications have of Backbeat: kept messages, and tasks that run at once."""

import os
import subprocess
import sys
import unittest
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest
from support import ROOT

import backbeat_testing
from backbeat.models import Like, Post, Token, User
from backbeat.producer import InvalidTaskArguments
from backbeat.tasks import (
    TASKS,
    cleanup_expired_tokens,
    send_notification,
    send_welcome_email,
    update_post_engagement_scores,
    update_user_statistics,
)
from backbeat_testing.django import CapturesTasks

NOW = datetime(2026, 11, 1, 4, tzinfo=UTC)


def test_what_is_sent_is_kept_and_checked() -> None:
    with backbeat_testing.captured() as outbox:
        sent = send_welcome_email.apply_async(["42"], eta=NOW + timedelta(days=3650))
        send_notification.delay("42", "like", "Noor likes your post")
        with pytest.raises(InvalidTaskArguments):
            send_welcome_email.delay(user_id=42)  # type: ignore[arg-type]
    assert [(one.task, one.kwargs) for one in outbox] == [
        ("send_welcome_email", {"user_id": "42"}),
        ("send_notification", {"user_id": "42", "kind": "like", "text": "Noor likes your post"}),
    ]
    assert (outbox[0].id, outbox[0].time) == (sent, NOW + timedelta(days=3650))
    assert outbox.of(send_welcome_email) == [{"user_id": "42"}]


def test_a_task_runs_at_once_on_tables_in_memory() -> None:
    before = (dict(os.environ), User.Meta.table_name)
    with backbeat_testing.cloud():
        for user in ("ada", "bob"):
            User.join(user, name=user, email=f"{user}@example.net", at=NOW)
        Post.publish("p1", author_id="ada", text="Hello", at=NOW)
        Post.like("p1", "bob", at=NOW)
        User("ada").update(actions=[User.posts_count.set(9)])
        Token.issue("ada", "t1", kind="access", at=NOW, expires_at=NOW)
        counted = backbeat_testing.run(update_user_statistics, NOW + timedelta(hours=1))
        assert User.get("ada").posts_count == 1
        assert counted is not None
        backbeat_testing.run(update_post_engagement_scores, NOW + timedelta(hours=1))
        assert Post.get("p1").score == 3
        backbeat_testing.run(cleanup_expired_tokens, NOW + timedelta(hours=1))
        assert list(Token.scan()) == []
        assert Like.count("p1") == 1
        backbeat_testing.run(send_notification, NOW, user_id="ada", kind="like", text="bob likes it")
        assert len(boto3.client("sqs").list_queues()["QueueUrls"]) == 2 * len(TASKS)
    assert (dict(os.environ), User.Meta.table_name) == before


def test_a_run_is_made_with_what_its_message_says() -> None:
    run = backbeat_testing.make_run(send_welcome_email, NOW, run_id="r1", user_id="42")
    assert (run.id, run.now, run.message.kwargs) == ("r1", NOW, {"user_id": "42"})


class Case(CapturesTasks, unittest.TestCase):
    def test_what_is_sent_is_there(self) -> None:
        send_welcome_email.delay(user_id="42")
        assert [sent.task for sent in self.backbeat_outbox] == ["send_welcome_email"]


def test_the_example_of_the_documentation_runs() -> None:
    example = (ROOT / "docs/testing.md").read_text("utf-8").split("```python\n")[3].split("```")[0]
    exec(example, {})


PLUGIN_TESTS = """
import os
from backbeat.tasks import send_welcome_email
from backbeat.models import User

def test_kept(backbeat_outbox):
    send_welcome_email.delay(user_id="42")
    assert backbeat_outbox.of(send_welcome_email) == [{"user_id": "42"}]

def test_in_memory(backbeat_cloud):
    assert list(User.scan()) == []
    assert os.environ["AWS_ACCESS_KEY_ID"] in ("testing", "FOOBARKEY") and "AWS_PROFILE" not in os.environ

def test_unsaid():
    send_welcome_email.delay(user_id="42")
"""


def test_the_fixtures_are_there_and_nothing_is_sent_unsaid(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(PLUGIN_TESTS)
    environment = {**os.environ, "AWS_PROFILE": "production"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert "this test sends to send_welcome_email: ask for the fixture backbeat_outbox" in done.stdout
    assert "1 failed, 2 passed" in done.stdout, done.stdout
