"""Integration tests run against the local cloud: this template, built and deployed for real, once per test session."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import Backbeat, any_port

from backbeat_ops import deployment, localcloud, sample
from backbeat_ops.stack import Stack


@pytest.fixture(scope="session")
def local_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A local cloud of the tests' own, with the template deployed to it."""
    before = dict(os.environ)
    localcloud.HOME = tmp_path_factory.mktemp("local-cloud")
    try:
        localcloud.start(any_port())
        localcloud.use(localcloud.endpoint())
        deployment.deploy(lambda line: None)
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        localcloud.stop()


@pytest.fixture
def cloud(local_cloud: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """The deployed stack, with this process pointed at it and its models bound to it."""
    before = dict(os.environ)
    stack = localcloud.stack()
    stack.bind()
    yield stack
    os.environ.clear()
    os.environ.update(before)


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
        return json.loads(done.stdout) if "--json" in arguments else done.stdout

    return run


@pytest.fixture(scope="session")
def photo() -> bytes:
    """A 12-megapixel photo with an orientation and a place in its metadata."""
    return sample.photo()
