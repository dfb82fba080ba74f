"""Build a layer: its pinned wheels, its own code, all of it compiled.

`sam`'s own builder leaves out the compiled modules, and Lambda cannot write any: it would compile each module again at
each cold start. They are compiled with "unchecked hashes" (PEP 552), as a file's time does not survive the archive;
such a module is never compared with its source, so whoever replaces a source replaces both (`backbeat_ops.deployment`).
"""

import compileall
import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Any

LAYERS = Path(__file__).resolve().parent.parent
SERVICES = (
    *("cloudformation", "dynamodb", "events", "s3", "scheduler", "secretsmanager", "sesv2", "sqs"),
    *("sso", "sso-oidc", "sts"),
)
"""The AWS services whose descriptions are kept: those that `backbeat.aws` has clients of, and where credentials come
from."""
UNUSED = ("aws_lambda_powertools/event_handler", "bin", "regex/tests")
"""What else takes room: nothing here imports it."""
OLDEST_GLIBC = 17
"""The minor version of glibc that manylinux2014 stands for (PEP 599)."""


def main(folder: str, architecture: str, target: Path) -> None:
    """Build one layer.

    Args:
        folder: Its folder in `layers`.
        architecture: What its wheels run on, as Lambda calls it.
        target: The folder `python` of what is deployed.
    """
    layer = LAYERS / folder
    _install(layer / "requirements.txt", architecture, target)
    for package in layer.iterdir():
        if package.is_dir() and package.name.isidentifier():
            shutil.copytree(package, target / package.name, ignore=shutil.ignore_patterns("__pycache__", ".*", "*~"))
    if (target / "botocore").is_dir():
        _prune(target / "botocore/data")
    whole = compileall.compile_dir(
        target,
        quiet=1,
        stripdir=str(target),
        prependdir="/opt/python",
        invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
    )
    if not whole:
        raise SystemExit(f"not all of layers/{folder} compiles")


def _install(requirements: Path, architecture: str, target: Path) -> None:
    """Install the pinned wheels for Lambda's own machine, whatever this one is; hashes are checked."""
    machine = {"arm64": "aarch64", "x86_64": "x86_64"}[architecture]
    newest = 26 if sys.version_info < (3, 12) else 34  # Amazon Linux 2 and 2023
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(newest, OLDEST_GLIBC - 1, -1)]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--no-compile", "--require-hashes", "--only-binary", ":all:", "--implementation", "cp"]
    for platform in (*platforms, f"manylinux2014_{machine}"):
        command += ["--platform", platform]
    subprocess.run([*command, "--target", str(target), "--requirement", str(requirements)], check=True)
    for unused in UNUSED:
        shutil.rmtree(target / unused, ignore_errors=True)


def _prune(data: Path) -> None:
    """Leave of botocore's data the services that are used, without their documentation and ready to be read."""
    for folder in data.iterdir():
        if folder.is_dir() and folder.name not in SERVICES:
            shutil.rmtree(folder)
    for file in data.rglob("*.json*"):
        content = file.read_bytes()
        plain = json.loads(gzip.decompress(content) if file.suffix == ".gz" else content)
        file.unlink()
        if file.name == "endpoints.json":
            for partition in plain["partitions"]:
                partition["services"] = {name: ends for name, ends in partition["services"].items() if name in SERVICES}
        if not file.name.startswith("examples-"):
            (file.parent / file.name.removesuffix(".gz")).write_text(json.dumps(_bare(plain), separators=(",", ":")))


def _bare(value: Any) -> Any:
    """A description without its documentation, which is prose; a member that bears that name is none.

    What botocore asks for by name, the documentation of a client's parameters, stays.
    """
    if isinstance(value, dict):
        return {
            key: item if key == "clientContextParams" else _bare(item)
            for key, item in value.items()
            if key != "documentation" or not isinstance(item, str)
        }
    return [_bare(item) for item in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
