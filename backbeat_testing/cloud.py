"""Tasks run at once, on tables, queues and buckets that live in this process."""

import importlib
import itertools
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any, cast
from unittest.mock import patch

import boto3
from aws_lambda_powertools.utilities.typing import LambdaContext
from moto import mock_aws

from backbeat import models, queues
from backbeat.messages import Message
from backbeat.producer import Task
from backbeat.runtime import Run
from backbeat.tasks import TASKS

STACK = "backbeat-test"
REGION = "us-east-1"
BUCKETS = ("UPLOADS_BUCKET", "MEDIA_BUCKET", "ARCHIVE_BUCKET", "REPORTS_BUCKET")
_numbers = itertools.count(1)


@dataclass
class Context:
    """What Lambda tells a function of its invocation.

    Attributes:
        remaining_ms: How long it has left.
    """

    remaining_ms: int = 600_000
    aws_request_id: str = field(default_factory=lambda: f"request-{next(_numbers)}")
    function_name: str = "function"
    memory_limit_in_mb: str = "512"
    invoked_function_arn: str = f"arn:aws:lambda:{REGION}:123456789012:function:function"

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds that are left."""
        return self.remaining_ms


@contextmanager
def cloud() -> Iterator[None]:
    """Tables, queues and buckets in memory, with this process's models and producers pointed at them.

    The environment has no credentials but made-up ones and no endpoint meanwhile, so nothing can reach a region.
    """
    tables = {variable: f"{STACK}-{variable.removesuffix('_TABLE').lower()}" for variable in models.TABLES}
    before = {variable: each[0].Meta.table_name for variable, each in models.TABLES.items()}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment = {
        **inherited,
        **tables,
        **{name: f"{STACK}-{name.removesuffix('_BUCKET').lower()}" for name in BUCKETS},
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": REGION,
        "BACKBEAT_STACK": STACK,
        "MEDIA_BASE_URL": "https://media.example.net",
        "POWERTOOLS_SERVICE_NAME": "backbeat",
    }
    with patch.dict(os.environ, environment, clear=True), mock_aws():
        _point_at(tables)
        for each in models.TABLES.values():
            each[0].create_table(billing_mode="PAY_PER_REQUEST", wait=False)
        sqs, s3 = boto3.client("sqs"), boto3.client("s3")
        for task in TASKS.values():
            sqs.create_queue(QueueName=task.queue)
            sqs.create_queue(QueueName=queues.dead_queue(task.queue))
        for name in BUCKETS:
            s3.create_bucket(Bucket=os.environ[name])
            s3.put_bucket_versioning(Bucket=os.environ[name], VersioningConfiguration={"Status": "Enabled"})
        try:
            yield
        finally:
            models.bind(before)
    queues.bind(os.environ.get("BACKBEAT_STACK", "backbeat"))


def _point_at(tables: dict[str, str]) -> None:
    for each in models.TABLES.values():
        for model in each:
            model._connection = None  # one of before may lead to another cloud
    models.bind(tables)
    queues.bind(STACK)


def make_run(task: Task[Any], at: datetime | None = None, *, run_id: str | None = None, **kwargs: Any) -> Run:
    """A run of a task, as its function is handed one.

    Args:
        task: The task.
        at: The run's logical time; now where it is not given.
        run_id: Its identity; one of its own where it is not given.
        kwargs: The task's arguments.

    Raises:
        InvalidTaskArguments: They do not fit the declaration.
    """
    message = task.message(kwargs, at or datetime.now(UTC))
    if run_id:
        message = replace(message, id=run_id)
    return Run(task, message, cast("LambdaContext", Context()))


def run(task: Task[Any], at: datetime | None = None, *, run_id: str | None = None, **kwargs: Any) -> Any:
    """Run a task at once, inside `cloud`, with nothing around it; a run in parts is made whole.

    Args:
        task: The task.
        at: The run's logical time; now where it is not given.
        run_id: Its identity; one of its own where it is not given.
        kwargs: The task's arguments.

    Returns:
        What its function returns; of a run in parts what its last part returns.

    Raises:
        InvalidTaskArguments: The arguments do not fit the declaration.
        Exception: Whatever the function raises, such as `Rejected`.
    """
    first = make_run(task, at, run_id=run_id, **kwargs)
    handle = _function(task.name).handle
    arguments = task.parse(first.message.kwargs)
    outcome = handle(**arguments, run=first)
    for part in range(getattr(outcome, "parts", 0)):
        message: Message = first.message.for_part(part)
        outcome = handle(**arguments, run=Run(task, message, first.context))
    return outcome


def _function(name: str) -> ModuleType:
    """A task's function: of the wheel, or of the checkout that this is."""
    here = Path(__file__).resolve().parent
    for folder in (here / "functions" / name, here.parent / "functions" / name):
        if (folder / f"{name}.py").exists():
            break
    else:
        raise LookupError(f"there is no function for the task {name}")
    if name in sys.modules:
        return sys.modules[name]
    sys.path.insert(0, str(folder))  # some have modules of their own
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{error}; {name} needs what layers/imaging/requirements.in names, beside backbeat[testing]"
        ) from error
    finally:
        sys.path.remove(str(folder))
