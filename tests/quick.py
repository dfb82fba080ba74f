"""What moto and botocore do anew for each test or at each call, and to no other end, is done once in a process.

Most of the unit tests' time would go into making the template's tables and queues, into reading botocore's descriptions
of the services, and into looking through and copying update expressions.
"""

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

from botocore import session
from moto.backends import get_backend
from moto.core import DEFAULT_ACCOUNT_ID, responses
from moto.core.base_backend import BaseBackend
from moto.dynamodb.parsing import ast_nodes, validators
from moto.dynamodb.parsing.expressions import UpdateExpressionParser
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
    UpdateExpressionParser.make = cache(UpdateExpressionParser.make)  # what is parsed is copied before it is changed
    ast_nodes.DepthFirstTraverser.traverse = _traverse
    ast_nodes.Node.__deepcopy__ = _copy_tree


def _traverse(traverser: Any, root: Any) -> Any:
    """What moto's own does, which asks at each node anew what is to be done with which type."""
    processors = traverser._processing_map()
    of_type: dict[type, Callable[[Any], Any] | None] = {}

    def visit(node: Any, place: int) -> Any:
        parent, its = node.parent, type(node)
        for number, child in enumerate(node.children or ()):
            traverser.pre_processing_of_child(node, number)
            if isinstance(child, ast_nodes.Node):
                visit(child, number)
        if its not in of_type:
            of_type[its] = next((process for kind, process in processors.items() if issubclass(its, kind)), None)
        if process := of_type[its]:
            node = process(node)
            node.parent = parent
            if parent:
                parent.children[place] = node
        return node

    return visit(root, -1)


def _copy_tree(node: Any, known: dict[int, Any]) -> Any:
    """A copy of an expression, whose nodes would have their types and parents looked up one by one."""
    copied: Any = object.__new__(type(node))
    copied.__dict__.update(node.__dict__, parent=None)
    if node.children is not None:
        copied.children = [copy.deepcopy(child, known) for child in node.children]
        for child in copied.children:
            if isinstance(child, ast_nodes.Node):
                child.parent = copied
    return copied
