"""`backbeat new`: a task that leaves the project as whole as it was, and events for it."""

import itertools
import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pieces import lacking
from support import ROOT, STACK, Context, Queue, copied
from typer.testing import CliRunner

from backbeat.messages import parse
from backbeat.producer import PRIORITIES
from backbeat.tasks import TASKS
from backbeat_ops import cli
from backbeat_ops.new.event import event
from backbeat_ops.new.task import LEAST, UNITS, NotWritten, new_task, share_out, wrapped
from send_notification import handle

WHEN = datetime(2026, 11, 1, 9, tzinfo=UTC)


def made_in(folder: Path, *command: str) -> str:
    """Run one of the project's tools in a copy of it; return what it says."""
    path = os.pathsep.join(str(folder / where) for where in ("layers/shared", "."))
    done = subprocess.run(
        [Path(sys.executable).with_name(command[0]), *command[1:]],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# ---- A task ----------------------------------------------------------------------------------------------------------


@pytest.mark.proof
def test_a_project_with_new_tasks_passes_its_checks_and_tests(tmp_path: Path) -> None:
    """One that messages start, one that a schedule starts, and one in parts. Left out: `sam validate`, which lints once
    more and takes as long as all else, and what is about the wheel."""
    copy = copied(tmp_path)
    cache = ROOT / ".mypy_cache"
    if cache.is_dir():
        shutil.copytree(cache, copy / ".mypy_cache", ignore_dangling_symlinks=True)
    new_task(copy, "greet", "emails")
    new_task(copy, "count_shares", "default", "0 3 * * ? *")
    new_task(copy, "recount_everything_that_was_ever_said", "analytics", "cron(0/15 8-18 ? * MON-FRI *)", in_parts=True)
    names = ("greet", "count_shares", "recount_everything_that_was_ever_said")
    made_in(copy, "ruff", "check", ".")
    made_in(copy, "ruff", "format", "--check", ".")
    made_in(copy, "mypy", "layers", *(f"functions/{name}" for name in names))
    tests = [f"tests/unit/test_{name}.py" for name in names]
    without = ("--ignore", "tests/architecture/test_wheel.py", "--deselect")
    sam = "tests/architecture/test_template.py::test_sam_accepts_it"
    said = made_in(copy, "pytest", "-q", "-p", "no:cacheprovider", *tests, "tests/architecture", *without, sam)
    assert "skipped" not in said


def test_what_a_task_lacks_is_said_at_once_with_where_it_goes() -> None:
    said = "\n".join(lacking("never_written"))
    for file in (
        "layers/shared/backbeat/tasks.py",
        "functions/never_written/never_written.py",
        "tests/unit/test_never_written.py",
        "template.yaml, Mappings",
        "template.yaml, Metadata, Lists, Tasks",
        "template.yaml, Metadata, Lists, SentByRoles",
        "NeverWrittenFunction",
        "NeverWrittenPolicy",
        "events/never_written/poison.json",
        "docs/architecture.md",
    ):
        assert file in said, file
    assert "schedules" not in said


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """As much of the project as a task is written into."""
    for name in ("template.yaml", "layers/shared/backbeat/tasks.py", "docs/architecture.md", "docs/schedules.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "task_class", "cron", "said"),
    [
        ("greet", "mails", None, "there is no class 'mails'. Classes: media, emails, "),
        ("Greet", "emails", None, "'Greet' is no name for a task"),
        ("greet__all", "emails", None, "'greet__all' is no name for a task"),
        ("9_lives", "emails", None, "is no name for a task"),
        ("lambda", "emails", None, "is no name for a task"),
        ("../greet", "emails", None, "is no name for a task"),
        ("g" * 38, "default", None, "has 38 characters, and a task of class default may have 37"),
        ("g" * 37, "maintenance", None, "has 37 characters, and a task of class maintenance may have 36"),
        ("send_notification", "emails", None, "there is a task, or a function, 'send_notification' already"),
        ("json", "emails", None, "'json' is taken"),
        ("task", "emails", None, "'task' is taken"),
        ("send_notification_function", "emails", None, "a resource SendNotificationFunctionQueue in template.yaml"),
        ("mail", "emails", None, "would make a resource MailPolicy in template.yaml"),
        ("greet", "emails", "0 3 * * *", "'cron(0 3 * * *)'"),
        ("greet", "emails", "cron(99 3 * * ? *)", "'cron(99 3 * * ? *)'"),
        ("greet", "emails", "rate(1 hour)", "'rate(1 hour)' is no cron expression"),
        ("greet", "emails", "0 3 * * ? 2020", "'cron(0 3 * * ? 2020)' never fires"),
    ],
)
def test_what_cannot_be_taken_is_said_and_nothing_is_written(
    name: str, task_class: str, cron: str | None, said: str, small: Path
) -> None:
    before = {path: path.read_bytes() for path in small.rglob("*") if path.is_file()}
    with pytest.raises(NotWritten) as refused:
        new_task(small, name, task_class, cron)
    assert said in str(refused.value)
    assert {path: path.read_bytes() for path in small.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("file", "old", "said"),
    [
        ("template.yaml", "  # Class emails", "template.yaml has no section for class emails"),
        ("template.yaml", "Class: emails", "template.yaml has no row for a task of class emails"),
        ("template.yaml", "Scheduled: &Scheduled", "template.yaml has no list Scheduled"),
        ("docs/architecture.md", "| emails |", "docs/architecture.md has no row for a task of class emails"),
        ("docs/schedules.md", "| schedule (UTC) |", "docs/schedules.md has no table of schedules"),
    ],
)
def test_a_project_that_looks_otherwise_is_left_alone(file: str, old: str, said: str, small: Path) -> None:
    changed = (small / file).read_text("utf-8").replace(old, "something else")
    (small / file).write_text(changed, encoding="utf-8")
    with pytest.raises(NotWritten) as refused:
        new_task(small, "greet", "emails", "0 3 * * ? *")
    assert said in str(refused.value)
    assert not (small / "functions").exists()
    assert (small / file).read_text("utf-8") == changed


def test_what_is_there_is_not_written_over(small: Path) -> None:
    (small / "tests/unit").mkdir(parents=True)
    (small / "tests/unit/test_greet.py").write_text("mine")
    with pytest.raises(NotWritten, match=r"tests/unit/test_greet.py is there already"):
        new_task(small, "greet", "emails")
    assert not (small / "functions").exists()


def test_without_a_checkout_there_is_nothing_to_write_into(tmp_path: Path) -> None:
    with pytest.raises(NotWritten, match=r"there is no template.yaml in .*: a task is written into a checkout"):
        new_task(tmp_path, "greet", "emails")


@given(
    st.lists(st.integers(0, 99), max_size=12), st.sampled_from(list(PRIORITIES.values())), st.sampled_from(list(UNITS))
)
def test_a_class_has_the_same_to_share_out_after_a_new_task(picks: list[int], priority: int, capacity: str) -> None:
    total = priority * UNITS[capacity]
    shares: dict[str, int] = {"first": max(total, LEAST)}
    for number, _ in enumerate(picks):
        shares = share_out(shares, f"task_{number}", total)
    assert sum(shares.values()) == max(total, LEAST * len(shares))
    assert min(shares.values()) >= LEAST
    assert max(shares.values()) - min(shares.values()) <= 1 + len(shares)


def test_lines_are_wrapped_where_they_are_too_long() -> None:
    items = [f"item_{number}" for number in range(30)]
    lines = wrapped("      [", items, "]").splitlines()
    assert len(lines) > 1
    assert all(len(line) <= 120 for line in lines)
    assert all(line.startswith(" " * 7 + "item_") for line in lines[1:])
    assert [item.strip() for item in "".join(lines).strip(" []").split(",")] == items


# ---- An event --------------------------------------------------------------------------------------------------------


def printed(*words: str) -> Any:
    done = CliRunner().invoke(cli.app, ["new", "event", *words])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout.replace("backbeat-local", STACK).replace("000000000000", "123456789012"))


def test_an_event_is_one_that_its_function_takes(aws: None) -> None:
    words = ["send_notification", "user_id=nobody", "kind=", "text=Hi", "--at", "2026-11-01T09:00Z"]
    answer = handle.lambda_handler(printed(*words), Context())
    assert answer == {"batchItemFailures": []}
    assert [letter["reason"] for letter in Queue(f"{STACK}-default-send_notification").dead()] == ["invalid_text"]


def test_one_as_its_schedule_sends_it() -> None:
    found = printed("update_user_statistics", "full=true", "--scheduled", "--at", "2026-11-01T03:00Z", "--times", "2")
    first, second = found["Records"]
    assert first["body"] == second["body"]
    assert first["messageId"] != second["messageId"]
    message = parse(first["body"], "update_user_statistics", "", WHEN)
    assert message is not None
    assert (message.id, message.kwargs) == ("update_user_statistics@2026-11-01T03:00:00Z", {"full": True})


def test_one_of_whatever_it_is_given() -> None:
    (record,) = printed("send_notification", "--body", "{oops")["Records"]
    assert record["body"] == "{oops"
    done = CliRunner().invoke(cli.app, ["new", "event", "send_notification", "kind=like", "--body", "{oops"])
    assert (done.exit_code, "--body is the whole message" in " ".join(done.output.split())) == (2, True)


def test_the_same_messages_make_the_same_event() -> None:
    made = [
        event(name, TASKS[name].task_class, ["{}"] * 2, WHEN) for name in ("send_notification", "send_notification")
    ]
    assert made[0] == made[1]
    ids = [record["messageId"] for record in itertools.chain(*(found["Records"] for found in made[:1]))]
    assert len(set(ids)) == 2


def test_arguments_that_do_not_fit_are_refused_by_name() -> None:
    done = CliRunner().invoke(cli.app, ["new", "event", "send_notification", "user=1"])
    assert "user: Extra inputs are not permitted" in str(done.exception)
