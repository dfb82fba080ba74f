"""What the guides show is what the code takes."""

import inspect
import re
from datetime import UTC, datetime

from support import ROOT

from backbeat import messages
from backbeat.ledger import Outcome
from backbeat.models import RunRecord
from backbeat.producer import Retry, Task
from backbeat.tasks import TASKS
from backbeat_ops import emulator, runs

GUIDE = (ROOT / "docs/guide.md").read_text()
MIGRATING = (ROOT / "docs/migrating-from-celery.md").read_text()


def test_the_message_for_other_languages_is_one_that_its_task_takes() -> None:
    section = GUIDE.split("### From other languages")[1]
    queue = re.search(r"--queue-name backbeat-([a-z]+)-([a-z_]+)", section)
    body = re.search(r"```json\n(.*?)```", section, re.DOTALL)
    assert queue is not None and body is not None
    task = TASKS[queue[2]]
    assert task.task_class == queue[1]
    message = messages.parse(body[1], task.name, "sqs-id", datetime.now(UTC))
    assert message is not None
    assert message.id != "sqs-id"
    assert message.logical_time == datetime(2026, 11, 1, 4, tzinfo=UTC)
    task.parse(message.kwargs)


def test_the_fields_of_a_message_are_described() -> None:
    section = GUIDE.split("### From other languages")[1].split("\n#")[0]
    described = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
    assert described == set(messages.Message.model_fields) - {"scheduled_time", "part"}


def test_the_schedules_of_the_migration_guide_are_understood() -> None:
    shown = re.findall(r"(?:cron|rate)\([^.)]+\)", MIGRATING)
    assert len(shown) >= 4
    made = datetime(2026, 11, 1, tzinfo=UTC)
    for expression in shown:
        times = emulator.times({"ScheduleExpression": expression, "CreationDate": made}, made)
        assert next(times) > made, expression


def test_the_options_that_the_migration_guide_rules_out_are_refused_by_name() -> None:
    ruled_out = re.findall(
        r"`(\w+)`", "".join(re.findall(r"^\| (`.*?`) \|", MIGRATING.split("| option |")[1], re.MULTILINE))
    )
    taken = inspect.signature(Task.apply_async).parameters
    assert len(ruled_out) >= 8
    assert not set(ruled_out) & set(taken)


def test_the_retry_of_the_migration_guide_is_one() -> None:
    (shown,) = re.findall(r"Retry\((attempts=\d.*?)\)", MIGRATING)
    Retry(**{name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", shown)})


def test_every_field_of_a_run_is_described() -> None:
    section = GUIDE.split("A run has one shape in JSON")[1].split("\n#")[0]
    described = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE)))
    assert described == list(runs.shown(RunRecord(logical_time=datetime(2026, 11, 1, tzinfo=UTC))))
    assert {f"`{outcome}`" for outcome in Outcome} <= set(re.findall(r"`[\w ]+`", section))
