"""From a save to what is swapped, deployed or shown."""

import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from backbeat_ops import deployment, dev, localcloud, logs
from backbeat_ops.commands import dev as command
from backbeat_ops.commands import logs as logs_command
from backbeat_ops.deployment import DoesNotCompile
from backbeat_ops.dev import DEPLOYMENT, import_error, snapshot, to_do
from backbeat_ops.localcloud import LocalCloudError
from backbeat_ops.logs import Entry, Tail, entries

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
FIRST, SECOND, SHARED = "functions/first", "functions/second", "layers/shared"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like this project's, with two functions and a module that both use."""
    for module in (dev, deployment, localcloud, command):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(localcloud, "HOME", tmp_path / ".backbeat")
    files = {
        "template.yaml": "",
        "samconfig.toml": "",
        f"{FIRST}/first.py": "import pulse",
        f"{SECOND}/second.py": "import pulse",
        f"{SECOND}/requirements.txt": "",
        f"{SHARED}/pulse/__init__.py": "",
        f"{SHARED}/pulse/rate.py": "PER_MINUTE = 60",
        f"{SHARED}/requirements.txt": "",
        "layers/imaging/requirements.txt": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("saved", "expected"),
    [
        (f"{FIRST}/first.py", {FIRST}),
        (f"{FIRST}/texts/fr.txt", {FIRST}),
        (f"{SECOND}/second.py", {DEPLOYMENT}),  # it has requirements of its own
        (f"{FIRST}/requirements.txt", {DEPLOYMENT}),
        (f"{SHARED}/pulse/rate.py", {SHARED}),
        (f"{SHARED}/requirements.txt", {DEPLOYMENT}),
        ("layers/imaging/requirements.txt", {DEPLOYMENT}),
        ("template.yaml", {DEPLOYMENT}),
        ("samconfig.toml", {DEPLOYMENT}),
        (f"{FIRST}/__pycache__/first.pyc", set()),
        (f"{FIRST}/.first.py.swp", set()),
        ("README.md", set()),
    ],
)
def test_what_a_save_asks_for(project: Path, saved: str, expected: set[str]) -> None:
    before = snapshot()
    new = project / "being-saved"
    new.write_text("changed")
    (project / saved).parent.mkdir(parents=True, exist_ok=True)
    new.replace(project / saved)  # as editors do
    assert to_do(before, snapshot()) == expected


def test_what_is_deleted_and_what_is_written_to_counts_as_saved(project: Path) -> None:
    before = snapshot()
    assert to_do(before, snapshot()) == set()
    (project / FIRST / "first.py").write_text("other")
    (project / SHARED / "pulse/rate.py").unlink()
    assert to_do(before, snapshot()) == {FIRST, SHARED}


@pytest.fixture
def importing(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project, whose functions have no environment, on this interpreter."""
    monkeypatch.setattr(dev, "EMULATOR", Path(sys.executable))
    monkeypatch.setattr(dev, "_variables", lambda: {"GREETING": "hello"})
    return project


def test_what_can_be_imported_is_not_mentioned(importing: Path) -> None:
    (importing / FIRST / "first.py").write_text("import os, pulse.rate\nos.environ['GREETING']")
    for folder in (FIRST, SHARED, DEPLOYMENT):
        assert import_error([folder]) is None


def test_what_a_function_fails_with_is_shown_from_its_own_lines_on(importing: Path) -> None:
    (importing / FIRST / "first.py").write_text("import pulse\nx = nosuchname\n")
    said = import_error([FIRST])
    assert said is not None
    assert said.splitlines()[:2] == [
        "Traceback (most recent call last):",
        f'  File "{FIRST}/first.py", line 2, in <module>',
    ]
    assert said.splitlines()[-1] == "NameError: name 'nosuchname' is not defined"
    assert import_error([SECOND]) is None


def test_a_change_of_the_layer_that_breaks_a_function_is_found(importing: Path) -> None:
    (importing / SECOND / "second.py").write_text("from pulse.rate import PER_MINUTE")
    (importing / SHARED / "pulse/rate.py").write_text("PER_HOUR = 1")
    said = import_error([SHARED])
    assert said is not None
    assert f'File "{SECOND}/second.py", line 1' in said
    assert "ImportError: cannot import name 'PER_MINUTE'" in said


def test_what_fails_stays_to_be_done_and_the_rest_is_done(
    importing: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def swap(folder: str) -> None:
        if folder == FIRST:
            raise DoesNotCompile('File "functions/first/first.py", line 1')

    monkeypatch.setattr(deployment, "swap", swap)
    todo = {FIRST, SHARED}
    command.bring_about(todo, print_entry)
    assert todo == {FIRST}
    said = capsys.readouterr().out
    assert f"not swapped: {FIRST}" in said and "line 1" in said
    assert f"swapped {SHARED} in" in said


def test_a_deployment_brings_about_everything_or_nothing(
    importing: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outcomes: Iterator[Exception | bool] = iter((LocalCloudError("`sam build` failed."), True))

    def deploy(say: object) -> bool:
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(deployment, "deploy", deploy)
    todo = {FIRST, DEPLOYMENT}
    command.bring_about(todo, print_entry)
    assert todo == {FIRST, DEPLOYMENT}
    command.bring_about(todo, print_entry)
    assert todo == set()
    told = capsys.readouterr().out
    assert "not deployed\n    `sam build` failed." in told and "deployed in" in told


def test_a_function_without_its_part_of_the_template_waits_for_it_and_one_that_is_gone_does_not(
    importing: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def swap(folder: str) -> None:
        raise ClientError({"Error": {"Code": "ResourceNotFoundException", "Message": ""}}, "UpdateFunctionCode")

    monkeypatch.setattr(deployment, "swap", swap)
    todo = {FIRST, "functions/gone"}
    command.bring_about(todo, print_entry)
    assert todo == {FIRST}
    said = capsys.readouterr().out
    assert f"not swapped: {FIRST}\n    template.yaml does not name it yet." in said
    assert "functions/gone is gone" in said


def print_entry(entry: Entry) -> None:
    sys.stdout.write(f"{logs_command.shown(entry).plain}\n")


LINE = {
    "level": "INFO",
    "location": "_report:306",
    "message": "succeeded",
    "timestamp": "2026-11-01 13:00:00,250+0100",
    "service": "send_notification",
    "request_id": "1",
    "task": "send_notification",
    "task_class": "default",
    "run_id": "r1",
    "attempt": 1,
    "result": {"notification_id": "n 1"},
}
METRIC = {"_aws": {"Timestamp": 1, "CloudWatchMetrics": []}, "task": "send_notification", "Succeeded": [1.0]}


def logged(*messages: str | dict[str, object]) -> list[tuple[datetime, str]]:
    lines = [m if isinstance(m, str) else json.dumps(m) for m in messages]
    own = ["START RequestId: 1 Version: $LATEST", *lines, "END RequestId: 1", "REPORT RequestId: 1\tDuration: 3 ms"]
    return [(NOON, line) for line in own]


def test_a_log_line_is_shown_with_what_it_says_besides_and_metrics_are_left_out() -> None:
    (entry,) = entries("send_notification", logged(LINE, METRIC))
    assert logs_command.shown(entry).plain == (
        f"12:00:00  {'send_notification':<{logs_command.LONGEST_NAME}}  INFO     succeeded"
        "  run_id=r1  attempt=1  notification_id=n 1"
    )


def test_a_traceback_is_shown_as_lines() -> None:
    failed = {**LINE, "level": "ERROR", "message": "failed", "exception": "Traceback:\n  File x\nKeyError: 'a'"}
    del failed["result"]
    (entry,) = entries("send_notification", logged(failed))
    first, *more = logs_command.shown(entry).plain.splitlines()
    assert "  ERROR    failed  run_id=r1" in first
    assert more == ["    Traceback:", "      File x", "    KeyError: 'a'"]


@pytest.mark.parametrize("printed", ["hello", "42", '{"a": 1}', '{"level": "INFO"}', "[1]"])
def test_what_is_printed_is_shown_as_it_is(printed: str) -> None:
    (entry,) = entries("send_notification", logged(printed))
    assert (entry.level, entry.message) == ("", printed)


def test_lines_that_are_printed_one_after_the_other_belong_together() -> None:
    found = entries("send_notification", logged("Traceback:", "  File x", LINE, "bye"))
    assert [(entry.message, entry.more) for entry in found] == [
        ("Traceback:", ("  File x",)),
        ("succeeded", ()),
        ("bye", ()),
    ]


class Invocations:
    """moto's CloudWatch Logs, where each invocation writes a stream of its own, as on the local cloud."""

    def __init__(self) -> None:
        self.client = boto3.client("logs")
        self.number = 0

    def end(self, task: str, message: str, at: datetime) -> None:
        group, stream = f"{logs.GROUPS}{task}", f"stream-{self.number}"
        self.number += 1
        with suppress(self.client.exceptions.ResourceAlreadyExistsException):
            self.client.create_log_group(logGroupName=group)
        self.client.create_log_stream(logGroupName=group, logStreamName=stream)
        event = {"timestamp": round(at.timestamp() * 1000), "message": message}
        self.client.put_log_events(logGroupName=group, logStreamName=stream, logEvents=[event])  # type: ignore[list-item]


def test_what_was_logged_is_told_once_in_the_order_in_which_it_ended() -> None:
    now = datetime.now(UTC).replace(microsecond=0)  # moto takes events of the last days only
    with mock_aws():
        invocations = Invocations()
        invocations.end("first", "before we looked", now - timedelta(seconds=9))
        tail = Tail(now)
        assert tail.new(now) == []
        invocations.end("second", "b", now + timedelta(seconds=2))
        invocations.end("first", "a", now + timedelta(seconds=1))
        assert [(e.task, e.message) for e in tail.new(now + timedelta(seconds=3))] == [("first", "a"), ("second", "b")]
        assert tail.new(now + timedelta(minutes=5)) == []
        invocations.end("first", "late", now + timedelta(minutes=5) - logs.LATEST)
        assert [e.message for e in tail.new(now + timedelta(minutes=6))] == ["late"]
