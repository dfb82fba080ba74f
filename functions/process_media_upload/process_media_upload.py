"""process_media_upload: an uploaded picture becomes the renditions that the application serves.

An upload at `posts/<post_id>/<filename>` is read in the version the event names, made into renditions
(`renditions.py`) and written to the media bucket under its content's hash, so that the same upload twice
changes nothing. The post says what became of it: `media`, `media_status` and `media_reason`.
"""

import hashlib
import os
import tempfile
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from pynamodb.exceptions import UpdateError
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action

from backbeat.models import Post
from backbeat.runtime import NotYet, Rejected, Run, Skipped
from backbeat.tasks import process_media_upload
from backbeat.uploads import post_of
from renditions import RECIPE, Limits, Picture, Unusable, make_renditions

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

FOR_EVER = "public, max-age=31536000, immutable"
"""A rendition's key names its content and recipe, so what it holds never changes."""


@dataclass(frozen=True, slots=True)
class MediaProcessed:
    """What was made of an upload.

    Attributes:
        post_id: The post it belongs to.
        content_hash: SHA-256 of its bytes, in 32 hexadecimal digits: its key in `post.media`.
        renditions: How many renditions were written.
        bytes: Their size together.
    """

    post_id: str
    content_hash: str
    renditions: int
    bytes: int


@process_media_upload.implementation
def handle(
    bucket: str, key: str, run: Run, version_id: str | None = None, sequencer: str | None = None
) -> MediaProcessed | Skipped:
    """Make an upload's renditions, and say so on its post."""
    try:
        post_id = post_of(key)
    except ValueError as error:
        raise Rejected("foreign_key", str(error)) from error
    try:
        post = Post.get(post_id, consistent_read=True)
    except Post.DoesNotExist as error:
        raise NotYet(f"there is no post {post_id!r} (yet) for the upload {key!r}") from error

    with tempfile.TemporaryDirectory() as folder:
        upload = Path(folder, "upload")
        try:
            if not _download(bucket, key, version_id, upload):
                return Skipped(f"the upload {key!r} is gone")
            with upload.open("rb") as content:
                content_hash = hashlib.file_digest(content, "sha256").hexdigest()[:32]
            made = post.media and post.media.as_dict().get(content_hash)  # type: ignore[no-untyped-call]
            if made and made["recipe"] == RECIPE:
                _set_status(post, run, "ready", None)
                return Skipped("this upload has been processed")
            picture = make_renditions(upload, limits())
        except Unusable as error:
            _set_status(post, run, "failed", str(error))
            raise Rejected(error.code, str(error)) from error

    prefix = f"posts/{post_id}/{content_hash}-{RECIPE}"
    for rendition in picture.renditions:
        s3().put_object(
            Bucket=os.environ["MEDIA_BUCKET"],
            Key=f"{prefix}/{rendition.name}",
            Body=rendition.data,
            ContentType=rendition.content_type,
            CacheControl=FOR_EVER,
        )
    entry = _entry(picture, prefix, key)
    _add_media(post, content_hash, entry)
    _set_status(post, run, "ready", None)
    size = sum(len(rendition.data) for rendition in picture.renditions)
    return MediaProcessed(post_id, content_hash, len(picture.renditions), size)


@cache
def s3() -> "S3Client":
    """The process's S3 client."""
    return boto3.client("s3", config=Config(connect_timeout=2, read_timeout=20, retries={"mode": "standard"}))


def limits() -> Limits:
    """The limits that the template's parameters set."""
    return Limits(megapixels=int(os.environ["MAX_MEGAPIXELS"]), megabytes=int(os.environ["MAX_UPLOAD_MB"]))


def _download(bucket: str, key: str, version_id: str | None, to: Path) -> bool:
    """Fetch an upload into a file; return whether it is still there.

    Raises:
        Unusable: It is larger than an upload may be; nothing was fetched.
    """
    version = {"VersionId": version_id} if version_id else {}
    try:
        answer = s3().get_object(Bucket=bucket, Key=key, **version)  # type: ignore[arg-type]
    except ClientError as error:
        # MethodNotAllowed: the version is a delete marker.
        if error.response["Error"]["Code"] in ("NoSuchKey", "NoSuchVersion", "MethodNotAllowed"):
            return False
        raise
    with closing(answer["Body"]) as body, to.open("wb") as file:
        limits().check_size(answer["ContentLength"])
        for chunk in body.iter_chunks(1 << 20):
            file.write(chunk)
    return True


def _entry(picture: Picture, prefix: str, key: str) -> dict[str, Any]:
    """What a post keeps of one upload: enough to write an `<img srcset>` without another look-up."""
    return {
        "upload": key,
        "recipe": RECIPE,
        "format": picture.format,
        "width": picture.width,
        "height": picture.height,
        "blurhash": picture.blurhash,
        "renditions": [
            {
                "key": f"{prefix}/{rendition.name}",
                "content_type": rendition.content_type,
                "width": rendition.width,
                "height": rendition.height,
                "bytes": len(rendition.data),
                "square": rendition.square,
            }
            for rendition in picture.renditions
        ],
    }


def _add_media(post: Post, content_hash: str, entry: dict[str, Any]) -> None:
    """Put an upload's entry into the post's map, beside what other uploads put there meanwhile."""
    exists = Post.post_id.exists()
    if not post.media.as_dict():  # type: ignore[no-untyped-call]
        # An application that writes its posts itself may leave the map out.
        _update(post, [Post.media.set({})], exists & Post.media.does_not_exist())
    _update(post, [Post.media[content_hash].set(entry)], exists)


def _set_status(post: Post, run: Run, status: str, reason: str | None) -> None:
    """Say what became of the newest upload; an older one, handled late, does not overwrite a newer one's."""
    actions: list[Action] = [
        Post.media_status.set(status),
        Post.media_as_of.set(run.now),
        Post.media_reason.set(reason) if reason else Post.media_reason.remove(),
    ]
    newest = Post.media_as_of.does_not_exist() | (Post.media_as_of <= run.now)
    _update(post, actions, Post.post_id.exists() & newest)


def _update(post: Post, actions: list[Action], condition: Condition) -> None:
    """Update a post where the condition holds; where it does not, there is nothing to do."""
    try:
        post.update(actions=actions, condition=condition)
    except UpdateError as error:
        if error.cause_response_code != "ConditionalCheckFailedException":
            raise


lambda_handler = handle.lambda_handler
