"""`backbeat invoke`: what came of a call is read from the function's answer and log, and what is wrong is said."""

from pathlib import Path

import pytest

from backbeat_ops import invoke
from backbeat_ops.invoke import Answer
from backbeat_ops.localcloud import LocalCloudError
from backbeat_ops.stack import Stack

LOG = """\
Invoking process_media_upload.lambda_handler (python3.13)
START RequestId: b8aa82a5 Version: $LATEST
{"level": "INFO", "message": "succeeded", "service": "process_media_upload", "run_id": "1", "result": {"renditions": 8}}
{"level": "WARNING", "message": "the wait could not be set", "service": "process_media_upload", "error": "no"}
{"level": "ERROR", "message": "rejected", "service": "process_media_upload", "run_id": "2", "error": "no picture"}
{"_aws": {"Timestamp": 1}, "service": "process_media_upload", "Succeeded": [1.0]}
END RequestId: b8aa82a5
"""


def answer(output: str, log: str = LOG) -> Answer:
    return Answer(["sam"], invoke._last_json(output), list(invoke._records(log)), log)


def test_each_record_says_how_it_ended() -> None:
    assert answer('{"batchItemFailures": []}').shown() == [("succeeded", "renditions 8"), ("rejected", "no picture")]


def test_a_function_without_records_shows_its_answer() -> None:
    assert answer('{"statusCode": 204}', log="").shown() == [("answered", '{"statusCode": 204}')]


@pytest.mark.parametrize("output", ["", "\n", "Terminated", '{"errorType": "ImportModuleError", "errorMessage": "no"}'])
def test_an_error_or_no_answer_is_a_failure(output: str) -> None:
    """SAM exits with 0 in all these cases."""
    assert answer(output).failed
    assert answer(output).shown()[0][0] == "failed"


def test_an_answer_that_asks_for_messages_again_is_no_failure() -> None:
    assert not answer('{"batchItemFailures": [{"itemIdentifier": "1"}]}').failed


def test_without_an_engine_it_says_what_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LocalCloudError, match="needs a container engine, and there is no `docker`"):
        invoke.ready(lambda line: None)


def test_an_engine_that_does_not_run_is_told_in_its_own_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2; exit 1\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(LocalCloudError, match="Cannot connect to the Docker daemon"):
        invoke.ready(lambda line: None)


def test_an_unknown_function_is_answered_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(LocalCloudError, match=r"no function 'sing'\. Functions: .*process_media_upload"):
        invoke.call(Stack("any"), "", "sing", tmp_path / "event.json")


def test_an_event_that_is_missing_or_no_json_is_named(tmp_path: Path) -> None:
    event = tmp_path / "event.json"
    with pytest.raises(LocalCloudError, match=r"no event .*event\.json"):
        invoke.call(Stack("any"), "", "process_media_upload", event)
    event.write_text("{")
    with pytest.raises(LocalCloudError, match=r"event\.json is not JSON"):
        invoke.call(Stack("any"), "", "process_media_upload", event)
