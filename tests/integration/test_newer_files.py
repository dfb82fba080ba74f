"""Files that are newer than the stack, or older: what both have is looked at and operated, and the rest is named."""

from datetime import UTC, datetime

import pytest

from backbeat.producer import Retry, Task
from backbeat.tasks import TASKS
from backbeat_ops import capacity, dead, doctor, pausing, status
from backbeat_ops.console.pages import now as page
from backbeat_ops.doctor import State
from backbeat_ops.stack import NotFound, Stack


def greet(user_id: str) -> None:
    """Greet a user."""


def test_a_task_that_is_declared_and_not_deployed_is_named(cloud: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, "greet", Task(greet, "default", Retry(attempts=3)))
    found = status.status(cloud)
    assert "greet" not in found["tasks"]
    assert "greet is declared in your files, and not deployed to the stack" in found["verdict"]["known"]
    assert "greet" not in {task["task"] for task in capacity.capacity(cloud, 1, datetime.now(UTC))["tasks"]}
    assert dead.look(["greet"]) == []
    assert pausing.tasks_of(cloud, "default") == ["send_notification"]
    with pytest.raises(NotFound, match="'greet' is declared in your files, and not deployed to backbeat-local"):
        pausing.tasks_of(cloud, "greet")
    assert [each for each in doctor.examine(cloud) if "greet" in each.says and each.state is State.WRONG] == []
    assert "greet" not in {run["task"] for run in page.last_runs()}


def test_a_task_that_is_deployed_and_not_declared_is_named(cloud: Stack) -> None:
    for suffix in ("", "-dead"):
        cloud.resources[f"Greet{suffix}"] = f"http://127.0.0.1/000000000000/backbeat-local-default-greet{suffix}"
    found = status.status(cloud)
    assert list(found["tasks"]) == list(TASKS)
    assert found["verdict"]["known"] == [
        "greet is in the stack and not in your files, which are older: see it with newer ones"
    ]
