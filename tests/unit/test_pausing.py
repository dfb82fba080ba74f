"""Pauses: what they ask of AWS, for how long they may last, and that they end."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from support import STACK, logical_name, resolve, resources, statements, template
from typer.testing import CliRunner

from backbeat_ops import age, commands, doctor, pausing, status
from backbeat_ops.cli import app
from backbeat_ops.deployed import Deployed
from backbeat_ops.doctor import State
from backbeat_ops.pausing import NotPaused
from backbeat_ops.stack import NotFound, Stack

NOW = datetime.now(UTC).replace(microsecond=0)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
WELCOME, DIGEST = "send_welcome_email", "send_content_digest_email"


@pytest.fixture
def stack(aws: None, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """A stack whose queues are there, with the mappings that moto lacks: with them its SQS eats messages."""
    urls = {name: resolve({"Ref": name}) for name in resources("AWS::SQS::Queue")}
    kinds = ("AWS::Lambda::EventSourceMapping", "AWS::Serverless::Function")
    there_too = {name: name for kind in kinds for name in resources(kind)}
    queues = {name: f"https://sqs.us-east-1.amazonaws.com/123456789012/{queue}" for name, queue in urls.items()}
    monkeypatch.setattr(Stack, "resources", queues | there_too)
    monkeypatch.setattr(Deployed, "template", template())
    account = "arn:aws:cloudformation:us-east-1:123456789012:stack"
    monkeypatch.setattr(Deployed, "description", {"StackId": f"{account}/{STACK}/1"})
    stack = Stack(STACK)
    there = {
        name: {
            "UUID": f"mapping-of-{name}",
            "EventSourceArn": f"arn:aws:sqs:us-east-1:123456789012:{task['queue']}",
            "State": "Enabled",
            "BatchSize": template()["Mappings"]["Tasks"][logical_name(name)]["Batch"],
            "FunctionResponseTypes": ["ReportBatchItemFailures"],
            "ScalingConfig": {"MaximumConcurrency": 2},
            "FunctionArn": f"arn:aws:lambda:us-east-1:123456789012:function:{logical_name(name)}Function",
        }
        for name, task in stack.tasks().items()
    }
    real = BaseClient._make_api_call

    def answered(client: BaseClient, operation: str, parameters: dict[str, Any]) -> Any:
        if operation == "ListEventSourceMappings":
            return {"EventSourceMappings": list(there.values())}
        if operation == "GetEventSourceMapping":
            (name,) = (name for name in there if f"{logical_name(name)}FunctionQueue" == parameters["UUID"])
            return dict(there[name])
        if operation == "UpdateEventSourceMapping":
            (found,) = (one for one in there.values() if one["UUID"] == parameters["UUID"])
            found["State"] = "Enabling" if parameters["Enabled"] else "Disabling"
            return found
        return real(client, operation, parameters)

    monkeypatch.setattr(BaseClient, "_make_api_call", answered)
    for module in (commands.pausing, commands.status):
        monkeypatch.setattr(module, "the_stack", lambda context: stack)
    monkeypatch.setattr(Stack, "describe", lambda stack: {"stack": STACK, "tasks": stack.tasks(), "endpoint": "x"})
    return stack


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message has waited for the welcome for three days, says CloudWatch."""
    boto3.client("sqs").send_message(QueueUrl=Stack(STACK).tasks()[WELCOME]["queue_url"], MessageBody="{}")
    monkeypatch.setattr(age, "oldest", lambda stack, queue, now: 3 * DAY)


def backbeat(*words: str, code: int = 0) -> Any:
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout) if code == 0 else str(done.exception or done.output)


def test_a_class_is_paused_and_ends_by_itself(stack: Stack) -> None:
    answer = backbeat("pause", "emails", "--for", "1h30m")
    assert set(answer["paused"]) == {WELCOME, DIGEST} == set(pausing.paused(stack))
    found = pausing.paused(stack)[WELCOME]
    assert NOW + 1.5 * HOUR <= found.until <= datetime.now(UTC) + 1.5 * HOUR + timedelta(seconds=1)
    schedule = boto3.client("scheduler").get_schedule(GroupName=f"{STACK}-pauses", Name=WELCOME)
    assert schedule["ActionAfterCompletion"] == "DELETE"
    assert schedule["ScheduleExpression"] == f"at({found.until:%Y-%m-%dT%H:%M:%S})"
    assert schedule["Target"]["Arn"] == "arn:aws:scheduler:::aws-sdk:lambda:updateEventSourceMapping"
    assert json.loads(schedule["Target"]["Input"]) == {"Uuid": f"mapping-of-{WELCOME}", "Enabled": True}
    assert schedule["Target"]["RoleArn"].endswith(f":role/{resolve({'Ref': 'ResumeRole'})}")


def test_status_shows_it_and_doctor_names_it_and_calls_it_no_fault(stack: Stack) -> None:
    backbeat("pause", WELCOME, "--for", "1h")
    found = status.status(stack)["tasks"]
    assert [name for name, task in found.items() if task["paused"]] == [WELCOME]
    assert set(backbeat("status")["tasks"][WELCOME]["paused"]) == {"since", "until"}
    said = " ".join(CliRunner().invoke(app, ["status"]).output.split())
    assert re.search(rf"{WELCOME} is paused since \d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ until", said)
    patient = doctor.Patient(stack, before=False)
    (named,) = doctor._mappings(patient)
    assert (named.state, named.fix) == (State.OK, None)
    assert f"What is on {STACK}-emails-{WELCOME} waits: it is paused since" in named.says
    boto3.client("lambda").update_event_source_mapping(UUID=f"mapping-of-{DIGEST}", Enabled=False)
    assert [(problem.state, bool(problem.fix)) for problem in doctor._mappings(patient)] == [
        (State.OK, False),
        (State.WRONG, True),
    ]


def test_what_a_paused_queue_holds_is_not_late(stack: Stack, waits: None) -> None:
    kept(WELCOME, 691_200)
    patient = doctor.Patient(stack, before=False)
    assert [problem.state for problem in doctor._late(patient)] == [State.WRONG]
    backbeat("pause", WELCOME, "--for", "1h")
    assert list(doctor._late(patient)) == []


def test_a_mapping_that_somebody_else_disabled_is_no_pause(stack: Stack) -> None:
    backbeat("pause", WELCOME, "--for", "1h")
    boto3.client("lambda").update_event_source_mapping(UUID=f"mapping-of-{DIGEST}", Enabled=False)
    assert set(pausing.paused(stack)) == {WELCOME}
    boto3.client("lambda").update_event_source_mapping(UUID=f"mapping-of-{WELCOME}", Enabled=True)
    assert pausing.paused(stack) == {}


def test_paused_again_it_ends_at_the_new_time_and_is_paused_since_the_first(stack: Stack) -> None:
    backbeat("pause", WELCOME, "--for", "1h")
    first = pausing.paused(stack)[WELCOME]
    backbeat("pause", WELCOME, "--for", "3h")
    again = pausing.paused(stack)[WELCOME]
    assert (again.since, again.until - first.until >= 2 * HOUR) == (first.since, True)


def test_resume_ends_it_and_may_be_repeated(stack: Stack) -> None:
    backbeat("pause", "emails", "--for", "1h")
    assert backbeat("resume", "emails")["resumed"] == [WELCOME, DIGEST]
    assert pausing.paused(stack) == {}
    assert boto3.client("scheduler").list_schedules(GroupName=f"{STACK}-pauses")["Schedules"] == []
    assert backbeat("resume", "emails")["resumed"] == []


def kept(task: str, seconds: int) -> None:
    url = Stack(STACK).tasks()[task]["queue_url"]
    boto3.client("sqs").set_queue_attributes(QueueUrl=url, Attributes={"MessageRetentionPeriod": str(seconds)})


def test_it_may_not_last_longer_than_the_queue_keeps_a_message(stack: Stack) -> None:
    kept(WELCOME, 345_600)
    said = backbeat("pause", WELCOME, "--for", "4d", code=1)
    assert f"{WELCOME} cannot be paused for 4 days: its queue keeps a message for 4 days. With 12 h to spare" in said
    assert "3 days 12 h is the most" in said
    assert pausing.paused(stack) == {}
    backbeat("pause", WELCOME, "--for", "3d12h")


def test_what_waits_already_counts(stack: Stack, waits: None) -> None:
    kept(WELCOME, 345_600)
    said = backbeat("pause", WELCOME, "--for", "1d", code=1)
    assert "the oldest has waited for 3 days already" in said
    assert "12 h is the most" in said
    kept(WELCOME, 300_000)
    assert "no time is left" in backbeat("pause", WELCOME, code=1)


def test_a_class_is_paused_whole_or_not_at_all_and_without_a_time_as_long_as_nothing_is_lost(
    stack: Stack, waits: None
) -> None:
    kept(WELCOME, 345_600)
    kept(DIGEST, 691_200)
    backbeat("pause", "emails", "--for", "5d", code=1)
    assert pausing.paused(stack) == {}
    (until,) = {pause["until"] for pause in backbeat("pause", "emails")["paused"].values()}
    assert abs(datetime.fromisoformat(until) - NOW - 12 * HOUR) < HOUR


def test_it_says_what_it_means(stack: Stack, waits: None) -> None:
    kept(WELCOME, 691_200)
    done = CliRunner().invoke(app, ["pause", WELCOME, "--for", "2h"])
    assert f"{WELCOME}: 1 message waits now." in done.stderr
    assert "is back on its queue after 6 min" in done.stderr
    assert f"will ring: {WELCOME} after 10 min" in done.stderr


@pytest.mark.parametrize("text", ["", "1", "h", "1w", "-1h", "1 h", "1.5h"])
def test_a_length_of_time_that_is_none_is_said(text: str) -> None:
    done = CliRunner().invoke(app, ["pause", WELCOME, "--for", text])
    assert (done.exit_code, "is no length of time" in done.output) == (2, True)


def test_what_is_no_class_and_no_task_is_answered_with_those_there_are(stack: Stack) -> None:
    with pytest.raises(NotFound, match=r"Classes: media, emails.*Tasks: cleanup_expired_tokens"):
        pausing.tasks_of(stack, "mails")
    with pytest.raises(NotPaused, match="it takes 1 min at least"):
        pausing.plan(stack, [WELCOME], timedelta(0), NOW)


def test_a_stack_from_before_there_were_pauses_is_to_be_deployed_first(stack: Stack) -> None:
    boto3.client("scheduler").delete_schedule_group(Name=f"{STACK}-pauses")
    assert pausing.paused(stack) == {}
    assert "deploy backbeat-test with this version first" in backbeat("pause", WELCOME, "--for", "1h", code=1)


@pytest.mark.parametrize(
    ("span", "said"),
    [
        (timedelta(days=1), "1 day"),
        (timedelta(days=3, hours=12, minutes=5), "3 days 12 h"),
        (timedelta(seconds=90), "1 min 30 s"),
        (timedelta(0), "0 s"),
    ],
)
def test_a_length_of_time_in_words(span: timedelta, said: str) -> None:
    assert pausing.words(span) == said


def test_what_ends_a_pause_may_enable_each_mapping_and_nothing_else() -> None:
    mappings = resources("AWS::Lambda::EventSourceMapping")
    expected = {f"arn:aws:lambda:us-east-1:123456789012:event-source-mapping:{name}" for name in mappings}
    allowed = {(statement["Action"], resolve(statement["Resource"])) for statement in statements("ResumeRole")}
    assert allowed == {("lambda:UpdateEventSourceMapping", arn) for arn in expected}
