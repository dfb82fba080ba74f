"""One deployed stack, on AWS or on the local cloud: where its queues, functions, buckets and tables are."""

import os
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import boto3
from botocore.exceptions import ClientError

from backbeat import models, queues
from backbeat.producer import PRIORITIES
from backbeat.tasks import TASKS

POLL = 2
SECONDS_TO_DELETE = 3_600
"""How long a stack may take to go: a CloudFront distribution is switched off everywhere first, and that alone takes
longer than all the rest."""


class NotFound(LookupError):
    """What was named is not there; the text says so, and what there is, where that helps."""


class StackNotFound(NotFound):
    """There is no stack of that name in this account and region."""


@dataclass(frozen=True)
class Stack:
    """A deployed stack. boto3 finds its account, region and endpoint in the environment, as everywhere.

    Attributes:
        name: The stack's name.
    """

    name: str

    @cached_property
    def resources(self) -> dict[str, str]:
        """Physical ids by logical id.

        Raises:
            StackNotFound: There is no such stack.
        """
        pages = boto3.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=self.name)
        missing = f"There is no stack {self.name!r} in {boto3.Session().region_name}."
        try:
            found = {
                resource["LogicalResourceId"]: resource.get("PhysicalResourceId", "")
                for page in pages
                for resource in page["StackResourceSummaries"]
                if resource["ResourceStatus"] != "DELETE_COMPLETE"
            }
        except ClientError as error:
            if error.response["Error"]["Code"] != "ValidationError":
                raise
            raise StackNotFound(missing) from error
        if not found:  # the local cloud remembers a deleted stack's name
            raise StackNotFound(missing)
        return found

    @cached_property
    def tables(self) -> dict[str, str]:
        """Table names by the environment variable that functions find them in, `{"POSTS_TABLE": ...}`."""
        ids = {variable: table_id(variable) for variable in models.TABLES}
        return {variable: self.resources[logical] for variable, logical in ids.items() if logical in self.resources}

    @property
    def buckets(self) -> dict[str, str]:
        """Bucket names by what they are for, `{"uploads": ..., "media": ...}`."""
        return {
            logical.removesuffix("Bucket").lower(): physical
            for logical, physical in self.resources.items()
            if logical.endswith("Bucket")
        }

    @cached_property
    def kept(self) -> dict[str, str]:
        """What outlives the stack, as its template has it: physical ids by logical id, `{"PostsTable": ...}`."""
        client = boto3.client("cloudformation")
        template: Any = client.get_template(StackName=self.name, TemplateStage="Processed")["TemplateBody"]
        (stack,) = client.describe_stacks(StackName=self.name)["Stacks"]
        is_prod = {"ParameterKey": "Stage", "ParameterValue": "prod"} in stack.get("Parameters", [])
        found = {}
        for logical_id, resource in template["Resources"].items():
            policy = resource.get("DeletionPolicy", "Delete")
            if isinstance(policy, dict):  # the local cloud leaves the choice between two as it was written
                policy = policy["Fn::If"][1 if is_prod else 2]
            if policy != "Delete" and logical_id in self.resources:
                found[logical_id] = self.resources[logical_id]
        return found

    def bind(self) -> None:
        """Point the models and the producers of this process at the stack."""
        queues.bind(self.name)
        models.bind(self.tables)
        os.environ.update(self.tables)

    def tasks(self) -> dict[str, dict[str, str]]:
        """By task: its class, function, queue and dead queue, and the queues' URLs; those that are deployed."""
        urls = {url.rsplit("/", 1)[-1]: url for url in self.resources.values() if "/" in url}
        found = {}
        for name, task in TASKS.items():
            queue = task.queue_name(self.name)
            if queue not in urls or queues.dead_queue(queue) not in urls:
                continue
            found[name] = {
                "class": task.task_class,
                "function": f"{self.name}-{name}",
                "queue": queue,
                "queue_url": urls[queue],
                "dead_queue": queues.dead_queue(queue),
                "dead_queue_url": urls[queues.dead_queue(queue)],
            }
        return found

    def task(self, name: str) -> dict[str, str]:
        """One of `tasks`, by the name of a declared one.

        Raises:
            NotFound: It is not deployed, as these files are newer than the stack.
        """
        if found := self.tasks().get(name):
            return found
        raise NotFound(f"The task {name!r} is declared in your files, and not deployed to {self.name}.")

    def undeclared(self) -> list[str]:
        """The tasks that the stack has and these files do not declare, as they are older than it."""
        dead_queue = re.compile(rf".*/{re.escape(self.name)}-(?:{'|'.join(PRIORITIES)})-(\w+)-dead")
        found = filter(None, map(dead_queue.fullmatch, self.resources.values()))
        return sorted(match[1] for match in found if match[1] not in TASKS)

    def describe(self) -> dict[str, Any]:
        """All that any AWS client needs to find its way about the stack."""
        session = boto3.Session()
        return {
            "stack": self.name,
            "endpoint": os.environ.get("AWS_ENDPOINT_URL"),
            "region": session.region_name,
            "tasks": self.tasks(),
            "buckets": self.buckets,
            "tables": {variable.removesuffix("_TABLE").lower(): name for variable, name in self.tables.items()},
        }


def table_id(variable: str) -> str:
    """The logical id of the table that a variable names: `USERS_TABLE` is `UsersTable`."""
    return "".join(word.capitalize() for word in variable.split("_"))


def delete(stack: Stack) -> dict[str, str]:
    """Delete the stack with everything in it, but for what its template keeps; return when it is gone.

    Buckets must be empty to go. Those that stay are not touched, and what is deleted from the uploads is told to
    nobody: it would take the renditions, in a bucket that may stay, with it.

    Returns:
        What is left: physical ids by logical id.

    Raises:
        botocore.exceptions.WaiterError: CloudFormation could not delete it.
    """
    kept = stack.kept
    s3 = boto3.client("s3")
    for logical_id, bucket in stack.resources.items():
        if logical_id.endswith("Bucket") and logical_id not in kept:
            try:
                s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={})
                empty(bucket)
            except s3.exceptions.NoSuchBucket:
                continue
    cloudformation = boto3.client("cloudformation")
    cloudformation.delete_stack(StackName=stack.name)
    cloudformation.get_waiter("stack_delete_complete").wait(
        StackName=stack.name, WaiterConfig={"Delay": POLL, "MaxAttempts": SECONDS_TO_DELETE // POLL}
    )
    return kept


def empty(bucket: str, prefix: str = "") -> None:
    """Delete every version of everything in a bucket whose key has a prefix."""
    s3 = boto3.client("s3")
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
        found = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
        if not found:
            continue
        named: Any = [{"Key": item["Key"], "VersionId": item["VersionId"]} for item in found]
        answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": named, "Quiet": True})
        if answer.get("Errors"):
            first = answer["Errors"][0]
            raise RuntimeError(f"{bucket}: {first.get('Key')} cannot be deleted: {first.get('Message')}")
