"""What docs/guide.md shows is what the code takes."""

import re
from datetime import UTC, datetime

from support import ROOT

from backbeat import messages
from backbeat.tasks import TASKS

GUIDE = (ROOT / "docs/guide.md").read_text()


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
