"""What was sent, kept instead of sent, as Django's `mail.outbox` keeps mail."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from backbeat.messages import Message
from backbeat.producer import Task, hand_over_to


@dataclass(frozen=True, slots=True)
class SentMessage:
    """One message, as the declaration took it.

    Attributes:
        task: The task's name.
        kwargs: Its arguments by name, as JSON.
        id: The message's id.
        time: When it is to run.
    """

    task: str
    kwargs: dict[str, Any]
    id: str
    time: datetime


class Outbox(list[SentMessage]):
    """What was sent, the oldest first."""

    def of(self, task: Task[Any]) -> list[dict[str, Any]]:
        """The arguments of the messages to one task."""
        return [sent.kwargs for sent in self if sent.task == task.name]


@contextmanager
def captured() -> Iterator[Outbox]:
    """Keep what is sent meanwhile, and send nothing."""
    outbox = Outbox()

    def keep(task: Task[Any], message: Message, time: datetime) -> None:
        outbox.append(SentMessage(task.name, message.kwargs, message.id, time))

    before = hand_over_to(keep)
    try:
        yield outbox
    finally:
        hand_over_to(before)
