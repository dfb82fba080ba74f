"""What moto and botocore do anew for each test or at each call, and to no other end, is done once in a process.

Most of the unit tests' time would go into making the template's tables and queues, into reading botocore's descriptions
of the services, and into looking through an update expression from each of its nodes.
"""

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

from botocore import session
from moto.backends import get_backend
from moto.core import DEFAULT_ACCOUNT_ID, responses
from moto.core.base_backend import BaseBackend
from moto.dynamodb.parsing import validators
from moto.s3.models import s3_backends

BACKENDS = {
    "dynamodb": "us-east-1",
    "sqs": "us-east-1",
    "s3": "aws",
    "scheduler": "us-east-1",
    "secretsmanager": "us-east-1",
}
"""The services whose state is kept, each with the region that moto has it under; S3's is one for all of them."""


class State:
    """What a function makes in an empty cloud of moto's: made once, and put there again for each test."""

    def __init__(self, make: Callable[[], None]) -> None:
        self._make = make
        self._kept: dict[str, tuple[BaseBackend, dict[str, Any]]] = {}
        self._buckets: dict[str, tuple[str, str]] = {}

    def put(self) -> None:
        """Give the cloud, which is empty, that state; what a test then does to it is done to a copy."""
        if not self._kept:
            self._make()
            for service in BACKENDS:
                backend = _backend(service)
                self._kept[service] = backend, _copy(backend.__dict__, {id(backend): backend})
            self._buckets = dict(s3_backends.bucket_accounts)
            return
        for service, (before, state) in self._kept.items():
            backend = _backend(service)
            backend.__dict__.update(_copy(state, {id(before): backend}))
        s3_backends.bucket_accounts.update(self._buckets)


def _backend(service: str) -> BaseBackend:
    found: BaseBackend = get_backend(service)[DEFAULT_ACCOUNT_ID][BACKENDS[service]]  # type: ignore[call-overload]
    return found


def _copy(state: dict[str, Any], known: dict[int, Any]) -> dict[str, Any]:
    """A copy of a service's state, whose queues keep their locks: those cannot be copied, and nobody holds them."""
    locks = [queue._messages_lock for queue in state.get("queues", {}).values()]
    return copy.deepcopy(state, known | {id(lock): lock for lock in locks})


def shorten() -> None:
    """Do once what is done again and again."""
    session.create_loader = cache(session.create_loader)  # each session would read the services' descriptions anew
    responses.method_names_from_class = cache(responses.method_names_from_class)  # type: ignore[assignment]
    # Both look through a whole expression, and moto has them do so from each of its nodes as well.
    for whole, look in (
        (validators.ActionCountValidator, validators.ActionCountValidator.verify_action_counts),
        (validators.OverlappingPathsValidator, validators.OverlappingPathsValidator.check_for_overlapping_paths),
    ):
        whole.traverse = look  # type: ignore[method-assign]
