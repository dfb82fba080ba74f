"""A stack goes with everything in it, and leaves what its template keeps as it was."""

import functools
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from moto import mock_aws
from support import Calls

from backbeat_ops.stack import Stack, delete

DELETION_POLICIES: dict[str, Any] = {
    "UploadsBucket": "Delete",
    "MediaBucket": "RetainExceptOnCreate",
    "ReportsBucket": "Retain",
    "ArchiveBucket": {"Fn::If": ["IsProd", "RetainExceptOnCreate", "Delete"]},
}


class CloudFormation:
    """A stack of three buckets, which is gone some seconds after it was told to go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.buckets = {name: name.lower() for name in DELETION_POLICIES}
        self.seconds_to_go = 0.0
        self.stage = "prod"
        real = boto3.client

        @functools.wraps(real)
        def client(service: str, *given: Any, **named: Any) -> Any:
            made = real(service, *given, **named)
            if service == "cloudformation":
                made.meta.events.register("before-call.cloudformation", self._answer)
            return made

        monkeypatch.setattr(boto3, "client", client)
        monkeypatch.setattr("botocore.waiter.time.sleep", self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.seconds_to_go -= seconds

    def _answer(self, model: Any, **_: Any) -> Any:
        resources = {name: {"DeletionPolicy": policy} for name, policy in DELETION_POLICIES.items()}
        listed = [
            {"LogicalResourceId": name, "PhysicalResourceId": bucket, "ResourceStatus": "CREATE_COMPLETE"}
            for name, bucket in self.buckets.items()
        ]
        status = "DELETE_COMPLETE" if self.seconds_to_go <= 0 else "DELETE_IN_PROGRESS"
        stage = {"ParameterKey": "Stage", "ParameterValue": self.stage}
        answers: dict[str, Any] = {
            "ListStackResources": {"StackResourceSummaries": listed},
            "GetTemplate": {"TemplateBody": {"Resources": {"Queue": {}, **resources}}},
            "DeleteStack": {},
            "DescribeStacks": {"Stacks": [{"StackStatus": status, "Parameters": [stage]}]},
        }
        return AWSResponse("", 200, {}, None), answers[model.name]


@pytest.fixture
def cloudformation(monkeypatch: pytest.MonkeyPatch) -> Any:
    with mock_aws():
        cloudformation = CloudFormation(monkeypatch)
        s3 = boto3.client("s3")
        for bucket in cloudformation.buckets.values():
            s3.create_bucket(Bucket=bucket)
            s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
            s3.put_object(Bucket=bucket, Key="posts/1/a.jpg", Body=b"1")
            s3.delete_object(Bucket=bucket, Key="posts/1/a.jpg")
        yield cloudformation


def versions(bucket: str) -> tuple[int, int]:
    """How many versions and delete markers are in a bucket."""
    found = boto3.client("s3").list_object_versions(Bucket=bucket)
    return len(found.get("Versions", [])), len(found.get("DeleteMarkers", []))


def test_what_the_template_keeps_is_not_touched(cloudformation: CloudFormation) -> None:
    assert set(delete(Stack("backbeat"))) == {"MediaBucket", "ReportsBucket", "ArchiveBucket"}
    assert versions("uploadsbucket") == (0, 0)
    assert versions("mediabucket") == versions("reportsbucket") == versions("archivebucket") == (1, 1)


def test_only_prod_keeps_what_prod_keeps(cloudformation: CloudFormation) -> None:
    cloudformation.stage = "dev"
    assert set(delete(Stack("backbeat"))) == {"MediaBucket", "ReportsBucket"}
    assert versions("archivebucket") == (0, 0)


def test_nobody_is_told_of_what_goes_from_a_bucket(cloudformation: CloudFormation, calls: Calls) -> None:
    """Each deleted upload would take its renditions with it, in the bucket that stays."""
    sqs, s3 = boto3.client("sqs"), boto3.client("s3")
    url = sqs.create_queue(QueueName="told")["QueueUrl"]
    queue = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    told: Any = {"QueueConfigurations": [{"QueueArn": queue, "Events": ["s3:ObjectRemoved:*"]}]}
    s3.put_bucket_notification_configuration(Bucket="uploadsbucket", NotificationConfiguration=told)
    left: list[Any] = []
    calls.before(
        "DeleteObjects",
        None,  # type: ignore[arg-type]
        lambda: left.append(
            s3.get_bucket_notification_configuration(Bucket="uploadsbucket").get("QueueConfigurations")
        ),
    )
    delete(Stack("backbeat"))
    assert left == [None]


def test_a_stack_that_takes_half_an_hour_to_go_is_waited_for(cloudformation: CloudFormation) -> None:
    """A CloudFront distribution does."""
    cloudformation.seconds_to_go = 1_800
    delete(Stack("backbeat"))
    assert cloudformation.seconds_to_go <= 0
