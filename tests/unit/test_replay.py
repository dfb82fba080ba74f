"""`backbeat replay`: a run made here on a stack's data, from which nothing leaves but reads of AWS."""

import importlib
import io
import json
import os
import socket
import subprocess
import sys
import threading
import urllib.request
from datetime import UTC, datetime
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.endpoint import Endpoint
from moto import mock_aws
from support import STACK, Context, function_environment, logical_name

from backbeat import ledger, letters, queues
from backbeat.ledger import Attempt, Outcome
from backbeat.messages import Message
from backbeat.models import Delivery, RunRecord, User
from backbeat.tasks import TASKS
from backbeat_ops import replay
from backbeat_ops.replay import READS, Refused, reads_only
from backbeat_ops.stack import Stack

NOW = datetime.now(UTC).replace(microsecond=0)
WELCOME, MEDIA, NOTIFY = "send_welcome_email", "process_media_upload", "send_notification"
CHANGES = ("Put", "Update", "Delete", "Create", "Send", "Start", "Stop", "Tag", "Untag", "Restore", "Transact", "Batch")


@pytest.fixture(autouse=True)
def _ask_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letters, "SECONDS_TO_ASK", 0)


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch) -> Stack:
    """The stack, whose functions have the environment that the template gives them."""
    real = boto3.client

    class Functions:
        def get_function_configuration(self, FunctionName: str) -> Any:  # noqa: N803 - boto3's
            task = FunctionName.removeprefix(f"{STACK}-")
            variables = function_environment(f"{logical_name(task)}Function")
            return {"FunctionName": FunctionName, "MemorySize": 512, "Environment": {"Variables": variables}}

    monkeypatch.setattr(boto3, "client", lambda name, **more: Functions() if name == "lambda" else real(name, **more))
    return Stack(STACK)


def recorded(task: str, run_id: str, **kwargs: Any) -> None:
    message = Message(task=task, id=run_id, kwargs=kwargs, sent_at=NOW)
    ledger.record(message, TASKS[task].task_class, Attempt(Outcome.SUCCEEDED, NOW, 1, Context().aws_request_id))


def replayed(stack: Stack, run_id: str, **given: Any) -> replay.Replayed:
    return replay.replay(stack, replay.message_of(run_id, given, NOW.date()))


def operations(made: replay.Replayed) -> list[str]:
    return [write.operation for write in made.withheld]


# ---- The guard -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", ["dynamodb", "s3", "sqs", "sesv2", "scheduler", "lambda", "sns", "events", "ses"])
def test_no_operation_but_the_reads_reaches_an_endpoint(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reached: list[str] = []

    def reach(self: Endpoint, operation_model: Any, request_dict: Any) -> Any:
        reached.append(operation_model.name)
        raise ConnectionError

    monkeypatch.setattr(Endpoint, "_send_request", lambda self, request, model: reach(self, model, request))
    client = boto3.client(service)  # type: ignore[call-overload]
    names = client.meta.service_model.operation_names
    with reads_only() as withheld:
        for name in names:
            entries = {"Entries": [], "TableName": "t", "Key": {}}
            if name not in READS.get(service, ()):
                client._make_api_call(name, entries)
    assert reached == []
    assert {write.operation for write in withheld} == set(names) - READS.get(service, frozenset())
    assert len(names) > 10


def test_no_read_is_named_like_a_change() -> None:
    session = botocore.session.get_session()
    for service, allowed in READS.items():
        assert allowed <= set(session.get_service_model(service).operation_names)
        changes = {name for name in allowed if name.startswith(CHANGES)}
        assert changes <= {"BatchGetItem", "TransactGetItems"}


def test_a_request_below_the_clients_is_refused(aws: None) -> None:
    client = boto3.client("sqs")
    model = client.meta.service_model.operation_model("SendMessage")
    with reads_only() as withheld, pytest.raises(Refused):
        client._endpoint.make_request(model, {"url": "https://sqs"})
    assert [(write.service, write.operation) for write in withheld] == [("sqs", "SendMessage")]


def test_presigned_links_streams_and_other_threads_are_withheld(aws: None, socket_enabled: None) -> None:
    bucket = boto3.client("s3").list_buckets()["Buckets"][0]["Name"]
    s3 = boto3.client("s3")
    with reads_only() as withheld:
        link = s3.generate_presigned_url("put_object", {"Bucket": bucket, "Key": "k"})
        with pytest.raises(OSError, match="withheld"):
            urllib.request.urlopen(urllib.request.Request(link, b"x", method="PUT"))
        s3.upload_fileobj(io.BytesIO(b"x" * 9_000_000), bucket, "large")
        thread = threading.Thread(target=lambda: s3.put_object(Bucket=bucket, Key="k", Body=b"x"))
        thread.start()
        thread.join()
        boto3.resource("s3").Object(bucket, "k").put(Body=b"x")
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)
    assert [write.service for write in withheld].count("network") == 1
    assert [write.operation for write in withheld].count("PutObject") == 2
    assert "CompleteMultipartUpload" in [write.operation for write in withheld]


def test_connections_and_other_programs_are_refused_and_noted(socket_enabled: None) -> None:
    with reads_only() as withheld:
        for leave in (
            lambda: socket.getaddrinfo("example.com", 80),
            lambda: os.system("true"),
            lambda: subprocess.run([sys.executable, "-c", "pass"], check=False),
            lambda: os.posix_spawn(sys.executable, [sys.executable], {}),
        ):
            with pytest.raises(Refused):
                leave()
        with pytest.raises(Refused):
            importlib.import_module("awscrt.io").ClientBootstrap.get_or_create_static_default()
    assert [write.service for write in withheld] == ["network", "process", "process", "process", "network"]


def test_afterwards_everything_is_as_before(aws: None) -> None:
    with reads_only():
        pass
    boto3.client("sqs").create_queue(QueueName="x")
    subprocess.run([sys.executable, "-c", "pass"], check=True)


def test_a_program_that_inherits_credentials_is_no_sandbox() -> None:
    program = str(replay.ROOT / "functions/process_media_upload/sandbox.py")
    own: Any = [sys.executable, program]
    assert replay._is_own_sandbox("subprocess.Popen", (sys.executable, own, None, {"PATH": ""}))
    assert not replay._is_own_sandbox("subprocess.Popen", (sys.executable, own, None, {"AWS_SECRET_ACCESS_KEY": ""}))
    assert not replay._is_own_sandbox("subprocess.Popen", (sys.executable, own, None, None))
    assert not replay._is_own_sandbox("subprocess.Popen", (sys.executable, [sys.executable, "-c"], None, {}))


def test_the_decoders_program_is_started_however_python_starts_it() -> None:
    program = str(replay.ROOT / "functions/process_media_upload/confinement.py")
    with reads_only() as withheld:
        subprocess.run([sys.executable, program], check=True, env={"PATH": os.environ["PATH"]})
        with pytest.raises(Refused):
            os.posix_spawn(sys.executable, [sys.executable, program], {"AWS_SECRET_ACCESS_KEY": ""})
        with pytest.raises(Refused):
            os.posix_spawn("/bin/sh", [sys.executable, program], {})
    assert [write.service for write in withheld] == ["process", "process"]


# ---- Replays ---------------------------------------------------------------------------------------------------------


def test_a_welcome_is_rendered_and_withheld(outbox: Any, deployed: Stack) -> None:
    User.join("ada", email="ada@example.com", name="Ada", at=NOW)
    recorded(WELCOME, "w", user_id="ada")
    made = replayed(deployed, "w")
    assert (made.outcome, made.error) == ("succeeded", None)
    assert "SendEmail" in operations(made)
    assert outbox.addresses() == []
    assert list(Delivery.scan()) == []
    assert ledger.find(Message(task=WELCOME, id="w", sent_at=NOW)).attempts == 1  # type: ignore[union-attr]


def test_what_fails_is_told_with_its_traceback(aws: None, deployed: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded(NOTIFY, "n", user_id="ada", kind="like", text="Hello")

    def broken(*_: Any, **__: Any) -> Any:
        raise KeyError("x")

    monkeypatch.setattr(User, "get", broken)
    monkeypatch.setattr(User, "query", broken)
    monkeypatch.setattr(User, "count", broken)
    made = replayed(deployed, "n", kind="like", text="Hello")
    assert (made.outcome, made.reason) == ("retrying", "KeyError")
    assert made.traceback[-1] == "KeyError: 'x'"
    assert "send_notification.py" in "".join(made.traceback)


def test_a_dead_letter_is_the_input_where_there_is_one(aws: None, deployed: Stack) -> None:
    message = Message(task=NOTIFY, id="n", kwargs={"user_id": "ada", "kind": "like", "text": "Hello"}, sent_at=NOW)
    ledger.record(message, "default", Attempt(Outcome.DEAD, NOW, 1, Context().aws_request_id, error="x"))
    queues.put(queues.dead_queue(TASKS[NOTIFY].queue), message.to_json())
    assert replay.message_of("n", {}, NOW.date()) == message


def test_a_schedules_run_keeps_its_id_and_its_time(aws: None) -> None:
    message = Message(task="update_user_statistics", scheduled_time=NOW)
    ledger.claim(message, "analytics", NOW, "r")
    again = replay.message_of(message.id, {}, NOW.date())
    assert (again.id, again.scheduled_time, again.logical_time) == (message.id, NOW, NOW)
    assert replay.message_of(f"{message.id}#4", {}, NOW.date()).part == 4


def test_a_sweep_plans_and_sends_nothing(few_parts: None, aws: None, deployed: Stack) -> None:
    User.join("ada", email="ada@example.com", name="Ada", at=NOW)
    recorded("update_user_statistics", "u", full=True)
    rows = len(list(RunRecord.scan()))
    made = replayed(deployed, "u")
    assert (made.outcome, made.error) == ("in parts", None)
    assert "SendMessageBatch" in operations(made)
    assert len(list(RunRecord.scan())) == rows
    assert (
        queues.sqs()
        .receive_message(QueueUrl=queues.queue_url(TASKS["update_user_statistics"].queue))
        .get("Messages", [])
        == []
    )


def test_a_withheld_write_is_told_in_a_line() -> None:
    parameters = {"TableName": "users", "Key": {"user_id": {"S": "ada"}}, "UpdateExpression": "SET x"}
    assert replay.told(replay.Withheld("dynamodb", "UpdateItem", parameters)) == "dynamodb UpdateItem users user_id=ada"
    assert replay.told(replay.Withheld("network", "connect", "('1.2.3.4', 80)")) == "network connect ('1.2.3.4', 80)"
    assert json.dumps(replay._brief({"Body": b"xx", "text": "y" * 999})).startswith('{"Body": "2 bytes"')


@pytest.mark.parametrize(
    "expression",
    [
        "SET #n = :two, #t = :x REMOVE #gone ADD #count :two",
        "ADD #count :two, #members :a DELETE #others :a SET #t = :x",
        "DELETE #members :a REMOVE #gone, #t",
    ],
)
def test_a_withheld_update_answers_as_dynamodb_does(expression: str) -> None:
    """moto's is the answer that it is held to."""
    with mock_aws():
        client = boto3.client("dynamodb")
        client.create_table(
            TableName="t",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
        )
        row: Any = {"k": {"S": "1"}, "gone": {"S": "x"}, "count": {"N": "3"}, "members": {"SS": ["a"]}}
        client.put_item(TableName="t", Item=row | {"others": {"SS": ["a", "b"]}})
        names = {f"#{name}": name for name in ("n", "t", "gone", "count", "members", "others")}
        values: Any = {":two": {"N": "2"}, ":x": {"S": "x, (y)"}, ":a": {"SS": ["a"]}}
        asked: Any = {
            "TableName": "t",
            "Key": {"k": {"S": "1"}},
            "UpdateExpression": expression,
            "ExpressionAttributeNames": {name: each for name, each in names.items() if name in expression},
            "ExpressionAttributeValues": {name: each for name, each in values.items() if name in expression},
            "ReturnValues": "ALL_NEW",
        }
        with reads_only():
            withheld = client.update_item(**asked)["Attributes"]
        assert withheld == client.update_item(**asked)["Attributes"]
