"""`backbeat console`: the stack in a browser."""

import webbrowser
from typing import Annotated

import typer

from backbeat_ops.console.server import PORT, Console
from backbeat_ops.terminal import AsJson, errors, fail, print_json, the_stack


def console(
    context: typer.Context,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Where it listens.", show_default=f"{PORT}, or a free one")
    ] = None,
    no_open: Annotated[bool, typer.Option("--no-open", help="Open no browser.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the stack in your browser, live, until Ctrl-C: what runs, what failed, and what to do about it.

    It listens on this machine alone, and the address that it prints lets you in; keep it to yourself.
    """
    try:
        made = Console(the_stack(context), port)
    except OSError as error:
        fail(f"The console cannot listen on port {port or PORT}: {error.strerror or error}. Give another --port.")
    if as_json:
        print_json({"url": made.url})
    else:
        print(made.url, flush=True)  # noqa: T201 - whole, however narrow the terminal is
        errors.print("The console is at this address, for you alone; Ctrl-C ends it.")
    if not no_open and not as_json:
        webbrowser.open(made.url)
    made.serve()
