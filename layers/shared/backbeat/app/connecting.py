"""How an application finds a stack: its tables and buckets, by the stack's name."""

import json
import os

from botocore.config import Config
from botocore.exceptions import ClientError

from backbeat import aws, models, queues
from backbeat.aws import client


class StackNotFound(LookupError):
    """There is no stack of that name in this account and region, or it says nothing to applications."""


def connect(stack: str) -> dict[str, str]:
    """Point this process's models, producers and upload forms at a deployed stack.

    It asks CloudFormation for the stack's output `Application`, in one call that gives up after some five seconds.
    Region and credentials are boto3's own; `AWS_ENDPOINT_URL` leads to the local cloud.

    Args:
        stack: The stack's name.

    Returns:
        What was found: table and bucket names by environment variable.

    Raises:
        StackNotFound: There is no such stack, or it was deployed by a version before this one.
    """
    cloudformation = client(
        "cloudformation",
        config=Config(connect_timeout=1, read_timeout=2, retries={"mode": "standard", "total_max_attempts": 2}),
    )
    where = f"in {cloudformation.meta.region_name}"
    try:
        (found,) = cloudformation.describe_stacks(StackName=stack)["Stacks"]
    except (ClientError, ValueError) as error:
        if isinstance(error, ClientError) and error.response["Error"]["Code"] != "ValidationError":
            raise
        raise StackNotFound(f"there is no stack {stack!r} {where}") from error
    outputs = {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}
    if "Application" not in outputs:
        raise StackNotFound(f"the stack {stack!r} {where} has no output Application: deploy it with this version")
    names: dict[str, str] = json.loads(outputs["Application"])
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    if url := outputs.get("MediaBaseUrl") or (endpoint and f"{endpoint}/{names['MEDIA_BUCKET']}"):
        names["MEDIA_BASE_URL"] = url  # the local cloud serves its buckets itself
    os.environ.update(names)
    queues.bind(stack)
    models.bind(names)
    aws.sending_sqs()  # made now, and the credentials found, so that no user's request waits for that
    return names
