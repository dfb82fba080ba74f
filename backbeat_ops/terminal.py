"""What every command shares: the stack that is meant, and how answers and errors are printed."""

import json
from datetime import UTC, datetime
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from backbeat.messages import as_json
from backbeat_ops import localcloud
from backbeat_ops.stack import Stack

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def the_stack(context: typer.Context) -> Stack:
    """The stack that `--stack` names, or the local cloud's; this process is pointed at it.

    Raises:
        NotRunning: The local cloud is meant, and is not running.
        StackNotFound: There is no such stack.
    """
    name = context.find_root().params.get("stack")
    stack = Stack(name) if name else localcloud.stack()
    stack.bind()
    return stack


def print_json(value: Any) -> None:
    """Print a value as JSON, and nothing else."""
    typer.echo(json.dumps(as_json(value), ensure_ascii=False, indent=2))


def fail(text: str) -> NoReturn:
    """Say what is wrong, and exit with 1."""
    errors.print("[bold red]backbeat:[/]", end=" ")
    errors.print(text, markup=False)
    raise typer.Exit(1)


def size(count: float) -> str:
    """A number of bytes for people: `812 kB` (a kilobyte is 1,000 bytes)."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}" if unit == "MB" else f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def ago(time: datetime | None) -> str:
    """How long ago a time was, in one unit: `5m ago`."""
    if time is None:
        return ""
    seconds = (datetime.now(UTC) - time).total_seconds()
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f}{unit} ago"
    return f"{max(seconds, 0):.0f}s ago"


COLOURS = {
    "succeeded": "green",
    "skipped": "dim",
    "queued": "cyan",
    "running": "cyan",
    "in parts": "cyan",
    "retrying": "yellow",
    "incomplete": "yellow",
    "rejected": "red",
    "dead": "bold red",
}
"""How an outcome is shown."""


def outcome(value: str) -> str:
    """An outcome in its colour."""
    return f"[{COLOURS.get(value, 'white')}]{value}[/]"
