"""A run made once more in this process, on the stack's own data, which it may read and never writes."""

import importlib
import json
import logging
import os
import re
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from time import monotonic
from typing import Any
from unittest.mock import patch

import boto3
from botocore.client import BaseClient
from botocore.endpoint import Endpoint

from backbeat import ledger
from backbeat.aws import forget_clients
from backbeat.ledger import Outcome
from backbeat.logs import logger
from backbeat.messages import Message, iso
from backbeat.runtime import Implementation, InParts, NotYet, Rejected, Run, Skipped, for_ledger
from backbeat.tasks import TASKS
from backbeat_ops import dead, onerun
from backbeat_ops.localcloud import ROOT
from backbeat_ops.stack import NotFound, Stack

READS: Mapping[str, frozenset[str]] = {
    "cloudformation": frozenset({"DescribeStacks", "GetTemplate", "ListStackResources"}),
    "cloudwatch": frozenset({"DescribeAlarms", "GetMetricData", "GetMetricStatistics"}),
    "dynamodb": frozenset(
        {"BatchGetItem", "DescribeTable", "DescribeTimeToLive", "GetItem", "Query", "Scan", "TransactGetItems"}
    ),
    "lambda": frozenset({"GetFunctionConfiguration"}),
    "s3": frozenset(
        {
            "GetBucketLocation",
            "GetObject",
            "GetObjectAttributes",
            "GetObjectTagging",
            "HeadBucket",
            "HeadObject",
            "ListObjectVersions",
            "ListObjects",
            "ListObjectsV2",
        }
    ),
    "scheduler": frozenset({"GetSchedule", "ListSchedules"}),
    "secretsmanager": frozenset({"DescribeSecret", "GetSecretValue"}),
    "sesv2": frozenset({"GetAccount", "GetEmailIdentity", "GetSuppressedDestination"}),
    "sqs": frozenset({"GetQueueAttributes", "GetQueueUrl", "ListQueues"}),
}
"""The operations that pass, by service. All others are withheld, those that AWS will have one day included."""
LONGEST_SHOWN = 300
"""Characters of a parameter of a withheld write that are shown."""
SECONDS = 900.0
"""How long a run may take, as it is told."""
WITHHELD = "withheld"
"""What stands for ids that AWS would have given."""
WAYS_OUT = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendmsg", "socket.sendto")
"""What a process does to reach another machine, as Python's audit events name it."""
WAYS_TO_START = ("os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "subprocess.Popen")
"""What a process does to start another one, which would be held by nothing."""


class Refused(PermissionError):
    """Something else than a read of AWS was to leave this process."""


@dataclass(frozen=True, slots=True)
class Withheld:
    """A write that was not made.

    Attributes:
        service: The AWS service, as boto3 names it, or `network`, or `process`.
        operation: The operation.
        parameters: Its parameters, long ones cut off.
    """

    service: str
    operation: str
    parameters: Any


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of a replay.

    Attributes:
        task: The task.
        run_id: The run whose input it was.
        part: The part of it, or None.
        arguments: The arguments.
        logical_time: The time that it ran as if at, ISO 8601 in UTC.
        outcome: How it ended: `succeeded`, `skipped`, `in parts`, `rejected`, `retrying` (it would be tried again).
        result: What the task returned.
        reason: A short code for why it failed.
        error: Why it failed, or was skipped.
        traceback: Where it failed.
        duration_ms: How long it took.
        withheld: The writes that were not made, in their order.
    """

    task: str
    run_id: str
    part: int | None
    arguments: dict[str, Any]
    logical_time: str
    outcome: str
    result: Any
    reason: str | None
    error: str | None
    traceback: list[str]
    duration_ms: int
    withheld: list[Withheld]


@dataclass
class Context:
    """What Lambda would tell of its invocation."""

    function_name: str
    memory_limit_in_mb: str
    aws_request_id: str = "replay"
    invoked_function_arn: str = ""
    started: float = field(default_factory=monotonic)

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds that are left."""
        return max(0, round((self.started + SECONDS - monotonic()) * 1000))


def message_of(run_id: str, given: Mapping[str, Any], today: date) -> Message:
    """The input of a run, or with `#` and a number of a part of it: its dead letter's, or what the ledger keeps.

    Raises:
        NotFound: There is no such run, or what it needs is not kept; the text says what.
        InvalidTaskArguments: The arguments do not fit the task.
    """
    whole, _, number = run_id.partition("#")
    part = int(number) if number.isdecimal() else None
    run = onerun.find(whole if part is not None else run_id, today)
    if run.outcome in ledger.FAILED and not given:
        for letter in dead.look([run.task]):
            message = letter.message()
            if message is not None and letter.run_id == run.run_id and part in (None, letter.part):
                return message
    made = onerun.message_of(run, given)
    if "@" in run.run_id:
        made = replace(made, scheduled_time=made.sent_at, sent_at=None)
    return replace(made, id=run.run_id, part=part)


def replay(stack: Stack, message: Message) -> Replayed:
    """Make a run in this process, with the code of this checkout, on a stack's own data.

    AWS is asked what the run asks it; whatever else it would do there is withheld, and counts as done. A condition of a
    write is not looked at, as only AWS could: it counts as met.

    Args:
        stack: The stack, with this process pointed at it.
        message: The run's message.

    Raises:
        NotFound: The function is not in this checkout, or what it imports is not installed.
        InvalidTaskArguments: The arguments do not fit the task.
    """
    task = TASKS[message.task]
    configuration: Any = boto3.client("lambda").get_function_configuration(FunctionName=f"{stack.name}-{task.name}")
    arguments = task.parse(message.kwargs)
    implementation = _implementation(task.name)
    variables = {
        name: value
        for name, value in configuration["Environment"]["Variables"].items()
        if not name.startswith("AWS_")  # whose stack it is, this process knows
    }
    forget_clients()
    context: Any = Context(configuration["FunctionName"], str(configuration.get("MemorySize", 128)))
    outcome, result, reason, error, trace = Outcome.SUCCEEDED, None, None, None, []
    started = monotonic()
    with patch.dict(os.environ, variables), reads_only() as withheld:
        try:
            result = implementation(**arguments, run=Run(task, message, context))
        except Rejected as why:
            outcome, reason, error = Outcome.REJECTED, why.reason, str(why)
        except NotYet as why:
            outcome, reason, error = Outcome.RETRYING, "not_yet", str(why)
        except Exception as failure:  # noqa: BLE001 - whatever a task raises is what somebody wants to see
            outcome, reason, error = Outcome.RETRYING, type(failure).__name__, f"{type(failure).__name__}: {failure}"
            trace = traceback.format_exception(failure.with_traceback(_below(failure)))
    took = round((monotonic() - started) * 1000)
    if isinstance(result, Skipped):
        outcome, error, result = Outcome.SKIPPED, result.why, None
    elif isinstance(result, InParts):
        outcome = Outcome.IN_PARTS
    return Replayed(
        task=task.name,
        run_id=message.id,
        part=message.part,
        arguments=message.kwargs,
        logical_time=iso(message.logical_time),
        outcome=str(outcome),
        result=for_ledger(result),
        reason=reason,
        error=error,
        traceback="".join(trace).splitlines(),
        duration_ms=took,
        withheld=withheld,
    )


def _below(failure: BaseException) -> Any:
    """A failure's traceback without this module's own frame."""
    return failure.__traceback__.tb_next if failure.__traceback__ else None


def _implementation(task: str) -> Implementation[Any]:
    """A task's function, imported from this checkout."""
    folder = ROOT / "functions" / task
    if not (folder / f"{task}.py").exists():
        raise NotFound(f"There is no functions/{task} here: a replay runs the code of a checkout.")
    if str(folder) not in sys.path:
        sys.path.insert(1, str(folder))
    for handler in logger.handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(sys.stderr)  # stdout is for the answer
    try:
        module = importlib.import_module(task)
    except ImportError as error:
        raise NotFound(f"functions/{task} cannot be imported: {error}. `make setup` installs all it needs.") from error
    found = [value for value in vars(module).values() if isinstance(value, Implementation)]
    return next(value for value in found if value.task.name == task)


# ---- What may leave this process -------------------------------------------------------------------------------------


class _Guard:
    """Lets reads of AWS pass, from whichever thread, and notes what it withholds."""

    def __init__(self) -> None:
        self.withheld: list[Withheld] = []
        self.reading = threading.local()

    def refuse(self, service: str, operation: str, parameters: Any) -> Refused:
        self.withheld.append(Withheld(service, operation, _brief(parameters)))
        return Refused(f"a replay only reads: {service} {operation} is withheld")

    def refuses(self, service: str, operation: str) -> Any:
        """A function that refuses."""

        def refused(*parameters: Any, **more: Any) -> Any:
            raise self.refuse(service, operation, more)

        return refused


_active: list[_Guard] = []
_audited: list[bool] = []


@contextmanager
def reads_only() -> Iterator[list[Withheld]]:
    """Let nothing leave this process meanwhile but reads of AWS; yield what is withheld, as it comes.

    Three lines hold: a client answers a write itself; below the clients, a request that is no read is refused; and so
    is, by an audit hook, every connection that no read makes, and every other program. It is for one thread at a time.
    """
    guard, call, request = _Guard(), BaseClient._make_api_call, Endpoint.make_request  # type: ignore[attr-defined]
    boto3.client("sts")  # so that the default session is there
    credentials = boto3.DEFAULT_SESSION and boto3.DEFAULT_SESSION.get_credentials()
    known = credentials.get_frozen_credentials() if credentials else None

    def called(client: BaseClient, operation: str, parameters: dict[str, Any]) -> Any:
        service = client.meta.service_model.service_name
        if operation in READS.get(service, ()):
            return call(client, operation, parameters)
        guard.withheld.append(Withheld(service, operation, _brief(parameters)))

        def current(key: Any) -> Any:
            found = call(client, "GetItem", {"TableName": parameters["TableName"], "Key": key, "ConsistentRead": True})
            return found.get("Item", key)

        answer = _pretended(operation, parameters, current)
        return answer | {"ResponseMetadata": {"HTTPStatusCode": 200, "HTTPHeaders": {}, "RetryAttempts": 0}}

    def requested(endpoint: Endpoint, operation_model: Any, request_dict: Any) -> Any:
        service = operation_model.service_model.service_name
        if operation_model.name not in READS.get(service, ()):
            raise guard.refuse(service, operation_model.name, request_dict.get("url"))
        before = getattr(guard.reading, "now", False)
        guard.reading.now = True
        try:
            return request(endpoint, operation_model, request_dict)
        finally:
            guard.reading.now = before

    if not _audited:
        sys.addaudithook(_audit)
        _audited.append(True)
    fixed = {"AWS_ACCESS_KEY_ID": known.access_key, "AWS_SECRET_ACCESS_KEY": known.secret_key} if known else {}
    if known and known.token:
        fixed["AWS_SESSION_TOKEN"] = known.token
    with (
        patch.object(BaseClient, "_make_api_call", called),
        patch.object(Endpoint, "make_request", requested),
        patch.dict(os.environ, fixed),  # nothing has to be asked for them meanwhile
        ExitStack() as stack,
    ):
        for owner, name in _crts_ways_out():
            stack.enter_context(patch.object(owner, name, guard.refuses("network", f"awscrt {name}")))
        _active.append(guard)
        try:
            yield guard.withheld
        finally:
            _active.remove(guard)


def _crts_ways_out() -> list[tuple[Any, str]]:
    """What every connection of AWS's own C library needs, where it is installed; no audit hook sees it connect."""
    try:
        http, io = importlib.import_module("awscrt.http"), importlib.import_module("awscrt.io")
    except ImportError:
        return []
    bootstrap = io.ClientBootstrap
    return [(bootstrap, "__init__"), (bootstrap, "get_or_create_static_default"), (http.HttpClientConnection, "new")]


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuse what would leave this process otherwise than by a read of AWS."""
    if not _active:
        return
    guard = _active[-1]
    if event in WAYS_OUT and not getattr(guard.reading, "now", False):
        raise guard.refuse("network", event.removeprefix("socket."), repr(arguments[1:] or arguments))
    if event in WAYS_TO_START and not _is_own_sandbox(event, arguments):
        raise guard.refuse("process", event, repr(arguments[:2]))


def _is_own_sandbox(event: str, arguments: tuple[Any, ...]) -> bool:
    """Whether a function starts a program of its own, without AWS's credentials, as the media's decoder is."""
    if event == "subprocess.Popen":
        program, command, _, environment = arguments
    elif event == "os.posix_spawn":  # what Popen itself calls, where the system can close files on the way
        program, command, environment = arguments
    else:
        return False
    own = (ROOT / "functions").resolve()
    return (
        isinstance(command, list)
        and len(command) == 2
        and program == command[0] == sys.executable
        and own in Path(command[1]).resolve().parents
        and environment is not None
        and not any(os.fsdecode(name).startswith("AWS_") for name in environment)
    )


def _pretended(operation: str, parameters: Mapping[str, Any], current: Any) -> dict[str, Any]:
    """What AWS would have answered to a write, as far as a task reads it."""
    match operation:
        case "UpdateItem" | "DeleteItem" if parameters.get("ReturnValues", "NONE") != "NONE":
            return {"Attributes": _updated(current(parameters["Key"]) | parameters["Key"], parameters)}
        case "BatchWriteItem":
            return {"UnprocessedItems": {}}
        case "SendMessageBatch":
            return {"Successful": [{"Id": entry["Id"], "MessageId": WITHHELD} for entry in parameters["Entries"]]}
        case "DeleteMessageBatch" | "ChangeMessageVisibilityBatch":
            return {"Successful": [{"Id": entry["Id"]} for entry in parameters["Entries"]]}
        case "SendMessage" | "SendEmail":
            return {"MessageId": WITHHELD}
        case "PutObject" | "CompleteMultipartUpload" | "UploadPart":
            return {"ETag": f'"{WITHHELD}"', "VersionId": WITHHELD}
        case "CopyObject":
            return {"CopyObjectResult": {"ETag": f'"{WITHHELD}"'}, "VersionId": WITHHELD}
        case "CreateMultipartUpload":
            return {"UploadId": WITHHELD}
        case "DeleteObjects":
            return {"Deleted": []}
        case "CreateSchedule":
            return {"ScheduleArn": WITHHELD}
    return {}


def _updated(item: dict[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """A row as an UpdateItem would leave it, in what it sets, adds, removes, and takes out of a set.

    What it reckons from other attributes (`if_not_exists`, `list_append`) stays as it is.
    """
    names, values = parameters.get("ExpressionAttributeNames", {}), parameters.get("ExpressionAttributeValues", {})
    item = dict(item)
    _, *clauses = re.split(r"\b(SET|REMOVE|ADD|DELETE) ", parameters.get("UpdateExpression", ""))
    for verb, clause in zip(clauses[::2], clauses[1::2], strict=True):
        for change in re.split(r",\s*(?![^()]*\))", clause.strip()):
            name, _, operand = change.strip().partition(" ")
            name, given = names.get(name, name), values.get(operand.removeprefix("= ").strip())
            match verb, given, item.get(name):
                case "REMOVE", _, _:
                    item.pop(name, None)
                case "SET", dict(), _:
                    item[name] = given
                case "ADD", {"N": number}, before:
                    item[name] = {"N": str(Decimal(number) + Decimal((before or {"N": "0"})["N"]))}
                case "ADD" | "DELETE", dict(), before:
                    ((kind, members),) = given.items()
                    old = set((before or {}).get(kind, ()))
                    left = sorted(old | set(members) if verb == "ADD" else old - set(members))
                    item.pop(name, None)
                    if left:
                        item[name] = {kind: left}
    return item


def _brief(value: Any) -> Any:
    """A parameter as plain values: bytes by their number, long texts cut off."""
    match value:
        case bytes() | bytearray():
            return f"{len(value):,} bytes"
        case str():
            return value if len(value) <= LONGEST_SHOWN else f"{value[:LONGEST_SHOWN]}…"
        case dict():
            return {str(name): _brief(item) for name, item in value.items()}
        case list() | tuple() | set():
            return [_brief(item) for item in value]
        case None | bool() | int() | float():
            return value
    return f"<{type(value).__name__}>" if hasattr(value, "read") else _brief(str(value))


def told(write: Withheld) -> str:
    """A withheld write in a line: what, and on which row, object, queue or address."""
    parameters = write.parameters if isinstance(write.parameters, dict) else {"": write.parameters}
    where = [
        parameters.get(name)
        for name in ("", "TableName", "Key", "Bucket", "QueueUrl", "Name", "Destination", "RequestItems")
        if parameters.get(name) is not None
    ]
    return " ".join([write.service, write.operation, *(_flat(each) for each in where)])


def _flat(value: Any) -> str:
    match value:
        case {"S": text} | {"N": text}:
            return str(text)
        case dict():
            return ", ".join(f"{name}={_flat(item)}" for name, item in value.items())
        case list():
            return f"{len(value)} of them" if len(value) > 3 else json.dumps(value, ensure_ascii=False)
    return str(value)
