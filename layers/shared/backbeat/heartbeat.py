"""Signs of life: how work that takes long is held, and how it comes back soon where its worker was killed.

A queue hides a message for six of its function's time-outs, as AWS asks for ("Creating and configuring an Amazon SQS
event source mapping", Lambda developer guide). With a worker that was killed, the message stayed hidden for as long. So
a function with a long time-out hides it for a minute and a half instead, and once more each half minute for as long as
it works: two beats may get lost, and a worker that is gone is missed within two minutes. A second worker that comes too
early does no harm, as with any message that is delivered twice.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from botocore.exceptions import BotoCoreError, ClientError
from pynamodb.exceptions import PynamoDBException

from backbeat.logs import logger

SECONDS_OF_SHORT_WORK = 60
"""Functions with more time than that send signs of life. For the others the queue hides for six minutes at most."""
HELD_FOR = timedelta(seconds=90)
"""How long work is held after a sign of life."""
SECONDS_BETWEEN_BEATS = 30.0
SECONDS_TO_STOP = 5
"""How long a last beat may keep the end of the work waiting."""


@contextmanager
def beating(beat: Callable[[], None], end: Callable[[], None]) -> Iterator[None]:
    """Call `beat` now, and again and again while the work goes on, then `end`.

    One that fails is logged; the work goes on, and may at worst be done twice.
    """
    done = threading.Event()

    def go_on() -> None:
        while not done.wait(SECONDS_BETWEEN_BEATS):
            _try(beat)

    _try(beat)
    thread = threading.Thread(target=go_on, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(SECONDS_TO_STOP)
        _try(end)


def _try(beat: Callable[[], None]) -> None:
    try:
        beat()
    except (BotoCoreError, ClientError, PynamoDBException) as error:
        logger.warning("a sign of life got lost", extra={"error": str(error)})
