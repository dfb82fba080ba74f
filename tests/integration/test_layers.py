"""What was built: layers that fit, functions that need nothing else, pins that resolve wherever Lambda runs them."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT, logical_ids, resources, template

from backbeat_ops import setup

BUILT = ROOT / ".aws-sam/build"
MOST = 240_000_000
"""Bytes of all of a function's layers, unzipped; Lambda takes 250 MiB with the function itself."""
MOST_SHARED = 20_000_000
"""Bytes of the shared layer, unzipped."""
UNNEEDED = {"PIL", "asyncio", "boto3", "multiprocessing", "pydantic", "regex", "s3transfer"}
"""What takes long to import, and no handler needs to start."""


def layers_of(function: str) -> list[Path]:
    everyones = template()["Globals"]["Function"]["Layers"]
    own = template()["Resources"][function]["Properties"].get("Layers", [])
    return [BUILT / layer / "python" for layer in sorted(logical_ids([everyones, own]))]


@pytest.mark.parametrize("function", resources("AWS::Serverless::Function"))
def test_a_functions_layers_fit(local_cloud: None, function: str) -> None:
    size = sum(file.stat().st_size for layer in layers_of(function) for file in layer.rglob("*") if file.is_file())
    assert 1_000_000 < size < MOST


def test_the_shared_layer_is_small_and_compiled(local_cloud: None) -> None:
    """As Lambda unpacks it where it cannot write, whatever is not compiled is compiled at each cold start."""
    layer = BUILT / "SharedLayer/python"
    assert sum(file.stat().st_size for file in layer.rglob("*") if file.is_file()) < MOST_SHARED
    for folder in (layer, BUILT / "ImagingLayer/python"):
        sources = [file for file in folder.rglob("*.py") if file.is_file()]
        assert sources
        for source in sources:
            compiled = Path(importlib.util.cache_from_source(str(source))).read_bytes()
            assert int.from_bytes(compiled[4:8], "little") == 1, f"{source.name}: its hash would be checked"


def test_the_shared_layer_describes_every_service_that_is_used(local_cloud: None) -> None:
    code = [*(ROOT / "layers/shared/backbeat").rglob("*.py"), *(ROOT / "functions").rglob("*.py")]
    used = {name for file in code for name in re.findall(r'\bclient\(\s*"([a-z0-9-]+)"', file.read_text())}
    assert {"dynamodb", "s3", "sesv2", "sqs"} <= used
    for service in used:
        assert list((BUILT / "SharedLayer/python/botocore/data" / service).rglob("service-2.json")), service


@pytest.mark.parametrize("function", resources("AWS::Serverless::Function"))
def test_a_function_needs_nothing_but_its_layers(local_cloud: None, function: str) -> None:
    """In an interpreter without site-packages, so that a dependency which no layer has is missed."""
    properties = template()["Resources"][function]["Properties"]
    module, handler = properties["Handler"].split(".")
    paths = [str(path) for path in (BUILT / function, *layers_of(function))]
    program = (
        f"import sys; sys.path[:0] = {paths!r}; import {module}; assert callable({module}.{handler})\n"
        f"assert not {UNNEEDED!r} & set(sys.modules), {UNNEEDED!r} & set(sys.modules)"
    )
    environment = {"AWS_DEFAULT_REGION": "us-east-1", "POWERTOOLS_METRICS_NAMESPACE": "test"}
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("runtime", template()["Parameters"]["PythonRuntime"]["AllowedValues"])
def test_the_layers_pins_have_wheels(tmp_path: Path, runtime: str, machine: str) -> None:
    """For glibc 2.17 on Python 3.11, whose Lambda has 2.26, and for 2.34 from 3.12 up: what `sam build` takes."""
    version = runtime.removeprefix("python")
    platform = f"{machine}-manylinux{'2014' if version == '3.11' else '_2_34'}"
    command = [setup.find_uv(), "pip", "install", "--dry-run", "--target", str(tmp_path), "--only-binary", ":all:"]
    command += ["--require-hashes", "--python-version", version, "--python-platform", platform]
    for layer in resources("AWS::Serverless::LayerVersion").values():
        lock = ROOT / layer["Properties"]["ContentUri"] / "requirements.txt"
        done = subprocess.run([*command, "-r", lock], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
