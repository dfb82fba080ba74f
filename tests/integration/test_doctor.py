"""`backbeat doctor` on a stack of the local cloud that is broken in many ways at once: each is named."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import boto3
import pytest
from support import Backbeat

from backbeat_ops import schedules
from backbeat_ops.stack import Stack

Undo = list[Callable[[], Any]]


@pytest.fixture
def undo() -> Iterator[Undo]:
    """What puts the stack right for the tests after; done last first."""
    undo: Undo = []
    yield undo
    for step in reversed(undo):
        step()


def mapping(cloud: Stack, task: str) -> Any:
    arn = boto3.client("sqs").get_queue_attributes(
        QueueUrl=cloud.tasks()[task]["queue_url"], AttributeNames=["QueueArn"]
    )["Attributes"]["QueueArn"]
    (found,) = boto3.client("lambda").list_event_source_mappings(EventSourceArn=arn)["EventSourceMappings"]
    return found


def broken(cloud: Stack, undo: Undo) -> dict[str, str]:
    """Break a stack in many ways; what doctor must say of each, by where it looks."""
    functions, sqs, s3 = boto3.client("lambda"), boto3.client("sqs"), boto3.client("s3")
    cloudwatch, events, scheduler = boto3.client("cloudwatch"), boto3.client("events"), boto3.client("scheduler")
    tasks = cloud.tasks()

    gone = mapping(cloud, "cleanup_expired_tokens")
    functions.delete_event_source_mapping(UUID=gone["UUID"])
    kept = ("EventSourceArn", "BatchSize", "FunctionResponseTypes", "ScalingConfig")
    undo.append(
        partial(
            functions.create_event_source_mapping,
            FunctionName=tasks["cleanup_expired_tokens"]["function"],
            **{key: gone[key] for key in kept if key in gone},
        )
    )

    off = mapping(cloud, "send_notification")["UUID"]
    functions.update_event_source_mapping(UUID=off, Enabled=False)
    undo.append(partial(functions.update_event_source_mapping, UUID=off, Enabled=True))

    for task, changes in (
        ("send_welcome_email", {"Environment": {"Variables": {"SENDER": "nobody@example.org"}}}),
        ("cleanup_old_posts", {"MemorySize": 512}),
    ):
        name = tasks[task]["function"]
        before: Any = functions.get_function_configuration(FunctionName=name)
        changed: Any = json.loads(json.dumps(changes))
        if "Environment" in changed:
            changed["Environment"]["Variables"] = (
                before["Environment"]["Variables"] | changed["Environment"]["Variables"]
            )
        functions.update_function_configuration(FunctionName=name, **changed)
        was: Any = {key: before[key] for key in changes}
        undo.append(partial(functions.update_function_configuration, FunctionName=name, **was))

    hourly, nightly = schedules.named(cloud.name, ["update_trending_hashtags", "update_user_statistics"])
    schedules.switch(hourly, "DISABLED")
    undo.append(partial(schedules.switch, hourly, "ENABLED"))
    answered = ("Arn", "CreationDate", "LastModificationDate", "ResponseMetadata")
    definition: Any = {key: value for key, value in nightly.definition.items() if key not in answered}
    scheduler.update_schedule(**{**definition, "ScheduleExpression": "cron(30 6 * * ? *)"})
    undo.append(partial(scheduler.update_schedule, **definition))

    url = tasks["process_media_upload"]["queue_url"]
    attributes: Any = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])["Attributes"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": ""})
    undo.append(partial(sqs.set_queue_attributes, QueueUrl=url, Attributes=attributes))

    late = tasks["update_user_statistics"]["queue_url"]
    visibility: Any = sqs.get_queue_attributes(QueueUrl=late, AttributeNames=["VisibilityTimeout"])["Attributes"]
    sqs.set_queue_attributes(QueueUrl=late, Attributes={"VisibilityTimeout": "30"})
    undo.append(partial(sqs.set_queue_attributes, QueueUrl=late, Attributes=visibility))

    alarm = cloud.resources["SendNotificationDeadAlarm"]
    (there,) = cloudwatch.describe_alarms(AlarmNames=[alarm])["MetricAlarms"]
    cloudwatch.delete_alarms(AlarmNames=[alarm])
    takes = cloudwatch.meta.service_model.operation_model("PutMetricAlarm").input_shape
    assert takes is not None
    put: Any = {key: value for key, value in there.items() if key in takes.members}  # type: ignore[attr-defined]
    undo.append(partial(cloudwatch.put_metric_alarm, **put))

    rule = cloud.resources["MailFeedback"]
    events.disable_rule(Name=rule)
    undo.append(partial(events.enable_rule, Name=rule))

    bucket = cloud.buckets["uploads"]
    told: Any = s3.get_bucket_notification_configuration(Bucket=bucket)
    told = {"QueueConfigurations": told["QueueConfigurations"]}
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={})
    undo.append(partial(s3.put_bucket_notification_configuration, Bucket=bucket, NotificationConfiguration=told))

    iam, logs, mail = boto3.client("iam"), boto3.client("logs"), boto3.client("sesv2")
    role = cloud.resources["SendNotificationRole"]
    may: Any = iam.get_role_policy(RoleName=role, PolicyName="task")
    iam.delete_role_policy(RoleName=role, PolicyName="task")
    undo.append(
        partial(
            iam.put_role_policy,
            RoleName=role,
            PolicyName="task",
            PolicyDocument=json.dumps(may["PolicyDocument"]),
        )
    )

    stopped = tasks["generate_content_analytics"]["function"]
    functions.put_function_concurrency(FunctionName=stopped, ReservedConcurrentExecutions=0)
    undo.append(partial(functions.delete_function_concurrency, FunctionName=stopped))

    cors: Any = s3.get_bucket_cors(Bucket=bucket)
    s3.delete_bucket_cors(Bucket=bucket)
    undo.append(partial(s3.put_bucket_cors, Bucket=bucket, CORSConfiguration={"CORSRules": cors["CORSRules"]}))
    closed: Any = s3.get_public_access_block(Bucket=cloud.buckets["media"])["PublicAccessBlockConfiguration"]
    s3.put_public_access_block(
        Bucket=cloud.buckets["media"], PublicAccessBlockConfiguration={**closed, "BlockPublicPolicy": False}
    )
    undo.append(
        partial(s3.put_public_access_block, Bucket=cloud.buckets["media"], PublicAccessBlockConfiguration=closed)
    )

    log = f"/aws/lambda/{tasks['send_notification']['function']}"
    logs.put_retention_policy(logGroupName=log, retentionInDays=1)
    undo.append(partial(logs.put_retention_policy, logGroupName=log, retentionInDays=30))

    events_of: dict[str, Any] = {
        "ConfigurationSetName": f"{cloud.name}-mail",
        "EventDestinationName": "feedback",
    }
    (destination,) = mail.get_configuration_set_event_destinations(
        ConfigurationSetName=events_of["ConfigurationSetName"]
    )["EventDestinations"]
    mail.delete_configuration_set_event_destination(**events_of)
    again: Any = {key: value for key, value in destination.items() if key != "Name"}
    undo.append(partial(mail.create_configuration_set_event_destination, **events_of, EventDestination=again))

    dead = tasks["update_post_engagement_scores"]["dead_queue_url"]
    sqs.send_message(QueueUrl=dead, MessageBody="{}")
    undo.append(partial(sqs.purge_queue, QueueUrl=dead))

    return {
        "No function takes what is on backbeat-local-maintenance-cleanup_expired_tokens: "
        "its mapping is gone.": "mappings",
        "No function takes what is on backbeat-local-default-send_notification: its mapping is disabled.": "mappings",
        "Function backbeat-local-send_welcome_email is not as the template has it: variable SENDER is "
        "'nobody@example.org' in place of 'hello@example.com'.": "functions",
        "Function backbeat-local-cleanup_old_posts is not as the template has it: MemorySize is '512' in place of "
        "'1024'.": "functions",
        "Function backbeat-local-generate_content_analytics is not as the template has it: "
        "ReservedConcurrentExecutions is '0' in place of missing.": "functions",
        f"Role {role} has no policy task.": "roles",
        f"Bucket {bucket} is not as the template has it: CORS is '[]' in place of "
        '\'[{"AllowedHeaders": ["*"], "AllowedMethods": ["POST", "PU...\'.': "buckets",
        f"Bucket {cloud.buckets['media']} is not as the template has it: BlockPublicPolicy is 'false' in place of "
        "'true'.": "buckets",
        f"Log group {log} is not as the template has it: retentionInDays is '1' in place of '30'.": "logs",
        "Configuration set backbeat-local-mail tells nobody of bounces and complaints.": "mail events",
        "Schedule update_trending_hashtags is off.": "schedules",
        "Schedule update_user_statistics is not as the template has it: ScheduleExpression is 'cron(30 6 * * ? *)' "
        "in place of 'cron(0 3 * * ? *)'.": "schedules",
        "Queue backbeat-local-media-process_media_upload has no policy.": "queues",
        "Queue backbeat-local-analytics-update_user_statistics is not as the template has it: VisibilityTimeout is "
        "'30' in place of '1800'.": "queues",
        f"Alarm {alarm} is gone.": "alarms",
        f"Rule {rule} is off.": "triggers",
        f"Bucket {bucket} does not tell backbeat-local-media-process_media_upload of s3:ObjectCreated:*.": "triggers",
        f"Bucket {bucket} does not tell backbeat-local-media-process_media_upload of s3:ObjectRemoved:*.": "triggers",
        "1 message of update_post_engagement_scores is dead.": "dead letters",
    }


def ailing(answer: dict[str, Any]) -> dict[str, str]:
    """Where doctor looked, by what it says of what is not well."""
    assert answer["well"] is False
    found = [finding for finding in answer["findings"] if finding["state"] != "ok"]
    assert all(finding["next"] for finding in found)
    return {finding["says"]: finding["checked"] for finding in found}


def test_what_is_broken_is_named_and_what_is_off_is_switched_on(cloud: Stack, backbeat: Backbeat, undo: Undo) -> None:
    for task in cloud.tasks().values():
        boto3.client("sqs").purge_queue(QueueUrl=task["dead_queue_url"])  # what other tests of this local cloud left
    assert backbeat("doctor", "--json")["well"] is True
    expected = broken(cloud, undo)

    assert ailing(backbeat("doctor", "--json", ails=True)) == expected

    left = {says for says in expected if not says.endswith((" is off.", " is disabled."))}
    assert set(ailing(backbeat("doctor", "--fix", "--json", ails=True))) == left
