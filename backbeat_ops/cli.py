"""The `backbeat` command: the local cloud, and the operator's view of a stack on it or on AWS."""

from typing import Annotated, Any

import typer
from botocore.exceptions import BotoCoreError, ClientError
from typer.core import TyperGroup

from backbeat.mail.deliveries import NotUnknown
from backbeat.producer import InvalidTaskArguments
from backbeat.queues import QueueNotFound
from backbeat_ops.commands import (
    capacity,
    cloud,
    console,
    dead,
    dev,
    doctor,
    invoke,
    logs,
    mail,
    members,
    new,
    pausing,
    rewind,
    runs,
    scale,
    schedules,
    seed,
    status,
    uploads,
    verify,
)
from backbeat_ops.emulator import NotUnderstood
from backbeat_ops.localcloud import LocalCloudError
from backbeat_ops.new.task import NotDrawn, NotWritten
from backbeat_ops.pausing import NotPaused
from backbeat_ops.runs import NotSettled
from backbeat_ops.stack import NotFound
from backbeat_ops.terminal import complain


class StackAnywhere(TyperGroup):
    """Takes `--stack` behind a command as well: `backbeat replay ID --stack prod`, as most people type it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read what was typed, with `--stack` in its place before the command."""
        return super().parse_args(ctx, stack_first(args))


def stack_first(words: list[str]) -> list[str]:
    """What was typed with `--stack NAME` at its front, wherever it stood; behind a `--` nothing is an option."""
    end = words.index("--") if "--" in words else len(words)
    front: list[str] = []
    rest: list[str] = []
    options = iter(words[:end])
    for word in options:
        if word == "--stack":
            name = next(options, None)
            if name is None:
                return [word]  # of which the parser says that its name is missing
            front += [word, name]
        else:
            (front if word.startswith("--stack=") else rest).append(word)
    return [*front, *rest, *words[end:]]


app = typer.Typer(
    cls=StackAnywhere,
    help="The background work of a social network, on the local cloud, or with --stack NAME on AWS.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

MENDABLE = (
    InvalidTaskArguments,
    LocalCloudError,
    NotDrawn,
    NotFound,
    NotPaused,
    NotSettled,
    NotUnderstood,
    NotUnknown,
    NotWritten,
    QueueNotFound,
)
"""What a user can mend: said in one sentence, without a traceback."""


@app.callback()
def options(
    stack: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            envvar="BACKBEAT_STACK",
            help="A stack on AWS, reached with your own credentials and region; it may stand behind the command, too.",
            show_default="the local cloud",
        ),
    ] = None,
) -> None:
    """Take the options that every command shares."""


LOCAL, TASKS, MEMBERS, PROJECT = "The local cloud", "Tasks", "Members' data", "The project"
app.command(rich_help_panel=LOCAL)(cloud.up)
app.command(rich_help_panel=LOCAL)(dev.dev)
app.command(rich_help_panel=LOCAL)(cloud.down)
app.command(rich_help_panel=LOCAL)(invoke.invoke)
app.command(rich_help_panel=TASKS)(status.status)
app.command(rich_help_panel=TASKS)(console.console)
app.command(rich_help_panel=TASKS)(doctor.doctor)
app.command(rich_help_panel=TASKS)(verify.verify)
app.add_typer(runs.app, name="runs", rich_help_panel=TASKS)
app.command(rich_help_panel=TASKS)(logs.logs)
app.command(rich_help_panel=TASKS)(runs.run)
app.command(rich_help_panel=TASKS)(runs.again)
app.command(rich_help_panel=TASKS)(runs.replay)
app.add_typer(dead.app, name="dead", rich_help_panel=TASKS)
app.command(rich_help_panel=TASKS)(capacity.capacity)
app.command(rich_help_panel=TASKS)(pausing.pause)
app.command(rich_help_panel=TASKS)(pausing.resume)
app.add_typer(schedules.app, name="schedules", rich_help_panel=TASKS)
app.command(rich_help_panel=TASKS)(schedules.play)
app.command(rich_help_panel=TASKS)(rewind.rewind)
app.add_typer(mail.app, name="mail", rich_help_panel=TASKS)
app.command(rich_help_panel=MEMBERS)(seed.seed)
app.command(rich_help_panel=MEMBERS)(uploads.upload)
app.command(rich_help_panel=MEMBERS)(members.restore)
app.command(rich_help_panel=MEMBERS)(members.unhide)
app.command(rich_help_panel=MEMBERS)(members.erase)
app.add_typer(new.app, name="new", rich_help_panel=PROJECT)
app.command(rich_help_panel=PROJECT)(scale.simulate)
app.command(rich_help_panel=PROJECT)(scale.cost)


def main() -> None:
    """Run the command; what a user can mend is one sentence, not a traceback."""
    try:
        app()
    except MENDABLE as error:
        complain(str(error))
        raise SystemExit(1) from None
    except (ClientError, BotoCoreError) as error:
        complain(f"AWS says: {error}")
        raise SystemExit(1) from None
