"""The local cloud: the emulator, and this template built and deployed to it by the real `sam`.

Everything lives under `.backbeat/`: the emulator's environment (made by backbeat_ops/setup.py), its data, its log, and
`local.json`, which says where it runs. It outlives a restart, and is stopped by SIGTERM, upon which it saves its data.
"""

import hashlib
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError

from backbeat_ops.stack import Stack

ROOT = Path(__file__).resolve().parent.parent
HOME = Path(os.environ.get("BACKBEAT_HOME", ROOT / ".backbeat"))
"""Where the local cloud keeps its data; tests give theirs another place."""
PORT = 4566
STACK = "backbeat-local"
REGION = "us-east-1"
EMULATOR = ROOT / ".backbeat/emulator/bin/python"
SECONDS_TO_START = 60
SECONDS_TO_STOP = 30
DEPLOYED_FROM = "backbeat-source"
"""The tag of the stack that says what it was deployed from."""

_started: dict[int, subprocess.Popen[bytes]] = {}
"""The emulators that this process has started, by process id."""

Say = Callable[[str], None]


class LocalCloudError(Exception):
    """The local cloud cannot do what was asked; the text says why, and what helps."""


class NotRunning(LocalCloudError):
    """The local cloud is not running."""

    def __init__(self) -> None:
        super().__init__(
            "The local cloud is not running: `make run` or `backbeat up` starts it. "
            "A stack on AWS is meant by --stack NAME."
        )


def endpoint() -> str:
    """Where the running local cloud answers.

    Raises:
        NotRunning: It does not.
    """
    state = _state()
    if state is None or not _alive(state["pid"]) or not _ready(_url(state["port"])):
        raise NotRunning
    return _url(state["port"])


def use(url: str) -> None:
    """Point this process, and the programs it starts, at the local cloud, and at nothing else."""
    os.environ.update(environment(url))
    os.environ.pop("AWS_PROFILE", None)
    os.environ.pop("AWS_SESSION_TOKEN", None)
    boto3.setup_default_session()


def environment(url: str) -> dict[str, str]:
    """The variables with which any AWS client finds the local cloud."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
    }


def start(port: int = PORT) -> str:
    """Start the emulator, and return its endpoint once it answers.

    Raises:
        LocalCloudError: The port is taken, or the emulator does not come up.
    """
    if _answers(port):
        raise LocalCloudError(
            f"Port {port} is taken by another program. Port {free_port()} is free: "
            f"`make run PORT={free_port()}` or `backbeat up --port {free_port()}`."
        )
    for folder in ("data", "tmp"):
        (HOME / folder).mkdir(parents=True, exist_ok=True)
    shutil.rmtree(HOME / "tmp", ignore_errors=True)  # layers that the last one unpacked
    (HOME / "tmp").mkdir()
    # Functions inherit the emulator's environment: nothing in it may lead them to another cloud.
    inherited = {n: v for n, v in os.environ.items() if not n.startswith("AWS_") and n != "PYTHONPATH"}
    settings = {
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "PERSIST_STATE": "1",
        "STATE_DIR": str(HOME / "data/state"),
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(HOME / "data/s3"),
        "TMPDIR": str(HOME / "tmp"),
    }
    with (HOME / "emulator.log").open("w") as log:
        process = subprocess.Popen(
            [EMULATOR, "-P", ROOT / "backbeat_ops/emulator.py"],
            cwd=HOME,
            env={**inherited, **settings},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for us; we then stop it in order
        )
    _started[process.pid] = process
    _state_file().write_text(json.dumps({"pid": process.pid, "port": port}))
    for _ in range(SECONDS_TO_START * 10):
        if process.poll() is not None:
            break
        if _ready(_url(port)):
            return _url(port)
        time.sleep(0.1)
    process.kill()
    process.wait()
    _state_file().unlink()
    raise LocalCloudError(f"The emulator did not come up:\n{_tail(HOME / 'emulator.log')}")


def stop() -> bool:
    """Stop the emulator, which saves its data; return whether it was running.

    Raises:
        LocalCloudError: It does not stop.
    """
    state = _state()
    if state is None or not _alive(state["pid"]) or not _ready(_url(state["port"])):
        _state_file().unlink(missing_ok=True)
        return False
    os.kill(state["pid"], signal.SIGTERM)
    for _ in range(SECONDS_TO_STOP * 10):
        if not _alive(state["pid"]):
            _state_file().unlink(missing_ok=True)
            return True
        time.sleep(0.1)
    raise LocalCloudError(
        f"The emulator (process {state['pid']}) has been told to stop, and has not in {SECONDS_TO_STOP} s."
    )


def forget() -> None:
    """Delete the stopped local cloud's data."""
    shutil.rmtree(HOME / "data", ignore_errors=True)


def deploy(say: Say) -> bool:
    """Build the template and deploy it to the local cloud; return whether anything had changed.

    Args:
        say: Told what is being done, line by line.

    Raises:
        LocalCloudError: `sam` failed; the text holds what it said.
    """
    source = _fingerprint()
    cloudformation = boto3.client("cloudformation")
    try:
        (stack,) = cloudformation.describe_stacks(StackName=STACK)["Stacks"]
    except ClientError:
        pass
    else:
        same = {"Key": DEPLOYED_FROM, "Value": source} in stack.get("Tags", [])
        if same and stack["StackStatus"] in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            return False
        if stack["StackStatus"] in ("ROLLBACK_COMPLETE", "CREATE_FAILED", "DELETE_FAILED", "ROLLBACK_FAILED"):
            cloudformation.delete_stack(StackName=STACK)
    build(say)
    _sam(["deploy", "--config-env", "local", "--tags", f"{DEPLOYED_FROM}={source}", *parameters()], say)
    return True


def build(say: Say) -> None:
    """Build the template as it stands, for this machine.

    Raises:
        LocalCloudError: `sam` failed; the text holds what it said.
    """
    _sam(["build", "--config-env", "local", *parameters()], say)


def architecture() -> str:
    """This machine's architecture, as Lambda calls it."""
    return "arm64" if platform.machine() in ("aarch64", "arm64") else "x86_64"


def parameters() -> list[str]:
    """The template's parameters on the local cloud, as options of `sam`."""
    values = {
        "Stage": "local",
        "Capacity": "minimal",
        "PythonRuntime": f"python{sys.version_info.major}.{sys.version_info.minor}",
        "Architecture": architecture(),
    }
    return ["--parameter-overrides", *(f"{name}={value}" for name, value in values.items())]


def sam_environment() -> dict[str, str]:
    """The environment in which `sam` runs.

    `sam build` looks for the runtime's interpreter on PATH by its name: the real one goes first.
    """
    tools = f"{Path(sys.base_prefix, 'bin')}{os.pathsep}{Path(sys.executable).parent}"
    path = f"{tools}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**os.environ, "PATH": path, "SAM_CLI_TELEMETRY": "0"}


def stack() -> Stack:
    """The stack on the running local cloud, with this process pointed at it.

    Raises:
        NotRunning: The local cloud is not running.
    """
    use(endpoint())
    return Stack(STACK)


@contextmanager
def stopped_at_the_end() -> Iterator[None]:
    """Stop the emulator on the way out, however that comes; SIGTERM counts as Ctrl-C."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would cut the saving off
        try:
            stop()
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGTERM, before)


def free_port() -> int:
    """A port on this machine that nothing listens on, near the usual one where there is one."""
    for port in range(PORT + 1, PORT + 100):
        if not _answers(port):
            return port
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        return int(any_port.getsockname()[1])


def _sam(arguments: list[str], say: Say) -> None:
    """Run `sam`, passing on what it says."""
    command = [str(Path(sys.executable).parent / "sam"), *arguments]
    lines = []
    with (
        (HOME / "sam.log").open("a") as log,
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=sam_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            log.write(line)
            lines.append(line.rstrip())
            if line.strip():
                say(line.strip())
    if process.returncode:
        said = "\n".join(lines[-25:])
        raise LocalCloudError(f"sam {arguments[0]} failed:\n{said}\nAll of it is in {HOME / 'sam.log'}.")


def _fingerprint() -> str:
    """Changes when anything that is deployed changes: the template, the functions, the layers, the interpreter."""
    digest = hashlib.sha256(sys.version.encode())
    files = [ROOT / "template.yaml", ROOT / "samconfig.toml"]
    files += [f for top in ("functions", "layers") for f in (ROOT / top).rglob("*") if f.is_file()]
    for file in sorted(files):
        if "__pycache__" not in file.parts:
            digest.update(f"{file.relative_to(ROOT)}\n".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:32]


def _state_file() -> Path:
    return HOME / "local.json"


def _state() -> dict[str, Any] | None:
    try:
        state: dict[str, Any] = json.loads(_state_file().read_text())
    except FileNotFoundError:
        return None
    return state


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _alive(pid: int) -> bool:
    if pid in _started:
        return _started[pid].poll() is None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's, which took the number since
        return False
    return True


def _ready(url: str) -> bool:
    """Whether the emulator answers there: it, and no other program."""
    try:
        with urllib.request.urlopen(f"{url}/_ministack/ready", timeout=5) as answer:  # noqa: S310 - http, on loopback
            return "iot_mtls" in json.load(answer)
    except (OSError, ValueError):
        return False


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _tail(file: Path, lines: int = 15) -> str:
    return "\n".join(file.read_text(errors="replace").splitlines()[-lines:])
