"""The `backbeat` command: the local cloud, and the operator's view of a stack on it or on AWS.

What a command needs is imported when that command is called: boto3 and all that hangs on it take a second, which
`backbeat --help` and whoever presses tab would pay for nothing.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Annotated, Any

try:
    import typer
    from typer.core import TyperCommand, TyperGroup
    from typer.main import get_command, get_group
except ModuleNotFoundError as error:  # as beside Django, where the package is installed without it
    raise SystemExit(f'backbeat: {error}; the command needs pip install "backbeat[ops]"') from error

LOCAL, TASKS, MEMBERS, PROJECT = "The local cloud", "Tasks", "Members' data", "The project"
COMMANDS: Mapping[str, tuple[str, str, str]] = {
    "up": (LOCAL, "cloud:up", "Start the local cloud, build and deploy to it, and stay until Ctrl-C."),
    "dev": (LOCAL, "dev:dev", "Keep the local cloud as your files are, and show what functions log, until Ctrl-C."),
    "down": (
        LOCAL,
        "cloud:down",
        "Delete the stack and everything in it, but for what a prod stack keeps; stop the local cloud.",
    ),
    "invoke": (
        LOCAL,
        "invoke:invoke",
        "Run a function on an event in Lambda's own image, by `sam local invoke`, on the local cloud's data.",
    ),
    "status": (
        TASKS,
        "status:status",
        "Say whether all is well, then each task: what waits and is dead, how it ran last. Exits with 1 if it is not.",
    ),
    "console": (
        TASKS,
        "console:console",
        "Show the stack in your browser, live, until Ctrl-C: what runs, what failed, and what to do about it.",
    ),
    "doctor": (
        TASKS,
        "doctor:doctor",
        "Say what is wrong with the stack or its account, and what to do next; exit with 0 only if all is well.",
    ),
    "verify": (
        TASKS,
        "verify:verify",
        "Run every task on data of its own, see what it does, and remove that; "
        "exit with 0 only if all is as it should be.",
    ),
    "runs": (TASKS, "runs:app", "List runs; show one with all that is known of it."),
    "logs": (
        TASKS,
        "logs:logs",
        "Show what functions log, from CloudWatch Logs or the local cloud. With --json each line is an object.",
    ),
    "run": (TASKS, "runs:run", "Run a task now, as if at any time: a new run, whatever ran before."),
    "again": (
        TASKS,
        "runs:again",
        "Make a run again: a new one, with its arguments and at its logical time, whatever became of it.",
    ),
    "replay": (
        TASKS,
        "runs:replay",
        "Make a run once more in this process, with your files' code: "
        "AWS is only read, and each write is listed instead.",
    ),
    "dead": (TASKS, "dead:app", "Show what is dead, by cause; retry, edit or discard it."),
    "capacity": (
        TASKS,
        "capacity:capacity",
        "Show how much each task does, how long it takes and waits, against what it is given, and what to do.",
    ),
    "pause": (
        TASKS,
        "pausing:pause",
        "Let messages wait: no function takes what is on a task's queue, or on those of a class. It ends by itself.",
    ),
    "resume": (
        TASKS,
        "pausing:resume",
        "End a pause now: functions take what waits, the oldest first, as many at once as they may.",
    ),
    "schedules": (TASKS, "schedules:app", "List the schedules; switch, edit or fire them."),
    "play": (
        TASKS,
        "schedules:play",
        "Play a stretch of schedules at once, each run at its logical time, each tick finished before the next.",
    ),
    "rewind": (
        TASKS,
        "rewind:rewind",
        "Put right what is marked ahead of the clock, and holds off every run until then.",
    ),
    "mail": (TASKS, "mail:app", "List emails, look at one, settle one that is unknown."),
    "seed": (
        MEMBERS,
        "seed:seed",
        "Write a believable network: who follows whom, posts, likes, comments, activity, tokens.",
    ),
    "upload": (MEMBERS, "uploads:upload", "Upload a file for a post, as an application would."),
    "restore": (
        MEMBERS,
        "members:restore",
        "Bring back the posts that a run of cleanup_old_posts deleted or hid, with their comments and likes.",
    ),
    "unhide": (
        MEMBERS,
        "members:unhide",
        "Show a post again that cleanup_old_posts has hidden, to whom it was shown before.",
    ),
    "erase": (
        MEMBERS,
        "members:erase",
        "Erase a user everywhere, with every copy: "
        "posts, comments, likes, tokens, archive, reports, dead letters, ledger.",
    ),
    "new": (PROJECT, "new:app", "Write a new task, or an event for one."),
    "simulate": (
        PROJECT,
        "scale:simulate",
        "Plan each task's run for a number of members, and say which limit it would meet first, and at what size.",
    ),
    "cost": (
        PROJECT,
        "scale:cost",
        "Say what a number of members costs a month on AWS, task by task, and which line dominates.",
    ),
}
"""The commands: under which heading, in which module of `backbeat_ops.commands`, and what their help begins with."""

MENDABLE = (
    "backbeat.mail.deliveries:NotUnknown",
    "backbeat.producer:InvalidTaskArguments",
    "backbeat.queues:QueueNotFound",
    "backbeat_ops.emulator:NotUnderstood",
    "backbeat_ops.localcloud:LocalCloudError",
    "backbeat_ops.new.task:NotDrawn",
    "backbeat_ops.new.task:NotWritten",
    "backbeat_ops.pausing:NotPaused",
    "backbeat_ops.runs:NotSettled",
    "backbeat_ops.stack:NotFound",
)
"""What a user can mend: said in one sentence, without a traceback."""
OF_AWS = ("botocore.exceptions:BotoCoreError", "botocore.exceptions:ClientError")
"""What AWS says."""


class Commands(TyperGroup):
    """The commands, each imported when it is called; of the others the table says enough.

    It takes `--stack` behind a command as well: `backbeat replay ID --stack prod`, as most people type it.
    """

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        for name, (panel, _, summary) in COMMANDS.items():
            self.commands[name] = TyperCommand(name, help=summary, rich_help_panel=panel)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read what was typed, with `--stack` in its place before the command."""
        return super().parse_args(ctx, stack_first(args))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that was typed, and import it."""
        if args and args[0] in COMMANDS:
            self.bring(args[0])
        return super().resolve_command(ctx, args)

    def bring(self, name: str) -> None:
        """Put the command itself in the place of what the table says of it."""
        panel, where, _ = COMMANDS[name]
        does = _named(f"backbeat_ops.commands.{where}")
        if isinstance(does, typer.Typer):
            command: Any = get_group(does)
        else:
            alone = typer.Typer(add_completion=False)
            alone.command()(does)
            command = get_command(alone)
        command.name, command.rich_help_panel = name, panel
        self.commands[name] = command


def _named(where: str) -> Any:
    """What is called `module:name`."""
    module, _, name = where.partition(":")
    return getattr(import_module(module), name)


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
    cls=Commands,
    help="The background work of a social network, on the local cloud, or with --stack NAME on AWS.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


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


def whole() -> Any:
    """The command with all its commands imported, for whoever wants to know of each."""
    command: Any = get_command(app)
    for name in COMMANDS:
        command.bring(name)
    return command


def main() -> None:
    """Run the command; what a user can mend is one sentence, not a traceback."""
    try:
        app()
    except Exception as error:
        from backbeat_ops.terminal import complain  # only now: it imports boto3

        of_aws = isinstance(error, tuple(map(_named, OF_AWS)))
        if not of_aws and not isinstance(error, tuple(map(_named, MENDABLE))):
            raise
        complain(f"AWS says: {error}" if of_aws else str(error))
        raise SystemExit(1) from None
