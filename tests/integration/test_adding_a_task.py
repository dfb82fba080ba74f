"""docs/adding-a-task.md, from its first block to its last, in a copy of the project with a local cloud of its own."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import ROOT, any_port, copied

PAGE = (ROOT / "docs/adding-a-task.md").read_text("utf-8")


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """A copy of the project, with this one's environments; its local cloud is stopped at the end."""
    copy = copied(tmp_path)
    (copy / ".backbeat").mkdir()
    (copy / ".backbeat/emulator").symlink_to(ROOT / ".backbeat/emulator")
    yield copy
    done(copy, "backbeat down --keep-data", {})


def done(project: Path, script: str, variables: dict[str, str]) -> str:
    """Run a block's lines in a shell, as a reader would; return what they say."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "BACKBEAT_"))}
    path = os.pathsep.join(str(project / where) for where in ("layers/shared", "."))
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=project,
        env={
            **own,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{own['PATH']}",
            "PYTHONPATH": path,
            "COLUMNS": "200",
            **variables,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, f"{script}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


@pytest.mark.proof
def test_the_page_leads_from_nothing_to_tasks_that_ran(project: Path) -> None:
    port = any_port()
    page = PAGE.replace(":4566", f":{port}").replace(
        "backbeat up --detach\n", f"backbeat up --detach --port {port}\n", 1
    )
    variables: dict[str, str] = {}
    said = []
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    for kind, block in blocks:
        place, _, rest = block.partition("\n")
        if kind == "python":
            (project / place.removeprefix("# ")).write_text(rest, encoding="utf-8")
        elif kind == "yaml":
            file, policy = re.fullmatch(r"# (\S+), (\w+)", place).groups()  # type: ignore[union-attr]
            before, start, after = (project / file).read_text("utf-8").partition(f"\n  {policy}:\n")
            own, statements, others = after.partition("        Statement:\n")
            (project / file).write_text(before + start + own + statements + rest + others, encoding="utf-8")
        elif block.startswith("export "):
            for pair in re.findall(r"\b([A-Z_]+)=(\S+)", block):
                variables[pair[0]] = pair[1]
        else:
            assert kind == "sh"
            said.append(done(project, settled(block), variables))
    runs = [text for text in said if "greet  " in text]
    assert "rejected" in runs[0] and "there is no user 'ada'" in runs[0]
    assert "succeeded" in runs[1] and "posts 0" in runs[1]
    assert runs[2].count("succeeded") == 2
    assert [kind for kind, _ in blocks].count("python") == 2
    assert '"users": 0' in said[2]
    assert (project / "events/greet/unknown_user.json").is_file()


def settled(block: str) -> str:
    """A block that waits, before it looks at runs, until what it has sent has come to an end; a reader takes longer.

    `make` would set up environments first, and these are another project's: its recipe alone is run.
    """
    # `status` exits with 1 here, as the page's second run is dead.
    wait = "until { backbeat status --json || true; } | python -c '" + IDLE + "'; do sleep 0.2; done"
    block = block.replace("make drawing", "PYTHONPATH=tests:$PYTHONPATH python tests/drawing.py")
    return block.replace("backbeat runs", f"{wait}\nbackbeat runs")


IDLE = 'import json, sys; t = json.load(sys.stdin)["tasks"]["greet"]; sys.exit(t["waiting"] + t["in_flight"] > 0)'
