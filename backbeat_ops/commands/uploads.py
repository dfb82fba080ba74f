"""`backbeat upload`: a file for a post, and what becomes of it."""

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from backbeat_ops import uploads
from backbeat_ops.stack import Stack
from backbeat_ops.terminal import (
    AsJson,
    Timeout,
    Wait,
    answer,
    console,
    errors,
    fail,
    print_json,
    print_table,
    size,
    table,
    the_stack,
)
from backbeat_ops.uploads import Upload


def upload(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="The file to upload.")],
    post_id: Annotated[str | None, typer.Option(help="The post it belongs to.", show_default="a new one")] = None,
    wait: Wait = False,
    timeout: Timeout = 300,
    as_json: AsJson = False,
) -> None:
    """Upload a file for a post, as an application would."""
    stack = the_stack(context)
    if post_id is None:
        post_id = uploads.new_post(file.name, datetime.now(UTC))
    try:
        made = uploads.upload(stack, post_id, file.name, file.read_bytes())
    except ValueError as error:
        fail(str(error))
    if not wait:
        answer(made, f"Uploaded to s3://{made.bucket}/{made.key}", as_json)
        return
    with errors.status("Waiting for its renditions"):
        became = uploads.wait(made, timeout)
    show(stack, made, became, as_json)


def show(stack: Stack, made: Upload, became: dict[str, Any], as_json: bool) -> None:
    """Print what became of an upload; exit with 1 if it failed."""
    media = became["media"]
    if as_json:
        print_json(asdict(made) | became)
    if became["media_status"] != "ready" or media is None:
        fail(f"{made.key} was rejected: {became['media_reason']}")
    if as_json:
        return
    took = (datetime.now(UTC) - made.uploaded_at).total_seconds()
    console.print(f"{made.key}, {size(made.bytes)}: ready after {took:.1f} s")
    rows = table("rendition", "pixels", "size", numbers=("pixels", "size"))
    for rendition in media["renditions"]:
        pixels = f"{rendition['width']:.0f} x {rendition['height']:.0f}"
        rows.add_row(str(rendition["key"]).rsplit("/", 1)[-1], pixels, size(rendition["bytes"]))
    print_table(rows)
    console.print()
    folder = str(media["renditions"][0]["key"]).rsplit("/", 1)[0]
    console.print(f"renditions   s3://{stack.buckets['media']}/{folder}/", soft_wrap=True)
    console.print(f"the post     {made.post_id} in table {stack.tables['POSTS_TABLE']}", soft_wrap=True)
    console.print("the run      backbeat runs --task process_media_upload")
    console.print("everything   backbeat status")
