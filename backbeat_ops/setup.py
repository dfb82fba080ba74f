"""Set up everything the project needs inside its own folder; `make` calls it, with any Python from 3.11 up.

It needs nothing but the standard library. It finds uv, or fetches it; picks the interpreter that functions are built
and run with; and makes two environments: `.venv`, with this project and its tools, and `.backbeat/emulator`, where the
local cloud runs by itself. Where nothing has changed since the last time, it does nothing.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".backbeat"
PREFERRED = "3.13"
"""The template's default runtime."""
OTHERS = ("3.14", "3.12", "3.11")
"""What serves where that is not to be had, the newest first."""


class SetupFailed(Exception):
    """The set-up cannot go on; the text says why, and what helps."""


def main() -> None:
    """Set everything up, and say what is being done."""
    started = time.monotonic()
    stamp, wanted = HOME / "setup.stamp", _fingerprint()
    if stamp.exists() and stamp.read_text() == wanted and _runs(ROOT / ".venv/bin/python"):
        return
    stamp.unlink(missing_ok=True)
    HOME.mkdir(exist_ok=True)
    uv = find_uv()
    python = find_interpreter(uv)
    _say(f"python: {python}")
    for where, requirements in ((ROOT / ".venv", "dev.txt"), (HOME / "emulator", "emulator.txt")):
        _say(f"installing requirements/{requirements} into {where.relative_to(ROOT)}")
        _run([uv, "venv", "--quiet", "--clear", "--python", python, str(where)])
        install = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(where / "bin/python")]
        _run([*install, "--require-hashes", "-r", f"requirements/{requirements}"])
        if requirements == "dev.txt":
            _run([*install, "--no-deps", "--no-build-isolation", "--editable", "."])
    stamp.write_text(wanted)
    _say(f"set up in {time.monotonic() - started:.0f} s")


def find_uv() -> str:
    """The path of uv: the one on PATH, or one that is fetched into the project's folder."""
    found = shutil.which("uv")
    if found and _runs(found, "--version"):
        return found
    own = HOME / "uv"
    if not _runs(own / "bin/uv", "--version"):
        _say("fetching uv")
        try:
            _run([sys.executable, "-m", "venv", "--clear", str(own)])
        except SetupFailed as error:
            raise SetupFailed(
                f"{error}\nThis Python cannot make virtual environments. Install its venv module "
                "(on Debian and Ubuntu: apt install python3-venv), or uv itself, and try again."
            ) from error
        _run([str(own / "bin/pip"), "install", "--quiet", "--require-hashes", "-r", "requirements/uv.txt"])
    return str(own / "bin/uv")


def find_interpreter(uv: str) -> str:
    """The interpreter that functions are built and run with, by its real path.

    Python 3.13 where it is on PATH, among pyenv's versions, or can be fetched; else the newest from 3.11 up.
    `sam build` looks for `python3.13` on PATH, and a shim of pyenv's would answer without being one.
    """
    found = _installed(PREFERRED)
    if found:
        return found
    _say(f"no Python {PREFERRED} here: fetching it")
    here = HOME / "python"
    fetched = subprocess.run(
        [uv, "python", "install", "--quiet", "--install-dir", str(here), PREFERRED],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if fetched.returncode == 0:
        for candidate in sorted(here.glob(f"cpython-{PREFERRED}*/bin/python{PREFERRED}")):
            return str(candidate)
    for version in OTHERS:
        found = _installed(version)
        if found:
            _say(f"Python {PREFERRED} could not be fetched; Python {version} serves as well")
            return found
    reason = (fetched.stderr.strip().splitlines() or ["no reason given"])[-1]
    raise SetupFailed(
        f"Found no Python {PREFERRED}, {', '.join(OTHERS)}, and could not fetch one ({reason}). "
        "Functions are built and run with one of these: install it, put it on PATH, and try again."
    )


def _installed(version: str) -> str | None:
    """An interpreter of this version that is on this machine, by its real path."""
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    folders += sorted((pyenv / "versions").glob(f"{version}.*/bin"), reverse=True)
    for folder in folders:
        candidate = folder / f"python{version}"
        ask = "import sys, sysconfig; print('%d.%d' % sys.version_info[:2], sysconfig.get_config_var('BINDIR'))"
        answer = _answer(candidate, "-I", "-c", ask) if candidate.exists() else None
        if answer and answer.startswith(f"{version} "):
            real = Path(answer.split(" ", 1)[1].strip(), f"python{version}")
            if real.exists():
                return str(real)
    return None


def _fingerprint() -> str:
    """Changes when what is to be installed changes, or the folder moves."""
    digest = hashlib.sha256(str(ROOT).encode())
    for path in (Path(__file__), ROOT / "pyproject.toml", *sorted((ROOT / "requirements").glob("*.txt"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _answer(*command: str | Path) -> str | None:
    """What a command prints, or None where it fails."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _runs(program: str | Path, argument: str = "-V") -> bool:
    return _answer(program, argument) is not None


def _run(command: list[str]) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        shown = " ".join(command)
        raise SetupFailed(f"{shown}\nended with {done.returncode}:\n{(done.stderr or done.stdout).strip()}")


def _say(text: str) -> None:
    sys.stderr.write(f"setup: {text}\n")


if __name__ == "__main__":
    if sys.version_info < (3, 11):  # noqa: UP036 - any Python may be called so
        sys.exit(f"setup: Backbeat needs Python 3.11 or newer, and this is {sys.version.split()[0]}")
    try:
        main()
    except SetupFailed as failure:
        sys.exit(f"setup: {failure}")
