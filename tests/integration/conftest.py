"""Integration tests run against the local cloud: this template, built and deployed for real, once per test session."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from documented import documented
from support import Backbeat

from backbeat_ops import localcloud
from backbeat_ops.stack import Stack


@pytest.fixture
def backbeat(cloud: Stack) -> Backbeat:
    """Run the `backbeat` command, as a user would; return its JSON, or what it said where it failed.

    One that answers and fails, as `doctor` does, is called with `ails`: its answer is returned. None: it may.
    """

    def run(*arguments: str, fails: bool = False, ails: bool | None = False) -> Any:
        done = subprocess.run(
            [Path(sys.executable).parent / "backbeat", *arguments],
            env={**os.environ, "BACKBEAT_HOME": str(localcloud.HOME), "BACKBEAT_STACK": "", "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        codes = (0, 1) if ails is None else (1,) if fails or ails else (0,)
        assert done.returncode in codes, done.stdout + done.stderr
        if fails:
            return done.stderr
        if "--json" not in arguments:
            return done.stdout
        answer = json.loads(done.stdout)
        # Of one or two words; an argument may come between them and `--json`.
        named = next(name for words in (2, 1) if (name := " ".join(arguments[:words])) in documented())
        documented()[named].validate(answer)
        return answer

    return run
