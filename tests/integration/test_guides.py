"""What the guides say to type at night is typed here, as far as it only looks; other tests hold what it answers."""

import re
import shlex

import pytest
from support import ROOT
from typer.testing import CliRunner

from backbeat import letters
from backbeat_ops import cli
from backbeat_ops.stack import Stack

LOOKS = r"(status|capacity|dead|dead list|runs|schedules|logs|mail list)(?= -| process|$)"
MISSING = r"\bID\b|--follow|--watch|--cause"
"""A line that names what is not there, or that has no end."""


def calls() -> list[str]:
    """The commands in the guide's blocks that only look, each with each set of its options once."""
    lines = []
    text = (ROOT / "docs/operating.md").read_text("utf-8")
    for block in re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        lines += [line.partition(" #")[0].strip() for line in block.splitlines()]
    typed = [line.removeprefix("backbeat ") for line in lines if line.startswith("backbeat ")]
    looks = [line for line in typed if re.match(LOOKS, line) and not re.search(MISSING, line)]
    by_options = {re.sub(r"(?<= )[a-z0-9_:-]+(?= |$)", "…", line.replace(" list", "_list")): line for line in looks}
    return list(by_options.values())


def test_every_call_that_only_looks_answers(cloud: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letters, "SECONDS_TO_ASK", 0)
    typed = calls()
    assert len(typed) >= 10
    for line in typed:
        done = CliRunner().invoke(cli.app, shlex.split(line), env={"BACKBEAT_STACK": "", "COLUMNS": "120"})
        assert done.exception is None or isinstance(done.exception, SystemExit), (line, done.exception)
        assert done.exit_code == (1 if line.startswith("status") and done.exit_code else 0), (line, done.output)
        assert done.output.strip() or line.startswith("logs"), line
