"""A photo travels the whole way: bucket, queue, function, renditions, post, ledger."""

import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from PIL import Image
from support import Backbeat

from backbeat.models import Post
from backbeat_ops import localcloud
from backbeat_ops.stack import Stack


def a_post(post_id: str) -> None:
    Post.new(post_id, author_id="user-1", text="#hills", created_at=datetime.now(UTC)).save()


def test_a_photo_comes_out_as_renditions(cloud: Stack, backbeat: Backbeat, photo: bytes, tmp_path: Path) -> None:
    a_post("travels")
    name = "é+ a photo.jpg"  # what S3 encodes in its events
    (tmp_path / name).write_bytes(photo)
    made = backbeat("upload", str(tmp_path / name), "--post-id", "travels", "--wait", "--json")
    assert made["media_status"] == "ready"
    s3 = boto3.client("s3")
    sizes = {}
    for rendition in made["media"]["renditions"]:
        answer = s3.get_object(Bucket=cloud.buckets["media"], Key=rendition["key"])
        served = answer["Body"].read()
        assert len(served) == rendition["bytes"]
        assert "immutable" in answer["CacheControl"]
        picture = Image.open(io.BytesIO(served))
        assert not picture.getexif()
        assert picture.size == (rendition["width"], rendition["height"])
        sizes.setdefault(picture.format, set()).add(picture.size)
    assert sizes["WEBP"] == sizes["JPEG"] == {(1200, 1600), (600, 800), (240, 320), (150, 150)}
    (run,) = [r for r in backbeat("runs", "--json") if (r["result"] or {}).get("post_id") == "travels"]
    assert (run["outcome"], run["attempts"]) == ("succeeded", 1)


def test_a_broken_file_is_rejected_with_a_reason_and_lies_in_the_dead_queue(
    cloud: Stack, backbeat: Backbeat, tmp_path: Path
) -> None:
    a_post("broken")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 this is no picture")
    said = backbeat("upload", str(tmp_path / "broken.jpg"), "--post-id", "broken", "--wait", fails=True)
    assert "was rejected" in said
    post = Post.get("broken")
    assert post.media_status == "failed"
    assert post.media_reason in said
    task = cloud.tasks()["process_media_upload"]
    dead = boto3.client("sqs").receive_message(
        QueueUrl=task["dead_queue_url"], MessageAttributeNames=["All"], VisibilityTimeout=0, MaxNumberOfMessages=10
    )
    (letter,) = [m for m in dead["Messages"] if "posts/broken/" in m["Body"]]
    attributes: dict[str, Any] = {k: v.get("StringValue") for k, v in letter["MessageAttributes"].items()}
    assert attributes["outcome"] == "rejected"
    assert attributes["error"] == post.media_reason


def test_status_names_everything_an_aws_client_needs(cloud: Stack, backbeat: Backbeat) -> None:
    status = backbeat("status", "--json", ails=None)
    assert (status["endpoint"], status["region"]) == (localcloud.endpoint(), "us-east-1")
    s3, dynamodb, sqs, functions = (boto3.client(n) for n in ("s3", "dynamodb", "sqs", "lambda"))
    for bucket in status["buckets"].values():
        s3.head_bucket(Bucket=bucket)
    for table in status["tables"].values():
        dynamodb.describe_table(TableName=table)
    for task in status["tasks"].values():
        functions.get_function(FunctionName=task["function"])
        for queue in (task["queue"], task["dead_queue"]):
            sqs.get_queue_url(QueueName=queue)


def test_an_unknown_task_is_named(backbeat: Backbeat) -> None:
    assert "no task 'wash_dishes'" in backbeat("runs", "--task", "wash_dishes", fails=True)


@pytest.mark.parametrize("post_id", ["a/b", ""])
def test_a_post_id_that_cannot_be_part_of_a_key_is_refused(backbeat: Backbeat, tmp_path: Path, post_id: str) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    assert "post_id" in backbeat("upload", str(tmp_path / "a.jpg"), "--post-id", post_id, fails=True)
