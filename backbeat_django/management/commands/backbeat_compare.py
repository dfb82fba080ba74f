"""`manage.py backbeat_compare TASK`: a task of Celery's beside ours, before the one is switched off."""

from argparse import ArgumentParser
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from django.core.management.base import BaseCommand, CommandError

from backbeat.app.connecting import StackNotFound
from backbeat_django import comparing
from backbeat_django.connecting import connected
from backbeat_django.mapping import SHADOWED
from backbeat_django.relay import AwsUnavailable


class Command(BaseCommand):
    """Show how a task's results differ."""

    help = 'Compare what a task wrote here with what the application has; name the task in BACKBEAT["SHADOW"] first.'

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The options."""
        parser.add_argument("task", choices=SHADOWED, metavar="TASK", help=f"of {', '.join(SHADOWED)}")

    def handle(self, *_: Any, task: str, **__: Any) -> None:
        """Compare, and change nothing."""
        try:
            connected()
            found = comparing.compare(task)
        except (AwsUnavailable, BotoCoreError, ClientError, StackNotFound, LookupError) as error:
            raise CommandError(str(error)) from error
        for example in found.examples:
            self.stdout.write(example)
        self.stdout.write(f"{found.differ:,} of {found.rows:,} rows differ")
