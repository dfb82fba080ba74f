"""The files of posts: every version of every object under `posts/<post_id>/`, of uploads and of renditions alike."""

import os
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


def files_of(post_id: str) -> list[File]:
    """All versions of all objects of a post, delete markers included."""
    files: list[File] = []
    for bucket in (os.environ["MEDIA_BUCKET"], os.environ["UPLOADS_BUCKET"]):
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
