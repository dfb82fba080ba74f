"""What is installed is what is here, and no name of it can be hidden by a file of the project that it is used in."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from support import ROOT

from backbeat_ops import setup

HERE = Path(sys.executable).parent / "backbeat"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of Django's: a manage.py, and modules with names that are usual there."""
    folder = tmp_path / "project"
    for package in ("commands", "mail", "posts"):
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").write_text(f"raise SystemExit('the project has its own {package}')")
    for module in ("manage", "cli", "status", "tasks", "runs", "schedules", "seed", "terminal"):
        (folder / f"{module}.py").write_text(f"raise SystemExit('the project has its own {module}.py')")
    return folder


def run_in(project: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(project)}
    return subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_a_project_with_a_manage_py_does_not_hide_the_command(project: Path) -> None:
    done = run_in(project, HERE, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage: backbeat" in done.stdout
    assert "the project has its own manage.py" in run_in(project, sys.executable, "-c", "import manage").stderr


def test_the_wheel_installs_and_its_command_runs_beside_a_manage_py(project: Path, tmp_path: Path) -> None:
    """Built and installed without network; what it depends on is lent by this environment."""
    built = tmp_path / "built"
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(built)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (wheel,) = built.glob("*.whl")
    files = zipfile.ZipFile(wheel).namelist()
    ours = [ROOT / "layers/shared/backbeat", *(ROOT / f"backbeat_{name}" for name in ("django", "ops", "testing"))]
    assert {name.split("/")[0] for name in files} - {folder.name for folder in ours} == {
        "-".join(wheel.name.split("-")[:2]) + ".dist-info"
    }
    sources = {
        f"{folder.name}/{path.relative_to(folder)}"
        for folder in ours
        for kind in ("*.py", "*.jinja")
        for path in folder.rglob(kind)
    }
    functions = ROOT / "functions"
    sources |= {f"backbeat_testing/functions/{path.relative_to(functions)}" for path in functions.rglob("*.py")}
    assert sources == {name for name in files if name.endswith((".py", ".jinja"))}

    uv, venv = setup.find_uv(), tmp_path / "venv"
    for command in (
        [uv, "venv", "--quiet", "--offline", "--python", sys.executable, venv],
        [uv, "pip", "install", "--quiet", "--offline", "--no-deps", "--python", venv / "bin/python", wheel],
    ):
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    (packages,) = venv.glob("lib/*/site-packages")
    # A path in a .pth is looked in, but the .pth files there, this checkout's own among them, are not read.
    (packages / "lent.pth").write_text(sysconfig.get_path("purelib"))
    done = run_in(project, venv / "bin/backbeat", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage: backbeat" in done.stdout
    where = "import backbeat, backbeat_ops.commands; print(backbeat.__file__, backbeat_ops.commands.__file__)"
    found = run_in(project, venv / "bin/python", "-c", where).stdout.split()
    assert [Path(file).is_relative_to(packages) for file in found] == [True, True]
