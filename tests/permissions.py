"""The roles of the template, enforced in unit tests: neither moto nor the local cloud checks a permission.

While a task's own handler runs, each call that it makes to AWS must be one that its function's role allows.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import cache, wraps
from threading import local
from typing import Any

import pytest
from botocore.client import BaseClient
from support import PSEUDO, arn, logical_name, resolve, resources, statements

from backbeat.runtime import Implementation

S3_ACTIONS = {"HeadObject": "GetObject", "ListObjectsV2": "ListBucket", "ListObjectVersions": "ListBucketVersions"}
"""S3's operations whose permission bears another name."""
TRANSACTIONS = {
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
}


class _Here(local):
    """The roles of the handlers that are running in a thread."""

    def __init__(self) -> None:
        self.running: list[str] = []


_here = _Here()


@contextmanager
def by_another() -> Iterator[None]:
    """What a test does here while a handler runs is not the handler's doing."""
    before, _here.running = _here.running, []
    try:
        yield
    finally:
        _here.running = before


@contextmanager
def running(role: str) -> Iterator[None]:
    """What a test does here a function with this role does, which is no task's."""
    _here.running.append(role)
    try:
        yield
    finally:
        _here.running.pop()


def enforce(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect what the handlers that run in a test may not do.

    By the test's own `monkeypatch`, as what it patches itself is undone in order then, and nothing piles up.
    """
    denied: list[str] = []
    call = BaseClient._make_api_call

    def as_function(method: Any) -> Any:
        @wraps(method)  # the batch processor looks at the parameters
        def wrapped(self: Implementation[Any], *arguments: Any, **named: Any) -> Any:
            if self.function.__module__ != self.task.name:  # a test's own, which borrows a task's name
                return method(self, *arguments, **named)
            with running(f"{logical_name(self.task.name)}Role"):
                return method(self, *arguments, **named)

        return wrapped

    def checked(self: BaseClient, operation: str, parameters: dict[str, Any]) -> Any:
        if _here.running:
            service = self.meta.service_model.service_name
            for action, resource in needed(service, operation, parameters):
                if not allows(_here.running[-1], action, resource, parameters):
                    denied.append(f"{_here.running[-1]} does not allow {action} on {resource}")
        return call(self, operation, parameters)

    for name in ("_receive", "_run", "_look_ahead", "_write_down"):
        monkeypatch.setattr(Implementation, name, as_function(getattr(Implementation, name)))
    monkeypatch.setattr(BaseClient, "_make_api_call", checked)
    return denied


def needed(service: str, operation: str, parameters: dict[str, Any]) -> list[tuple[str, str]]:
    """The actions, each with its resource, that a call needs (AWS, "Service Authorization Reference")."""
    match service:
        case "sqs":
            name = parameters.get("QueueName") or parameters["QueueUrl"].rsplit("/", 1)[-1]
            return [(f"sqs:{operation.removesuffix('Batch')}", _arn("sqs", name))]
        case "dynamodb" if operation == "TransactWriteItems":
            return [
                (f"dynamodb:{TRANSACTIONS[kind]}", _table(request["TableName"]))
                for item in parameters["TransactItems"]
                for kind, request in item.items()
            ]
        case "dynamodb" if operation in ("BatchGetItem", "BatchWriteItem"):
            return [(f"dynamodb:{operation}", _table(name)) for name in parameters["RequestItems"]]
        case "dynamodb" if operation == "BatchExecuteStatement":
            statements = [each["Statement"] for each in parameters["Statements"]]
            tables = {statement.removeprefix('INSERT INTO "').partition('"')[0] for statement in statements}
            return [("dynamodb:PartiQLInsert", _table(name)) for name in tables]
        case "dynamodb":
            index = f"/index/{parameters['IndexName']}" if "IndexName" in parameters else ""
            return [(f"dynamodb:{operation}", _table(parameters["TableName"]) + index)]
        case "s3" if operation == "DeleteObjects":
            keys = [item["Key"] for item in parameters["Delete"]["Objects"]]
            return [("s3:DeleteObject", f"arn:aws:s3:::{parameters['Bucket']}/{key}") for key in keys]
        case "s3":
            version = "VersionId" in parameters
            action = S3_ACTIONS.get(operation, operation) + ("Version" if version else "")
            key = f"/{parameters['Key']}" if "Key" in parameters else ""
            actions = [(f"s3:{action}", f"arn:aws:s3:::{parameters['Bucket']}{key}")]
            if operation in ("GetObject", "HeadObject"):  # else what is not there is forbidden: 403, not 404
                listing = "s3:ListBucketVersions" if version else "s3:ListBucket"
                actions.append((listing, f"arn:aws:s3:::{parameters['Bucket']}"))
            return actions
        case "sesv2" if operation == "GetAccount":
            return [("ses:GetAccount", "*")]
        case "sesv2":
            identity = parameters["FromEmailAddress"].rsplit("<", 1)[-1].rstrip(">")
            # In the sandbox SES looks at the recipients' identities, too ("Authorizing identities", SES).
            identities = [identity, *parameters["Destination"]["ToAddresses"]]
            given = [f"configuration-set/{parameters['ConfigurationSetName']}", *map("identity/{}".format, identities)]
            actions = ["ses:SendEmail", "ses:SendRawEmail"] if "Raw" in parameters["Content"] else ["ses:SendEmail"]
            return [(action, _arn("ses", resource)) for action in actions for resource in given]
        case "events":
            return [
                (f"events:{operation}", _arn("events", f"event-bus/{entry['EventBusName']}"))
                for entry in parameters["Entries"]
            ]
        case "secretsmanager":
            return [(f"secretsmanager:{operation}", parameters["SecretId"])]
        case "scheduler":
            schedule = _arn("scheduler", f"schedule/{parameters['GroupName']}/{parameters['Name']}")
            return [(f"scheduler:{operation}", schedule), ("iam:PassRole", parameters["Target"]["RoleArn"])]
    return [(f"{service}:{operation}", "a resource that tests/permissions.py cannot name")]


def allows(role: str, action: str, resource: str, parameters: dict[str, Any]) -> bool:
    """Whether a statement of a role allows an action on a resource."""
    return any(
        fnmatchcase(action, allowed) and fnmatchcase(resource, pattern)
        for allowed, pattern in granted(role, parameters)
    )


def granted(role: str, parameters: dict[str, Any] | None = None) -> Iterator[tuple[str, str]]:
    """Every action that a role allows, or allows for a call, each with a resource, as its statements have them."""
    for condition, pairs in _statements(role):
        if parameters is None or _meets(parameters, condition):
            yield from pairs


@cache
def _statements(role: str) -> list[tuple[dict[str, Any], list[tuple[str, str]]]]:
    return [
        (
            statement.get("Condition", {}),
            [(resolve(to), resolve(of)) for to in _list(statement["Action"]) for of in _list(statement["Resource"])],
        )
        for statement in statements(role)
    ]


def _meets(parameters: dict[str, Any], condition: dict[str, Any]) -> bool:
    """Whether a call meets the conditions on the attributes of a row and on a mail's sender, which are known here."""
    partitions = condition.get("ForAllValues:StringEquals", {}).get("dynamodb:LeadingKeys")
    if partitions is not None:
        key = parameters.get("Key")
        if not isinstance(key, dict) or key.get("task_day", {}).get("S") not in partitions:
            return False
    attributes = condition.get("ForAllValues:StringEquals", {}).get("dynamodb:Attributes")
    touched = {*parameters.get("Key", {}), *parameters.get("ExpressionAttributeNames", {}).values()}
    if attributes is not None and not touched <= set(attributes):
        return False
    leading = condition.get("ForAllValues:StringLike", {}).get("dynamodb:LeadingKeys")
    if leading is not None:
        keys = [value["S"] for value in parameters.get("Key", {}).values()]
        if not any(fnmatchcase(key, pattern) for key in keys for pattern in leading):
            return False
    sender = condition.get("StringEquals", {}).get("ses:FromAddress")
    return sender is None or f"<{resolve(sender)}>" in f"<{parameters['FromEmailAddress']}>"


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _arn(service: str, name: str) -> str:
    return f"arn:aws:{service}:{PSEUDO['AWS::Region']}:{PSEUDO['AWS::AccountId']}:{name}"


def _table(name: str) -> str:
    assert name in resources("AWS::DynamoDB::Table"), f"{name!r} is no table of the template"
    return arn(name)
