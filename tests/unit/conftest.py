"""Unit tests run in moto's AWS, with sockets off; its resources are those of template.yaml."""

import inspect
import json
import os
import re
from collections.abc import Iterator
from contextlib import nullcontext
from functools import cache
from threading import RLock
from typing import Any

import boto3
import chains
import permissions
import pytest
import quick
from botocore.client import BaseClient
from botocore.model import StructureShape
from documented import documented
from hypothesis import settings
from moto import mock_aws
from moto.core.serialize import BaseJSONSerializer
from moto.dynamodb.exceptions import ConditionalCheckFailed
from moto.dynamodb.models import DynamoDBBackend
from support import STACK, Calls, Outbox, Queue, function_environment, resolve, resources
from typer._click.globals import get_current_context

from backbeat import ledger, models, queues, runtime, sweeps
from backbeat.mail import sending
from backbeat.models import keys
from backbeat_ops import cli, terminal

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
quick.shorten()
cli.whole()  # which imports the commands, each of which is imported else when it is called


@pytest.fixture(autouse=True)
def _no_network(socket_disabled: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """No socket, and nothing in the environment that could lead moto's clients elsewhere."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("BACKBEAT_STACK", STACK)


@pytest.fixture(scope="session", autouse=True)
def _values_of_rows_as_they_are() -> None:
    """A third of these tests' time went into moto's asking each value of a row, `{"S": "x"}`, for ten other types."""
    every_member = BaseJSONSerializer._serialize_type_structure

    def serialize(self: Any, serialized: Any, value: Any, shape: StructureShape, key: str) -> None:
        if shape.name == "AttributeValue" and type(value) is dict and value.keys().isdisjoint(("B", "BS", "L", "M")):
            serialized[key] = value
        else:
            every_member(self, serialized, value, shape, key)

    BaseJSONSerializer._serialize_type_structure = serialize  # type: ignore[method-assign]


@pytest.fixture(scope="session", autouse=True)
def _inserts_of_partiql() -> None:
    """moto takes no parameters in an INSERT, and lets one replace a row."""

    def execute(self: DynamoDBBackend, statements: list[dict[str, Any]]) -> list[dict[str, Any]]:
        answers = []
        for each in statements:
            table, *names = re.findall("""["']([^"']+)["']""", each["Statement"])
            row, key = dict(zip(names, each["Parameters"], strict=True)), self.tables[table].hash_key_attr
            try:
                self.put_item(table, row, None, "attribute_not_exists(#key)", {"#key": key})
            except ConditionalCheckFailed:
                answers.append({"Error": {"Code": "DuplicateItem", "Message": "Duplicate primary key exists in table"}})
            else:
                answers.append({"TableName": table})
        return answers

    DynamoDBBackend.batch_execute_statement = execute  # type: ignore[method-assign]


@pytest.fixture(autouse=True)
def held_to_the_schema(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whatever a command prints as JSON here is as the page on JSON has it; which commands it was held for."""
    said = terminal.print_json
    commands: list[str] = []

    def held(text: str) -> None:
        context = get_current_context(silent=True)
        path = context.command_path.split(maxsplit=1)[1:] if context else []
        if path and path[0] in documented():
            documented()[path[0]].validate(json.loads(text))
            commands.append(path[0])

    real = terminal.typer.echo

    def echo(message: Any = None, **named: Any) -> None:
        if inspect.stack()[1].function == said.__name__:
            held(message)
        real(message, **named)

    monkeypatch.setattr(terminal.typer, "echo", echo)
    return commands


@pytest.fixture(scope="session", autouse=True)
def _one_call_of_the_database_at_a_time() -> None:
    """A transaction of moto's copies all tables, and puts them back where it fails: threads must not meet in it."""
    real, lock = BaseClient._make_api_call, RLock()

    def call(self: BaseClient, operation: str, parameters: dict[str, Any]) -> Any:
        with lock if self.meta.service_model.service_name == "dynamodb" else nullcontext():
            return real(self, operation, parameters)

    BaseClient._make_api_call = call  # type: ignore[method-assign]


@pytest.fixture(autouse=True)
def _one_task_in_a_process() -> None:
    """Metrics without the dimensions of the test before: a function's process runs one task only."""
    runtime.metrics.default_dimensions.clear()
    runtime.metrics.clear_metrics()
    ledger._counted.clear()


@quick.State
def template_resources() -> None:
    """The template's tables, queues, buckets, schedules' groups and secrets."""
    dynamodb, sqs, s3 = boto3.client("dynamodb"), boto3.client("sqs"), boto3.client("s3")
    for name, table in resources("AWS::DynamoDB::Table").items():
        known = ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")
        properties = {k: resolve(v) for k, v in table["Properties"].items() if k in known}
        dynamodb.create_table(TableName=name, **properties)
    for queue in resources("AWS::SQS::Queue").values():
        visibility = queue["Properties"].get("VisibilityTimeout", 30)
        sqs.create_queue(
            QueueName=resolve(queue["Properties"]["QueueName"]), Attributes={"VisibilityTimeout": str(visibility)}
        )
    for name, bucket in resources("AWS::S3::Bucket").items():
        bucket_name = resolve({"Ref": name})
        s3.create_bucket(Bucket=bucket_name)
        if "VersioningConfiguration" in bucket["Properties"]:
            s3.put_bucket_versioning(Bucket=bucket_name, VersioningConfiguration={"Status": "Enabled"})
    for group in resources("AWS::Scheduler::ScheduleGroup").values():
        boto3.client("scheduler").create_schedule_group(Name=resolve(group["Properties"]["Name"]))
    for name in resources("AWS::SecretsManager::Secret"):
        boto3.client("secretsmanager").create_secret(Name=name, SecretString=f"the value of {name}")


@pytest.fixture
def aws(
    _no_network: None, _one_call_of_the_database_at_a_time: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """moto's AWS with the template's tables, queues and buckets; the models are bound to it."""
    assert BaseClient._make_api_call.__module__ == __name__, "the test before has left its own"
    with mock_aws():
        template_resources.put()
        models.bind({variable: function_environment_of(variable) for variable in models.TABLES})
        queues.bind(STACK)
        denied, too_long = permissions.enforce(monkeypatch), chains.enforce(monkeypatch)
        yield
        assert denied == []
        assert too_long == []


@cache
def function_environment_of(variable: str) -> str:
    """The value that the template gives every function for a variable."""
    return function_environment("ProcessMediaUploadFunction")[variable]


@pytest.fixture
def outbox(aws: None, monkeypatch: pytest.MonkeyPatch) -> Outbox:
    """What is handed to SES, with the environment of a function that sends."""
    for name, value in function_environment("SendWelcomeEmailFunction").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("UNSUBSCRIBE_URL", "https://abcdefghijklmnopqrstuvwxyz012345.lambda-url.us-east-1.on.aws/")
    sending.ses.cache_clear()
    monkeypatch.setattr(sending, "_pacer", sending.AdaptivePacer())
    boto3.client("sesv2").create_email_identity(EmailIdentity=os.environ["SENDER"])
    return Outbox(sending.ses())


@pytest.fixture
def media_queue(aws: None) -> Queue:
    """The queue of process_media_upload."""
    return Queue(f"{STACK}-media-process_media_upload")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """The calls to AWS that the test makes."""
    calls, real = Calls(), BaseClient._make_api_call

    def noted(self: BaseClient, operation: str, parameters: dict[str, Any]) -> Any:
        with permissions.by_another():
            calls.note(operation, parameters.get("TableName"))
        return real(self, operation, parameters)

    monkeypatch.setattr(BaseClient, "_make_api_call", noted)
    return calls


@pytest.fixture
def one_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Days in one partition, as moto takes longer to look into each than into a table."""
    monkeypatch.setattr(keys, "SHARDS", 1)


@pytest.fixture
def few_parts(one_shard: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Days in one partition, users in four, and one part of a kind, as moto takes a while for each."""
    monkeypatch.setattr(keys, "SLICES", 4)
    monkeypatch.setattr(sweeps, "MOST_OF_A_KIND", 1)
    monkeypatch.setattr("random.uniform", lambda low, high: 0)


@pytest.fixture
def played_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """The local cloud's leave to run what is still to come, for tests that play on from a fixed day."""
    monkeypatch.setenv("STAGE", "local")
