"""Chains of messages, measured in unit tests: Lambda ends one that becomes long, and the local cloud does not.

A message that a handler sends is one link further down than the message it was called with. One that comes back for a
retry stays where it is ("Use Lambda recursive loop detection to prevent infinite loops", Lambda developer guide).
"""

from functools import wraps
from threading import local
from typing import Any

import pytest
from botocore.client import BaseClient

from backbeat.runtime import Implementation

LONGEST = 15
"""Invocations in one chain; Lambda stops the one after "approximately 16"."""


def enforce(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the messages that are sent in a test and that Lambda would not deliver."""
    too_long: list[str] = []
    links: dict[str, int] = {}  # by SQS's id of the message
    here = local()  # a batch's messages may be at work side by side
    receive, call = Implementation._receive, BaseClient._make_api_call

    @wraps(receive)  # the batch processor looks at the parameters
    def received(self: Implementation[Any], record: Any, lambda_context: Any) -> None:
        running = here.__dict__.setdefault("running", [])
        running.append(links.get(record["messageId"], 1))
        try:
            receive(self, record, lambda_context)
        finally:
            running.pop()

    def called(self: BaseClient, operation: str, parameters: dict[str, Any]) -> Any:
        answer = call(self, operation, parameters)
        running = here.__dict__.get("running")
        if running and operation in ("SendMessage", "SendMessageBatch"):
            for sent in answer.get("Successful", [answer]):
                links[sent["MessageId"]] = running[-1] + 1
                if links[sent["MessageId"]] > LONGEST and not parameters["QueueUrl"].endswith("-dead"):
                    too_long.append(f"message {links[sent['MessageId']]} of a chain goes to {parameters['QueueUrl']}")
        return answer

    monkeypatch.setattr(Implementation, "_receive", received)
    monkeypatch.setattr(BaseClient, "_make_api_call", called)
    return too_long
