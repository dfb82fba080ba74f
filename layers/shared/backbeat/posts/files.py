"""The files of posts: what an upload's key says, and every version of every object under `posts/<post_id>/`.

Uploads and renditions lie in two buckets, under the same prefix for each post.
"""

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

from backbeat.aws import s3

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef


class File(TypedDict):
    """One version of one object, and its size in bytes (0 for a delete marker)."""

    bucket: str
    key: str
    version_id: str
    size: int


_NAME = re.compile(r"[^/\x00-\x1f\x7f]{1,200}")


def upload_key(post_id: str, filename: str) -> str:
    """The key under which a post's upload is expected, `posts/<post_id>/<filename>`.

    Raises:
        ValueError: One of the names is empty, over 200 characters, or holds a slash or a control character.
    """
    for what, name in (("post_id", post_id), ("filename", filename)):
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(f"{what} {name!r} must have 1 to 200 characters, without slashes and control characters")
    return f"posts/{post_id}/{filename}"


def post_of(key: str) -> str:
    """The post an upload's key names.

    Raises:
        ValueError: The key is not of the form `posts/<post_id>/<filename>`.
    """
    match key.split("/"):
        case ["posts", post_id, filename] if post_id and filename:
            return post_id
    raise ValueError(f"the key {key!r} is not of the form posts/<post_id>/<filename>")


def buckets() -> tuple[str, str]:
    """The buckets that hold the files of posts.

    Raises:
        LookupError: The environment does not name them.
    """
    try:
        return os.environ["MEDIA_BUCKET"], os.environ["UPLOADS_BUCKET"]
    except KeyError as error:
        raise LookupError(
            f"{error.args[0]} is not set: the environment must name the buckets of posts' files, "
            "MEDIA_BUCKET and UPLOADS_BUCKET"
        ) from error


def files_of(post_id: str) -> list[File]:
    """All versions of all objects of a post, delete markers included."""
    files: list[File] = []
    for bucket in buckets():
        for page in s3().get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=f"posts/{post_id}/"):
            for found in page.get("Versions", []):
                files.append(File(bucket=bucket, key=found["Key"], version_id=found["VersionId"], size=found["Size"]))
            for marker in page.get("DeleteMarkers", []):
                files.append(File(bucket=bucket, key=marker["Key"], version_id=marker["VersionId"], size=0))
    return files


def delete_files(files: Sequence[File]) -> None:
    """Delete these versions for good; one that is gone already is no error.

    Raises:
        OSError: S3 did not delete some of them.
    """
    for bucket in {file["bucket"] for file in files}:
        mine = [file for file in files if file["bucket"] == bucket]
        for start in range(0, len(mine), 1_000):
            objects: list[ObjectIdentifierTypeDef] = [
                {"Key": file["key"], "VersionId": file["version_id"]} for file in mine[start : start + 1_000]
            ]
            errors = s3().delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True}).get("Errors", [])
            if errors:
                raise OSError(f"S3 did not delete {errors[0].get('Key')!r}: {errors[0].get('Message')}")
