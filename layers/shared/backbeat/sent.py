"""What a producer gets back: a message's id that also says what became of its run, from the ledger, by boto3 alone."""

import json
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

from backbeat.aws import cloudformation, dynamodb, stack_name

WAITING = "waiting"
"""The status of a run that has not begun, or is not known any more."""
ENDED = frozenset({"succeeded", "skipped", "rejected", "dead", "incomplete"})
FAILED = frozenset({"rejected", "dead", "incomplete"})
LONGEST_PAUSE = 2.0
"""Seconds between two looks at the ledger, at most."""


class TaskFailed(RuntimeError):
    """The run has failed for good; the text says why."""


class Sent(str):
    """The id of a message that was sent, which is its run's id.

    Attributes:
        task: The task's name.
        time: The run's logical time.
    """

    task: str
    time: datetime

    def __new__(cls, message_id: str, task: str, time: datetime) -> "Sent":
        """An id, with what is needed to find its run."""
        sent = super().__new__(cls, message_id)
        sent.task, sent.time = task, time
        return sent

    @property
    def id(self) -> str:
        """The id as plain text."""
        return str(self)

    @property
    def status(self) -> str:
        """What became of the run: `waiting`, `running`, `retrying`, `in parts`, or how it ended."""
        return str(self._run().get("outcome", {}).get("S", WAITING))

    def ready(self) -> bool:
        """Whether nothing more happens by itself."""
        return self.status in ENDED

    def get(self, timeout: float | None = None) -> Any:
        """Wait for the run's end, and return its result, as JSON has it; None where it was skipped.

        Args:
            timeout: How many seconds to wait at most; for ever where it is not given.

        Raises:
            TimeoutError: It has not ended by then.
            TaskFailed: It failed for good.
        """
        until = None if timeout is None else time.monotonic() + timeout
        pause = 0.1
        while True:
            run = self._run()
            status = run.get("outcome", {}).get("S", WAITING)
            if status in FAILED:
                raise TaskFailed(f"{self.task} {self} is {status}: {run.get('error', {}).get('S')}")
            if status in ENDED:
                return json.loads(run["result"]["S"]) if "result" in run else None
            left = LONGEST_PAUSE if until is None else until - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"{self.task} {self} is {status} after {timeout} s")
            time.sleep(min(pause, left))
            pause = min(LONGEST_PAUSE, pause * 2)

    def _run(self) -> Mapping[str, Any]:
        """The run's row in the ledger; nothing where there is none (yet)."""
        key: Any = {"task_day": {"S": f"{self.task}#{self.time.astimezone(UTC).date()}"}, "run_id": {"S": str(self)}}
        answer = dynamodb().get_item(TableName=runs_table(stack_name()), Key=key, ConsistentRead=True)
        found: Mapping[str, Any] = answer.get("Item", {})
        return found


@cache
def runs_table(stack: str) -> str:
    """The name of a stack's ledger: `RUNS_TABLE`, or what the stack's output `Application` says."""
    if table := os.environ.get("RUNS_TABLE"):
        return table
    (found,) = cloudformation().describe_stacks(StackName=stack)["Stacks"]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}
    return str(json.loads(outputs["Application"])["RUNS_TABLE"])
