"""How an application lets its users upload: straight into the bucket, within a size limit."""

import os
from typing import Any

from botocore.config import Config

from backbeat.aws import client
from backbeat.posts.files import upload_key


def presigned_upload(post_id: str, filename: str, *, video: bool = False, valid_for: int = 600) -> dict[str, Any]:
    """A form that lets a browser upload one file for a post, without credentials.

    S3 itself refuses a file over the limit, `MAX_UPLOAD_MB` or, for a video, `MAX_VIDEO_MB`, before it is stored.

    Args:
        post_id: The post the upload belongs to.
        filename: The file's name.
        video: Whether it is to be a video, which may be larger.
        valid_for: How long the form can be used, in seconds.

    Returns:
        `url` and `fields`: what the form posts to, and the hidden fields that go before its `file`.

    Raises:
        ValueError: A name cannot be part of a key.
    """
    # The regional endpoint: the global one redirects a POST for a new bucket, and browsers drop its body.
    s3 = client("s3", config=Config(signature_version="s3v4", s3={"us_east_1_regional_endpoint": "regional"}))
    megabytes = os.environ.get("MAX_VIDEO_MB", "200") if video else os.environ.get("MAX_UPLOAD_MB", "50")
    form: dict[str, Any] = s3.generate_presigned_post(
        Bucket=os.environ["UPLOADS_BUCKET"],
        Key=upload_key(post_id, filename),
        Conditions=[["content-length-range", 1, int(megabytes) * 1_000_000]],
        ExpiresIn=valid_for,
    )
    return form
