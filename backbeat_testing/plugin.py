"""Fixtures for pytest, there wherever `backbeat[testing]` is installed."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from backbeat_testing.outbox import Outbox


@pytest.fixture
def backbeat_outbox() -> "Iterator[Outbox]":
    """What the test sends, kept instead of sent."""
    from backbeat_testing.outbox import captured

    with captured() as outbox:
        yield outbox


@pytest.fixture
def backbeat_cloud() -> Iterator[None]:
    """Tables, queues and buckets in memory; `backbeat_testing.run` runs tasks on them."""
    from backbeat_testing.cloud import cloud

    with cloud():
        yield


@pytest.fixture(autouse=True)
def _nothing_is_sent() -> Iterator[None]:
    """A test that sends without saying so fails, and reaches no region."""
    from backbeat.producer import Task, hand_over_to

    def refuse(task: "Task[...]", *_: object) -> None:
        raise RuntimeError(f"this test sends to {task.name}: ask for the fixture backbeat_outbox, which keeps it")

    before = hand_over_to(refuse)
    yield
    hand_over_to(before)
