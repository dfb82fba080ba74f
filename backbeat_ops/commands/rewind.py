"""`backbeat rewind`: put right what runs for times to come have marked."""

from collections.abc import Mapping
from datetime import UTC, datetime

import typer

from backbeat_ops import rewind as marks
from backbeat_ops.terminal import AsJson, Yes, answer, console, the_stack


def rewind(context: typer.Context, yes: Yes = False, as_json: AsJson = False) -> None:
    """Put right what is marked ahead of the clock, and holds off every run until then.

    It says first what that is, and asks. It reads the tables whole; the next runs look at all there is, as a task's
    first run does. What a clean-up hid or deleted ahead of its time stays so, until it is restored.
    """
    stack, now = the_stack(context), datetime.now(UTC)
    found = marks.ahead(now)
    if not found:
        answer({}, f"Nothing in {stack.name} is marked ahead of the clock.", as_json)
        return
    if not yes:
        console.print(f"Ahead of the clock in {stack.name}: {_counted(found)}.", soft_wrap=True)
        typer.confirm("Put them right?", abort=True)
    done = marks.rewind(now)
    answer(done, f"Put right: {_counted(done)}. The next runs look at all there is.", as_json)


def _counted(found: Mapping[str, int]) -> str:
    return ", ".join(f"{what}: {number:,}" for what, number in found.items())
