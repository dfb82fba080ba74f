"""The bridge to Django is tested beside the example's network, and beside a project of another make, in SQLite."""

import os
import sys
from collections.abc import Iterator

import django
import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import reset_queries
from support import ROOT

from backbeat.producer import hand_over_to

sys.path[:0] = [str(ROOT / "examples/django"), str(ROOT / "tests/django_projects")]
if not settings.configured:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bridge_settings")
    django.setup()
from backbeat_django import outbox  # noqa: E402 - Django is set up by then

hand_over_to(None)  # other tests of this process send to AWS


@pytest.fixture(scope="session")
def _tables() -> None:
    """The projects' tables, made once: the database is this process's memory."""
    call_command("migrate", verbosity=0)
    call_command("migrate", run_syncdb=True, verbosity=0)  # those that have no migrations, and refer to those that have


@pytest.fixture
def db(_tables: None) -> Iterator[None]:
    """An empty database, whose transactions are real; messages go to its outbox."""
    call_command("flush", interactive=False, verbosity=0)
    reset_queries()  # it keeps 9,000 of a process, and then counts no more
    hand_over_to(outbox.send_later)
    yield
    hand_over_to(None)
