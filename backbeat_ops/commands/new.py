"""`backbeat new`: a new task, or an event to invoke a task's function with."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from backbeat_ops import runs
from backbeat_ops.commands import completing
from backbeat_ops.localcloud import ROOT
from backbeat_ops.new import event as events
from backbeat_ops.new.task import new_task
from backbeat_ops.terminal import AsJson, At, answer, print_json

app = typer.Typer(help="Write a new task, or an event for one.", no_args_is_help=True)


@app.command()
def task(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is called, such as `count_likes`.")],
    task_class: Annotated[
        str, typer.Option("--class", metavar="CLASS", help="Its priority class, such as `analytics`.")
    ],
    cron: Annotated[
        str | None,
        typer.Option(metavar="CRON", help="When it runs, in UTC, such as `cron(0 3 * * ? *)`.", show_default="never"),
    ] = None,
    in_parts: Annotated[bool, typer.Option("--in-parts", help="Make its runs in parts, for much data.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a new task: declaration, function, events, tests, its part of the template, its lines in the pages."""
    written = new_task(ROOT, name, task_class, cron, in_parts)
    sums = ", ".join(f"{sum(shares.values())} in {capacity}" for capacity, shares in written.shares.items())
    text = "\n".join(
        [
            f"{name} is written:",
            *(f"  {file}" for file in written.files),
            f"Its class shares out {sums}: it took its part of that from the others, in the table of template.yaml.",
            f"It begins as an example: functions/{name}/{name}.py is yours. docs/adding-a-task.md says how to go on.",
        ]
    )
    answer(written, text, as_json)


@app.command()
def event(
    task: Annotated[str, typer.Argument(metavar="TASK", help="The task's name.", autocompletion=completing.tasks)],
    given: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Its arguments.")] = None,
    at: At = None,
    scheduled: Annotated[bool, typer.Option("--scheduled", help="As its schedule sends it.")] = False,
    body: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="The message as it stands, whatever it is.", show_default="made of the rest"),
    ] = None,
    times: Annotated[int, typer.Option(min=1, max=10, help="How often the message is in the event.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Print an event as Lambda hands it to a task's function, for a file in events/ and for `sam local invoke -e`."""
    if body is not None and (given or scheduled):
        raise typer.BadParameter("--body is the whole message: arguments and --scheduled have no place beside it.")
    declared = runs.the_task(task)
    time = (at or datetime.now(UTC)).replace(microsecond=0)
    if body is None:
        kwargs = runs.arguments(declared, given or [])
        kwargs = declared.message(kwargs, time).kwargs  # checked, and as JSON
        body = (events.scheduled if scheduled else events.sent)(task, kwargs, time)
    print_json(events.event(task, declared.task_class, [body] * times, time))
