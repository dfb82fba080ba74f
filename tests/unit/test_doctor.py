"""What doctor says of an account, and of a stack's work; tests/integration/test_doctor.py breaks a whole stack."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from moto import mock_aws
from support import STACK
from typer.testing import CliRunner

from backbeat.aws import sqs
from backbeat_ops import doctor
from backbeat_ops.cli import app
from backbeat_ops.deployed import Deployed, NotWorkedOut
from backbeat_ops.doctor import Finding, State
from backbeat_ops.stack import Stack

Answers = dict[str, Any]

DEPLOYED_AS: dict[str, Any] = {
    "Parameters": {"Capacity": {}, "Sender": {}, "AlertEmail": {"Default": ""}, "UnsubscribeConcurrency": {}},
    "Mappings": {
        "Tasks": {
            "SendWelcomeEmail": {"Name": "send_welcome_email", "Late": 600, "minimal": 2, "standard": 8},
            "SendNotification": {"Name": "send_notification", "Late": 14400, "minimal": 2, "standard": 2},
        }
    },
    "Conditions": {
        "Loud": {"Fn::Equals": [{"Ref": "Capacity"}, "standard"]},
        "Quiet": {"Fn::Not": [{"Condition": "Loud"}]},
        "Either": {"Fn::Or": [{"Condition": "Loud"}, {"Condition": "Quiet"}]},
    },
    "Resources": {
        "Queue": {"Type": "AWS::SQS::Queue", "Properties": {}},
        "Topic": {"Type": "AWS::SNS::Topic", "Condition": "Quiet", "Properties": {}},
    },
}


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "No."}}, "Any")


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Answers]:
    """What AWS answers, by operation: moto has no accounts and no deployed stack. All is well in it."""
    identity = {"VerifiedForSendingStatus": True, "DkimAttributes": {"Status": "SUCCESS"}}
    answers: Answers = {
        "GetAccountSettings": {"AccountLimit": {"ConcurrentExecutions": 1000}},
        "GetAccount": {"ProductionAccessEnabled": True, "SendingEnabled": True},
        "GetEmailIdentity": {"example.com": identity},
        "DescribeStacks": {
            "Stacks": [
                {
                    "StackId": f"arn:aws:cloudformation:us-east-1:123456789012:stack/{STACK}/1",
                    "StackStatus": "UPDATE_COMPLETE",
                    "Parameters": [
                        {"ParameterKey": key, "ParameterValue": value}
                        for key, value in {
                            "Capacity": "standard",
                            "Sender": "hello@mail.example.com",
                            "UnsubscribeConcurrency": "0",
                        }.items()
                    ],
                }
            ]
        },
        "GetTemplate": {"TemplateBody": DEPLOYED_AS},
        "ListStackResources": {
            "StackResourceSummaries": [
                {"LogicalResourceId": name, "PhysicalResourceId": physical, "ResourceStatus": "CREATE_COMPLETE"}
                for name, physical in {
                    "Queue": "https://sqs.us-east-1.amazonaws.com/123456789012/a-queue",
                    "AlarmTopic": "arn:aws:sns:us-east-1:123456789012:alarms",
                }.items()
            ]
        },
    }
    real = BaseClient._make_api_call

    def answered(client: BaseClient, operation: str, parameters: dict[str, Any]) -> Any:
        if operation not in answers:
            return real(client, operation, parameters)
        answer = answers[operation]
        if operation == "GetEmailIdentity":
            if parameters["EmailIdentity"] not in answer:
                raise client.exceptions.from_code("NotFoundException")(
                    {"Error": {"Code": "NotFoundException", "Message": "No."}}, operation
                )
            return answer[parameters["EmailIdentity"]]
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(BaseClient, "_make_api_call", answered)
    sqs.cache_clear()
    with mock_aws():
        yield answers
    sqs.cache_clear()


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with `sam` and the functions' interpreter on it, and nothing else."""
    for name in ("sam", "python3.13"):
        (tmp_path / name).touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def before(stack: str = "backbeat-dev") -> dict[str, Finding]:
    """What is found before a first deployment, by what was looked at."""
    return {finding.checked: finding for finding in doctor.examine(Stack(stack), before=True)}


def after(check: doctor.Check) -> list[str]:
    """What one check says of the stack."""
    return [problem.says for problem in check(doctor.Patient(Stack(STACK), before=False))]


# ---- Before a deployment ---------------------------------------------------------------------------------------------


def test_an_account_that_has_all_is_well(answers: Answers, tools: Path) -> None:
    done = CliRunner().invoke(app, ["--stack", "backbeat-dev", "doctor", "--before", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["stack"], found["well"]) == ("backbeat-dev", True)
    assert [finding["checked"] for finding in found["findings"]] == [checked for checked, _, _ in doctor.BEFORE]


@pytest.mark.parametrize("tool", ["sam", "python3.13"])
def test_a_tool_that_is_missing_is_named(answers: Answers, tools: Path, tool: str) -> None:
    (tools / tool).unlink()
    assert (found := before()["tools"]).state is State.WRONG
    assert f"`{tool}`" in found.says


def test_no_region_and_no_credentials(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setattr(boto3.Session, "region_name", None)
    assert [problem.says for problem in doctor._credentials(doctor.Patient(Stack(STACK), before=True))] == [
        "No region is set."
    ]
    monkeypatch.setattr(boto3.Session, "get_credentials", lambda session: None)
    assert after(doctor._credentials) == ["There are no AWS credentials."]


def test_credentials_that_are_refused(answers: Answers) -> None:
    answers["GetCallerIdentity"] = refused("ExpiredToken")
    assert before()["credentials"].state is State.WRONG


def test_a_new_accounts_concurrency_is_below_the_capacity(answers: Answers) -> None:
    answers["GetAccountSettings"] = {"AccountLimit": {"ConcurrentExecutions": 10}}
    found = before()["concurrency"]
    assert (found.state, found.says) == (
        State.WRONG,
        "The account runs 10 invocations at once; Capacity=minimal wants 22, and unsubscribe 1 more.",
    )
    (says,) = after(doctor._concurrency)  # of the deployed template, which has two tasks
    assert "Capacity=standard wants 10" in says


def test_an_account_may_not_set_apart_what_it_must_leave(answers: Answers) -> None:
    answers["GetAccountSettings"] = {"AccountLimit": {"ConcurrentExecutions": 105}}
    for parameter in answers["DescribeStacks"]["Stacks"][0]["Parameters"]:
        if parameter["ParameterKey"] == "UnsubscribeConcurrency":
            parameter["ParameterValue"] = "6"
    (says,) = after(doctor._concurrency)
    assert "leaves 99 of the account's 105" in says


def test_the_sandbox_is_told(answers: Answers) -> None:
    answers["GetAccount"] = {"ProductionAccessEnabled": False, "SendingEnabled": False, "EnforcementStatus": "SHUTDOWN"}
    says = after(doctor._ses_account)
    assert [text.split(":")[0] for text in says] == [
        "SES is in its sandbox",
        "SES does not send for this account (SHUTDOWN).",
    ]


@pytest.mark.parametrize(
    ("identities", "says"),
    [
        ({"example.com": ("SUCCESS", True)}, None),  # a domain covers those below it
        ({"example.com": ("PENDING", True)}, "example.com is verified, but its DKIM is PENDING"),
        ({"mail.example.com": ("PENDING", False), "example.com": ("SUCCESS", True)}, None),
        ({"mail.example.com": ("PENDING", False)}, "mail.example.com is not verified yet"),
        ({"hello@mail.example.com": ("NOT_STARTED", True)}, "hello@mail.example.com is verified as an address alone"),
        ({}, "SES knows neither hello@mail.example.com nor its domain"),
    ],
)
def test_the_sender_is_verified_and_signed(
    answers: Answers, identities: dict[str, tuple[str, bool]], says: str | None
) -> None:
    answers["GetEmailIdentity"] = {
        name: {"VerifiedForSendingStatus": verified, "DkimAttributes": {"Status": dkim}}
        for name, (dkim, verified) in identities.items()
    }
    found = after(doctor._sender)
    assert [text[: len(says or "")] for text in found] == ([says] if says else [])


def test_what_may_not_be_looked_at_is_unknown_and_not_well(answers: Answers, tools: Path) -> None:
    answers["GetAccount"] = refused("AccessDeniedException")
    found = before()["ses account"]
    assert found.state is State.UNKNOWN
    assert found.says.startswith("Unknown, because AWS says: ")
    assert CliRunner().invoke(app, ["--stack", "backbeat-dev", "doctor", "--before"]).exit_code == 1


def test_a_stack_that_samconfig_does_not_know_has_no_known_sender(answers: Answers) -> None:
    assert before("another")["sender"].state is State.UNKNOWN


# ---- After it --------------------------------------------------------------------------------------------------------


def test_a_stack_that_is_not_there_is_wrong_without_before(answers: Answers) -> None:
    answers["ListStackResources"] = answers["DescribeStacks"] = answers["GetTemplate"] = ClientError(
        {"Error": {"Code": "ValidationError", "Message": "Stack with id x does not exist"}}, "Any"
    )
    findings = list(doctor.examine(Stack("x")))
    assert (findings[-1].checked, findings[-1].says) == ("stack", "There is no stack 'x' in us-east-1.")
    assert findings[-1].state is State.WRONG


@pytest.mark.parametrize("status", ["UPDATE_ROLLBACK_COMPLETE", "ROLLBACK_COMPLETE", "UPDATE_IN_PROGRESS"])
def test_a_deployment_that_failed_or_goes_on_is_not_well(answers: Answers, status: str) -> None:
    assert after(doctor._stack) == []
    answers["DescribeStacks"]["Stacks"][0]["StackStatus"] = status
    (says,) = after(doctor._stack)
    assert status in says


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ({"Ref": "Capacity"}, "standard"),
        ({"Ref": "AWS::StackName"}, STACK),
        ({"Fn::GetAtt": ["Queue", "Arn"]}, "arn:aws:sqs:us-east-1:123456789012:a-queue"),
        ({"Fn::GetAtt": "Queue.QueueName"}, "a-queue"),
        ({"Fn::Sub": "${AWS::Region}/${Queue.Arn}/${!kept}"}, None),
        ({"Fn::Sub": ["${A}-${AWS::AccountId}", {"A": {"Ref": "Capacity"}}]}, "standard-123456789012"),
        ({"Fn::Join": ["", [{"Fn::FindInMap": ["Tasks", "SendNotification", {"Ref": "Capacity"}]}]]}, "2"),
        ({"Fn::FindInMap": ["Tasks", "SendNotification", "Kept", {"DefaultValue": 7}]}, 7),
        ({"Fn::Select": [1, {"Fn::Split": ["/", "a/b"]}]}, "b"),
        ({"a": {"Fn::If": ["Loud", 1, 2]}, "b": {"Fn::If": ["Quiet", 1, {"Ref": "AWS::NoValue"}]}}, {"a": 1}),
        ([{"Fn::If": ["Either", 1, 2]}, {"Ref": "AWS::NoValue"}], [1]),
    ],
)
def test_a_templates_value_comes_to(answers: Answers, written: Any, value: Any) -> None:
    if value is None:
        value = "us-east-1/arn:aws:sqs:us-east-1:123456789012:a-queue/${!kept}"
    assert Deployed(Stack(STACK)).value(written) == value


@pytest.mark.parametrize(
    "written", [{"Fn::Base64": "a"}, {"Ref": "Nothing"}, {"Fn::GetAtt": ["Queue", "Colour"]}, {"Ref": "AWS::URLSuffix"}]
)
def test_what_is_not_known_is_not_guessed(answers: Answers, written: Any) -> None:
    with pytest.raises(NotWorkedOut):
        Deployed(Stack(STACK)).value(written)


def test_a_resource_whose_condition_does_not_hold_is_not_expected(answers: Answers) -> None:
    assert list(Deployed(Stack(STACK)).resources("AWS::SNS::Topic")) == []
    assert [name for name, _ in Deployed(Stack(STACK)).resources("AWS::SQS::Queue")] == ["Queue"]


@pytest.mark.parametrize(
    ("subscription", "says"),
    [
        ("arn:aws:sns:us-east-1:123456789012:alarms:1", None),
        ("PendingConfirmation", "you@example.org has not confirmed"),
        (None, "you@example.org is not subscribed"),
    ],
)
def test_an_address_hears_of_alarms_once_it_has_confirmed(
    answers: Answers, subscription: str | None, says: str | None
) -> None:
    answers["DescribeStacks"]["Stacks"][0]["Parameters"].append(
        {"ParameterKey": "AlertEmail", "ParameterValue": "you@example.org"}
    )
    there = [{"SubscriptionArn": subscription, "Endpoint": "you@example.org"}] if subscription else []
    answers["ListSubscriptionsByTopic"] = {"Subscriptions": there}
    found = after(doctor._subscription)
    assert [text[: len(says or "")] for text in found] == ([says] if says else [])


@pytest.mark.parametrize(
    ("age", "state"), [(601.0, State.WRONG), (599.0, None), (None, State.UNKNOWN)], ids=["late", "in time", "unknown"]
)
def test_work_that_waits_for_too_long(
    answers: Answers, monkeypatch: pytest.MonkeyPatch, age: float | None, state: State | None
) -> None:
    queue = f"{STACK}-emails-send_welcome_email"
    url = sqs().create_queue(QueueName=queue)["QueueUrl"]
    sqs().send_message(QueueUrl=url, MessageBody="{}")
    monkeypatch.setattr(Stack, "tasks", lambda stack: {"send_welcome_email": {"queue": queue, "queue_url": url}})
    points = [] if age is None else [{"Timestamp": 1, "Maximum": age}]
    answers["GetMetricStatistics"] = {"Datapoints": points}
    found = list(doctor._late(doctor.Patient(Stack(STACK), before=False)))
    assert [problem.state for problem in found] == ([state] if state else [])


def test_a_fix_is_done_and_what_has_none_is_left() -> None:
    done: list[str] = []
    off = Finding("mappings", State.WRONG, "Off.", None, lambda: done.append("on"))
    gone = Finding("mappings", State.WRONG, "Gone.")
    assert doctor.fix([off, gone]) == [off]
    assert done == ["on"]
    assert (off.shown()["fixable"], gone.shown()["fixable"]) == (True, False)
