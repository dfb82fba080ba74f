"""One task is one folder, one function, one role, two queues and its events, all under one name."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pieces import EVENTS, NO_TASKS, complete, functions, lacking, names
from support import ROOT, STACK, logical_ids, logical_name, resolve, resources, template

from backbeat.producer import Task
from backbeat_ops.new.event import event

every_task = pytest.mark.parametrize("task", complete().values(), ids=complete())


def properties(logical_id: str) -> dict[str, Any]:
    return template()["Resources"][logical_id]["Properties"]


@pytest.mark.parametrize("name", names())
def test_a_task_lacks_nothing(name: str) -> None:
    """The one test that says of a piece that is missing where it goes; the others look at what is complete."""
    assert not lacking(name), "\n".join([f"{name} lacks", *lacking(name)])


def test_every_function_is_a_task_or_known_as_none() -> None:
    functions = {Path(f["Properties"]["CodeUri"]).name for f in resources("AWS::Serverless::Function").values()}
    assert functions <= {*names(), *NO_TASKS}


@pytest.mark.parametrize("logical_id", functions())
def test_a_function_bears_one_name(logical_id: str) -> None:
    function = properties(logical_id)
    name = Path(function["CodeUri"]).name
    assert function["CodeUri"] == f"functions/{name}"
    assert logical_id == f"{logical_name(name)}Function"
    assert function["Handler"] == f"{name}.lambda_handler"
    assert (ROOT / function["CodeUri"] / f"{name}.py").is_file()
    assert resolve(function["FunctionName"]) == f"{STACK}-{name}"
    assert function["Environment"]["Variables"]["POWERTOOLS_SERVICE_NAME"] == name


@pytest.mark.parametrize("logical_id", functions())
def test_a_function_has_a_role_and_a_log_group_of_its_own(logical_id: str) -> None:
    function, name = properties(logical_id), logical_id.removesuffix("Function")
    assert function["Role"] == {"Fn::GetAtt": [f"{name}Role", "Arn"]}
    assert function["LoggingConfig"]["LogGroup"] == {"Ref": f"{name}Logs"}
    assert resolve(properties(f"{name}Logs")["LogGroupName"]) == f"/aws/lambda/{resolve(function['FunctionName'])}"
    sharing = [
        f
        for f, other in resources("AWS::Serverless::Function").items()
        if other["Properties"]["Role"] == function["Role"]
    ]
    assert sharing == [logical_id]


@every_task
def test_a_task_has_its_queue_and_its_dead_queue(task: Task[Any]) -> None:
    name = logical_name(task.name)
    queue, dead = properties(f"{name}Queue"), properties(f"{name}DeadQueue")
    assert resolve(queue["QueueName"]) == task.queue_name(STACK)
    assert resolve(dead["QueueName"]) == f"{task.queue_name(STACK)}-dead"
    assert logical_ids(queue["RedrivePolicy"]["deadLetterTargetArn"]) == {f"{name}DeadQueue"}


def test_every_queue_is_a_tasks() -> None:
    tasks = {logical_name(task) for task in names()}
    theirs = {f"{n}{kind}" for n in tasks for kind in ("Queue", "DeadQueue")}
    assert set(resources("AWS::SQS::Queue")) <= {*theirs, "RunEventsQueue"}, "that one an application listens at"


@every_task
def test_a_tasks_only_event_source_is_its_queue(task: Task[Any]) -> None:
    name = logical_name(task.name)
    assert "Events" not in properties(f"{name}Function"), "SAM would make a second source of each"
    sources = [
        logical_id
        for logical_id, mapping in resources("AWS::Lambda::EventSourceMapping").items()
        if logical_ids(mapping["Properties"]["FunctionName"]) == {f"{name}Function"}
    ]
    assert sources == [f"{name}FunctionQueue"]
    assert logical_ids(properties(f"{name}FunctionQueue")["EventSourceArn"]) == {f"{name}Queue"}


def test_every_event_source_is_a_tasks() -> None:
    tasks = {logical_name(task) for task in names()}
    assert set(resources("AWS::Lambda::EventSourceMapping")) <= {f"{name}FunctionQueue" for name in tasks}


def test_an_event_source_does_not_take_another_resources_name() -> None:
    """SAM joins a function's and its event's logical ids to a third one."""
    joined = {
        f"{function}{event}"
        for function, f in resources("AWS::Serverless::Function").items()
        for event in f["Properties"].get("Events", {})
    }
    assert joined & set(template()["Resources"]) == set()


@every_task
def test_a_tasks_events_are_whole(task: Task[Any]) -> None:
    """As Lambda gets them from the queue, and `backbeat new event` writes them; never a bare message."""
    ids = ("messageId", "receiptHandle", "attributes")
    for path in (ROOT / "events" / task.name).glob("*.json"):
        records = json.loads(path.read_text("utf-8"))["Records"]
        bodies = [record["body"] for record in records]
        made = event(task.name, task.task_class, bodies, datetime(2026, 11, 1, tzinfo=UTC))["Records"]
        for found, expected in zip(records, made, strict=True):
            assert {name: found[name] for name in expected if name not in ids} == {
                name: value for name, value in expected.items() if name not in ids
            }, path.name
            assert set(found["attributes"]) == set(expected["attributes"]), path.name


@pytest.mark.parametrize("name", sorted(NO_TASKS))
def test_a_function_that_is_no_task_has_events_to_invoke_it_with(name: str) -> None:
    assert (ROOT / "events" / name / f"{EVENTS[0]}.json").is_file()
