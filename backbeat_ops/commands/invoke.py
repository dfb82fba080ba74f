"""`backbeat invoke`: one function in Lambda's own image."""

import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from backbeat_ops import sample
from backbeat_ops.invoke import Answer, call, events_of, ready
from backbeat_ops.terminal import (
    AsJson,
    counted,
    errors,
    fail,
    on_aws,
    outcome,
    print_json,
    print_table,
    table,
    the_stack,
)


def invoke(
    context: typer.Context,
    function: Annotated[
        str | None, typer.Argument(metavar="FUNCTION", help="The function, by its folder.", show_default="all")
    ] = None,
    event: Annotated[
        Path | None,
        typer.Argument(metavar="EVENT", help="A JSON file, as in events/.", show_default="all of the function's"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a function on an event in Lambda's own image, by `sam local invoke`, on the local cloud's data.

    It needs a container engine, such as Docker, and the local cloud running. It fails where a call raised.
    """
    if on_aws(context):
        raise typer.BadParameter("It runs on the local cloud's data; `sam remote invoke` calls a function on AWS.")
    stack = the_stack(context)
    events = [event] if event else events_of(function)
    sample.seed(datetime.now(UTC))
    rows = table("function", "event", "outcome", "result")
    answers: list[tuple[str, Path, Answer]] = []
    with errors.status("Building") as status:
        host = ready(lambda line: status.update(f"Building [dim]{escape(line[:90])}[/]"))
        for path in events:
            name = function or path.parent.name
            status.update(f"Invoking {name} on {path.name}")
            answer = call(stack, host, name, path)
            answers.append((name, path, answer))
            if event or answer.failed:
                errors.print(f"[dim]{escape(shlex.join(answer.command))}\n{escape(answer.log)}[/]", soft_wrap=True)
            for ended, result in answer.shown():
                errors.print(f"{name} {path.stem}: {outcome(ended)}", soft_wrap=True)
                rows.add_row(name, path.stem, outcome(ended), escape(result))
    if as_json:
        print_json(
            [
                {"function": name, "event": str(path), "payload": answer.payload, "records": answer.records}
                for name, path, answer in answers
            ]
        )
    else:
        print_table(rows)
    failed = sum(answer.failed for _, _, answer in answers)
    if failed:
        fail(f"{failed} of {counted(len(events), 'call')} raised, or gave no answer.")
