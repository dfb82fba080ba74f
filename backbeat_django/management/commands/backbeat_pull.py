"""`manage.py backbeat_pull`: bring back what the tasks made of the application's data."""

import time
from argparse import ArgumentParser
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from django.core.management.base import BaseCommand, CommandError

from backbeat.app.connecting import StackNotFound
from backbeat.queues import QueueNotFound
from backbeat_django import listening, pulling
from backbeat_django.connecting import connected
from backbeat_django.relay import AwsUnavailable


class Command(BaseCommand):
    """Bring back what has changed since the last pull."""

    help = "Bring back what the tasks have changed since the last pull."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The options."""
        parser.add_argument("--every", type=float, metavar="SECONDS", help="go on, with so many seconds in between")
        parser.add_argument("--follow", action="store_true", help="go on, and pull as soon as a run has finished")

    def handle(self, *_: Any, every: float | None, follow: bool = False, **__: Any) -> None:
        """Pull once, or for as long as this runs."""
        if follow and every is None:
            every = listening.SECONDS_AT_MOST
        while True:
            try:
                connected()
                if ago := pulling.behind():
                    self.stderr.write(
                        f"The last pull is {ago.days} days ago, and changes are kept for less: "
                        "`manage.py backbeat_diff --repair` finds what was missed."
                    )
                done = pulling.pull()
            except (AwsUnavailable, BotoCoreError, ClientError, StackNotFound) as error:
                if every is None:
                    raise CommandError(f"{error}\nThe next pull begins where this one did.") from error
                self.stderr.write(f"{type(error).__name__}: {error}")
            else:
                said = ", ".join(f"{number:,} {kind}" for kind, number in done.items() if number)
                if said or every is None:
                    self.stdout.write(said or "nothing has changed")
            if every is None:
                return
            try:
                wait = listening.until_a_run_has_finished if follow else time.sleep
                wait(every)
            except KeyboardInterrupt:
                return
            except QueueNotFound as error:
                raise CommandError(f"{error}\nDeploy the stack with RunEvents=yes, or pull with --every.") from error
