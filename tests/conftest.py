"""What every test is held to, and where it finds the functions' modules."""

import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
import service_models
from support import any_port

from backbeat_ops import deployment, localcloud, sample
from backbeat_ops.stack import Stack

sys.path[1:1] = [str(folder) for folder in sorted(Path(__file__).parent.parent.glob("functions/*/"))]


@pytest.fixture(autouse=True)
def refused() -> Iterator[list[str]]:
    """What the test's calls to AWS ask for and AWS would refuse; a test that means to ask for it takes it out."""
    with service_models.enforced() as refused:
        yield refused
    assert refused == []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let what a test has logged travel between processes, half a surrogate included, which no UTF-8 can hold."""
    report = yield
    report.sections = [(name, text.encode(errors="replace").decode()) for name, text in report.sections]
    return report


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


@pytest.fixture(scope="session")
def photo() -> bytes:
    """A 12-megapixel photo with an orientation and a place in its metadata."""
    return sample.photo()
