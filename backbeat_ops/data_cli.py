"""The commands that change members' data: bring deleted posts back, and erase a user."""

import os
from datetime import UTC, datetime
from typing import Annotated

import typer

from backbeat.messages import as_json as plain
from backbeat.models import User
from backbeat.posts import archive
from backbeat_ops.stack import Stack
from backbeat_ops.terminal import AsJson, console, fail, print_json, size, the_stack


def restore(
    context: typer.Context,
    run: Annotated[str, typer.Argument(help="The run of cleanup_old_posts, as its result names it under `restore`.")],
    as_json: AsJson = False,
) -> None:
    """Bring back the posts that a run of cleanup_old_posts deleted, with their comments and likes.

    It may be repeated: what is there stays as it is. The posts' files are gone.
    """
    _bind(the_stack(context))
    try:
        restored = archive.restore(run.removesuffix("/take"), at=datetime.now(UTC))
    except LookupError as error:
        fail(str(error))
    if as_json:
        print_json(restored)
        return
    console.print(f"Restored {restored.posts} posts, {restored.comments} comments and {restored.likes} likes.")
    if restored.there:
        console.print(f"{restored.there} posts were there already.")
    if restored.files:
        console.print(f"The posts had {restored.files} files ({size(restored.bytes)}), which were deleted with them.")


def erase(
    context: typer.Context,
    user_id: Annotated[str, typer.Argument(help="The user's id.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Erase a user everywhere: follows, likes, comments, posts with their files, tokens, activity, archived posts.

    It cannot be undone. It may be repeated, and goes on where it was cut off. Where nothing of the user is found, it
    fails.
    """
    stack = the_stack(context)
    _bind(stack)
    if not yes:
        typer.confirm(f"Erase user {user_id} in {stack.name}, for good?", abort=True)
    erased = User.erase(user_id, at=datetime.now(UTC))
    archived = archive.forget(user_id)
    found = {**plain(erased), "archived": archived}
    if not any(found.values()):
        fail(f"there is no user {user_id!r} in {stack.name}, and nothing that they left behind.")
    if as_json:
        print_json(found)
        return
    counts = ", ".join(f"{number} {kind}" for kind, number in found.items() if kind not in ("user", "archived"))
    console.print(f"Erased {user_id}: {counts}, {archived} archived rows.")


def _bind(stack: Stack) -> None:
    """Tell the shared code which buckets are the stack's."""
    for purpose, bucket in stack.buckets.items():
        os.environ[f"{purpose.upper()}_BUCKET"] = bucket
