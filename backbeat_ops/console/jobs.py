"""Long work that shows how far it is, and goes on when its page is left."""

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from botocore.exceptions import BotoCoreError, ClientError

MOST_KEPT = 50


@dataclass
class Job:
    """Work that is done in a thread.

    Attributes:
        title: What it does.
        back: The page to go back to.
        total: Of how many things.
        done: How many of them are done.
        ended: Whether it is over.
        says: What came of it.
        fault: The error that ended it, or None.
        number: By which its page finds it.
    """

    title: str
    back: str
    total: int
    done: int = 0
    ended: bool = False
    says: str = ""
    fault: Exception | None = None
    number: str = field(default_factory=lambda: secrets.token_hex(4))


class Jobs:
    """The jobs of this console, the last ones."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}

    def start(self, title: str, back: str, total: int, work: Callable[[Job], str]) -> Job:
        """Begin a job; `work` counts what is done, and returns what is to be said at the end."""
        job = Job(title, back, total)
        for old in [known for known in self._jobs.values() if known.ended][: max(0, len(self._jobs) - MOST_KEPT)]:
            del self._jobs[old.number]
        self._jobs[job.number] = job

        def run() -> None:
            try:
                job.says = work(job)
            except (ClientError, BotoCoreError, LookupError, ValueError, TimeoutError) as error:
                job.fault = error
            finally:
                job.ended = True

        threading.Thread(target=run, name=f"job-{job.number}", daemon=True).start()
        return job

    def get(self, number: str) -> Job:
        """The job of that number.

        Raises:
            LookupError: There is none; the console may have been started again since.
        """
        if number not in self._jobs:
            raise LookupError("There is no such work; the console has been started again since.")
        return self._jobs[number]

    def running(self) -> list[Job]:
        """What is being done."""
        return [job for job in self._jobs.values() if not job.ended]
