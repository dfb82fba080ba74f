"""What doctor says where roles, tables, buckets and what the mails need were changed by hand: by moto's answers."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws
from support import STACK

from backbeat_ops import drift
from backbeat_ops.deployed import Deployed
from backbeat_ops.stack import Stack

ALLOWS: dict[str, Any] = {
    "Version": "2012-10-17",
    "Statement": [
        {"Sid": "Queue", "Effect": "Allow", "Action": ["sqs:SendMessage", "sqs:GetQueueUrl"], "Resource": "*"},
        {"Sid": "Table", "Effect": "Allow", "Action": "dynamodb:GetItem", "Resource": "*"},
    ],
}
TRUST: dict[str, Any] = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"},
    ],
}
CLOSED = dict.fromkeys(("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"), True)
TLS_ONLY: dict[str, Any] = {
    "Version": "2012-10-17",
    "Statement": [{"Sid": "TlsOnly", "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "*"}],
}
KEYS = [{"AttributeName": "user_id", "KeyType": "HASH"}]
BY_DAY = {
    "IndexName": "by_day",
    "KeySchema": [{"AttributeName": "day", "KeyType": "HASH"}],
    "Projection": {"ProjectionType": "KEYS_ONLY"},
}
TABLE: dict[str, Any] = {
    "BillingMode": "PAY_PER_REQUEST",
    "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in ("user_id", "day")],
    "KeySchema": KEYS,
    "GlobalSecondaryIndexes": [BY_DAY],
}
WRITTEN: dict[str, dict[str, Any]] = {
    "Role": {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "AssumeRolePolicyDocument": TRUST,
            "Policies": [{"PolicyName": "runtime", "PolicyDocument": ALLOWS}],
        },
    },
    "More": {
        "Type": "AWS::IAM::Policy",
        "Properties": {"PolicyName": "task", "PolicyDocument": ALLOWS, "Roles": [{"Ref": "Role"}]},
    },
    "Table": {
        "Type": "AWS::DynamoDB::Table",
        "Properties": {
            **TABLE,
            "TimeToLiveSpecification": {"AttributeName": "expires", "Enabled": True},
            "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
        },
    },
    "Bucket": {
        "Type": "AWS::S3::Bucket",
        "Properties": {
            "PublicAccessBlockConfiguration": CLOSED,
            "OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
            "BucketEncryption": {
                "ServerSideEncryptionConfiguration": [{"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
            },
            "VersioningConfiguration": {"Status": "Enabled"},
            "CorsConfiguration": {
                "CorsRules": [
                    {"AllowedMethods": ["POST"], "AllowedOrigins": ["*"], "ExposedHeaders": ["ETag"], "MaxAge": 3600}
                ]
            },
            "LifecycleConfiguration": {
                "Rules": [
                    {"Id": "old", "Status": "Enabled", "Prefix": "surveys/", "ExpirationInDays": "90"},
                    {
                        "Id": "remains",
                        "Status": "Enabled",
                        "ExpiredObjectDeleteMarker": True,
                        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
                    },
                ]
            },
        },
    },
    "BucketPolicy": {
        "Type": "AWS::S3::BucketPolicy",
        "Properties": {"Bucket": {"Ref": "Bucket"}, "PolicyDocument": TLS_ONLY},
    },
    "Logs": {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": "/aws/lambda/f", "RetentionInDays": 30}},
    "Key": {"Type": "AWS::SecretsManager::Secret", "Properties": {}},
}


@pytest.fixture
def deployed() -> Iterator[Deployed]:
    """A stack of which everything is as its template has it."""
    with mock_aws():
        iam, dynamodb, s3 = boto3.client("iam"), boto3.client("dynamodb"), boto3.client("s3")
        iam.create_role(RoleName="role", AssumeRolePolicyDocument=json.dumps(TRUST))
        for policy in ("runtime", "task"):
            iam.put_role_policy(RoleName="role", PolicyName=policy, PolicyDocument=json.dumps(ALLOWS))
        dynamodb.create_table(TableName="table", **TABLE)
        dynamodb.update_time_to_live(
            TableName="table", TimeToLiveSpecification={"AttributeName": "expires", "Enabled": True}
        )
        dynamodb.update_continuous_backups(
            TableName="table", PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
        )
        s3.create_bucket(Bucket="bucket")
        s3.put_public_access_block(Bucket="bucket", PublicAccessBlockConfiguration=CLOSED)
        s3.put_bucket_ownership_controls(
            Bucket="bucket", OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
        )
        s3.put_bucket_encryption(
            Bucket="bucket",
            ServerSideEncryptionConfiguration={
                "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
            },
        )
        s3.put_bucket_versioning(Bucket="bucket", VersioningConfiguration={"Status": "Enabled"})
        cors: Any = {
            "AllowedMethods": ["POST"],
            "AllowedOrigins": ["*"],
            "ExposeHeaders": ["ETag"],
            "MaxAgeSeconds": 3600,
        }
        s3.put_bucket_cors(Bucket="bucket", CORSConfiguration={"CORSRules": [cors]})
        s3.put_bucket_lifecycle_configuration(
            Bucket="bucket",
            LifecycleConfiguration={
                "Rules": [
                    {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": "surveys/"}, "Expiration": {"Days": 90}},
                    {
                        "ID": "remains",
                        "Status": "Enabled",
                        "Filter": {"Prefix": ""},
                        "Expiration": {"ExpiredObjectDeleteMarker": True},
                        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
                    },
                ]
            },
        )
        s3.put_bucket_policy(Bucket="bucket", Policy=json.dumps(TLS_ONLY))
        boto3.client("logs").create_log_group(logGroupName="/aws/lambda/f")
        boto3.client("logs").put_retention_policy(logGroupName="/aws/lambda/f", retentionInDays=30)
        boto3.client("secretsmanager").create_secret(Name="key", SecretString="s")
        made = Deployed(Stack(STACK))
        physical = {name: name.lower() for name in WRITTEN}
        made.stack.__dict__["resources"] = physical
        made.__dict__.update(template={"Resources": dict(WRITTEN)}, parameters={})
        yield made


def compared(deployed: Deployed) -> list[str]:
    """All that is said of the stack."""
    return [
        *drift.roles(deployed),
        *drift.tables(deployed, local=False),
        *drift.buckets(deployed, local=False),
        *drift.logs(deployed),
        *drift.links(deployed),
    ]


def less(document: dict[str, Any]) -> str:
    return json.dumps({**document, "Statement": document["Statement"][:1]})


def reordered(document: dict[str, Any]) -> str:
    first, *others = document["Statement"]
    return json.dumps({**document, "Statement": [{**first, "Action": first["Action"][::-1]}, *others]})


def test_what_is_as_the_template_has_it_is_not_named(deployed: Deployed) -> None:
    assert compared(deployed) == []
    iam = boto3.client("iam")
    iam.put_role_policy(RoleName="role", PolicyName="runtime", PolicyDocument=reordered(ALLOWS))
    assert compared(deployed) == []  # the order of actions says nothing


def test_whatever_was_changed_by_hand_is_named_and_nothing_else(deployed: Deployed) -> None:
    iam, dynamodb, s3 = boto3.client("iam"), boto3.client("dynamodb"), boto3.client("s3")
    iam.delete_role_policy(RoleName="role", PolicyName="task")
    for policy in ("runtime", "own"):
        iam.put_role_policy(RoleName="role", PolicyName=policy, PolicyDocument=less(ALLOWS))
    others = json.dumps(TRUST).replace("lambda.amazonaws.com", "ec2.amazonaws.com")
    iam.update_assume_role_policy(RoleName="role", PolicyDocument=others)
    dynamodb.update_time_to_live(
        TableName="table", TimeToLiveSpecification={"AttributeName": "expires", "Enabled": False}
    )
    dynamodb.update_continuous_backups(
        TableName="table", PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": False}
    )
    stream: Any = {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"}
    dynamodb.update_table(TableName="table", StreamSpecification=stream)
    dynamodb.update_table(TableName="table", GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": "by_day"}}])
    s3.delete_bucket_cors(Bucket="bucket")
    s3.delete_public_access_block(Bucket="bucket")
    s3.put_bucket_versioning(Bucket="bucket", VersioningConfiguration={"Status": "Suspended"})
    s3.delete_bucket_lifecycle(Bucket="bucket")
    s3.delete_bucket_policy(Bucket="bucket")
    boto3.client("logs").delete_retention_policy(logGroupName="/aws/lambda/f")
    boto3.client("secretsmanager").delete_secret(SecretId="key")
    said = compared(deployed)
    bucket = said.pop(next(number for number, text in enumerate(said) if text.startswith("Bucket bucket")))
    assert said == [
        "Who may take role role is not as the template has it: statement 1 differs.",
        "Role role has no policy task.",
        "Role role has the policy own, which is not the template's.",
        "Policy runtime of role role is not as the template has it: statement Table is missing.",
        "Table table is not as the template has it: stream is 'NEW_IMAGE' in place of missing; expiry is missing in "
        "place of 'expires'; point-in-time recovery is 'false' in place of 'true'.",
        "Table table has no index by_day.",
        "The policy of bucket bucket is not as the template has it: statement TlsOnly is missing.",
        "Log group /aws/lambda/f is not as the template has it: retentionInDays is missing in place of '30'.",
        "Secret key is being deleted: `aws secretsmanager restore-secret` keeps it, and the links.",
    ]
    different = [text.split(" is ")[0] for text in bucket.partition(": ")[2].split("; ")]
    assert different == [*CLOSED, "versioning", "CORS", "rule old", "rule remains"]
    assert "versioning is 'Suspended' in place of 'Enabled'" in bucket


def test_what_is_gone_is_named(deployed: Deployed) -> None:
    for logical_id in ("Role", "Table", "Bucket", "BucketPolicy", "Logs", "Key"):
        deployed.stack.resources[logical_id] = "gone"
    del deployed.template["Resources"]["More"]
    boto3.client("logs").delete_log_group(logGroupName="/aws/lambda/f")
    assert [text.partition(":")[0].rstrip(".") for text in compared(deployed)] == [
        "Role gone is gone",
        "Table gone is gone",
        "Bucket gone is gone",
        "Log group /aws/lambda/f is gone",
        "Secret gone is gone",
    ]
