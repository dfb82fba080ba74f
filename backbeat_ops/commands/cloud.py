"""`backbeat up` and `down`: the local cloud comes and goes, and a stack on AWS goes."""

import time
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.markup import escape

from backbeat_ops import deployment, localcloud, sample, uploads
from backbeat_ops.commands.uploads import show
from backbeat_ops.console.server import Console
from backbeat_ops.stack import Stack, delete
from backbeat_ops.status import depth
from backbeat_ops.terminal import AsJson, Yes, answer, errors, on_aws

SECONDS_FOR_A_PHOTO = 300
Port = Annotated[int | None, typer.Option(help="Where the local cloud answers.", show_default=str(localcloud.PORT))]


def up(
    port: Port = None,
    with_sample: Annotated[bool, typer.Option("--sample", help="Add sample data, and put a photo through.")] = False,
    once: Annotated[bool, typer.Option("--once", help="Stop again when all of that is done.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Leave it running, until `backbeat down`.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start the local cloud, build and deploy to it, and stay until Ctrl-C.

    Where it is running, only build and deploy: what you have changed since is live then.
    """
    with errors.status("Starting the local cloud"):
        started = localcloud.start(port)
    if not started:
        errors.print(f"The local cloud is running ({localcloud.find()}); building and deploying what has changed.")
    if not started or detach:
        _bring_up(with_sample, as_json)
        return
    with localcloud.stopped_at_the_end():
        try:
            _bring_up(with_sample, as_json)
            if not once:
                console = Console(localcloud.stack())
                with console.beside():
                    errors.print(f"\nThe console: {console.url}", soft_wrap=True)
                    errors.print("Ctrl-C stops the local cloud; its data is kept.")
                    _wait_while_it_runs()
        except KeyboardInterrupt:
            if once:
                raise


def _bring_up(with_sample: bool, as_json: bool) -> None:
    """Deploy, and show the way in or what became of a sample photo."""
    localcloud.use(localcloud.endpoint())
    started = time.monotonic()
    with errors.status("Deploying") as status:
        changed = deployment.deploy(lambda line: status.update(f"Deploying [dim]{escape(line[:90])}[/]"))
    errors.print(f"Deployed in {time.monotonic() - started:.0f} s." if changed else "Nothing has changed.")
    stack = localcloud.stack()
    stack.bind()
    if not with_sample:
        answer(stack.describe(), f"It answers at {localcloud.endpoint()}; `backbeat status` shows it.", as_json)
        return
    sample.seed(datetime.now(UTC))
    with errors.status("A photo is on its way"):
        made = uploads.upload(stack, "post-1", "sunrise.jpg", sample.photo())
        became = uploads.wait(made, SECONDS_FOR_A_PHOTO)
        for _ in range(40):  # the queue forgets the message a moment later
            if not any(depth(stack.tasks()["process_media_upload"]["queue_url"])):
                break
            time.sleep(0.25)
    show(stack, made, became, as_json)


def _wait_while_it_runs() -> None:
    cloud = localcloud.find()
    while cloud and cloud.lives:
        time.sleep(1)
    errors.print("The local cloud has ended.")


def down(
    context: typer.Context,
    keep_data: Annotated[
        bool, typer.Option("--keep-data", help="Only stop the local cloud: the next start finds its data.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Delete the stack and everything in it, but for what a prod stack keeps; stop the local cloud.

    It asks first where the stack is on AWS, and says what stays.
    """
    name = on_aws(context)
    if keep_data:
        if name:
            raise typer.BadParameter("--keep-data is for the local cloud; a stack on AWS is deleted, or left alone.")
        stopped = localcloud.stop()
        said = "Stopped the local cloud; its data is kept." if stopped else "The local cloud was not running."
        answer({"stopped": stopped}, said, as_json)
        return
    stack = Stack(name) if name else localcloud.stack()
    if name and not yes:
        stays = f" It keeps {', '.join(stack.kept)}." if stack.kept else ""
        typer.confirm(f"Delete the stack {name} on AWS, with everything in it?{stays}", abort=True)
    with errors.status(f"Deleting {stack.name}"):
        kept = delete(stack)
    if not name:
        localcloud.stop()
        localcloud.forget()
    left = "".join(f"\n  {logical_id}: {physical_id}" for logical_id, physical_id in kept.items())
    said = f"Deleted {stack.name}." + (f" What it keeps is still there:{left}" if kept else "")
    answer({"deleted": stack.name, "kept": kept}, said, as_json)
