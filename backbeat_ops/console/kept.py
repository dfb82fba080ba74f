"""The dead letters as they were read last, for all pages: reading holds each of them, and two who read share them."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from backbeat.letters import Letter
from backbeat.tasks import TASKS
from backbeat_ops import dead

SECONDS_KEPT = 60
"""For how long what was read serves, as long as every queue has as many letters as then."""


class Letters:
    """The letters of a stack's dead queues, read by one at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: list[Letter] | None = None
        self._numbers: dict[str, int] = {}
        self._until = 0.0
        self._at = datetime.now(UTC)

    def look(self, *, anew: bool = False, still: bool = False) -> tuple[list[Letter], datetime]:
        """The letters, and when they were read.

        Args:
            anew: Whether to read them now, however short a time ago that was.
            still: Whether to read nothing that was read before: work on letters goes on, and reading would hide from
                it what it looks for.
        """
        with self._lock:
            if self._found is None or anew or not (still or self._holds()):
                self._numbers = _numbers()
                self._found, self._at = dead.look(), datetime.now(UTC)
                self._until = time.monotonic() + SECONDS_KEPT
            return list(self._found), self._at

    def forget(self) -> None:
        """Read them anew when they are asked for next."""
        self._until = 0.0

    def _holds(self) -> bool:
        return time.monotonic() < self._until and _numbers() == self._numbers


def _numbers() -> dict[str, int]:
    """About how many letters each task has, which is asked without holding any."""
    with ThreadPoolExecutor(dead.READERS) as pool:
        return dict(zip(TASKS, pool.map(dead.number, TASKS), strict=True))
