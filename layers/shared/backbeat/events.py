"""Finished runs as events on a bus of the stack's own, for whoever wants to know at once.

A stack has the bus where its parameter `RunEvents` says so. An invocation puts all its events in one call, at its end.
They are best effort, as whoever listens can read the ledger: a call that fails is logged, and fails no run.
"""

import json
import os
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from backbeat import aws, messages
from backbeat.ledger import Attempt, Outcome
from backbeat.logs import logger
from backbeat.messages import Message

SOURCE = "backbeat"
DETAIL_TYPE = "Backbeat Run Finished"
VERSION = 1
"""Of what an event's detail holds; it rises where a field changes its meaning or goes, not where one is added."""

_noted: list[dict[str, Any]] = []


def note(message: Message, task_class: str, attempt: Attempt) -> None:
    """Have a finished run told at the end of this invocation; a trial's is not, nor one that goes on or comes back."""
    bus = os.environ.get("RUN_EVENTS_BUS")
    outcome = attempt.outcome
    if message.part is not None:  # whoever finishes the run tells of it
        outcome = Outcome.INCOMPLETE if outcome in (Outcome.REJECTED, Outcome.DEAD) else Outcome.IN_PARTS
    if not bus or message.trial or outcome in (Outcome.RETRYING, Outcome.IN_PARTS):
        return
    detail = {
        "version": VERSION,
        "stack": aws.stack_name(),
        "task": message.task,
        "class": task_class,
        "run_id": message.id,
        "logical_time": messages.iso(message.logical_time),
        "outcome": outcome.value,
        "duration_ms": attempt.duration_ms,
        "result": attempt.result,
        "reason": attempt.reason,
    }
    text = json.dumps({name: value for name, value in detail.items() if value is not None}, ensure_ascii=False)
    _noted.append({"EventBusName": bus, "Source": SOURCE, "DetailType": DETAIL_TYPE, "Detail": text})


def publish() -> None:
    """Put what was noted on the bus; what it does not take is logged, and gone."""
    entries, _noted[:] = list(_noted), []
    if not entries:
        return
    try:
        answer = aws.eventbridge().put_events(Entries=entries)
    except (BotoCoreError, ClientError) as error:
        logger.warning("finished runs were not told", extra={"error": str(error), "runs": len(entries)})
        return
    if failed := answer["FailedEntryCount"]:
        why = next(entry["ErrorCode"] for entry in answer["Entries"] if "ErrorCode" in entry)
        logger.warning("finished runs were not told", extra={"error": why, "runs": failed})
