"""What every command shares: the stack that is meant, its options, and how answers and errors are printed."""

import json
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, NoReturn

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from backbeat.messages import FIRST_YEAR, LAST_YEAR, iso
from backbeat_ops import localcloud
from backbeat_ops.stack import Stack

console = Console(highlight=False)
"""Where answers go."""
errors = Console(stderr=True, highlight=False)
"""Where errors go, and what is being done."""


def moment(text: str) -> datetime:
    """A time that an operator gives: ISO 8601 with a time zone, or a date, which is its midnight in UTC."""
    try:
        if len(text) == len("2026-11-01"):
            found = datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
        else:
            found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no time; say 2026-11-01T04:00Z, or 2026-11-01.") from None
    if found.utcoffset() is None:
        raise typer.BadParameter(f"{text!r} has no time zone; say {text}Z for UTC.")
    if not FIRST_YEAR <= found.year <= LAST_YEAR:
        raise typer.BadParameter(f"{text!r} is not in the years {FIRST_YEAR} to {LAST_YEAR}.")
    return found.astimezone(UTC)


def since(text: str) -> datetime:
    """A time that an operator gives, or how long ago it was: `90m`, `6h`, `2d`."""
    unit = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}.get(text[-1:])
    if unit is None or not text[:-1].isdecimal() or len(text) > len("999999m"):
        return moment(text)
    return datetime.now(UTC) - int(text[:-1]) * unit


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for the end; fail if it fails.")]
Timeout = Annotated[float, typer.Option(metavar="SECONDS", min=0, help="How long to wait for an end.")]
At = Annotated[
    datetime | None,
    typer.Option(parser=moment, metavar="TIME", show_default="now", help="As if at this time."),
]
Force = Annotated[bool, typer.Option("--force", help="Even at a time that is still to come; local cloud only.")]
Day = Annotated[
    datetime | None,
    typer.Option(parser=moment, metavar="DAY", show_default="today and yesterday", help="Only this day's, in UTC."),
]


def on_aws(context: typer.Context) -> str | None:
    """The stack on AWS that `--stack` or BACKBEAT_STACK names; None where the local cloud is meant.

    Producers on the local cloud need BACKBEAT_STACK=backbeat-local in their environment: that name means it here, too.
    """
    name = context.find_root().params.get("stack")
    return None if not name or name == localcloud.STACK else str(name)


def the_stack(context: typer.Context) -> Stack:
    """The stack on AWS that is named, or the local cloud's; this process is pointed at it.

    Raises:
        NotRunning: The local cloud is meant, and is not running.
        NotFound: There is no such stack.
    """
    name = on_aws(context)
    stack = Stack(name) if name else localcloud.stack()
    stack.bind()
    return stack


def not_ahead(context: typer.Context, time: datetime | None, force: bool) -> datetime | None:
    """The time, unless it is still to come: what a run writes would hold off all others until then.

    On the local cloud `force` takes it; a function on AWS would not.
    """
    if time is not None and time > datetime.now(UTC):
        if on_aws(context):
            raise typer.BadParameter(
                f"{iso(time)} is still to come; only the local cloud can run what is still to come."
            )
        if not force:
            raise typer.BadParameter(
                f"{iso(time)} is still to come, and what a run writes holds off all others until then. "
                "--force does it all the same; `backbeat rewind` puts it right."
            )
    return time


def ask_before_mailing(context: typer.Context, most: int, yes: bool) -> None:
    """Say how many emails would go out, and ask, where SES would really send them: on AWS."""
    if most and not yes and on_aws(context):
        said = f"This sends up to {counted(most, 'email')} to users of {on_aws(context)}. Do it?"
        typer.confirm(said, abort=True, err=True)


def print_json(value: Any, indent: int | None = 2) -> None:
    """Print a value as JSON, and nothing else: a dataclass as an object, a time as ISO 8601 in UTC."""
    typer.echo(json.dumps(value, default=_plain, ensure_ascii=False, indent=indent))


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, datetime):
        return iso(value)
    raise TypeError(f"{value!r} has no form in JSON")


def answer(value: Any, text: str, as_json: bool) -> None:
    """Print what a command has to say: as JSON, or as its sentence."""
    if as_json:
        print_json(value)
    else:
        console.print(text, markup=False, soft_wrap=True)


def table(*columns: str, numbers: Sequence[str] = ()) -> Table:
    """A table of these columns, numbers to the right; a name is never cut off, the last column is what gives way."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        made.add_column(
            column,
            justify="right" if column in numbers else "left",
            no_wrap=column != columns[-1],
            overflow="fold",
        )
    return made


LEAST_OF_THE_LAST = 20
"""Columns of the terminal below which a table's last column is not worth reading."""


def print_table(rows: Table, none: str = "") -> None:
    """Print a table; on a terminal too narrow for it, each row as lines, of which nothing is lost.

    Args:
        rows: The table.
        none: What is said where it has no rows.
    """
    if none and not rows.row_count:
        console.print(none)
        return
    widths = [
        max(
            [Text.from_markup(str(column.header)).cell_len]
            + [len(line) for cell in column.cells for line in Text.from_markup(str(cell)).plain.splitlines()]
        )
        for column in rows.columns
    ]
    fixed = sum(width + 2 for width in widths[:-1])
    if fixed + min(widths[-1], LEAST_OF_THE_LAST) <= console.width:
        console.print(rows)
        return
    headers = [str(column.header) for column in rows.columns]
    longest = max(map(len, headers))
    for cells in zip(*(column.cells for column in rows.columns), strict=True):
        for header, cell in zip(headers, cells, strict=True):
            for number, line in enumerate(str(cell).splitlines()):
                console.print(f"[dim]{'' if number else header:<{longest}}[/]  {line}", soft_wrap=True)
        console.print()


def print_hanging(first: str, text: str, to: Console | None = None) -> None:
    """Print a line; what does not fit a terminal goes on below where the text began, and a file gets it in one line.

    Args:
        first: What stands before the text, as rich's markup.
        text: The text, as rich's markup. Where a word is too long, such as a key, the terminal wraps all of it by
            itself, so that the word is copied whole.
        to: Where it goes; where answers go if it is None.
    """
    to = to or console
    room = to.width - Text.from_markup(first).cell_len
    if not to.is_terminal or any(cell_len(word) > room for word in Text.from_markup(text).plain.split()):
        to.print(first + text, soft_wrap=True)
        return
    line = Table.grid()
    line.add_column(no_wrap=True)
    line.add_column()
    line.add_row(first, text)
    to.print(line)


def complain(text: str) -> None:
    """Say on stderr what is wrong, as a sentence."""
    said = Text.assemble(("backbeat:", "bold red"), f" {sentence(text)}")
    errors.print(said, soft_wrap=not errors.is_terminal)  # whoever reads a file wraps its lines


def fail(text: str) -> NoReturn:
    """Say what is wrong, and exit with 1."""
    complain(text)
    raise typer.Exit(1)


def sentence(text: str) -> str:
    """An error as a sentence: the shared layer's begin in lower case and have no stop, as exceptions do.

    A name that comes first, such as a task's, and a text of several lines stay as they are.
    """
    first, _, rest = text.partition(" ")
    if "\n" in text or not rest:
        return text
    return (text[0].upper() + text[1:] if first.isalpha() else text) + ("" if text.endswith((".", "?", "!")) else ".")


def counted(count: float, one: str, many: str | None = None) -> str:
    """A number of things: `1 post`, `2,000 posts`."""
    return f"{count:,.0f} {one if count == 1 else many or one + 's'}"


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
