"""The local cloud itself: a taken port, a stack that goes and comes again, data that outlives a restart."""

import socket
from pathlib import Path

import boto3
import pytest

from backbeat_ops import localcloud
from backbeat_ops.localcloud import LocalCloudError, NotRunning
from backbeat_ops.stack import Stack, StackNotFound, delete


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(localcloud, "HOME", tmp_path)
    return tmp_path


def test_a_taken_port_is_named_and_another_offered(home: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(LocalCloudError, match=rf"Port {port} is taken by another program. Port (\d+) is free"):
            localcloud.start(port)
    assert not list(home.iterdir())


def test_where_nothing_runs_the_way_to_start_it_is_named(home: Path) -> None:
    with pytest.raises(NotRunning, match="make run"):
        localcloud.endpoint()
    assert localcloud.stop() is False


def test_data_outlives_a_restart(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in localcloud.environment(""):
        monkeypatch.setenv(name, "")  # so that it is put back
    localcloud.use(localcloud.start(localcloud.free_port()))
    try:
        boto3.client("sqs").create_queue(QueueName="kept")
    finally:
        assert localcloud.stop() is True
    localcloud.use(localcloud.start(localcloud.free_port()))
    try:
        assert boto3.client("sqs").get_queue_url(QueueName="kept")["QueueUrl"].endswith("/kept")
    finally:
        localcloud.stop()


def test_a_stack_goes_with_all_versions_in_its_buckets_and_is_missed(cloud: Stack) -> None:
    s3, cloudformation = boto3.client("s3"), boto3.client("cloudformation")
    body = """
        Resources:
          ThingsBucket:
            Type: AWS::S3::Bucket
            Properties: {VersioningConfiguration: {Status: Enabled}}
    """
    cloudformation.create_stack(StackName="goes", TemplateBody=body)
    cloudformation.get_waiter("stack_create_complete").wait(StackName="goes", WaiterConfig={"Delay": 1})
    stack = Stack("goes")
    bucket = stack.buckets["things"]
    for content in (b"1", b"2"):
        s3.put_object(Bucket=bucket, Key="a", Body=content)
    s3.delete_object(Bucket=bucket, Key="a")
    delete(stack)
    with pytest.raises(s3.exceptions.ClientError):
        s3.head_bucket(Bucket=bucket)
    with pytest.raises(StackNotFound, match="'goes'"):
        assert Stack("goes").resources
