"""The command survives what happens meanwhile, and says how far it is."""

import io
import threading
from typing import Any

import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError, EndpointConnectionError
from django.core.management import CommandError, call_command
from network.models import Member
from support import STACK, resolve, template

import backbeat
from backbeat import models
from backbeat.app.connecting import StackNotFound
from backbeat.models import User
from backbeat_django import connecting, relay
from backbeat_django.models import Entry

pytestmark = pytest.mark.usefixtures("db", "aws")


@pytest.fixture
def stack(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stack's outputs, as CloudFormation gives them, under the name that the example's settings have."""
    application = {"OutputKey": "Application", "OutputValue": resolve(template()["Outputs"]["Application"]["Value"])}
    real = BaseClient._make_api_call

    def call(self: BaseClient, operation: str, parameters: dict[str, Any]) -> Any:
        if operation != "DescribeStacks":  # moto would need all that CloudFormation can make
            return real(self, operation, parameters)
        if parameters["StackName"] == "elsewhere":
            error = {"Code": "ValidationError", "Message": "Stack with id elsewhere does not exist"}
            raise ClientError({"Error": error}, operation)
        return {"Stacks": [{"Outputs": [application]}]}

    monkeypatch.setattr(BaseClient, "_make_api_call", call)
    for name in (*models.TABLES, "UPLOADS_BUCKET", "MEDIA_BUCKET", "ARCHIVE_BUCKET"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    connecting.connected.cache_clear()


def run(*arguments: str) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    try:
        call_command("backbeat_relay", *arguments, stdout=out, stderr=err)
    except CommandError as error:
        err.write(str(error))
    return out.getvalue(), err.getvalue()


def test_it_finds_the_stack_carries_over_what_waits_and_says_so(stack: None) -> None:
    Member.objects.create_user("ada")
    assert run("--status")[0].startswith("1 entries wait, the oldest for 0 s")
    out, err = run("--once")
    assert (out, err) == ("0 entries wait\n", "")
    assert [user.name for user in User.scan()] == ["ada"]


def test_it_waits_for_aws_and_loses_nothing(stack: None, monkeypatch: pytest.MonkeyPatch) -> None:
    Member.objects.create_user("ada")
    with monkeypatch.context() as away:

        def refuse(*_: Any, **__: Any) -> Any:
            raise EndpointConnectionError(endpoint_url="http://127.0.0.1:1")

        away.setattr("botocore.client.BaseClient._make_api_call", refuse)
        _, err = run("--once")
    assert "Could not connect" in err and "1 entries wait" in err and "it waits for the next time" in err
    assert Entry.objects.count() == 1
    run("--once")
    assert Entry.objects.count() == 0


def test_connecting_finds_tables_and_buckets(stack: None) -> None:
    names = backbeat.connect(STACK)
    assert names["POSTS_TABLE"] == User.Meta.table_name.replace("Users", "Posts")
    assert {name for name in names if name.endswith("_BUCKET")} == {"UPLOADS_BUCKET", "MEDIA_BUCKET", "ARCHIVE_BUCKET"}


def test_a_stack_that_is_not_there_is_named(stack: None) -> None:
    with pytest.raises(StackNotFound, match="no stack 'elsewhere' in us-east-1"):
        backbeat.connect("elsewhere")


def test_an_idle_relay_gives_way_to_an_import(stack: None, monkeypatch: pytest.MonkeyPatch) -> None:
    imported: list[int] = []

    class Told(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            with relay.writing():
                imported.append(1)
            self.set()
            return True

    monkeypatch.setattr(threading, "Event", Told)
    assert run() == ("0 entries wait\n", "")
    assert imported == [1]
