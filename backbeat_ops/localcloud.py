"""The local cloud: the emulator, in a process of its own that outlives the command which starts it.

Everything lives under `.backbeat/`: the emulator's environment (made by backbeat_ops/setup.py), its data and its log.
Whether it runs, and where, is read from the machine's processes alone: its command line names the folder of its data
and its port. So no file can be lost or be wrong about it, and no other process can be taken for it. It is stopped by
SIGTERM, upon which it saves its data.
"""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from json import load
from pathlib import Path

import boto3
import psutil

from backbeat_ops.emulator import REGION
from backbeat_ops.stack import Stack

ROOT = Path(__file__).resolve().parent.parent
HOME = Path(os.environ.get("BACKBEAT_HOME", ROOT / ".backbeat"))
"""Where the local cloud keeps its data; tests give theirs another place."""
PORT = 4566
STACK = "backbeat-local"
EMULATOR = ROOT / ".backbeat/emulator/bin/python"
PROGRAM = "backbeat_ops/emulator.py"
SECONDS_UNTIL_SAID = 5
"""How long something takes before we say what we wait for."""
PATIENCE = 300
"""Seconds that a living local cloud has for anything: a busy machine is no fault of its own."""

_children: list[subprocess.Popen[bytes]] = []
"""What this process has started: an ended child stays in the system until its parent asks after it."""

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


@dataclass(frozen=True, slots=True)
class LocalCloud:
    """A local cloud that runs on this machine.

    Attributes:
        process: Its process.
        home: The folder of its data.
        port: Where it answers, on 127.0.0.1.
    """

    process: psutil.Process
    home: Path
    port: int

    @property
    def url(self) -> str:
        """Its endpoint, for any AWS client."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def lives(self) -> bool:
        """Whether its process is still there, answering or not."""
        try:
            return self.process.is_running() and self.process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def __str__(self) -> str:
        return f"process {self.process.pid}, port {self.port}"


def everyones() -> list[LocalCloud]:
    """All local clouds on this machine, of this folder and of others, as far as this user may see them."""
    found = []
    for process in psutil.process_iter(["cmdline", "ppid"]):
        match process.info["cmdline"]:
            case [_, "-P", program, home, port] if program.endswith(PROGRAM) and port.isdecimal():
                found.append(LocalCloud(process, Path(home), int(port)))
    # A process that is being made bears its parent's command line for a moment.
    parents = {cloud.process.pid for cloud in found}
    return [cloud for cloud in found if cloud.process.info["ppid"] not in parents]


def find() -> LocalCloud | None:
    """This folder's local cloud, where it runs: ready, starting, slow or ending."""
    return next((cloud for cloud in everyones() if cloud.home == HOME.resolve()), None)


def endpoint() -> str:
    """Where the running local cloud answers; it is waited for where it is slow.

    Raises:
        NotRunning: It does not run.
        LocalCloudError: It runs, and has not answered in minutes.
    """
    cloud = find()
    if cloud is None:
        raise NotRunning
    _wait(cloud, lambda: _ready(cloud.url), "to answer")
    if not cloud.lives:
        raise NotRunning
    return cloud.url


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


def start(port: int | None = None) -> bool:
    """Start the local cloud, unless it runs; return whether it was started here, once it answers.

    Args:
        port: Where it is to answer; 4566, or wherever it runs, if not given.

    Raises:
        LocalCloudError: The port is taken, it runs on another one, or it does not come up.
    """
    while True:
        with alone():
            cloud = find()
            if cloud is None:
                _start(port or PORT)
                return True
        with suppress(NotRunning):  # it was on its way out
            endpoint()
            break
    if port not in (None, cloud.port):
        raise LocalCloudError(
            f"The local cloud runs already ({cloud}). To have it on port {port}, stop it first: "
            "`backbeat down --keep-data`."
        )
    return False


def _start(port: int) -> None:
    if _answers(port):
        other = next((f"the local cloud of {c.home} ({c})" for c in everyones() if c.port == port), "another program")
        free = free_port()
        raise LocalCloudError(
            f"Port {port} is taken by {other}. Port {free} is free: "
            f"`make run PORT={free}` or `backbeat up --port {free}`."
        )
    HOME.mkdir(parents=True, exist_ok=True)
    # Functions inherit the emulator's environment: nothing in it may lead them to another cloud, or to other modules.
    # What they import is compiled for good: it lies in folders of their own.
    left_out = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
    inherited = {n: v for n, v in os.environ.items() if not n.startswith("AWS_") and n not in left_out}
    with (HOME / "emulator.log").open("w") as log:
        child = subprocess.Popen(
            [EMULATOR, "-P", ROOT / PROGRAM, HOME.resolve(), str(port)],
            cwd=HOME,
            env=inherited,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for us; we then stop it in order
        )
    _children.append(child)
    cloud = LocalCloud(psutil.Process(child.pid), HOME.resolve(), port)
    try:
        _wait(cloud, lambda: _ready(cloud.url), "to come up")
    except BaseException:  # Ctrl-C, too: what has not come up is nobody's
        child.terminate()
        raise
    if not cloud.lives:
        raise LocalCloudError(f"The local cloud did not come up:\n{_tail(HOME / 'emulator.log')}")


def stop() -> bool:
    """Stop the local cloud, which saves its data; return whether it was running.

    Raises:
        LocalCloudError: It does not stop.
    """
    cloud = find()
    if cloud is None:
        return False
    _stop(cloud)
    return True


def _stop(cloud: LocalCloud) -> None:
    with suppress(psutil.NoSuchProcess):
        cloud.process.terminate()
    _wait(cloud, lambda: False, "to save its data and end")
    for child in _children:
        child.poll()


def forget() -> None:
    """Delete the stopped local cloud's data."""
    shutil.rmtree(HOME / "data", ignore_errors=True)


def stack() -> Stack:
    """The stack on the running local cloud, with this process pointed at it.

    Raises:
        NotRunning: The local cloud is not running.
    """
    use(endpoint())
    return Stack(STACK)


@contextmanager
def alone() -> Iterator[None]:
    """Keep other commands from starting a local cloud or deploying meanwhile; wait for one that does.

    It is for all that share this folder's builds, whichever data they have.
    """
    file = ROOT / ".backbeat/lock"
    file.parent.mkdir(exist_ok=True)
    with file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another command is starting the local cloud or deploying to it; waiting for it to finish.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def stopped_at_the_end() -> Iterator[None]:
    """Stop the local cloud on the way out, however that comes: SIGTERM and a closed terminal count as Ctrl-C."""
    cloud = find()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # a second one is one too many
        try:
            if cloud is not None and cloud.lives:
                say("Stopping the local cloud")
                _stop(cloud)
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            for number, handler in before.items():
                signal.signal(number, handler)


def free_port() -> int:
    """A port on this machine that nothing listens on, near the usual one where there is one."""
    for port in range(PORT + 1, PORT + 100):
        if not _answers(port):
            return port
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        return int(any_port.getsockname()[1])


def say(text: str) -> None:
    """Say what is being waited for, on stderr, if anybody is still there."""
    with suppress(OSError):  # the terminal has been closed
        sys.stderr.write(f"{text}\n")


def _wait(cloud: LocalCloud, done: Callable[[], bool], for_what: str) -> None:
    """Wait until something is done or the process has ended; say so where it takes long.

    Raises:
        LocalCloudError: Neither came, in minutes.
    """
    since = time.monotonic()
    said = False
    while cloud.lives and not done():
        waited = time.monotonic() - since
        if waited > PATIENCE:
            raise LocalCloudError(
                f"The local cloud ({cloud}) runs, and has had {PATIENCE} s {for_what}.{_stopped(cloud)} "
                f"{HOME / 'emulator.log'} holds what it did last; `kill -9 {cloud.process.pid}` ends it, and loses "
                "what came since it was stopped last."
            )
        if waited > SECONDS_UNTIL_SAID and not said:
            say(f"Waiting for the local cloud ({cloud}) {for_what}.{_stopped(cloud)}")
            said = True
        time.sleep(0.1)


def _stopped(cloud: LocalCloud) -> str:
    try:
        if cloud.process.status() == psutil.STATUS_STOPPED:
            return f" It was stopped by a signal: `kill -CONT {cloud.process.pid}` lets it go on."
    except psutil.NoSuchProcess:
        pass
    return ""


def _ready(url: str) -> bool:
    """Whether the emulator answers there: it, and no other program."""
    try:
        with urllib.request.urlopen(f"{url}/_ministack/ready", timeout=SECONDS_UNTIL_SAID) as answer:  # noqa: S310 - http, on loopback
            return "iot_mtls" in load(answer)
    except (OSError, ValueError):
        return False


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _tail(file: Path, lines: int = 15) -> str:
    return "\n".join(file.read_text(errors="replace").splitlines()[-lines:])
