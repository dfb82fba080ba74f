"""An upload as an application would make it, and what becomes of it."""

import hashlib
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3

from backbeat.messages import sortable
from backbeat.models import Post
from backbeat.posts.files import upload_key
from backbeat_ops import runs
from backbeat_ops.runs import NotSettled
from backbeat_ops.stack import Stack

LOOKS_A_SECOND = 4


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that was put where an application would.

    Attributes:
        bucket: The bucket of uploads.
        key: Its key there.
        post_id: The post that it belongs to.
        bytes: Its size.
        content_hash: By which the post knows what was made of it.
        uploaded_at: When it was put there.
    """

    bucket: str
    key: str
    post_id: str
    bytes: int
    content_hash: str
    uploaded_at: datetime


def new_post(text: str, now: datetime) -> str:
    """Write a post that only its operator sees, for an upload that has none; return its id."""
    post_id = f"upload-{sortable(now)}"
    Post(post_id, author_id="operator", text=text, created_at=now, visibility="hidden").save()
    return post_id


def upload(stack: Stack, post_id: str, filename: str, content: bytes) -> Upload:
    """Put a file where an application would.

    Raises:
        ValueError: The post's id, or the file's name, cannot be part of a key.
    """
    bucket, key, started = stack.buckets["uploads"], upload_key(post_id, filename), datetime.now(UTC)
    boto3.client("s3").put_object(Bucket=bucket, Key=key, Body=content)
    return Upload(bucket, key, post_id, len(content), hashlib.sha256(content).hexdigest()[:32], started)


def wait(made: Upload, seconds: float) -> dict[str, Any]:
    """Wait until a post says what became of an upload, and the ledger too; return what it says.

    Returns:
        `media_status` and `media_reason` of the post, and `media`: what was made of the upload, or None.

    Raises:
        NotSettled: It has not, after `seconds`.
    """
    # S3 gives an event's time to the millisecond.
    since = made.uploaded_at - timedelta(milliseconds=1)
    until = time.monotonic() + seconds
    while True:
        try:
            post = Post.get(made.post_id, consistent_read=True)
        except Post.DoesNotExist:
            as_of = None
        else:
            as_of = post.media_as_of
        recent = runs.recent("process_media_upload", 50)
        if as_of and any(run.logical_time == as_of >= since for run in recent):
            media = post.media.as_dict() if post.media else {}  # type: ignore[no-untyped-call]
            return {
                "media_status": post.media_status,
                "media_reason": post.media_reason,
                "media": media.get(made.content_hash),
            }
        if time.monotonic() >= until:
            break
        time.sleep(1 / LOOKS_A_SECOND)
    tried = [run for run in recent if run.started >= since]
    why = f" Its last attempt: {tried[0].outcome}, {tried[0].error}." if tried else ""
    raise NotSettled(
        f"After {seconds:.0f} s the post {made.post_id!r} does not say what became of {made.key}.{why} "
        "`backbeat runs` shows what ran, `backbeat status` what waits."
    )
