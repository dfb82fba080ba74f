"""`manage.py backbeat_diff`: whether both sides are the same, and what differs."""

from argparse import ArgumentParser
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from backbeat.app.connecting import StackNotFound
from backbeat_django import comparing, pulling, relay
from backbeat_django.connecting import connected
from backbeat_django.importing import ORDER
from backbeat_django.mapping import mapping
from backbeat_django.relay import AwsUnavailable

SHOWN = 50


class Command(BaseCommand):
    """Compare both sides."""

    help = "Compare the application's rows with Backbeat's; fail where they differ, unless that is repaired."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The options."""
        parser.add_argument("kinds", nargs="*", choices=[*ORDER, []], metavar="KIND", help=f"of {', '.join(ORDER)}")
        parser.add_argument("--sample", type=int, metavar="N", help="compare so many rows of each kind, not all")
        parser.add_argument("--repair", action="store_true", help="make both sides the same where they differ")

    def handle(self, *_: Any, kinds: list[str], sample: int | None, repair: bool, **__: Any) -> None:
        """Pull, then compare."""
        kinds = [kind for kind in ORDER if kind in (kinds or ORDER) and kind in mapping()]
        try:
            connected()
            if waiting := relay.state().waiting:
                self.stderr.write(f"{waiting} entries wait for the relay, and may show as differences.")
            pulling.pull()
            for kind, (theirs, ours) in comparing.counts(kinds).items():
                self.stdout.write(f"{kind:8} {theirs:,} in Django, {ours:,} in Backbeat")
            found = list(comparing.differences(kinds, sample))
        except (AwsUnavailable, BotoCoreError, ClientError, StackNotFound) as error:
            raise CommandError(str(error)) from error
        for difference in found[:SHOWN]:
            self.stdout.write(f"{difference.kind} {'/'.join(difference.key)}: {difference.what}")
        if len(found) > SHOWN:
            self.stdout.write(f"... and {len(found) - SHOWN:,} more; in all:")
            for kind, counted in comparing.tally(found).items():
                said = ", ".join(f"{what} ({number:,})" for what, number in counted.most_common())
                self.stdout.write(f"{kind:8} {said}")
        if not found:
            self.stdout.write("nothing differs")
        elif repair:
            done = comparing.repair(found, timezone.now())
            self.stdout.write("repaired: " + ", ".join(f"{number:,} {what}" for what, number in done.items() if number))
        else:
            raise CommandError(f"{len(found):,} rows differ; --repair makes them the same")
