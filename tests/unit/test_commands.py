"""The `backbeat` command as a whole: its one voice, its one shape of a run, and which stack it means."""

import ast
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import typer
from support import ROOT
from typer.testing import CliRunner

from backbeat import ledger
from backbeat.ledger import Attempt, Outcome
from backbeat.messages import Message
from backbeat_ops import cli, localcloud, runs, status, terminal
from backbeat_ops.localcloud import NotRunning
from backbeat_ops.stack import NotFound, Stack

NOW = datetime(2026, 11, 1, 4, tzinfo=UTC)


def every_command() -> Iterator[tuple[str, Any]]:
    def walk(command: Any, path: str) -> Iterator[tuple[str, Any]]:
        yield path, command
        for name, below in getattr(command, "commands", {}).items():
            yield from walk(below, f"{path} {name}")

    yield from walk(cli.whole(), "backbeat")


COMMANDS = dict(every_command())
HOLDING = ("backbeat", "backbeat mail", "backbeat new")
ACTING = {path: command for path, command in COMMANDS.items() if path not in HOLDING}
"""Those that do something; the others only hold commands."""


@pytest.mark.parametrize("path", COMMANDS)
def test_every_help_text_is_a_sentence(path: str) -> None:
    texts = [COMMANDS[path].help] + [
        p.help for p in COMMANDS[path].params if p.name != "help" and "completion" not in p.name
    ]
    for text in texts:
        assert text is not None
        assert re.fullmatch(r"(?s)[A-Z`].*\.", text.strip()), text


@pytest.mark.parametrize("path", ACTING)
def test_every_command_takes_json(path: str) -> None:
    assert "--json" in {option for parameter in ACTING[path].params for option in parameter.opts}


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_the_list_of_commands_says_what_each_says_of_itself(name: str) -> None:
    _, _, summary = cli.COMMANDS[name]
    first, *_ = (COMMANDS[f"backbeat {name}"].help or "").split("\n\n")
    assert " ".join(first.split()) == summary


HEAVY = ("PIL", "aws_lambda_powertools", "backbeat", "boto3", "botocore", "jinja2", "psutil", "pynamodb", "starlette")


@pytest.mark.parametrize("asks", ["--help", "completion"])
def test_help_and_completion_of_commands_import_nothing_heavy(asks: str) -> None:
    completes = {"_BACKBEAT_COMPLETE": "complete_bash", "COMP_WORDS": "backbeat pa", "COMP_CWORD": "1"}
    program = (
        "import atexit, sys\n"
        f"heavy = {HEAVY!r}\n"
        "atexit.register(lambda: print('heavy:', [name for name in heavy if name in sys.modules]))\n"
        "sys.argv = ['backbeat', *sys.argv[1:]]\n"
        "from backbeat_ops.cli import main\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *(["--help"] if asks == "--help" else [])],
        env={**os.environ, **(completes if asks == "completion" else {})},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "pause" in done.stdout
    assert done.stdout.rstrip().endswith("heavy: []")


def test_one_option_has_one_meaning_and_no_flag_a_negation() -> None:
    said: dict[str, set[str]] = {}
    for command in COMMANDS.values():
        for parameter in command.params:
            assert not parameter.secondary_opts, parameter.name
            for option in parameter.opts:
                if option in ("--json", "--yes", "--wait", "--timeout", "--at", "--day"):
                    said.setdefault(option, set()).add(f"{parameter.help} {parameter.metavar}")
    assert {option: len(texts) for option, texts in said.items()} == dict.fromkeys(said, 1)
    assert len(said) == 6


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no queue 'x' in us-east-1: is it there?", "No queue 'x' in us-east-1: is it there?"),
        ("There is no task 'x'. Tasks: a.", "There is no task 'x'. Tasks: a."),
        ("send_welcome_email: user_id: Field required", "send_welcome_email: user_id: Field required."),
        ("welcome:user-1 is sent, not unknown", "welcome:user-1 is sent, not unknown."),
        ("sam build failed:\nno such file", "sam build failed:\nno such file"),
        ("", ""),
    ],
)
def test_an_error_is_said_as_a_sentence(text: str, expected: str) -> None:
    assert terminal.sentence(text) == expected


@pytest.mark.parametrize(
    ("error", "said"), [(NotFound("there is none"), "backbeat: There is none."), (NotRunning(), "`make run`")]
)
def test_what_can_be_mended_is_one_sentence_and_exits_with_1(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def raises(context: typer.Context) -> Stack:
        raise error

    monkeypatch.setattr("backbeat_ops.commands.status.the_stack", raises)
    monkeypatch.setattr("sys.argv", ["backbeat", "status"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    shown = capsys.readouterr()
    assert (ended.value.code, shown.out) == (1, "")
    assert said in shown.err


# ---- Which stack is meant --------------------------------------------------------------------------------------------


@pytest.fixture
def meant(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The stacks that the commands ask about; the local cloud answers as one."""
    asked: list[str] = []

    def status_of(stack: Stack) -> dict[str, Any]:
        asked.append(stack.name)
        return {"stack": stack.name, "tasks": {}, "verdict": {"ok": True, "wrong": [], "known": []}}

    monkeypatch.setattr(localcloud, "stack", lambda: Stack("the running local cloud's"))
    monkeypatch.setattr(Stack, "bind", lambda stack: None)
    monkeypatch.setattr(status, "status", status_of)
    return asked


@pytest.mark.parametrize("named", ["", localcloud.STACK])
def test_the_local_clouds_own_name_in_the_environment_means_the_local_cloud(named: str, meant: list[str]) -> None:
    """Producers need it there."""
    done = CliRunner().invoke(cli.app, ["status", "--json"], env={"BACKBEAT_STACK": named})
    assert (done.exit_code, meant) == (0, ["the running local cloud's"])


def test_another_name_means_a_stack_on_aws(meant: list[str]) -> None:
    CliRunner().invoke(cli.app, ["status", "--json"], env={"BACKBEAT_STACK": "prod"})
    CliRunner().invoke(cli.app, ["--stack", "dev", "status", "--json"], env={"BACKBEAT_STACK": localcloud.STACK})
    assert meant == ["prod", "dev"]


@pytest.mark.parametrize(
    "words", [["--stack", "prod", "status"], ["status", "--stack", "prod"], ["status", "--stack=prod", "--json"]]
)
def test_a_stack_may_be_named_before_a_command_or_behind_it(words: list[str], meant: list[str]) -> None:
    CliRunner().invoke(cli.app, words, env={"BACKBEAT_STACK": localcloud.STACK})
    assert meant == ["prod"]


def test_what_is_no_option_is_left_where_it_stands_and_a_missing_name_is_said() -> None:
    assert cli.stack_first(["replay", "--", "--stack", "x"]) == ["replay", "--", "--stack", "x"]
    assert cli.stack_first(["run", "task", "--stack", "a", "--at", "t", "--", "k"])[:3] == ["--stack", "a", "run"]
    said = CliRunner().invoke(cli.app, ["runs", "--stack"], env={"COLUMNS": "200"})
    assert said.exit_code == 2
    assert "requires an argument" in said.output


def test_where_the_local_cloud_is_meant_and_does_not_run_no_stack_on_aws_is_deleted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr(localcloud, "HOME", tmp_path)
    done = CliRunner().invoke(cli.app, ["down", "--yes"], env={"BACKBEAT_STACK": localcloud.STACK})
    assert isinstance(done.exception, NotRunning)


# ---- A run -----------------------------------------------------------------------------------------------------------


def test_a_run_has_one_shape_whoever_shows_it(aws: None) -> None:
    message = Message(task="update_user_statistics", id="", scheduled_time=NOW)
    attempt = Attempt(Outcome.SUCCEEDED, datetime(2026, 11, 2, 5, tzinfo=UTC), 1234, "request-1", {"users": 3})
    ledger.record(message, "analytics", attempt)
    (run,) = ledger.recent("update_user_statistics", NOW.date(), 9)
    assert runs.shown(run) == {
        "task": "update_user_statistics",
        "class": "analytics",
        "run_id": "update_user_statistics@2026-11-01T04:00:00Z",
        "about": None,
        "outcome": "succeeded",
        "reason": None,
        "attempts": 1,
        "logical_time": "2026-11-01T04:00:00Z",
        "started": "2026-11-02T05:00:00Z",
        "duration_ms": 1234,
        "result": {"users": 3},
        "error": None,
    }
    assert list(runs.on_its_queue(message)) == list(runs.shown(run))


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (
            {"sent": 21, "trending": ["#a", "#b"], "why": None, "of": {"x": 1}},
            "sent 21, trending (#a, #b), why none, of (x 1)",
        ),
        ("done", "done"),
        (["a", 2], "a, 2"),
        (0, "0"),
        (None, ""),
    ],
)
def test_whatever_a_task_returns_is_said_in_a_line(result: Any, said: str) -> None:
    assert runs.words(result) == said


def test_a_name_is_never_cut_off_on_a_narrow_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    rows = terminal.table("name", "number", "what became of it", numbers=("number",))
    rows.add_row("update_post_engagement_scores", "7", "a long story " * 9)
    terminal.Console(width=60).print(rows)
    shown = capsys.readouterr().out
    assert "update_post_engagement_scores       7  a long story" in shown
    assert shown.count("story") == 9


def test_a_terminal_too_narrow_for_a_table_shows_each_row_in_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = terminal.Console(width=60, record=True, color_system=None)
    monkeypatch.setattr(terminal, "console", narrow)
    rows = terminal.table("task", "next (UTC)", "last run")
    rows.add_row(
        "update_post_engagement_scores\n[dim]cron(0 5 * * ? *)[/]", "Thu 26 Nov 05:00", "[green]succeeded[/] 5m ago"
    )
    terminal.print_table(rows)
    assert narrow.export_text().split("\n") == [
        "task        update_post_engagement_scores",
        "            cron(0 5 * * ? *)",
        "next (UTC)  Thu 26 Nov 05:00",
        "last run    succeeded 5m ago",
        "",
        "",
    ]
    terminal.print_table(terminal.table("task"), "There are none.")
    assert "There are none." in narrow.export_text()


def test_a_long_line_goes_on_below_where_its_text_began(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = terminal.Console(width=40, force_terminal=True, color_system=None, record=True)
    monkeypatch.setattr(terminal, "console", narrow)
    terminal.print_hanging("[bold]wrong[/]  ", "dead letters: 20 messages of process_media_upload are dead.")
    shown = [line.rstrip() for line in narrow.export_text().splitlines()]
    assert shown == ["wrong  dead letters: 20 messages of", "       process_media_upload are dead."]
    terminal.print_hanging("key  ", f"posts/{'x' * 40}/a.jpg and more")
    assert f"key  posts/{'x' * 40}/a.jpg and more\n" in narrow.export_text()
    told = io.StringIO()
    terminal.print_hanging("  ", "a long line " * 20, to=terminal.Console(file=told, width=40))
    assert told.getvalue() == "  " + "a long line " * 20 + "\n"


def test_no_color_is_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rich knows the variable; a terminal that is none gets no escapes at all."""
    monkeypatch.setenv("NO_COLOR", "1")
    said = io.StringIO()
    console = terminal.Console(file=said, force_terminal=True, width=60)
    console.print(f"{terminal.outcome('dead')} [red]7[/]")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", said.getvalue())
    assert "dead" in said.getvalue() and "7" in said.getvalue()


def test_an_error_wraps_between_words_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = terminal.Console(width=40, force_terminal=True, color_system=None, record=True)
    monkeypatch.setattr(terminal, "errors", errors)
    terminal.complain("there is no schedule 'nope' in backbeat-local")
    assert errors.export_text() == "backbeat: There is no schedule 'nope' in\nbackbeat-local.\n"


# ---- The modules -----------------------------------------------------------------------------------------------------

OPS = ROOT / "backbeat_ops"
PRINTING = {OPS / "cli.py", OPS / "terminal.py", *(OPS / "commands").glob("*.py")}


def imported(path: Any) -> list[tuple[str, str]]:
    """Modules that a file imports, with the names that it takes from them."""
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [(node.module or "", alias.name) for alias in node.names]
    return found


def test_what_is_answered_knows_nothing_of_how_it_is_printed() -> None:
    """A page shows the same answers."""
    answering = sorted(set(OPS.glob("*.py")) - PRINTING)
    assert len(answering) >= 8
    wrong = [
        (path.name, module, name)
        for path in answering
        for module, name in imported(path)
        if module.split(".")[0] in ("typer", "rich")
        or {module, f"{module}.{name}"} & {"backbeat_ops.cli", "backbeat_ops.terminal", "backbeat_ops.commands"}
        or module.startswith("backbeat_ops.commands")
    ]
    assert wrong == []


def test_no_module_takes_what_is_private_to_another() -> None:
    wrong = [
        (path.name, module, name)
        for path in OPS.rglob("*.py")
        for module, name in imported(path)
        if module.startswith("backbeat") and name.startswith("_")
    ]
    assert wrong == []
