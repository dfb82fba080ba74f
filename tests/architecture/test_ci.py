"""CI, the hooks and the README run the same commands."""

import re
from typing import Any

import yaml
from support import ROOT

COMMANDS = re.findall(r"^make .+$", (ROOT / ".ci/run").read_text("utf-8"), re.MULTILINE)


def parsed(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text("utf-8"))


def test_ci_runs_the_readmes_test_command() -> None:
    assert "make test" in COMMANDS
    assert re.search(r"^make test$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)


def test_the_workflow_runs_what_ci_runs() -> None:
    steps = parsed(".github/workflows/ci.yml")["jobs"]["ci"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == [".ci/run"]
    assert (ROOT / ".ci/run").stat().st_mode & 0o111, "it must be executable"


def test_the_hooks_run_what_ci_runs() -> None:
    (repository,) = parsed(".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local", "a hook from elsewhere would be fetched"
    assert [hook["entry"] for hook in repository["hooks"]] == COMMANDS
