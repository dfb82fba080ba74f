"""The check that holds every test's calls to botocore's models finds what AWS would refuse."""

import re
from typing import Any

import boto3
import pytest
import service_models
from botocore.exceptions import ClientError
from botocore.session import get_session
from support import ROOT

from backbeat.models import Like

SERVICES = {
    service
    for folder in ("layers", "functions", "backbeat_ops")
    for file in (ROOT / folder).rglob("*.py")
    for service in re.findall(r'client\("([a-z0-9-]+)"', file.read_text("utf-8"))
}


def refusals(service: str, operation: str, **parameters: Any) -> list[str]:
    model = get_session().get_service_model(service)
    return service_models.refusals(model.operation_model(operation), parameters)


@pytest.mark.parametrize(
    ("service", "operation", "parameters", "said"),
    [
        (
            "scheduler",
            "GetSchedule",
            {"Name": "a b"},
            "scheduler.GetSchedule: GetSchedule.Name is 'a b', which ^[0-9a-zA-Z-_.]+$ does not match",
        ),
        (
            "dynamodb",
            "GetItem",
            {"TableName": "t", "Key": {}, "ReturnConsumedCapacity": "ALL"},
            "dynamodb.GetItem: GetItem.ReturnConsumedCapacity is 'ALL', none of INDEXES, TOTAL, NONE",
        ),
        (
            "scheduler",
            "ListSchedules",
            {"MaxResults": 101},
            "scheduler.ListSchedules: ListSchedules.MaxResults is 101, over 100",
        ),
        (
            "dynamodb",
            "BatchGetItem",
            {"RequestItems": {"t": {"Keys": [{"id": {"S": str(n)}} for n in range(101)]}}},
            "dynamodb.BatchGetItem: BatchGetItem.RequestItems['t'].Keys has 101 characters or items, over 100",
        ),
        ("sqs", "SendMessage", {"QueueUrl": "q"}, "sqs.SendMessage: Missing required parameter in input: "),
        ("sqs", "GetQueueUrl", {"QueueName": "q", "Name": "q"}, "sqs.GetQueueUrl: Unknown parameter in input: "),
        ("sqs", "GetQueueUrl", {"QueueName": 1}, "sqs.GetQueueUrl: Invalid type for parameter QueueName, "),
    ],
)
def test_what_a_service_refuses_is_named(service: str, operation: str, parameters: Any, said: str) -> None:
    (sentence,) = refusals(service, operation, **parameters)
    assert sentence.startswith(said)


def test_what_a_service_takes_is_let_through() -> None:
    assert refusals("scheduler", "GetSchedule", Name="20261101T040000.000Z-0123", GroupName="a-group") == []
    assert refusals("dynamodb", "GetItem", TableName="t", Key={"id": {"S": "é"}}) == []


def test_calls_of_clients_and_of_pynamodb_are_held_to_it(aws: None, refused: list[str]) -> None:
    """PynamoDB calls botocore's client too, with its validation switched off."""
    with pytest.raises(ClientError):
        boto3.client("scheduler").get_schedule(Name="a b")
    list(Like.query("a post", page_size=-1))
    assert [sentence.split(":")[0] for sentence in refused] == ["scheduler.GetSchedule", "dynamodb.Query"]
    refused.clear()


def test_only_patterns_that_are_known_to_be_javas_alone_go_unchecked() -> None:
    unread = {
        f"{service}.{name}"
        for service in SERVICES
        for model in [get_session().get_service_model(service)]
        for name in model.shape_names
        if "pattern" in model.shape_for(name).metadata and service_models.pattern(model.shape_for(name)) is None
    }
    assert "dynamodb" in SERVICES
    assert unread == {"dynamodb.AutoScalingRoleArn"}
