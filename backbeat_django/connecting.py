"""The connection of this process to the stack that the settings name."""

import os
from functools import cache

import backbeat
from backbeat_django.mapping import mapping


@cache
def connected() -> dict[str, str]:
    """Connect this process once; what was found stands in its environment."""
    if {"USERS_TABLE", "ARCHIVE_BUCKET"} <= set(os.environ) and os.environ.get("BACKBEAT_STACK") == mapping().stack:
        return dict(os.environ)  # whoever started it has connected it
    return backbeat.connect(mapping().stack)
