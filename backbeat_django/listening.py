"""Hearing that a run has finished, where the stack tells of it (its parameter `RunEvents`)."""

import time

from botocore.exceptions import BotoCoreError, ClientError

from backbeat.aws import sqs
from backbeat.queues import queue_url
from backbeat_django.mapping import mapping

SECONDS_AT_MOST = 300.0
"""How long a pull waits to hear of a run: events are best effort, and what was missed is to be found all the same."""
LONGEST_POLL = 8
"""Seconds for which one call waits; the client gives up on an answer after ten."""
AWAY = 10.0
"""Seconds before AWS is asked again that did not answer."""


def until_a_run_has_finished(most: float) -> None:
    """Wait until a run has finished, or for so many seconds; return at once where that is known by now.

    Raises:
        QueueNotFound: The stack tells nobody.
    """
    end = time.monotonic() + most
    while (left := end - time.monotonic()) > 0:
        try:
            if _heard(min(LONGEST_POLL, int(left) + 1)):
                return
        except (BotoCoreError, ClientError):
            time.sleep(min(AWAY, left))


def _heard(seconds: int) -> bool:
    """Whether runs have finished; what says so is taken off the queue, as one pull answers all of it."""
    url, heard = queue_url(f"{mapping().stack}-run-events"), False
    while True:
        wait = 0 if heard else seconds
        got = sqs().receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=wait).get("Messages", [])
        if not got:
            return heard
        heard = True
        sqs().delete_message_batch(
            QueueUrl=url,
            Entries=[{"Id": str(number), "ReceiptHandle": each["ReceiptHandle"]} for number, each in enumerate(got)],
        )
