"""What every test is held to."""

from collections.abc import Iterator

import pytest
import service_models


@pytest.fixture(autouse=True)
def refused() -> Iterator[list[str]]:
    """What the test's calls to AWS ask for and AWS would refuse; a test that means to ask for it takes it out."""
    with service_models.enforced() as refused:
        yield refused
    assert refused == []
