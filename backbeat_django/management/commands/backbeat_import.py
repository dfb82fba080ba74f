"""`manage.py backbeat_import`: bring all that exists to Backbeat."""

import sys
import time
from argparse import ArgumentParser
from collections import Counter
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from django.core.management.base import BaseCommand, CommandError

from backbeat.app.connecting import StackNotFound
from backbeat_django import relay
from backbeat_django.connecting import connected
from backbeat_django.files import are_mapped, carry_all
from backbeat_django.importing import ORDER, import_all
from backbeat_django.mapping import mapping
from backbeat_django.relay import AwsUnavailable, Busy

NEXT = """Now have the tasks look at all there is, once:
  backbeat run update_user_statistics full=true
  backbeat run update_post_engagement_scores full=true
  backbeat run update_trending_hashtags full=true
  backbeat run generate_content_analytics full=true
  backbeat run cleanup_expired_tokens full=true
  backbeat run cleanup_old_posts full=true"""


class Command(BaseCommand):
    """Bring all that exists to Backbeat."""

    help = "Bring all that the application has to Backbeat; started again, go on where it was cut off."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The options."""
        parser.add_argument("kinds", nargs="*", choices=[*ORDER, []], metavar="KIND", help=f"of {', '.join(ORDER)}")
        parser.add_argument("--files", action="store_true", help="have renditions made of the files that posts have")

    def handle(self, *_: Any, kinds: list[str], files: bool = False, **__: Any) -> None:
        """Import, and say what was done."""
        self._shown, self._started = 0.0, time.monotonic()
        try:
            connected()
            with relay.writing() as writer:
                states = import_all(writer, kinds or ORDER, self._tell)
                copied = self._carry_files(writer) if files else None
        except (AwsUnavailable, BotoCoreError, ClientError, StackNotFound, Busy) as error:
            raise CommandError(f"{error}\nNothing is lost: the same command goes on where this one stopped.") from error
        self._line("")
        for kind, state in states.items():
            counts = {"added": 0, "changed": 0, **state.counts}
            said = ", ".join(f"{number:,} {what}" for what, number in counts.items())
            self.stdout.write(f"{kind:8} {state.rows:,} read: {said}")
        if copied is not None:
            lost = f", not there for {copied['missing']:,}" if copied["missing"] else ""
            self.stdout.write(f"files    {copied['posts']:,} posts looked at: {copied['copied']:,} copied{lost}")
        if any(state.counts.get("refused") for state in states.values()) or (copied and copied["missing"]):
            self.stdout.write("What was refused is in the outbox, set aside, with why; see backbeat_relay --status.")
        self.stdout.write(NEXT)

    def _carry_files(self, writer: relay.Writer) -> Counter[str]:
        """Have renditions made of the files that posts have."""
        if not are_mapped():
            raise CommandError('BACKBEAT["POST"] names no "file": the field that a post\'s pictures are in.')
        copied, total = Counter[str](), mapping()["post"].rows.count()
        carried = carry_all(relay.set_aside)
        while True:
            with relay.aws():
                posts, done = next(carried, (0, Counter[str]()))
            if not posts:
                return copied
            copied += done + Counter(posts=posts)
            self._tell("files", copied["posts"], total)
            if not writer.renew():
                raise Busy("another relay or import has taken over")

    def _tell(self, kind: str, done: int, total: int) -> None:
        """Show how far it is: on a terminal a bar, else a line now and then."""
        now = time.monotonic()
        terminal = sys.stdout.isatty()
        if now - self._shown < (0.1 if terminal else 10) and done < total:
            return
        self._shown = now
        share = done / total if total else 1
        text = f"{kind:8} {'█' * int(share * 30):30} {done:,} of {total:,}"
        if terminal:
            self._line(text)
        else:
            self.stdout.write(text)

    def _line(self, text: str) -> None:
        if sys.stdout.isatty():
            sys.stdout.write(f"\r\x1b[K{text}")
            sys.stdout.flush()
