"""`backbeat dev`: what is saved runs on the local cloud seconds later, and what functions log is shown."""

import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from datetime import UTC, datetime

from botocore.exceptions import BotoCoreError, ClientError
from rich.markup import escape

from backbeat_ops import deployment, localcloud
from backbeat_ops.commands import logs
from backbeat_ops.commands.cloud import Port
from backbeat_ops.dev import DEPLOYMENT, import_error, snapshot, to_do
from backbeat_ops.localcloud import ROOT, LocalCloudError
from backbeat_ops.logs import Entry, Tail
from backbeat_ops.terminal import AsJson, console, errors, print_json

SECONDS_BETWEEN_LOOKS = 0.2
LOOKS_FOR_LOGS = 5
"""Every how many looks at the files the logs are asked for, too."""

Show = Callable[[Entry], None]


def dev(port: Port = None, as_json: AsJson = False) -> None:
    """Keep the local cloud as your files are, and show what functions log, until Ctrl-C.

    A function's code, or the shared layer's, that you save runs there seconds later; for the template and requirements
    it takes a deployment. The local cloud is started where it is not running, and then stopped at the end. With --json
    each line is an object.
    """

    def show(entry: Entry) -> None:
        if as_json:
            print_json(entry, indent=None)
        else:
            console.print(logs.shown(entry), soft_wrap=True)

    with errors.status("Starting the local cloud"):
        started = localcloud.start(port)
    with localcloud.stopped_at_the_end() if started else nullcontext(), suppress(KeyboardInterrupt):
        _keep_up(show)
        errors.print("The local cloud has ended.")


def _keep_up(show: Show) -> None:
    """Bring about what is saved, and show what is logged, for as long as the local cloud lives."""
    localcloud.use(localcloud.endpoint())
    cloud = localcloud.find()
    tail = Tail(datetime.now(UTC))
    known = now = snapshot()
    todo = {DEPLOYMENT}
    bring_about(todo, show)
    errors.print(f"What you save runs on the local cloud ({cloud}); Ctrl-C ends this.")
    looks = 0
    while cloud is not None and cloud.lives:
        time.sleep(SECONDS_BETWEEN_LOOKS)
        last, now, looks = now, snapshot(), looks + 1
        try:
            if now == last != known:  # something was saved, and nothing more is being saved
                todo |= to_do(known, now)
                known = now
                bring_about(todo, show)
            if looks % LOOKS_FOR_LOGS == 0:
                for entry in tail.new(datetime.now(UTC)):
                    show(entry)
        except BotoCoreError:
            with suppress(localcloud.NotRunning):
                localcloud.endpoint()  # which says so where it is slow


def bring_about(todo: set[str], show: Show) -> None:
    """Deploy or swap what there is to do; what fails is shown, and stays to be done with whatever is saved next.

    Args:
        todo: As `to_do` answers; what is done is taken out.
        show: Told what was done, and what failed.
    """
    wanted = set(todo)
    for folder in [DEPLOYMENT] if DEPLOYMENT in todo else sorted(todo):
        started = time.monotonic()
        failed = _deploy(show, started) if folder == DEPLOYMENT else _swap(folder, show, started)
        if failed is None:
            todo -= wanted if folder == DEPLOYMENT else {folder}
        else:
            show(_done(failed[0], "ERROR", failed[1]))
    done = wanted - todo
    if done and (error := import_error(done)):
        show(_done(f"cannot be imported: {', '.join(sorted(done))}", "ERROR", error))


def _deploy(show: Show, started: float) -> tuple[str, str] | None:
    """Deploy, and show it; return what went wrong in short and at length, or None."""
    try:
        with errors.status("Deploying") as status:
            changed = deployment.deploy(lambda line: status.update(f"Deploying [dim]{escape(line[:90])}[/]"))
    except LocalCloudError as error:
        return "not deployed", str(error)
    show(_done(f"deployed in {time.monotonic() - started:.0f} s" if changed else "nothing has changed"))
    return None


def _swap(folder: str, show: Show, started: float) -> tuple[str, str] | None:
    """Swap a folder's code, and show it; return what went wrong in short and at length, or None."""
    if not (ROOT / folder).exists():
        show(_done(f"{folder} is gone; nothing is swapped for it"))
        return None
    try:
        deployment.swap(folder)
    except LocalCloudError as error:
        return f"not swapped: {folder}", str(error)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise
        return f"not swapped: {folder}", "template.yaml does not name it yet."
    show(_done(f"swapped {folder} in {time.monotonic() - started:.1f} s"))
    return None


def _done(message: str, level: str = "INFO", more: str = "") -> Entry:
    return Entry(datetime.now(UTC), None, level, message, more=tuple(more.splitlines()))
