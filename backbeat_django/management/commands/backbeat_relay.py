"""`manage.py backbeat_relay`: carry the outbox to Backbeat, for as long as it runs."""

import signal
import threading
import time
from argparse import ArgumentParser
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, close_old_connections

from backbeat.app.connecting import StackNotFound
from backbeat_django import relay
from backbeat_django.connecting import connected
from backbeat_django.relay import AwsUnavailable, Busy, Writer

LONGEST_WAIT = 30
"""Seconds between two tries at most, while AWS, the database or the lease is away."""
EVERY = 10
"""Seconds between two lines that say how far it is."""


class Command(BaseCommand):
    """Carry the outbox to Backbeat."""

    help = "Carry what the application has written to Backbeat: in order, in batches, for as long as this runs."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The options."""
        parser.add_argument("--once", action="store_true", help="end when nothing waits any more")
        parser.add_argument("--status", action="store_true", help="say what waits, and since when; apply nothing")
        parser.add_argument("--retry", action="store_true", help="first take up again what was set aside")

    def handle(self, *_: Any, once: bool, status: bool, retry: bool, **__: Any) -> None:
        """Run until told to stop (Ctrl-C or SIGTERM), which lets the batch at hand be finished."""
        if status:
            self.stdout.write(self._state())
            return
        if retry:
            self.stdout.write(f"{relay.retry_aside()} entries are taken up again")
        stop = threading.Event()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: stop.set())
        writer, wait, told = Writer(), 1, 0.0
        while not stop.is_set():
            try:
                connected()
                done = relay.drain(writer)
            except (AwsUnavailable, BotoCoreError, ClientError, DatabaseError, StackNotFound, Busy) as error:
                self.stderr.write(f"waiting {wait} s: {type(error).__name__}: {error}; {self._state()}")
                if once:
                    raise CommandError("not everything could be carried over; it waits for the next time") from error
                close_old_connections()
                stop.wait(wait)
                wait = min(LONGEST_WAIT, wait * 2)
                continue
            wait = 1
            if done and not once and time.monotonic() - told > EVERY:
                told = time.monotonic()
                self.stdout.write(self._state())
            if not done:
                if once:
                    break
                writer.release()  # an import, or a repair, may go first
                stop.wait(1)
        try:
            writer.release()
        except DatabaseError as error:
            self.stderr.write(f"the lease ends by itself: {error}")
        self.stdout.write(self._state())

    def _state(self) -> str:
        """One line on the outbox."""
        try:
            state = relay.state()
        except DatabaseError as error:
            return f"the outbox cannot be read: {error}"
        aside = f"; {state.aside} set aside: the column `error` says why, --retry tries again" if state.aside else ""
        lag = f", the oldest for {state.lag:.0f} s" if state.waiting else ""
        return f"{state.waiting} entries wait{lag}{aside}"
