"""docs/architecture.svg shows the tasks, queues, triggers and tables that there are. `make drawing` draws it anew."""

from functools import cache
from xml.etree import ElementTree

import drawing
import pytest
from pieces import NO_TASKS, complete, whole
from support import logical_name, resources

from backbeat.producer import PRIORITIES

pytestmark = whole

SVG = "{http://www.w3.org/2000/svg}"
AGAIN = "`make drawing` draws docs/architecture.svg anew"


@cache
def picture() -> ElementTree.Element:
    return ElementTree.parse(drawing.FILE).getroot()


def words(kind: str, within: ElementTree.Element | None = None) -> list[str]:
    """The texts of one kind in the picture, or in a part of it."""
    found = (picture() if within is None else within).iter(f"{SVG}text")
    return [text.text or "" for text in found if text.get("class") == kind]


@cache
def columns() -> dict[str, str]:
    """The names of the columns of triggers and stores by where they stand."""
    labels = [text for text in picture().iter(f"{SVG}text") if text.get("class") == "column"]
    found = {label.get("x", ""): label.text or "" for label in labels}
    assert len(found) == len(labels), "two columns stand in one place"
    return found


def drawn(kind: str) -> dict[str, set[str]]:
    """By function, the columns under which it has a dot of one kind."""
    found = {}
    for row in picture().iter(f"{SVG}g"):
        if row.get("class") == "task":
            (name,) = words("name", row)
            dots = [dot for dot in row.iter(f"{SVG}circle") if dot.get("class") == kind]
            found[name] = {columns()[dot.get("cx", "")] for dot in dots}
    return found


def test_every_class_is_drawn_with_its_priority_and_its_family_of_queues() -> None:
    used = {task.task_class for task in complete().values()}
    assert dict(zip(words("class"), words("dim priority"), strict=True)) == {
        name: str(priority) for name, priority in PRIORITIES.items() if name in used
    }, AGAIN
    assert set(words("family")) == {f"<stack>-{name}-…" for name in used}, AGAIN


def test_every_function_is_drawn() -> None:
    assert sorted(words("name")) == sorted({*complete(), *NO_TASKS}), AGAIN


def test_every_trigger_is_drawn_to_what_it_triggers() -> None:
    assert drawn("trigger") == {row.name: set(row.triggers) for row in drawing.rows()}, AGAIN
    assert [words("when", row) for row in picture().iter(f"{SVG}g") if words("name", row)] == [
        [row.when.strip("`")] if row.when else [] for row in drawing.rows()
    ], AGAIN


def test_every_table_and_bucket_is_drawn() -> None:
    there = [*resources("AWS::DynamoDB::Table"), *resources("AWS::S3::Bucket")]
    stores = [name for name in columns().values() if name not in {*drawing.triggers(), drawing.PRODUCER, drawing.URL}]
    assert sorted(stores) == sorted([*map(drawing.short, there), drawing.MAIL]), AGAIN


@pytest.mark.parametrize("kind", ["reads", "writes"])
def test_a_dot_is_what_a_role_allows(kind: str) -> None:
    now = {row.name: row.writes if kind == "writes" else row.reads - row.writes for row in drawing.rows()}
    assert drawn(kind) == now, AGAIN


def test_every_queue_that_something_else_feeds_is_a_tasks() -> None:
    fed = {queue for queues in drawing.triggers().values() for queue in queues}
    assert fed <= {drawing.arn(f"{logical_name(name)}Queue") for name in complete()}
