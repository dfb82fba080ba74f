"""This template on the local cloud: built and deployed to it by the real `sam`."""

import hashlib
import importlib.util
import io
import marshal
import os
import platform
import subprocess
import sys
import traceback
import zipfile
from collections.abc import Iterator
from pathlib import Path

import boto3
from botocore.exceptions import ClientError

from backbeat_ops import localcloud
from backbeat_ops.localcloud import ROOT, STACK, LocalCloudError, Say

DEPLOYED_FROM = "backbeat-source"
"""The tag of the stack that says what it was deployed from."""
BUILT_FROM = ".aws-sam/build/source"
"""Says what was built, for this machine; `sam build` empties its folder first, whoever calls it and for whatever."""
SHARED = "layers/shared"
OVERLAY = f"{STACK}-edited"
"""The layer that holds the shared layer's code as it was swapped."""


class DoesNotCompile(LocalCloudError):
    """A file is no Python; the text says where, as Python does."""


def deploy(say: Say) -> bool:
    """Build the template and deploy it to the local cloud; return whether anything had changed.

    What was swapped since the last time is given back what is deployed.

    Args:
        say: Told what is being done, line by line.

    Raises:
        DoesNotCompile: A file is no Python. Nothing is deployed.
        LocalCloudError: `sam` failed; the text holds what it said.
    """
    with localcloud.alone():
        source, (status, deployed) = _fingerprint(), _stack()
        if source == deployed and status in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            return _put_back()
        for top in ("functions", "layers"):
            _package(ROOT / top)
        if status in ("ROLLBACK_COMPLETE", "CREATE_FAILED", "DELETE_FAILED", "ROLLBACK_FAILED"):
            boto3.client("cloudformation").delete_stack(StackName=STACK)
        _build(source, say)
        _sam(["deploy", "--config-env", "local", "--tags", f"{DEPLOYED_FROM}={source}", *parameters()], say)
        _put_back()
        return True


def _stack() -> tuple[str | None, str | None]:
    """The stack's status, and what it was deployed from."""
    try:
        (stack,) = boto3.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"]
    except ClientError:
        return None, None
    tags = {tag["Key"]: tag["Value"] for tag in stack.get("Tags", [])}
    return stack["StackStatus"], tags.get(DEPLOYED_FROM)


def swap(folder: str) -> None:
    """Let what a folder holds now run on the local cloud, without a deployment: all of it, or nothing.

    A function's folder becomes its code. The shared layer's becomes a layer over the deployed one, so that what it
    depends on stays where it is. The next deployment knows of both.

    Args:
        folder: `functions/<task>`, of a function that is deployed, or `layers/shared`.

    Raises:
        DoesNotCompile: A file in it is no Python. Nothing is swapped.
        ClientError: There is no such function.
    """
    package = _package(ROOT / folder, inside="python" if folder == SHARED else "")
    with localcloud.alone():
        _swapped_file().parent.mkdir(parents=True, exist_ok=True)
        _swapped_file().write_text("\n".join(sorted({*_swapped(), folder})))  # first: it may be cut off halfway
        client = boto3.client("lambda")
        if folder != SHARED:
            client.update_function_code(FunctionName=_function(folder), ZipFile=package)
            return
        version = client.publish_layer_version(LayerName=OVERLAY, Content={"ZipFile": package})["LayerVersionArn"]
        for function, layers in _functions():
            client.update_function_configuration(FunctionName=function, Layers=[*_without_overlay(layers), version])


def _put_back() -> bool:
    """Give what was swapped the code and the layers that are deployed; return whether anything was."""
    swapped = _swapped()
    client = boto3.client("lambda")
    for folder in swapped - {SHARED}:
        if (ROOT / folder).exists():  # else the deployment has deleted the function
            client.update_function_code(FunctionName=_function(folder), ZipFile=_package(ROOT / folder))
    for function, layers in _functions() if SHARED in swapped else ():
        if layers != (deployed := _without_overlay(layers)):
            client.update_function_configuration(FunctionName=function, Layers=deployed)
    _swapped_file().unlink(missing_ok=True)
    return bool(swapped)


def _swapped_file() -> Path:
    return localcloud.HOME / "data/swapped"


def _swapped() -> set[str]:
    """The folders that were swapped since the last deployment."""
    file = _swapped_file()
    return set(file.read_text().splitlines()) if file.exists() else set()


def _function(folder: str) -> str:
    return f"{STACK}-{Path(folder).name}"


def _functions() -> Iterator[tuple[str, list[str]]]:
    """The stack's functions, each with its layers. Of a file that several layers have, the last one's counts."""
    for page in boto3.client("lambda").get_paginator("list_functions").paginate():
        for function in page["Functions"]:
            if function["FunctionName"].startswith(f"{STACK}-"):
                yield function["FunctionName"], [layer["Arn"] for layer in function.get("Layers", [])]


def _without_overlay(layers: list[str]) -> list[str]:
    return [layer for layer in layers if f":layer:{OVERLAY}:" not in layer]


def _package(folder: Path, inside: str = "") -> bytes:
    """Zip a folder's files as Lambda takes them, if all of its Python compiles; a layer's with what was compiled.

    The layers hold compiled modules that Python never compares with their source (`layers/build`). They would hide a
    source that is swapped, so what was compiled is swapped with it.

    Raises:
        DoesNotCompile: It does not.
    """
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as package:
        for file in sources(folder):
            content = file.read_bytes()
            name = Path(inside, file.relative_to(folder))
            if file.suffix == ".py":
                compiled = _compiled(file, content)
                if inside:
                    package.writestr(importlib.util.cache_from_source(str(name)), compiled)
            member = zipfile.ZipInfo.from_file(file, name, strict_timestamps=False)
            package.writestr(member, content, zipfile.ZIP_DEFLATED)
    return archive.getvalue()


def _compiled(file: Path, content: bytes) -> bytes:
    """A module as Python stores it, compiled, to be taken without a look at its source (PEP 552).

    Raises:
        DoesNotCompile: It is no Python.
    """
    try:
        code = compile(content, str(file.relative_to(ROOT)), "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        raise DoesNotCompile("".join(traceback.format_exception_only(error)).rstrip()) from error
    unchecked = (1).to_bytes(4, "little")
    return importlib.util.MAGIC_NUMBER + unchecked + importlib.util.source_hash(content) + marshal.dumps(code)


def sources(folder: Path) -> list[Path]:
    """What of a folder's files is deployed: all but what Python and editors leave there."""
    return sorted(
        file
        for file in folder.rglob("*")
        if "__pycache__" not in file.parts and not file.name.startswith(".") and not file.name.endswith("~")
        if file.is_file()
    )


def build(say: Say) -> None:
    """Build the template as it stands, for this machine.

    Raises:
        LocalCloudError: `sam` failed; the text holds what it said.
    """
    with localcloud.alone():
        _build(_fingerprint(), say)


def _build(source: str, say: Say) -> None:
    """Build the sources of a fingerprint, unless they are: another local cloud may have needed them, too."""
    stamp = ROOT / BUILT_FROM
    if stamp.exists() and stamp.read_text() == source:
        return
    _sam(["build", "--config-env", "local", *parameters()], say)
    stamp.write_text(source)


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
    for file in [*files, *sources(ROOT / "functions"), *sources(ROOT / "layers")]:
        digest.update(f"{file.relative_to(ROOT)}\n".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:32]
