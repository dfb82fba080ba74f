"""The bridge to Django is tested beside the example's network, and beside a project of another make, in SQLite."""

import os
import sys

import django
import pytest
from django.conf import settings
from django.core.management import call_command
from support import ROOT

sys.path[:0] = [str(ROOT / "examples/django"), str(ROOT / "tests/django_projects")]
if not settings.configured:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bridge_settings")
    django.setup()


@pytest.fixture(scope="session")
def _tables() -> None:
    """The projects' tables, made once: the database is this process's memory."""
    call_command("migrate", run_syncdb=True, verbosity=0)


@pytest.fixture
def db(_tables: None) -> None:
    """An empty database, whose transactions are real."""
    call_command("flush", interactive=False, verbosity=0)
