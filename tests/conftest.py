"""What every test is held to, and where it finds the functions' modules."""

import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
import service_models

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
