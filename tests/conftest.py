"""What every test is held to, and where it finds the functions' modules."""

import sys
from collections.abc import Iterator
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
