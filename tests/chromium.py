"""The browser that tests of pages are run in, installed inside the project's folder; `make browser` calls it.

It is npm's `@sparticuz/chromium`, which holds the browser itself, so that npm's registry is all that is needed; and
Debian's `chromium` where there is no npm. axe-core, which looks for faults of accessibility, comes from npm, too.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent / "browser"
HOME = HERE.parent.parent / ".backbeat/browser"
UNPACK = """
import chromium, { inflate } from "@sparticuz/chromium";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
const bin = join(dirname(createRequire(import.meta.url).resolve("@sparticuz/chromium")), "../bin");
await chromium.executablePath(bin);
await inflate(join(bin, "al2023.tar.br"));
"""
"""Unpacks the browser, its font, and the libraries that Debian's libnss3 has, to Node's folder of temporary files."""
FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig>
  <dir>{fonts}</dir>
  <dir>/usr/share/fonts</dir>
  <cachedir>{cache}</cachedir>
  <alias><family>system-ui</family><prefer><family>Open Sans</family></prefer></alias>
  <alias><family>sans-serif</family><prefer><family>Open Sans</family></prefer></alias>
</fontconfig>
"""


class NoBrowser(Exception):
    """There is no browser, and none can be had; the text says what helps."""


@dataclass(frozen=True, slots=True)
class Browser:
    """A browser to run.

    Attributes:
        path: Its program.
        environment: What it needs in its environment.
    """

    path: Path
    environment: dict[str, str]


def install() -> None:
    """Install what the tests of pages need from npm, unless it is there.

    Raises:
        NoBrowser: There is no npm, or it failed.
    """
    lock, stamp = HERE / "package-lock.json", HOME / "browser.stamp"
    wanted = hashlib.sha256(lock.read_bytes() + Path(__file__).read_bytes() + str(HOME).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    if not shutil.which("npm"):
        raise NoBrowser(
            "The tests of pages need npm, for the browser they run in and for what checks its pages: install Node.js "
            "with npm (on Debian and Ubuntu: apt install npm), and try again."
        )
    stamp.unlink(missing_ok=True)
    shutil.rmtree(HOME / "chromium", ignore_errors=True)
    (HOME / "chromium").mkdir(parents=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, HOME)
    (HOME / "unpack.mjs").write_text(UNPACK)
    _run("npm", "ci", "--silent", "--no-audit", "--no-fund", "--prefix", str(HOME))
    if _for_this_machine():
        _run("node", str(HOME / "unpack.mjs"))
        fonts = FONTS.format(fonts=HOME / "chromium/fonts", cache=HOME / "fonts-cache")
        (HOME / "fonts.conf").write_text(fonts)
    stamp.write_text(wanted)


def find() -> Browser:
    """The browser: npm's where that runs here, else the machine's own.

    Raises:
        NoBrowser: There is none.
    """
    path = HOME / "chromium/chromium"
    if path.exists():
        needs = subprocess.run(["ldd", path], capture_output=True, text=True, check=False).stdout
        libraries = {"LD_LIBRARY_PATH": str(HOME / "chromium/al2023/lib")} if "not found" in needs else {}
        return Browser(path, {"FONTCONFIG_FILE": str(HOME / "fonts.conf"), **libraries})
    own = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    if own:
        return Browser(Path(own), {})
    raise NoBrowser(
        "There is no browser for the tests of pages: npm's runs on Linux on x86-64 only. "
        "Install Chromium (on Debian and Ubuntu: apt install chromium), and try again."
    )


def axe() -> str:
    """axe-core's source, to be run in a page."""
    return (HOME / "node_modules/axe-core/axe.min.js").read_text("utf-8")


def _for_this_machine() -> bool:
    return sys.platform == "linux" and platform.machine() == "x86_64"


def _run(*command: str) -> None:
    environment = {**os.environ, "TMPDIR": str(HOME / "chromium")}
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=600
    )
    if done.returncode:
        raise NoBrowser(f"{' '.join(command)} ended with {done.returncode}: {(done.stderr or done.stdout).strip()}")


if __name__ == "__main__":
    try:
        install()
        find()
    except NoBrowser as error:
        sys.exit(str(error))
