"""This template on the local cloud: built and deployed to it by the real `sam`."""

import hashlib
import os
import platform
import subprocess
import sys
from pathlib import Path

import boto3
from botocore.exceptions import ClientError

from backbeat_ops import localcloud
from backbeat_ops.localcloud import ROOT, STACK, LocalCloudError, Say

DEPLOYED_FROM = "backbeat-source"
"""The tag of the stack that says what it was deployed from."""


def deploy(say: Say) -> bool:
    """Build the template and deploy it to the local cloud; return whether anything had changed.

    Args:
        say: Told what is being done, line by line.

    Raises:
        LocalCloudError: `sam` failed; the text holds what it said.
    """
    with localcloud.alone():
        return _deploy(say)


def _deploy(say: Say) -> bool:
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
    _build(say)
    _sam(["deploy", "--config-env", "local", "--tags", f"{DEPLOYED_FROM}={source}", *parameters()], say)
    return True


def build(say: Say) -> None:
    """Build the template as it stands, for this machine.

    Raises:
        LocalCloudError: `sam` failed; the text holds what it said.
    """
    with localcloud.alone():
        _build(say)


def _build(say: Say) -> None:
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


def _sam(arguments: list[str], say: Say) -> None:
    """Run `sam`, passing on what it says."""
    command = [str(Path(sys.executable).parent / "sam"), *arguments]
    lines = []
    with (
        (localcloud.HOME / "sam.log").open("a") as log,
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
        raise LocalCloudError(f"sam {arguments[0]} failed:\n{said}\nAll of it is in {localcloud.HOME / 'sam.log'}.")


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
