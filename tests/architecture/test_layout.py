"""One task is one folder, one function, one role, two queues and its events, all under one name."""

import json
from pathlib import Path
from typing import Any

import pytest
from support import ROOT, STACK, logical_ids, logical_name, resolve, resources, template

from backbeat.producer import Task
from backbeat.tasks import TASKS

NO_TASKS = {"unsubscribe"}
"""Functions that answer a request instead of a queue."""

FOLDERS = {folder.name for folder in (ROOT / "functions").iterdir() if list(folder.glob("*.py"))}

every_task = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)


def properties(logical_id: str) -> dict[str, Any]:
    return template()["Resources"][logical_id]["Properties"]


def test_every_folder_is_a_function_and_every_function_a_folder() -> None:
    functions = {Path(f["Properties"]["CodeUri"]).name for f in resources("AWS::Serverless::Function").values()}
    assert functions == FOLDERS
    assert set(TASKS) == FOLDERS - NO_TASKS


@pytest.mark.parametrize("logical_id", resources("AWS::Serverless::Function"))
def test_a_function_bears_one_name(logical_id: str) -> None:
    function = properties(logical_id)
    name = Path(function["CodeUri"]).name
    assert function["CodeUri"] == f"functions/{name}"
    assert logical_id == f"{logical_name(name)}Function"
    assert function["Handler"] == f"{name}.lambda_handler"
    assert (ROOT / function["CodeUri"] / f"{name}.py").is_file()
    assert resolve(function["FunctionName"]) == f"{STACK}-{name}"
    assert function["Environment"]["Variables"]["POWERTOOLS_SERVICE_NAME"] == name


@pytest.mark.parametrize("logical_id", resources("AWS::Serverless::Function"))
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
    names = {logical_name(task) for task in TASKS}
    assert set(resources("AWS::SQS::Queue")) == {f"{n}Queue" for n in names} | {f"{n}DeadQueue" for n in names}


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
    names = {logical_name(task) for task in TASKS}
    assert set(resources("AWS::Lambda::EventSourceMapping")) == {f"{name}FunctionQueue" for name in names}


def test_an_event_source_does_not_take_another_resources_name() -> None:
    """SAM joins a function's and its event's logical ids to a third one."""
    joined = {
        f"{function}{event}"
        for function, f in resources("AWS::Serverless::Function").items()
        for event in f["Properties"].get("Events", {})
    }
    assert joined & set(template()["Resources"]) == set()


@pytest.mark.parametrize("name", sorted(FOLDERS))
def test_a_function_has_events_to_invoke_it_with(name: str) -> None:
    events = {path.stem: json.loads(path.read_text("utf-8")) for path in (ROOT / "events" / name).glob("*.json")}
    assert "typical" in events
    if name in NO_TASKS:
        return
    assert {"duplicate", "poison"} <= set(events)
    for event in events.values():
        if "Records" in event:  # as Lambda gets it from the queue, not a bare message
            for record in event["Records"]:
                assert record["eventSource"] == "aws:sqs"
                assert record["eventSourceARN"].rsplit("-", 1)[-1] == name
                assert {"messageId", "receiptHandle", "body", "attributes"} <= set(record)


def test_every_folder_of_events_is_a_functions() -> None:
    assert {folder.name for folder in (ROOT / "events").iterdir()} == FOLDERS
