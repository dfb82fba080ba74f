"""A new task: all that it needs, written into the project so that its checks and tests pass as before.

What is to be written is worked out first, so that nothing is where something is in the way.
"""

import importlib.util
import keyword
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from backbeat import tasks
from backbeat.producer import PRIORITIES, Retry
from backbeat_ops import emulator
from backbeat_ops.emulator import NotUnderstood
from backbeat_ops.new.event import as_file, event, scheduled, sent
from backbeat_ops.schedules import in_words

LONGEST_STACK = 26
"""The longest name of a stack that template.yaml takes (`ShortStackName`)."""
LONGEST_QUEUE = 80
"""The longest name of a queue (SQS, `CreateQueue`)."""
LONGEST_FUNCTION = 64
"""The longest name of a function (Lambda, `CreateFunction`)."""
LONGEST_LINE = 120

HEAVY = ("media", "analytics", "maintenance")
"""Classes whose messages are worked on one at a time."""
LEAST = 2
"""SQS refuses a lower maximum concurrency of an event source."""
UNITS = {"minimal": 0, "standard": 2, "large": 20}
"""What a class has for each point of its priority, by the parameter `Capacity`."""

PARTS_OF_A_TASK = (
    "Queue",
    "DeadQueue",
    "FunctionQueue",
    "Logs",
    "Role",
    "QueuePolicy",
    "Schedule",
    "Function",
    "Policy",
)
"""What the logical ids of a task's resources end with, alarms aside."""

TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    undefined=StrictUndefined,
    autoescape=False,  # noqa: S701 - Python and YAML, of a name that is letters, digits and _
)


class NotWritten(ValueError):
    """A task cannot be written as it was asked for, and nothing has been; the text says why."""


@dataclass(frozen=True, slots=True)
class Written:
    """What was written.

    Attributes:
        task: The task's name.
        files: New files, and those that were changed, from the project's folder.
        shares: For each capacity, what each task of the class has now of what the class has to share.
    """

    task: str
    files: list[str]
    shares: dict[str, dict[str, int]]


@dataclass(slots=True)
class _Project:
    """The files that change, with what they will hold."""

    root: Path
    files: dict[str, str] = field(default_factory=dict)

    def read(self, name: str) -> str:
        if name not in self.files:
            try:
                self.files[name] = (self.root / name).read_text("utf-8")
            except FileNotFoundError:
                raise NotWritten(f"there is no {name} in {self.root}: a task is written into a checkout") from None
        return self.files[name]

    def insert(self, name: str, place: str, text: str, what: str) -> None:
        """Put a text behind the last match of a pattern of whole lines."""
        content = self.read(name)
        matches = list(re.finditer(place, content, re.MULTILINE | re.DOTALL))
        if not matches:
            raise NotWritten(f"{name} has no {what}, so there is no telling where the task's part goes")
        end = matches[-1].end()
        self.files[name] = content[:end] + text + content[end:]


def new_task(root: Path, name: str, task_class: str, cron: str | None = None, in_parts: bool = False) -> Written:
    """Write a task: declaration, function, events, tests, its part of the template, its lines in the pages.

    Args:
        root: The project's folder.
        name: The task's name.
        task_class: Its class.
        cron: When it runs, in UTC, as `cron(...)` or the six fields alone; None for a task that messages start.
        in_parts: Whether its runs are made in parts.

    Raises:
        NotWritten: The name, the class or the cron expression cannot be taken, or the project is not as expected.
        NotDrawn: All is written, but docs/architecture.svg could not be drawn anew.
    """
    expression = _expression(cron) if cron is not None else None
    project = _Project(root)
    _check(project, name, task_class)
    logical = logical_name(name)
    sweep = expression is not None or in_parts
    values = {
        "name": name,
        "task_class": task_class,
        "logical": logical,
        "sweep": sweep,
        "in_parts": in_parts,
    }

    def rendered(template: str) -> str:
        return TEMPLATES.get_template(template).render(values)

    new = {
        f"functions/{name}/{name}.py": rendered("function.py.jinja"),
        f"tests/unit/test_{name}.py": rendered("test.py.jinja"),
        **{f"events/{name}/{file}.json": text for file, text in _events(name, task_class, expression, sweep).items()},
    }
    for file in new:
        if (root / file).exists():
            raise NotWritten(f"{file} is there already")

    project.files["layers/shared/backbeat/tasks.py"] = project.read("layers/shared/backbeat/tasks.py") + rendered(
        "declaration.py.jinja"
    )
    shares = _add_row(project, name, task_class, expression, in_parts)
    for anchor in ("Tasks", "SentByRoles", *(["Scheduled"] if expression else [])):
        _add_to_list(project, anchor, logical)
    banner = rf"^  # Class {task_class} \(priority \d+\)\n  # -+\n.*?(?=^  # -+$)"
    project.insert("template.yaml", banner, rendered("template.yaml.jinja"), f"section for class {task_class}")
    does = "counts the users who were touched since its last run" if sweep else "looks a user up"
    project.insert(
        "docs/architecture.md",
        rf"^\| {task_class} \| `\w+` \| .*? \|\n",
        f"| {task_class} | `{name}` | {does}, as an example |\n",
        f"row for a task of class {task_class}",
    )
    if expression:
        project.insert(
            "docs/schedules.md",
            r"^\| schedule \(UTC\) \| task \|\n(\|[^\n]*\|\n)+",
            f"| {in_words(expression)} | `{name}` |\n",
            "table of schedules",
        )

    for file, text in {**project.files, **new}.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(text, encoding="utf-8")
    _draw(root)
    return Written(name, [*new, *project.files, "docs/architecture.svg"], shares)


class NotDrawn(RuntimeError):
    """The picture of the architecture could not be drawn; the text says why."""


def _draw(root: Path) -> None:
    """Draw docs/architecture.svg anew, by a process of its own, which sees the task that this one does not know."""
    path = os.pathsep.join(str(root / folder) for folder in ("tests", "layers/shared", "."))
    done = subprocess.run(
        [sys.executable, root / "tests/drawing.py"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise NotDrawn(f"the task is written, but docs/architecture.svg is not drawn anew (`make drawing`): {why}")


def logical_name(task: str) -> str:
    """What the logical ids of a task's resources begin with: `send_welcome_email` is `SendWelcomeEmail`."""
    return task.title().replace("_", "")


def _expression(cron: str) -> str:
    """A cron expression as the template holds it."""
    text = cron.strip()
    expression = text if "(" in text else f"cron({text})"
    if not expression.startswith("cron("):
        raise NotWritten(f"{text!r} is no cron expression; one is cron(0 3 * * ? *), daily at 03:00 UTC")
    now = datetime.now(UTC)
    try:
        if next(emulator.times({"ScheduleExpression": expression}, now), None) is None:
            raise NotWritten(f"{expression!r} never fires")
    except NotUnderstood as error:
        raise NotWritten(f"{error}; the fields are minute, hour, day, month, day of the week, year") from error
    return expression


def _check(project: _Project, name: str, task_class: str) -> None:
    """See that the name and the class can be taken."""
    if task_class not in PRIORITIES:
        raise NotWritten(f"there is no class {task_class!r}. Classes: {', '.join(PRIORITIES)}.")
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name):
        raise NotWritten(f"{name!r} is no name for a task; one is of lower case words with _ between: count_likes")
    longest = min(
        LONGEST_FUNCTION - LONGEST_STACK - len("-"),
        LONGEST_QUEUE - LONGEST_STACK - len(f"-{task_class}--dead"),
    )
    if len(name) > longest:
        raise NotWritten(
            f"{name!r} has {len(name)} characters, and a task of class {task_class} may have {longest}: its queues and "
            f"its function are named after the stack and it"
        )
    template = project.read("template.yaml")
    row = re.search(rf"^      \{{Name: {name},", template, re.MULTILINE)
    if name in tasks.TASKS or row or (project.root / "functions" / name).exists():
        raise NotWritten(f"there is a task, or a function, {name!r} already")
    modules = [*project.root.glob(f"functions/*/{name}.py"), *project.root.glob(f"tests/{name}.py")]
    if modules or hasattr(tasks, name) or importlib.util.find_spec(name) is not None:
        raise NotWritten(f"{name!r} is taken: a module or a name of that kind would be hidden by the task's")
    taken = set(re.findall(r"^  (\w+):", template, re.MULTILINE)) | {
        task + part
        for task in re.findall(r"^    (\w+):[^\n]*\n      \{Name: ", template, re.MULTILINE)
        for part in PARTS_OF_A_TASK
    }
    if both := sorted(taken & {logical_name(name) + part for part in PARTS_OF_A_TASK}):
        raise NotWritten(f"{name!r} would make a resource {both[0]} in template.yaml, which another one is called")


def _events(name: str, task_class: str, expression: str | None, sweep: bool) -> dict[str, str]:
    """The events of a task, by the name of their file."""
    if not sweep:
        at, body = datetime(2026, 11, 1, 9, tzinfo=UTC), sent
        good: dict[str, Any] = {"user_id": "user-1"}
        bad: dict[str, Any] = {"user_id": 1}
    else:
        at, body = datetime(2026, 11, 1, 3, tzinfo=UTC), scheduled if expression else sent
        good, bad = {}, {"full": "perhaps"}
    bodies = {
        "typical": [body(name, good, at)],
        "duplicate": [body(name, good, at)] * 2,
        "poison": [body(name, bad, at.replace(minute=30))],
    }
    return {file: as_file(event(name, task_class, texts, at)) for file, texts in bodies.items()}


def _add_row(
    project: _Project, name: str, task_class: str, expression: str | None, in_parts: bool
) -> dict[str, dict[str, int]]:
    """Add a task's row to the table, with its share of what its class has; return the shares."""
    pattern = rf"^    (\w+):[^\n]*\n      (\{{Name: (\w+), Class: {task_class},[^}}]*\}})\n"
    rows = {m[3]: m[2] for m in re.finditer(pattern, project.read("template.yaml"), re.MULTILINE)}
    if not rows:
        raise NotWritten(
            f"template.yaml has no row for a task of class {task_class}, so there is no telling where to add"
        )
    heavy = task_class in HEAVY or in_parts
    timeout = 300 if heavy or expression else 30
    columns: dict[str, object] = {
        "Name": name,
        "Class": task_class,
        "Memory": 1024 if heavy else 512,
        "Timeout": timeout,
        **({"Cron": f'"{expression}"'} if expression else {}),
        "Batch": 1 if heavy else 10,
        "Visibility": 6 * timeout,
        "Receives": Retry().attempts + 5,
        "Late": min(_column(row, "Late") for row in rows.values()),
    }
    shares = {}
    for capacity, units in UNITS.items():
        now = {task: _column(row, capacity) for task, row in rows.items()}
        shares[capacity] = share_out(now, name, PRIORITIES[task_class] * units)
        columns[capacity] = shares[capacity][name]
    text = project.read("template.yaml")
    for task, row in rows.items():
        changed = row
        for capacity in UNITS:
            changed = re.sub(rf"\b{capacity}: \d+", f"{capacity}: {shares[capacity][task]}", changed)
        text = text.replace(row, changed)
    project.files["template.yaml"] = text
    items = [f"{key}: {value}" for key, value in columns.items()]
    added = f"    {logical_name(name)}:\n" + wrapped("      {", items, "}") + "\n"
    project.insert("template.yaml", pattern, added, f"row for a task of class {task_class}")
    return shares


def _column(row: str, name: str) -> int:
    found = re.search(rf"\b{name}: (\d+)", row)
    if found is None:
        raise NotWritten(f"template.yaml has a row without {name}: {row}")
    return int(found[1])


def share_out(shares: Mapping[str, int], name: str, total: int) -> dict[str, int]:
    """Give a new task its part of what its class has; those that have most give most of it.

    Args:
        shares: What the tasks of the class have.
        name: The new task.
        total: What the class has to share out, unless each would be left with less than 2.
    """
    total = max(total, LEAST * (len(shares) + 1))
    found = {**shares, name: max(LEAST, total // (len(shares) + 1))}
    for _ in range(sum(found.values()) - total):
        found[max(shares, key=lambda task: found[task])] -= 1
    return found


def _add_to_list(project: _Project, anchor: str, logical: str) -> None:
    """Add a task to one of the lists that the template's loops go over."""
    content = project.read("template.yaml")
    match = re.search(rf"^    {anchor}: &{anchor}\b[^\n]*\n      \[([^]]*)\]\n", content, re.MULTILINE)
    if match is None:
        raise NotWritten(f"template.yaml has no list {anchor}, so there is no telling where the task's part goes")
    items = [item.strip() for item in match[1].split(",")]
    head = match[0].split("\n")[0]
    text = f"{head}\n{wrapped('      [', [*items, logical], ']')}\n"
    project.files["template.yaml"] = content[: match.start()] + text + content[match.end() :]


def wrapped(start: str, items: Sequence[str], end: str) -> str:
    """Items with commas between, in lines that are not too long; each but the first is indented like the first item."""
    lines = [start]
    for number, item in enumerate(items):
        text = item + (end if number == len(items) - 1 else ",")
        gap = "" if lines[-1] in (start, " " * len(start)) else " "
        if len(lines[-1] + gap + text) > LONGEST_LINE:
            lines.append(" " * len(start))
            gap = ""
        lines[-1] += gap + text
    return "\n".join(lines)
