"""The `backbeat` command: the local cloud, and the operator's view of a stack on it or on AWS."""

import hashlib
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import boto3
import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.progress import MofNCompleteColumn, Progress
from rich.table import Table

from backbeat import ledger
from backbeat.app.uploads import upload_key
from backbeat.messages import sortable
from backbeat.models import Post, RunRecord
from backbeat.producer import PRIORITIES, InvalidTaskArguments
from backbeat.queues import QueueNotFound
from backbeat.tasks import TASKS
from backbeat_ops import data_cli, invoke, localcloud, mail, sample, schedules_cli, seed
from backbeat_ops.emulator import NotUnderstood
from backbeat_ops.localcloud import LocalCloudError
from backbeat_ops.schedules import NotSettled, ScheduleNotFound
from backbeat_ops.stack import Stack, StackNotFound, delete
from backbeat_ops.terminal import AsJson, ago, console, errors, fail, outcome, print_json, size, the_stack

app = typer.Typer(
    help="The background work of a social network, on the local cloud, or with --stack NAME on AWS.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

MENDABLE = (
    InvalidTaskArguments,
    LocalCloudError,
    NotSettled,
    NotUnderstood,
    QueueNotFound,
    ScheduleNotFound,
    StackNotFound,
)
"""What a user can mend: said in one sentence, without a traceback."""


@app.callback()
def options(
    stack: Annotated[
        str | None,
        typer.Option(envvar="BACKBEAT_STACK", help="A stack on AWS, reached with your own credentials and region."),
    ] = None,
) -> None:
    """Take the options that every command shares."""


@app.command()
def up(
    port: Annotated[int, typer.Option(help="Where the local cloud answers.")] = localcloud.PORT,
    with_sample: Annotated[bool, typer.Option("--sample", help="Add sample data, and put a photo through.")] = False,
    once: Annotated[bool, typer.Option("--once", help="Stop again when all of that is done.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Leave it running, until `backbeat down`.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start the local cloud, build and deploy to it, and stay until Ctrl-C.

    Where it is running, only build and deploy: what you have changed since is live then.
    """
    try:
        running = localcloud.endpoint()
    except localcloud.NotRunning:
        pass
    else:
        errors.print(f"The local cloud is running at {running}; building and deploying what has changed.")
        _bring_up(with_sample, as_json)
        return
    with errors.status("Starting the local cloud"):
        localcloud.start(port)
    if detach:
        _bring_up(with_sample, as_json)
        return
    with localcloud.stopped_at_the_end():
        try:
            _bring_up(with_sample, as_json)
            if not once:
                errors.print("\nCtrl-C stops the local cloud; its data is kept.")
                _wait_while_it_runs()
        except KeyboardInterrupt:
            if once:
                raise
        errors.print("Stopping the local cloud")


def _bring_up(with_sample: bool, as_json: bool) -> None:
    """Deploy, and show the way in or what became of a sample photo."""
    localcloud.use(localcloud.endpoint())
    started = time.monotonic()
    with errors.status("Deploying") as status:
        changed = localcloud.deploy(lambda line: status.update(f"Deploying [dim]{escape(line[:90])}[/]"))
    took = f" in {time.monotonic() - started:.0f} s" if changed else ": nothing has changed"
    errors.print(f"Deployed{took}")
    stack = localcloud.stack()
    stack.bind()
    if not with_sample:
        if as_json:
            print_json(stack.describe())
        else:
            errors.print(f"It answers at {localcloud.endpoint()}; `backbeat status` shows it.")
        return
    sample.seed(datetime.now(UTC))
    with errors.status("A photo is on its way"):
        made = _upload(stack, "post-1", "sunrise.jpg", sample.photo())
        post = _wait(made)
        for _ in range(40):  # the queue forgets the message a moment later
            if not any(_depth(stack.tasks()["process_media_upload"]["queue_url"])):
                break
            time.sleep(0.25)
    _show(stack, made, post, as_json)


def _wait_while_it_runs() -> None:
    while True:
        time.sleep(1)
        try:
            localcloud.endpoint()
        except localcloud.NotRunning:
            errors.print("The local cloud has ended.")
            return


@app.command()
def down(
    context: typer.Context,
    keep_data: Annotated[bool, typer.Option(help="Stop the local cloud only: the next start finds its data.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before a stack on AWS is deleted.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete the stack and everything in its buckets; stop the local cloud."""
    name = context.find_root().params.get("stack")
    if keep_data:
        if name:
            fail("--keep-data is for the local cloud; a stack on AWS is deleted, or left alone.")
        stopped = localcloud.stop()
        _done(as_json, {"stopped": stopped}, "Stopped; its data is kept." if stopped else "It was not running.")
        return
    if name and not yes:
        typer.confirm(f"Delete the stack {name} and everything in its buckets?", abort=True)
    stack = Stack(name) if name else localcloud.stack()
    with errors.status(f"Deleting {stack.name}"):
        delete(stack)
    if not name:
        localcloud.stop()
        localcloud.forget()
    _done(as_json, {"deleted": stack.name}, f"{stack.name} is gone.")


@app.command()
def status(context: typer.Context, as_json: AsJson = False) -> None:
    """Show each task: what waits, what is dead, how it ran last."""
    stack = the_stack(context)
    described = stack.describe()
    for name, task in described["tasks"].items():
        task["waiting"], task["in_flight"] = _depth(task["queue_url"])
        task["dead"] = _depth(task["dead_queue_url"])[0]
        last = next(iter(_recent(name, 1)), None)
        task["last_run"] = last and _run_as_json(last)
    if as_json:
        print_json(described)
        return
    where = described["endpoint"] or f"AWS, {described['region']}"
    console.print(f"{stack.name} at {where}")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("class", "task", "waits", "busy", "dead", "last run"):
        table.add_column(column, justify="right" if column in ("waits", "busy", "dead") else "left", no_wrap=True)
    for name, task in sorted(described["tasks"].items(), key=lambda item: -PRIORITIES[item[1]["class"]]):
        last = task["last_run"]
        dead = f"[bold red]{task['dead']}[/]" if task["dead"] else "0"
        shown = f"{outcome(last['outcome'])} {ago(datetime.fromisoformat(last['started']))}" if last else ""
        table.add_row(task["class"], name, str(task["waiting"]), str(task["in_flight"]), dead, shown)
    console.print(table)


@app.command()
def upload(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The file to upload.")],
    post_id: Annotated[str | None, typer.Option(help="The post it belongs to; a new one if not given.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for its renditions; fail if it is rejected.")] = False,
    as_json: AsJson = False,
) -> None:
    """Upload a file for a post, as an application would."""
    stack = the_stack(context)
    if post_id is None:
        now = datetime.now(UTC)
        post_id = f"upload-{sortable(now)}"
        Post(post_id, author_id="operator", text=file.name, created_at=now, visibility="hidden").save()
    try:
        made = _upload(stack, post_id, file.name, file.read_bytes())
    except ValueError as error:
        fail(str(error))
    if not wait:
        _done(as_json, made, f"Uploaded to {made['bucket']}/{made['key']}")
        return
    with errors.status("Waiting for its renditions"):
        post = _wait(made)
    _show(stack, made, post, as_json)


@app.command("seed")
def seed_network(
    context: typer.Context,
    users: Annotated[int, typer.Option(min=2, max=1_000_000, help="How many people.")] = 1_000,
    posts: Annotated[int, typer.Option(min=0, max=10_000_000, help="How many posts of theirs.")] = 5_000,
    random_seed: Annotated[int, typer.Option(help="Another seed adds another network beside the first.")] = 1,
    at: schedules_cli.At = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before writing to a stack on AWS.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a believable network: who follows whom, posts, likes, comments, activity, tokens."""
    stack = the_stack(context)
    if context.find_root().params.get("stack") and not yes:
        typer.confirm(f"Write {users:,} people and {posts:,} posts to the stack {stack.name} on AWS?", abort=True)
    until = at or datetime.now(UTC)
    with errors.status("Making up the network"):
        network = seed.Network(users, posts, random_seed=random_seed, until=until)
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=errors) as progress:
        bars = {kind: progress.add_task(kind, total=rows) for kind, rows in network.rows.items()}
        network.write(lambda kind, rows: progress.advance(bars[kind], rows))
    _done(as_json, {"written": network.rows}, f"Wrote {sum(network.rows.values()):,} rows.")


@app.command()
def runs(
    context: typer.Context,
    task: Annotated[str | None, typer.Option(help="Only this task's.")] = None,
    day: Annotated[
        datetime | None,
        typer.Option(parser=schedules_cli.moment, metavar="DAY", help="Only runs as if on this day, in UTC."),
    ] = None,
    days: Annotated[
        int | None, typer.Option(min=1, max=366, help="So many days up to that one, or to today (2).")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many of each task.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the runs of today and yesterday, or of other days, those that started last first.

    A run belongs to the day of its logical time: one that was made or played as if at another time is found there.
    """
    if task is not None and task not in TASKS:
        fail(f"There is no task {task!r}. Tasks: {', '.join(TASKS)}.")
    the_stack(context)
    last, span = (day or datetime.now(UTC)).date(), days or (1 if day else 2)
    found = [run for name in ([task] if task else TASKS) for run in _recent(name, limit, last, span)]
    found.sort(key=lambda run: run.started, reverse=True)
    if as_json:
        print_json([_run_as_json(run) for run in found])
        return
    for run in found:
        took = "" if run.duration_ms is None else f"{run.duration_ms / 1000:.2f} s"
        tries = "1 try" if run.attempts == 1 else f"{run.attempts:.0f} tries"
        ended = outcome(run.outcome) + " " * (10 - len(run.outcome))
        console.print(
            f"{run.logical_time:%m-%d %H:%M:%S}  {run.task:<29}  {ended}  {tries:>7}  {took:>8}", soft_wrap=True
        )
        result = run.error or ", ".join(f"{k} {v}" for k, v in (run.result or {}).items())
        if result:
            console.print(f"    [dim]{escape(result)}[/]", soft_wrap=True)
    if not found:
        when = f"on {last}" if span == 1 else f"from {last - timedelta(days=span - 1)} to {last}"
        console.print(f"There are no runs {when}, by their logical times (UTC); --day and --days show other days.")


app.command("invoke")(invoke.invoke)


def _recent(task: str, limit: int, last: date | None = None, days: int = 2) -> list[RunRecord]:
    """A task's runs of some days up to a last one, or to today, the last day's first."""
    last = last or datetime.now(UTC).date()
    found: list[RunRecord] = []
    for back in range(days):
        if len(found) >= limit:
            break
        found += ledger.recent(task, last - timedelta(days=back), limit)
    return found[:limit]


def _run_as_json(run: RunRecord) -> dict[str, Any]:
    known = run.to_simple_dict()
    return {name: known.get(name) for name in RUN_FIELDS} | {"result": run.result}


RUN_FIELDS = ("task", "run_id", "task_class", "outcome", "attempts", "logical_time", "started", "duration_ms", "error")


def _depth(url: str) -> tuple[int, int]:
    """How many of a queue's messages wait, and how many are being worked on or wait for a retry."""
    got = boto3.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return int(got["ApproximateNumberOfMessages"]), int(got["ApproximateNumberOfMessagesNotVisible"])


def _upload(stack: Stack, post_id: str, filename: str, content: bytes) -> dict[str, Any]:
    """Put a file where the application would."""
    key = upload_key(post_id, filename)
    started = datetime.now(UTC)
    boto3.client("s3").put_object(Bucket=stack.buckets["uploads"], Key=key, Body=content)
    return {
        "bucket": stack.buckets["uploads"],
        "key": key,
        "post_id": post_id,
        "bytes": len(content),
        "content_hash": hashlib.sha256(content).hexdigest()[:32],
        "uploaded_at": started,
    }


def _wait(made: dict[str, Any], seconds: int = 180) -> dict[str, Any]:
    """Wait until a post says what became of an upload, and the ledger too; return what it says.

    Raises:
        LocalCloudError: It has not, after `seconds`.
    """
    # S3 gives an event's time to the millisecond.
    since = made["uploaded_at"] - timedelta(milliseconds=1)
    for _ in range(seconds * 4):
        try:
            post = Post.get(made["post_id"], consistent_read=True)
        except Post.DoesNotExist:
            as_of = None
        else:
            as_of = post.media_as_of
        recent = _recent("process_media_upload", 50)
        if as_of and any(run.logical_time == as_of >= since for run in recent):
            media = post.media.as_dict() if post.media else {}  # type: ignore[no-untyped-call]
            return {"media_status": post.media_status, "media_reason": post.media_reason, "media": media}
        time.sleep(0.25)
    tried = [run for run in recent if run.started >= since]
    why = f" Its last attempt: {tried[0].outcome}, {tried[0].error}." if tried else ""
    raise LocalCloudError(
        f"After {seconds} s the post {made['post_id']!r} does not say what became of {made['key']}.{why} "
        "`backbeat runs` shows what ran, `backbeat status` what waits."
    )


def _show(stack: Stack, made: dict[str, Any], post: dict[str, Any], as_json: bool) -> None:
    """Print what became of an upload; exit with 1 if it failed."""
    media = (post.get("media") or {}).get(made["content_hash"])
    if as_json:
        known = {name: post.get(name) for name in ("media_status", "media_reason")}
        print_json({**made, **known, "media": media})
    if post["media_status"] != "ready" or media is None:
        fail(f"{made['key']} was rejected: {post.get('media_reason')}")
    if as_json:
        return
    took = (datetime.now(UTC) - made["uploaded_at"]).total_seconds()
    console.print(f"{made['key']}, {size(made['bytes'])}: ready after {took:.1f} s")
    table = Table(box=SIMPLE_HEAD)
    for column in ("rendition", "pixels", "size"):
        table.add_column(column, justify="left" if column == "rendition" else "right")
    for rendition in media["renditions"]:
        pixels = f"{rendition['width']:.0f} x {rendition['height']:.0f}"
        table.add_row(str(rendition["key"]).rsplit("/", 1)[-1], pixels, size(rendition["bytes"]))
    console.print(table)
    folder = str(media["renditions"][0]["key"]).rsplit("/", 1)[0]
    console.print(f"renditions   s3://{stack.buckets['media']}/{folder}/", soft_wrap=True)
    console.print(f"the post     {made['post_id']} in table {stack.tables['POSTS_TABLE']}", soft_wrap=True)
    console.print("the run      backbeat runs --task process_media_upload")
    console.print("everything   backbeat status")


def _done(as_json: bool, value: Any, text: str) -> None:
    if as_json:
        print_json(value)
    else:
        console.print(text, markup=False)


app.add_typer(schedules_cli.app, name="schedules")
app.add_typer(mail.app, name="mail")
app.command()(schedules_cli.run)
app.command()(schedules_cli.play)
app.command()(data_cli.restore)
app.command()(data_cli.erase)


def main() -> None:
    """Run the command; what a user can mend is one sentence, not a traceback."""
    try:
        app()
    except MENDABLE as error:
        errors.print("[bold red]backbeat:[/]", end=" ")
        errors.print(str(error), markup=False)
        raise SystemExit(1) from None
    except (ClientError, BotoCoreError) as error:
        errors.print("[bold red]backbeat:[/] AWS says:", end=" ")
        errors.print(str(error), markup=False)
        raise SystemExit(1) from None
