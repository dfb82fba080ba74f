"""The rules that template.yaml is held to. Each covers every resource of its kind, whoever adds it."""

import itertools
import json
import os
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from cfnlint.api import lint_file
from pieces import complete, functions, in_parts, names, rows, whole
from pynamodb.attributes import TTLAttribute
from support import ROOT, STACK, arn, logical_ids, logical_name, resolve, resources, statements, template, written

from backbeat import letters
from backbeat.models import TABLES
from backbeat.producer import PRIORITIES, Task
from backbeat_ops.new.task import LEAST, UNITS

LINES = (ROOT / "template.yaml").read_text("utf-8").splitlines()

every_task = pytest.mark.parametrize("task", complete().values(), ids=complete())


def properties(logical_id: str) -> dict[str, Any]:
    return template()["Resources"][logical_id]["Properties"]


def source_mapping(task: Task[Any]) -> dict[str, Any]:
    return properties(f"{logical_name(task.name)}FunctionQueue")


def row(task: Task[Any]) -> dict[str, Any]:
    """A task's row in the table that the loops are filled from."""
    found: dict[str, Any] = template()["Mappings"]["Tasks"][logical_name(task.name)]
    return found


# ---- It can be read --------------------------------------------------------------------------------------------------


def test_it_stays_short() -> None:
    assert len(LINES) <= 1_531 + 30 * len(rows())
    assert [number for number, line in enumerate(LINES, 1) if len(line) > 120] == []


def held(number: int) -> list[int]:
    """The lines below one that ends with a colon, as far as they are indented under it, but for empty ones."""

    def indent(line: str) -> int:
        return len(line) - len(line.lstrip())

    below = (n for n in range(number + 1, len(LINES)) if LINES[n].strip())
    return list(itertools.takewhile(lambda n: indent(LINES[n]) > indent(LINES[number]), below))


def test_a_task_of_a_message_and_a_table_takes_thirty_lines_in_three_places() -> None:
    """send_notification's name in the lists, its row, and its function with what it may do."""
    named = [n for n, line in enumerate(LINES) if re.search(r"send_notification|SendNotification", line)]
    taken = sorted({*named, *(below for n in named if LINES[n].endswith(":") for below in held(n))})
    places = [n for before, n in itertools.pairwise([-7, *taken]) if n - before > 6]  # as a diff has them, with context
    assert len(taken) <= 30
    assert len(places) <= 3


@pytest.mark.parametrize("name", resources("AWS::Serverless::Function"))
def test_a_function_is_written_out(name: str) -> None:
    assert f"  {name}:" in [line.split(" #")[0] for line in LINES], "what is a task's own is not made by a loop"


# ---- The table of tasks ----------------------------------------------------------------------------------------------


def test_the_table_and_the_lists_name_tasks_alone_and_each_once() -> None:
    tasks = [logical_name(task) for task in names()]
    assert set(rows()) <= set(tasks)
    for name, listed in written()["Metadata"]["Lists"].items():
        assert sorted(listed) == sorted({*listed} & {*tasks}), name


@every_task
def test_a_row_says_of_a_task_what_its_declaration_says(task: Task[Any]) -> None:
    assert (row(task)["Name"], row(task)["Class"]) == (task.name, task.task_class)
    assert row(task)["Receives"] == task.retry.attempts + 5
    assert row(task)["Visibility"] == 6 * row(task)["Timeout"]


@every_task
def test_a_function_is_as_large_as_its_row_says(task: Task[Any]) -> None:
    function = properties(f"{logical_name(task.name)}Function")
    assert (function["MemorySize"], function["Timeout"]) == (row(task)["Memory"], row(task)["Timeout"])


# ---- It is valid -----------------------------------------------------------------------------------------------------


@whole
def test_cfn_lint_has_nothing_to_say() -> None:
    assert [str(match) for match in lint_file(ROOT / "template.yaml", None)] == []


@whole
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
    kept = resolve(properties(f"{name}Queue")["MessageRetentionPeriod"])
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
    share = {"Fn::FindInMap": ["Tasks", name, {"Ref": "Capacity"}]}
    assert source_mapping(task)["ScalingConfig"] == {"MaximumConcurrency": share}
    assert "ReservedConcurrentExecutions" not in properties(f"{name}Function")


def test_every_capacity_has_its_column() -> None:
    assert list(UNITS) == template()["Parameters"]["Capacity"]["AllowedValues"]
    assert min(row[capacity] for row in rows().values() for capacity in UNITS) == LEAST


@pytest.mark.parametrize("task_class", PRIORITIES)
@pytest.mark.parametrize("capacity", UNITS)
def test_a_class_shares_out_what_its_priority_gives_it(capacity: str, task_class: str) -> None:
    """And where that is too little for its tasks, each has the least there is."""
    shares = {row["Name"]: row[capacity] for row in rows().values() if row["Class"] == task_class}
    expected = max(PRIORITIES[task_class] * UNITS[capacity], LEAST * len(shares))
    assert not shares or sum(shares.values()) == expected, f"{task_class} has {expected} to share out, not {shares}"


# ---- Functions and their logs ----------------------------------------------------------------------------------------


def test_functions_take_runtime_and_architecture_from_the_parameters() -> None:
    everyones = template()["Globals"]["Function"]
    assert everyones["Runtime"] == {"Ref": "PythonRuntime"}
    assert everyones["Architectures"] == [{"Ref": "Architecture"}]
    for name, function in resources("AWS::Serverless::Function").items():
        assert not {"Runtime", "Architectures"} & set(function["Properties"]), name
    for name, layer in resources("AWS::Serverless::LayerVersion").items():
        assert layer["Metadata"] == {
            "BuildMethod": "makefile",
            "BuildArchitecture": {"Ref": "Architecture"},
            "ContextPath": {"Fn::Sub": "layers/build/${PythonRuntime}-${Architecture}"},
            "WorkingDirectory": "layers/build",
        }, name
    for runtime, architecture in itertools.product(
        *(template()["Parameters"][parameter]["AllowedValues"] for parameter in ("PythonRuntime", "Architecture"))
    ):
        said = (ROOT / f"layers/build/{runtime}-{architecture}/Makefile").read_text().splitlines()
        assert said == [f"RUNTIME = {runtime}", f"ARCHITECTURE = {architecture}", "include layer.mk"]


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


def test_finished_runs_are_told_only_where_that_is_asked_for() -> None:
    assert template()["Parameters"]["RunEvents"]["Default"] == "no"
    told = [name for name in template()["Resources"] if name.startswith("RunEvents")]
    assert len(told) == 4
    assert {template()["Resources"][name].get("Condition") for name in told} == {"HasRunEvents"}
    for task in complete():
        documents = [policy["PolicyDocument"] for policy in properties(f"{logical_name(task)}Role")["Policies"]]
        (on_condition,) = (s["Fn::If"] for document in documents for s in document["Statement"] if "Fn::If" in s)
        condition, statement, otherwise = on_condition
        assert (condition, otherwise) == ("HasRunEvents", {"Ref": "AWS::NoValue"})
        assert (statement["Action"], logical_ids(statement["Resource"])) == ("events:PutEvents", {"RunEventsBus"})


# ---- Roles -----------------------------------------------------------------------------------------------------------


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


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
    assert "ManagedPolicyArns" not in properties(role), "a managed policy is never narrow"
    for statement in statements(role):
        assert statement["Effect"] == "Allow"
        assert "NotAction" not in statement
        assert "NotResource" not in statement
        for action in as_list(statement["Action"]):
            assert "*" not in action, action
        if statement["Action"] == "ses:GetAccount":  # SES knows no resource for it ("Actions ... for Amazon SES v2")
            continue
        one_sender = statement.get("Condition") == {"StringEquals": {"ses:FromAddress": {"Ref": "Sender"}}}
        for resource in as_list(statement["Resource"]):
            assert logical_ids(resource) or STACK in resolve(resource) or one_sender, resource


@pytest.mark.parametrize("role", resources("AWS::IAM::Role"))
def test_a_role_trusts_one_service(role: str) -> None:
    (statement,) = properties(role)["AssumeRolePolicyDocument"]["Statement"]
    service = "lambda.amazonaws.com" if f"{role.removesuffix('Role')}Function" in template()["Resources"] else None
    assert statement["Action"] == "sts:AssumeRole"
    assert statement["Principal"] == {"Service": service or statement["Principal"]["Service"]}


@pytest.mark.parametrize("name", functions())
def test_a_function_comes_after_the_policies_of_its_role(name: str) -> None:
    """Else its new code could run before it may do what is new in it."""
    role = f"{name.removesuffix('Function')}Role"
    after = {
        policy
        for policy, resource in resources("AWS::IAM::Policy").items()
        if role in logical_ids(resource["Properties"]["Roles"])
    }
    assert set(as_list(template()["Resources"][name].get("DependsOn", []))) == after


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
    assert schedule["State"] == {"Ref": "ScheduleState"}
    assert resolve(schedule["State"]) == "ENABLED"
    assert logical_ids(target["RoleArn"]) == {"SchedulerRole"}


@pytest.mark.parametrize("name", sorted({*resources("AWS::SQS::Queue")} - {"RunEventsQueue"}))
def test_the_scheduler_may_send_to_every_queue_of_the_stack_and_to_no_other_stacks(name: str) -> None:
    """A message of any task may be delayed, and what cannot be delivered goes to its dead queue."""
    arn = f"arn:aws:sqs:us-east-1:123456789012:{resolve({'Ref': name})}"
    assert [text for text in allowed("SchedulerRole", "sqs:SendMessage") if fnmatchcase(arn, text)]
    others = arn.replace(STACK, f"{STACK}-dev")
    assert not [text for text in allowed("SchedulerRole", "sqs:SendMessage") if fnmatchcase(others, text)]


# ---- Alarms ----------------------------------------------------------------------------------------------------------


@every_task
def test_a_task_has_an_alarm_on_dead_and_on_late_messages(task: Task[Any]) -> None:
    name = logical_name(task.name)
    dead, late = properties(f"{name}DeadAlarm"), properties(f"{name}LateAlarm")
    assert (dead["MetricName"], logical_ids(dead["Dimensions"])) == (
        "ApproximateNumberOfMessagesVisible",
        {f"{name}DeadQueue"},
    )
    assert (late["MetricName"], logical_ids(late["Dimensions"])) == ("ApproximateAgeOfOldestMessage", {f"{name}Queue"})
    assert (dead["Threshold"], late["Threshold"]) == (0, row(task)["Late"])
    for alarm, command in ((dead, "dead"), (late, "runs")):
        assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
        assert f"`backbeat {command} --task {task.name}`" in resolve(alarm["AlarmDescription"])


@every_task
def test_an_alarm_on_the_dead_holds_while_somebody_looks(task: Task[Any]) -> None:
    """A look hides a letter from the metric for a minute at most, which two periods may see."""
    alarm = properties(f"{logical_name(task.name)}DeadAlarm")
    assert alarm["DatapointsToAlarm"] == 1
    assert alarm["EvaluationPeriods"] * alarm["Period"] > letters.HELD.total_seconds() + alarm["Period"]


def test_every_alarm_reaches_the_operator() -> None:
    for name in resources("AWS::CloudWatch::Alarm"):
        assert properties(name)["AlarmActions"] == [{"Ref": "AlarmTopic"}], name
    (subscription,) = resources("AWS::SNS::Subscription").values()
    assert subscription["Properties"]["Endpoint"] == {"Ref": "AlertEmail"}
    assert subscription["Properties"]["TopicArn"] == {"Ref": "AlarmTopic"}


def test_every_stage_has_every_alarm() -> None:
    for name, alarm in resources("AWS::CloudWatch::Alarm").items():
        assert "Condition" not in alarm, name
        assert "Metrics" not in alarm["Properties"], f"{name}: the local cloud knows no metric math"


PACED = {"send_content_digest_email"}
"""It waits by design: its parts are as far apart as SES's rate wants them."""


def test_the_higher_a_class_the_sooner_its_tasks_are_late() -> None:
    limits: dict[str, set[int]] = {}
    for task in complete().values():
        if task.name not in PACED:
            limits.setdefault(task.task_class, set()).add(row(task)["Late"])
    in_order = [limits[task_class] for task_class in sorted(limits, key=lambda name: -PRIORITIES[name])]
    assert all(len(of_a_class) == 1 for of_a_class in in_order), "the tasks of a class are late together"
    assert [min(of_a_class) for of_a_class in in_order] == sorted(min(of_a_class) for of_a_class in in_order)


# ---- Stages ----------------------------------------------------------------------------------------------------------


def test_every_stage_has_its_settings() -> None:
    settings = tomllib.loads((ROOT / "samconfig.toml").read_text("utf-8"))
    stages = template()["Parameters"]["Stage"]["AllowedValues"]
    for environment in ("default", *stages):
        assert settings[environment]["global"]["parameters"]["language_extensions"] is True, environment
    names = [settings[stage]["deploy"]["parameters"]["stack_name"] for stage in stages]
    assert len(set(names)) == len(names)
