"""What was edited, what has to be done for it to run on the local cloud, and whether it can be imported there."""

import os
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import boto3

from backbeat_ops import localcloud
from backbeat_ops.deployment import SHARED, sources
from backbeat_ops.localcloud import EMULATOR, ROOT, STACK

DEPLOYMENT = "template.yaml"
"""What stands for a whole deployment among the folders whose code is swapped."""

Snapshot = dict[Path, tuple[int, int, int]]
"""Each file that is deployed, with what changes when it is saved."""


def snapshot() -> Snapshot:
    """The files that are deployed, as they stand."""
    found = {}
    files = [ROOT / "template.yaml", ROOT / "samconfig.toml", *sources(ROOT / "functions"), *sources(ROOT / "layers")]
    for file in files:
        with suppress(FileNotFoundError):  # an editor that saves puts a new file in the old one's place
            stat = file.stat()
            found[file] = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
    return found


def to_do(before: Snapshot, now: Snapshot) -> set[str]:
    """What has to be done: the folders whose code is to be swapped, as `deployment.swap` takes them, or DEPLOYMENT."""
    return {_where(path) for path in before.keys() | now.keys() if before.get(path) != now.get(path)}


def _where(path: Path) -> str:
    match path.relative_to(ROOT).parts:
        case "functions", task, _, *_ if not (ROOT / "functions" / task / "requirements.txt").exists():
            return f"functions/{task}"
        case "layers", "shared", name, *_ if not name.startswith("requirements"):
            return SHARED
    return DEPLOYMENT


IMPORT = """
import sys, traceback
for name in sys.argv[1:]:
    try:
        __import__(name)
    except Exception as error:
        traceback.print_exception(error.with_traceback(error.__traceback__.tb_next))
        break
"""


def import_error(folders: Iterable[str]) -> str | None:
    """Import what was changed as the local cloud will; the traceback of the first that fails, or None.

    A process that cannot import its function says nowhere why, so this does. Where the shared layer was changed, or
    everything, every function is imported.

    Args:
        folders: As `to_do` names them.
    """
    shared = [file.relative_to(ROOT / SHARED) for file in sources(ROOT / SHARED) if file.suffix == ".py"]
    modules = [".".join(file.with_suffix("").parts).removesuffix(".__init__") for file in shared]
    tasks = [Path(folder).name for folder in folders]
    if not {SHARED, DEPLOYMENT}.isdisjoint(folders):
        tasks = [folder.name for folder in (ROOT / "functions").iterdir() if (folder / f"{folder.name}.py").exists()]
    else:
        modules = []
    paths = [*(ROOT / "functions" / task for task in tasks), ROOT / SHARED]
    paths += sorted((ROOT / ".aws-sam/build").glob("*/python"))  # the layers' packages
    done = subprocess.run(
        [EMULATOR, "-P", "-c", IMPORT, *modules, *sorted(tasks)],
        cwd=ROOT,
        env={
            **os.environ,
            **_variables(),
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "PYTHONPYCACHEPREFIX": str(localcloud.HOME / "tmp/imported"),
            "PYTHONDONTWRITEBYTECODE": "",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr.replace(f"{ROOT}/", "").strip() or None


def _variables() -> dict[str, str]:
    """The environment that the stack gives its functions, all in one."""
    found: dict[str, str] = {}
    for page in boto3.client("lambda").get_paginator("list_functions").paginate():
        for function in page["Functions"]:
            if function["FunctionName"].startswith(f"{STACK}-"):
                found |= function.get("Environment", {}).get("Variables", {})
    return found
