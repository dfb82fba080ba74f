"""What is edited runs on the local cloud without a deployment, and the next deployment knows."""

import json
import os
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support import ROOT

from backbeat.messages import Message
from backbeat.models import RunRecord, User
from backbeat.tasks import send_notification
from backbeat_ops import deployment, localcloud, runs
from backbeat_ops.deployment import swap
from backbeat_ops.stack import Stack

FUNCTION, LAYER = "functions/send_notification", "layers/shared"


@pytest.fixture
def copy(cloud: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This project's code, to be edited."""
    for folder in (FUNCTION, LAYER):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    monkeypatch.setattr(deployment, "ROOT", tmp_path)
    User.join("editor", name="Ada", email="ada@example.com", at=datetime.now(UTC))
    return tmp_path


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


def send(cloud: Stack) -> Message:
    kwargs = {"user_id": "editor", "kind": "greeting", "text": "hello"}
    return runs.by_hand(cloud.name, send_notification, kwargs, datetime.now(UTC))


def became(message: Message) -> RunRecord:
    (run,) = runs.wait([message], 120)
    return run


def test_an_edit_takes_effect_and_is_gone_with_the_next_deployment(
    cloud: Stack, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(copy / LAYER / "backbeat/runtime.py", "result=for_ledger(result)", "result={'layer': 'edited'}")
    swap(LAYER)
    assert became(send(cloud)).result == {"layer": "edited"}
    unpacked = list((localcloud.HOME / "tmp/unpacked").glob("*/python/backbeat/runtime.py"))
    assert {file.read_text().count("'layer': 'edited'") for file in unpacked} >= {1}  # layers are unpacked once, there

    edit(copy / FUNCTION / "send_notification.py", "LONGEST_TEXT = 1_000", "LONGEST_TEXT = 3")
    swap(FUNCTION)
    run = became(send(cloud))
    assert (run.outcome, run.result) == ("rejected", {"layer": "edited"})
    assert run.error is not None and "a text of 1 to 3 characters" in run.error

    monkeypatch.setattr(deployment, "ROOT", ROOT)  # as if all of it were undone
    assert deployment.deploy(lambda line: None) is True
    run = became(send(cloud))
    assert run.outcome == "succeeded"
    assert run.result is not None and "notification_id" in run.result
    assert deployment.deploy(lambda line: None) is False


def test_who_is_at_work_while_the_code_is_swapped_finishes(
    cloud: Stack, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, go = copy / "started", copy / "go"
    for file in (started, go):
        os.mkfifo(file)  # opening one end waits for the other
    waiting = f"    open({str(started)!r}, 'w').close()\n    open({str(go)!r}).close()\n"
    edit(copy / FUNCTION / "send_notification.py", "    if not kind", f"{waiting}    if not kind")
    swap(FUNCTION)
    message = send(cloud)
    started.open().close()
    monkeypatch.setattr(deployment, "ROOT", ROOT)
    assert deployment.deploy(lambda line: None) is True
    go.open("w").close()
    run = became(message)
    assert (run.outcome, run.attempts) == ("succeeded", 1)


def test_dev_finds_the_local_cloud_running_and_leaves_it_running(cloud: Stack) -> None:
    environment = {**os.environ, "BACKBEAT_HOME": str(localcloud.HOME), "BACKBEAT_STACK": "", "COLUMNS": "200"}
    command = [str(Path(sys.executable).parent / "backbeat"), "dev", "--json"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "What you save runs on the local cloud" in line:
                break
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert [json.loads(line)["message"] for line in out.splitlines()] == ["nothing has changed"]
    assert localcloud.find() is not None
