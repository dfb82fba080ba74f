"""The local cloud itself: a taken port, a stack that goes and comes again, data that outlives a restart."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from support import Backbeat, any_port

from backbeat_ops import deployment, localcloud
from backbeat_ops.localcloud import LocalCloud, LocalCloudError, NotRunning
from backbeat_ops.stack import Stack, StackNotFound, delete


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for a local cloud of the test's own, which is stopped at its end."""
    monkeypatch.setattr(localcloud, "HOME", tmp_path)
    for name in localcloud.environment(""):
        monkeypatch.setenv(name, "")  # so that it is put back
    yield tmp_path
    localcloud.stop()


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was said while waiting; whoever had stopped the local cloud by a signal then lets it go on."""
    notices: list[str] = []

    def say(text: str) -> None:
        if text.startswith("Another command"):  # another test, which is about another local cloud
            return
        notices.append(text)
        cloud = localcloud.find()
        assert cloud is not None
        cloud.process.resume()

    monkeypatch.setattr(localcloud, "say", say)
    monkeypatch.setattr(localcloud, "SECONDS_UNTIL_SAID", 1)
    return notices


def running() -> LocalCloud:
    cloud = localcloud.find()
    assert cloud is not None
    return cloud


def in_another_process(home: Path, *arguments: str) -> subprocess.Popen[str]:
    """The `backbeat` command, or a program, as another terminal would run it."""
    environment = {**os.environ, "BACKBEAT_HOME": str(home), "BACKBEAT_STACK": ""}
    folder = Path(sys.executable).parent
    command = [folder / arguments[0], *arguments[1:]]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_taken_port_is_named_and_another_offered(home: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(LocalCloudError, match=rf"Port {port} is taken by another program. Port (\d+) is free"):
            localcloud.start(port)
    assert not list(home.iterdir())


def test_where_nothing_runs_the_way_to_start_it_is_named(home: Path) -> None:
    with pytest.raises(NotRunning, match="make run"):
        localcloud.endpoint()
    assert localcloud.stop() is False


def test_a_local_cloud_that_does_not_answer_is_waited_for_and_its_data_outlives_a_restart(
    home: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped by a signal it is what it is on a busy machine: there, and silent."""
    for name in ("AWS_PROFILE", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE"):
        monkeypatch.setenv(name, "another")
    localcloud.start(any_port())
    said.clear()  # the start may have taken its time
    inherited = running().process.environ()
    assert not {"AWS_PROFILE", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE"} & inherited.keys()
    assert inherited["PATH"] == os.environ["PATH"]
    first = running()
    first.process.suspend()
    assert localcloud.endpoint() == first.url
    localcloud.use(first.url)
    boto3.client("sqs").create_queue(QueueName="kept")
    first.process.suspend()
    assert localcloud.stop() is True
    assert not first.lives

    real = subprocess.Popen

    def slow(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        child = real(*arguments, **options)
        os.kill(child.pid, signal.SIGSTOP)
        return child

    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "Popen", slow)
        assert localcloud.start(any_port()) is True
    again = running()
    localcloud.use(again.url)
    assert boto3.client("sqs").get_queue_url(QueueName="kept")["QueueUrl"].endswith("/kept")
    assert said == [
        f"Waiting for the local cloud ({cloud}) {what}. "
        f"It was stopped by a signal: `kill -CONT {cloud.process.pid}` lets it go on."
        for cloud, what in ((first, "to answer"), (first, "to save its data and end"), (again, "to come up"))
    ]


def test_one_that_is_silent_for_minutes_is_named_with_what_helps_and_goes_on(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    localcloud.start(any_port())
    cloud = running()
    cloud.process.suspend()
    try:
        with monkeypatch.context() as patched:
            patched.setattr(localcloud, "SECONDS_UNTIL_SAID", 1)
            patched.setattr(localcloud, "PATIENCE", 1)
            with pytest.raises(LocalCloudError, match=rf"\({cloud}\) runs.*kill -CONT {cloud.process.pid}.*kill -9"):
                localcloud.endpoint()
    finally:
        cloud.process.resume()
    assert localcloud.find() == cloud


def test_of_two_that_start_at_once_one_does_and_whoever_is_left_behind_is_found_by_its_process(home: Path) -> None:
    port = any_port()
    program = f"from backbeat_ops import localcloud; print(localcloud.start({port}))"
    both = [in_another_process(home, "python", "-c", program) for _ in range(2)]
    answers = [starter.communicate(timeout=300) for starter in both]
    assert sorted(out for out, _ in answers) == ["False\n", "True\n"], answers
    shutil.rmtree(home / "tmp")
    (home / "emulator.log").unlink()
    cloud = running()
    assert (cloud.home, cloud.port) == (home.resolve(), port)
    assert [c for c in localcloud.everyones() if c.home == cloud.home] == [cloud]
    assert localcloud.start() is False
    with pytest.raises(LocalCloudError, match=rf"runs already \({cloud}\).*on port {port + 1}.*--keep-data"):
        localcloud.start(port + 1)
    out, _ = in_another_process(home, "backbeat", "down", "--keep-data", "--json").communicate(timeout=300)
    assert json.loads(out) == {"stopped": True}
    assert not cloud.lives


def test_a_terminal_that_is_closed_stops_the_local_cloud_in_order(home: Path) -> None:
    program = f"""
import signal
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # as in a terminal; whoever runs the tests may ignore it
from backbeat_ops import localcloud
localcloud.start({any_port()})
with localcloud.stopped_at_the_end():
    print("up", flush=True)
    signal.pause()
"""
    terminal = in_another_process(home, "python", "-c", program)
    assert terminal.stdout is not None and terminal.stderr is not None
    assert terminal.stdout.readline() == "up\n"
    cloud = running()
    terminal.stdout.close()
    terminal.stderr.close()  # nobody reads any more what it says
    terminal.send_signal(signal.SIGHUP)
    terminal.wait(300)
    assert not cloud.lives
    assert list((home / "data/state").glob("*.json"))  # that is, it has saved its data


def test_a_port_that_another_folders_local_cloud_has_is_named_with_it(
    cloud: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = running().port
    monkeypatch.setattr(localcloud, "HOME", tmp_path)
    with pytest.raises(LocalCloudError, match=rf"Port {port} is taken by the local cloud of \S+ \(process \d+"):
        localcloud.start(port)


def test_a_stack_goes_with_all_versions_in_its_buckets_and_is_missed(cloud: Stack) -> None:
    s3, cloudformation = boto3.client("s3"), boto3.client("cloudformation")
    versioned = {"VersioningConfiguration": {"Status": "Enabled"}}
    body = json.dumps({"Resources": {"ThingsBucket": {"Type": "AWS::S3::Bucket", "Properties": versioned}}})
    cloudformation.create_stack(StackName="goes", TemplateBody=body)
    cloudformation.get_waiter("stack_create_complete").wait(StackName="goes", WaiterConfig={"Delay": 1})
    stack = Stack("goes")
    bucket = stack.buckets["things"]
    for content in (b"1", b"2"):
        s3.put_object(Bucket=bucket, Key="a", Body=content)
    s3.delete_object(Bucket=bucket, Key="a")
    delete(stack)
    with pytest.raises(s3.exceptions.ClientError):
        s3.head_bucket(Bucket=bucket)
    with pytest.raises(StackNotFound, match="'goes'"):
        assert Stack("goes").resources


def test_on_another_port_functions_run_on_the_kept_data_as_before(
    cloud: Stack, backbeat: Backbeat, photo: bytes, tmp_path: Path
) -> None:
    (tmp_path / "photo.jpg").write_bytes(photo)
    before, there = running().port, any_port()
    assert localcloud.stop() is True
    localcloud.start(there)
    localcloud.use(localcloud.endpoint())
    status = backbeat("status", "--json", ails=None)
    assert status["endpoint"] == f"http://127.0.0.1:{there}" != f"http://127.0.0.1:{before}"
    ports = {
        url.split("/")[2] for task in status["tasks"].values() for url in (task["queue_url"], task["dead_queue_url"])
    }
    assert ports == {f"localhost:{there}"}
    assert deployment.deploy(lambda line: None) is False
    assert backbeat("upload", str(tmp_path / "photo.jpg"), "--wait", "--json")["media_status"] == "ready"
