"""The rules that template.yaml is held to. Each covers every resource of its kind, whoever adds it."""

import ast
import json
import os
import subprocess
import sys
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from cfnlint.api import lint_file
from pynamodb.attributes import TTLAttribute
from support import ROOT, STACK, arn, logical_ids, logical_name, resolve, resources, template

from backbeat.models import TABLES
from backbeat.producer import PRIORITIES, Task
from backbeat.tasks import TASKS

CAPACITY = {"minimal": 22, "standard": 66, "large": 660}

every_task = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)


def properties(logical_id: str) -> dict[str, Any]:
    return template()["Resources"][logical_id]["Properties"]


def source_mapping(task: Task[Any]) -> dict[str, Any]:
    return properties(f"{logical_name(task.name)}Function")["Events"]["Queue"]["Properties"]


def in_parts(task: Task[Any]) -> bool:
    source = (ROOT / "functions" / task.name / f"{task.name}.py").read_text("utf-8")
    modules = [node.module for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)]
    return "backbeat.sweeps" in modules


# ---- It is valid -----------------------------------------------------------------------------------------------------


def test_cfn_lint_has_nothing_to_say() -> None:
    assert [str(match) for match in lint_file(ROOT / "template.yaml", None)] == []


def test_sam_accepts_it() -> None:
    sam = Path(sys.executable).with_name("sam")
    environment = {"PATH": os.environ["PATH"], "AWS_DEFAULT_REGION": "us-east-1", "SAM_CLI_TELEMETRY": "0"}
    done = subprocess.run(
        [sam, "validate", "--lint", "--template", ROOT / "template.yaml"],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


# ---- Queues ----------------------------------------------------------------------------------------------------------


@every_task
def test_a_message_stays_hidden_for_six_timeouts(task: Task[Any]) -> None:
    """AWS's own advice: Lambda may be throttled while it holds a batch ("Using Lambda with Amazon SQS")."""
    name = logical_name(task.name)
    assert properties(f"{name}Queue")["VisibilityTimeout"] >= 6 * properties(f"{name}Function")["Timeout"]


@every_task
def test_the_queue_gives_up_only_after_the_task(task: Task[Any]) -> None:
    queue = properties(f"{logical_name(task.name)}Queue")
    assert queue["RedrivePolicy"]["maxReceiveCount"] == task.retry.attempts + 5


@every_task
def test_dead_messages_are_kept_longer(task: Task[Any]) -> None:
    name = logical_name(task.name)
    kept = properties(f"{name}Queue")["MessageRetentionPeriod"]
    assert properties(f"{name}DeadQueue")["MessageRetentionPeriod"] > kept


def test_queues_are_encrypted() -> None:
    """With SSE-SQS: S3 cannot notify a queue under `alias/aws/sqs`."""
    for name in resources("AWS::SQS::Queue"):
        assert properties(name)["SqsManagedSseEnabled"] is True, name
        assert "KmsMasterKeyId" not in properties(name), name


def tls_only(policy: dict[str, Any], actions: str) -> bool:
    return any(
        statement["Effect"] == "Deny"
        and statement["Principal"] == "*"
        and statement["Action"] == actions
        and statement.get("Condition") == {"Bool": {"aws:SecureTransport": False}}
        for statement in policy["PolicyDocument"]["Statement"]
    )


def test_every_queue_has_one_policy_and_refuses_plain_http() -> None:
    """A queue has one policy: a second resource that names it would overwrite the first."""
    covered: list[str] = []
    for name in resources("AWS::SQS::QueuePolicy"):
        policy = properties(name)
        queues = logical_ids(policy["Queues"])
        assert tls_only(policy, "sqs:*"), name
        denied = [s["Resource"] for s in policy["PolicyDocument"]["Statement"] if s["Effect"] == "Deny"]
        assert denied == ["*"] or logical_ids(denied) == queues, name
        covered += queues
    assert sorted(covered) == sorted(resources("AWS::SQS::Queue"))


def test_a_service_may_send_only_for_a_source_of_ours() -> None:
    for name in resources("AWS::SQS::QueuePolicy"):
        for statement in properties(name)["PolicyDocument"]["Statement"]:
            if statement["Effect"] == "Allow":
                assert statement["Action"] == "sqs:SendMessage", name
                assert "aws:SourceArn" in json.dumps(statement["Condition"]), name


# ---- Event source mappings and capacity ------------------------------------------------------------------------------


@every_task
def test_a_failed_message_fails_alone(task: Task[Any]) -> None:
    assert source_mapping(task)["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


@every_task
def test_heavy_messages_come_one_by_one_and_small_ones_by_ten(task: Task[Any]) -> None:
    heavy = task.task_class in ("media", "analytics", "maintenance") or in_parts(task)
    assert source_mapping(task)["BatchSize"] == (1 if heavy else 10)


@every_task
def test_a_queue_has_its_share_of_the_capacity(task: Task[Any]) -> None:
    name = logical_name(task.name)
    share = {"Fn::FindInMap": ["Capacity", {"Ref": "Capacity"}, name]}
    assert source_mapping(task)["ScalingConfig"] == {"MaximumConcurrency": share}
    assert "ReservedConcurrentExecutions" not in properties(f"{name}Function")


@pytest.mark.parametrize("capacity", CAPACITY)
def test_capacity_is_shared_out_by_priority(capacity: str) -> None:
    shares: dict[str, int] = template()["Mappings"]["Capacity"][capacity]
    assert set(template()["Parameters"]["Capacity"]["AllowedValues"]) == set(CAPACITY)
    assert set(shares) == {logical_name(task) for task in TASKS}
    assert sum(shares.values()) == CAPACITY[capacity]
    assert min(shares.values()) >= 2, "SQS refuses a maximum concurrency under 2"
    if max(shares.values()) == 2:
        return  # every queue has the least there is
    unit = CAPACITY[capacity] // sum(PRIORITIES.values())
    by_class = dict.fromkeys(PRIORITIES, 0)
    for task in TASKS.values():
        by_class[task.task_class] += shares[logical_name(task.name)]
    for task_class, priority in PRIORITIES.items():
        assert by_class[task_class] == priority * unit, task_class


# ---- Functions and their logs ----------------------------------------------------------------------------------------


def test_functions_take_runtime_and_architecture_from_the_parameters() -> None:
    everyones = template()["Globals"]["Function"]
    assert everyones["Runtime"] == {"Ref": "PythonRuntime"}
    assert everyones["Architectures"] == [{"Ref": "Architecture"}]
    for name, function in resources("AWS::Serverless::Function").items():
        assert not {"Runtime", "Architectures"} & set(function["Properties"]), name
    for name, layer in resources("AWS::Serverless::LayerVersion").items():
        expected = {"BuildMethod": {"Ref": "PythonRuntime"}, "BuildArchitecture": {"Ref": "Architecture"}}
        assert layer["Metadata"] == expected, name


def test_variables_are_text() -> None:
    """CloudFormation makes text of a number, and the local cloud does not: the function then cannot start."""
    everyones = template()["Globals"]["Function"]
    for name, function in [
        ("Globals", everyones),
        *((n, properties(n)) for n in resources("AWS::Serverless::Function")),
    ]:
        for variable, value in function.get("Environment", {}).get("Variables", {}).items():
            assert "Ref" in value or isinstance(resolve(value), str), f"{variable} of {name}"


def test_logs_are_kept_for_a_set_time() -> None:
    for name in resources("AWS::Logs::LogGroup"):
        assert properties(name)["RetentionInDays"] <= 365, name


def test_every_table_of_the_models_is_known_to_every_function() -> None:
    variables = template()["Globals"]["Function"]["Environment"]["Variables"]
    tables = {name: logical_ids(value) for name, value in variables.items() if name.endswith("_TABLE")}
    assert set(tables) == set(TABLES)
    assert set().union(*tables.values()) == set(resources("AWS::DynamoDB::Table"))


# ---- Data ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", resources("AWS::DynamoDB::Table"))
def test_a_table_is_safe(name: str) -> None:
    table = template()["Resources"][name]
    assert "TableName" not in table["Properties"], "a named table cannot be replaced"
    assert table["Properties"]["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["Properties"]["BillingMode"] == "PAY_PER_REQUEST"
    for policy in ("DeletionPolicy", "UpdateReplacePolicy"):
        assert table[policy] == {"Fn::If": ["IsProd", "Retain", "Delete"]}


@pytest.mark.parametrize("variable", TABLES)
def test_a_table_is_what_its_models_expect(variable: str) -> None:
    (name,) = logical_ids(template()["Globals"]["Function"]["Environment"]["Variables"][variable])
    table = properties(name)

    def by_attribute(schema: list[dict[str, str]]) -> dict[str, str]:
        return {key["AttributeName"]: key["KeyType"] for key in schema}

    built = {
        index["IndexName"]: (by_attribute(index["KeySchema"]), index["Projection"])
        for index in table.get("GlobalSecondaryIndexes", [])
    }
    read: dict[str, Any] = {}
    for model in TABLES[variable]:
        expected: dict[str, Any] = model._get_schema()
        assert by_attribute(table["KeySchema"]) == by_attribute(expected["key_schema"]), model.__name__
        for index in expected["global_secondary_indexes"]:
            read[index["index_name"]] = by_attribute(index["key_schema"]), index["projection"]
        for attribute in model.get_attributes().values():
            if isinstance(attribute, TTLAttribute):
                expiry = {"AttributeName": attribute.attr_name, "Enabled": True}
                assert table["TimeToLiveSpecification"] == expiry, model.__name__
    assert built == read


@pytest.mark.parametrize("name", resources("AWS::S3::Bucket"))
def test_a_bucket_is_private_and_encrypted(name: str) -> None:
    bucket = properties(name)
    assert bucket["PublicAccessBlockConfiguration"] == dict.fromkeys(
        ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"), True
    )
    (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    assert bucket["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}


def test_every_bucket_refuses_plain_http() -> None:
    covered = []
    for name in resources("AWS::S3::BucketPolicy"):
        (bucket,) = logical_ids(properties(name)["Bucket"])
        assert tls_only(properties(name), "s3:*"), name
        (statement,) = (s for s in properties(name)["PolicyDocument"]["Statement"] if s.get("Effect") == "Deny")
        assert resolve(statement["Resource"]) == [arn(bucket), f"{arn(bucket)}/*"], name
        covered.append(bucket)
    assert sorted(covered) == sorted(resources("AWS::S3::Bucket"))


def test_uploads_expire_and_tell_their_queue() -> None:
    bucket = template()["Resources"]["UploadsBucket"]
    notifications = bucket["Properties"]["NotificationConfiguration"]["QueueConfigurations"]
    # No s3:LifecycleExpiration: an upload that expires leaves its renditions.
    assert {notification["Event"] for notification in notifications} == {"s3:ObjectCreated:*", "s3:ObjectRemoved:*"}
    assert all(logical_ids(notification["Queue"]) == {"ProcessMediaUploadQueue"} for notification in notifications)
    assert "Fn::Sub" in bucket["Properties"]["BucketName"]
    policies = bucket["DependsOn"] if isinstance(bucket["DependsOn"], list) else [bucket["DependsOn"]]
    assert "ProcessMediaUploadQueuePolicy" in policies, "S3 tests the notification when it is set"
    assert any("ExpirationInDays" in rule for rule in bucket["Properties"]["LifecycleConfiguration"]["Rules"])


def test_only_the_cdn_that_was_asked_for_reads_the_media_bucket() -> None:
    (allowed,) = (
        statement["Fn::If"]
        for statement in properties("MediaBucketPolicy")["PolicyDocument"]["Statement"]
        if "Fn::If" in statement
    )
    condition, statement, otherwise = allowed
    assert (condition, otherwise) == ("HasMediaCdn", {"Ref": "AWS::NoValue"})
    assert statement["Principal"] == {"Service": "cloudfront.amazonaws.com"}
    assert statement["Action"] == "s3:GetObject"
    assert "MediaDistribution" in str(statement["Condition"]["StringEquals"]["AWS:SourceArn"])
    assert template()["Parameters"]["MediaCdn"]["Default"] == "no"


def test_only_prod_leaves_something_behind() -> None:
    for name, resource in template()["Resources"].items():
        policy = resource.get("DeletionPolicy", "Delete")
        assert policy in ("Delete", {"Fn::If": ["IsProd", "Retain", "Delete"]}), name


# ---- Roles -----------------------------------------------------------------------------------------------------------


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def statements(role: str) -> list[dict[str, Any]]:
    assert "ManagedPolicyArns" not in properties(role), f"{role} has a managed policy, which is never narrow"
    return [s for policy in properties(role)["Policies"] for s in policy["PolicyDocument"]["Statement"]]


def allowed(role: str, action: str) -> set[str]:
    """The resources on which a role allows an action: logical ids, or what is written out."""
    return {
        text
        for statement in statements(role)
        if action in as_list(statement["Action"])
        for resource in as_list(statement["Resource"])
        for text in (logical_ids(resource) or {resolve(resource)})
    }


@pytest.mark.parametrize("role", resources("AWS::IAM::Role"))
def test_a_role_is_narrow(role: str) -> None:
    """No `*` action, and each resource is one of the stack's own."""
    for statement in statements(role):
        assert statement["Effect"] == "Allow"
        assert "NotAction" not in statement
        assert "NotResource" not in statement
        for action in as_list(statement["Action"]):
            assert "*" not in action, action
        if statement["Action"] == "ses:GetAccount":  # SES knows no resource for it ("Actions ... for Amazon SES v2")
            continue
        for resource in as_list(statement["Resource"]):
            sender = resolve(resource).endswith((":identity/hello@example.com", ":identity/example.com"))
            assert logical_ids(resource) or STACK in resolve(resource) or sender, resource


@pytest.mark.parametrize("role", resources("AWS::IAM::Role"))
def test_a_role_trusts_one_service(role: str) -> None:
    (statement,) = properties(role)["AssumeRolePolicyDocument"]["Statement"]
    service = "lambda.amazonaws.com" if f"{role.removesuffix('Role')}Function" in template()["Resources"] else None
    assert statement["Action"] == "sts:AssumeRole"
    assert statement["Principal"] == {"Service": service or statement["Principal"]["Service"]}


@every_task
def test_a_role_allows_what_the_runtime_does(task: Task[Any]) -> None:
    """The local cloud enforces no permissions, so that one which is missing would be seen in AWS alone."""
    name = logical_name(task.name)
    role, queue, dead = f"{name}Role", f"{name}Queue", f"{name}DeadQueue"
    for action in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes"):  # Lambda's poller
        assert allowed(role, f"sqs:{action}") == {queue}
    for action in ("GetQueueUrl", "ChangeMessageVisibility"):
        assert queue in allowed(role, f"sqs:{action}"), action
    for action in ("GetQueueUrl", "SendMessage"):
        assert dead in allowed(role, f"sqs:{action}"), action
    needed = {"GetItem", "UpdateItem"} | ({"PutItem", "BatchWriteItem", "Query"} if in_parts(task) else set())
    for action in needed:
        assert "RunsTable" in allowed(role, f"dynamodb:{action}"), action
    if in_parts(task):
        assert queue in allowed(role, "sqs:SendMessage")
    (logs,) = {
        resource for action in ("CreateLogStream", "PutLogEvents") for resource in allowed(role, f"logs:{action}")
    }
    assert f"log-group:/aws/lambda/{STACK}-{task.name}:*" in logs or logs == f"{name}Logs"


def test_nothing_writes_where_uploads_trigger_work() -> None:
    """A rendition in the uploads bucket would start another run, and so for ever."""
    uploads = resolve({"Ref": "UploadsBucket"})
    for role in resources("AWS::IAM::Role"):
        written = allowed(role, "s3:PutObject")
        assert "UploadsBucket" not in written, role
        assert not [resource for resource in written if uploads in resource], role


# ---- Schedules -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", resources("AWS::Scheduler::Schedule"))
def test_a_schedule_sends_its_task_the_time_it_was_meant_for(name: str) -> None:
    schedule = properties(name)
    target = schedule["Target"]
    message = json.loads(resolve(target["Input"]))
    queue = f"{logical_name(message['task'])}Queue"
    assert name == f"{logical_name(message['task'])}Schedule"
    assert schedule["Name"] == message["task"]
    assert schedule["GroupName"] == {"Ref": "Schedules"}
    assert message["scheduled_time"] == "<aws.scheduler.scheduled-time>"
    assert "id" not in message, "the scheduler's execution id differs per attempt"
    assert logical_ids(target["Arn"]) == {queue}
    assert logical_ids(target["DeadLetterConfig"]["Arn"]) == {f"{logical_name(message['task'])}DeadQueue"}
    assert schedule["ScheduleExpressionTimezone"] == "UTC"
    assert schedule["FlexibleTimeWindow"] == {"Mode": "OFF"}
    assert schedule["State"] == "ENABLED"
    assert logical_ids(target["RoleArn"]) == {"SchedulerRole"}


@pytest.mark.parametrize("name", resources("AWS::SQS::Queue"))
def test_the_scheduler_may_send_to_every_queue_of_the_stack_and_to_no_other_stacks(name: str) -> None:
    """A message of any task may be delayed, and what cannot be delivered goes to its dead queue."""
    arn = f"arn:aws:sqs:us-east-1:123456789012:{resolve({'Ref': name})}"
    assert [text for text in allowed("SchedulerRole", "sqs:SendMessage") if fnmatchcase(arn, text)]
    others = arn.replace(STACK, f"{STACK}-dev")
    assert not [text for text in allowed("SchedulerRole", "sqs:SendMessage") if fnmatchcase(others, text)]


# ---- Alarms ----------------------------------------------------------------------------------------------------------

CLASSES = [task_class for task_class in PRIORITIES if any(t.task_class == task_class for t in TASKS.values())]


def watched(alarm: dict[str, Any]) -> tuple[set[str], set[str]]:
    """The metrics and the queues that an alarm looks at, itself or through its expressions."""
    metrics = (
        [alarm] if "MetricName" in alarm else [m["MetricStat"]["Metric"] for m in alarm["Metrics"] if "MetricStat" in m]
    )
    return {metric["MetricName"] for metric in metrics}, {
        q for metric in metrics for q in logical_ids(metric["Dimensions"])
    }


@pytest.mark.parametrize("task_class", CLASSES)
def test_a_class_has_an_alarm_on_dead_and_on_late_messages(task_class: str) -> None:
    names = {logical_name(task.name) for task in TASKS.values() if task.task_class == task_class}
    dead, late = (properties(f"{task_class.title()}{what}Alarm") for what in ("Dead", "Late"))
    assert watched(dead) == ({"ApproximateNumberOfMessagesVisible"}, {f"{name}DeadQueue" for name in names})
    assert watched(late) == ({"ApproximateAgeOfOldestMessage"}, {f"{name}Queue" for name in names})
    assert dead["Threshold"] == 0


def test_every_alarm_reaches_the_operator() -> None:
    for name in resources("AWS::CloudWatch::Alarm"):
        assert properties(name)["AlarmActions"] == [{"Ref": "AlarmTopic"}], name
    (subscription,) = resources("AWS::SNS::Subscription").values()
    assert subscription["Properties"]["Endpoint"] == {"Ref": "AlertEmail"}
    assert subscription["Properties"]["TopicArn"] == {"Ref": "AlarmTopic"}


def test_only_the_local_cloud_goes_without_an_alarm_and_only_where_it_cannot_have_it() -> None:
    for name, alarm in resources("AWS::CloudWatch::Alarm").items():
        assert alarm.get("Condition") == ("IsOnAws" if "Metrics" in alarm["Properties"] else None), name
    assert template()["Conditions"]["IsOnAws"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "Stage"}, "local"]}]}


def test_the_higher_a_class_the_sooner_it_is_late() -> None:
    by_priority = sorted(CLASSES, key=lambda task_class: -PRIORITIES[task_class])
    limits = [properties(f"{task_class.title()}LateAlarm")["Threshold"] for task_class in by_priority]
    assert limits == sorted(limits)


# ---- Stages ----------------------------------------------------------------------------------------------------------


def test_every_stage_has_its_settings() -> None:
    settings = tomllib.loads((ROOT / "samconfig.toml").read_text("utf-8"))
    stages = template()["Parameters"]["Stage"]["AllowedValues"]
    for stage in stages:
        given = dict(pair.split("=") for pair in settings[stage]["deploy"]["parameters"]["parameter_overrides"].split())
        assert given["Stage"] == stage
        for parameter, value in given.items():
            assert value in template()["Parameters"][parameter]["AllowedValues"], parameter
    names = [settings[stage]["deploy"]["parameters"]["stack_name"] for stage in stages]
    assert len(set(names)) == len(names)
