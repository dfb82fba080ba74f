"""`backbeat restore`, `unhide` and `erase`: members' data, brought back or taken away."""

import os
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from backbeat.app import erasing
from backbeat.models import Post
from backbeat.posts import archive
from backbeat_ops.stack import NotFound, Stack
from backbeat_ops.terminal import AsJson, Yes, answer, counted, size, the_stack


def restore(
    context: typer.Context,
    run_id: Annotated[
        str, typer.Argument(metavar="RUN", help="The run of cleanup_old_posts, as its result has it under `restore`.")
    ],
    as_json: AsJson = False,
) -> None:
    """Bring back the posts that a run of cleanup_old_posts deleted or hid, with their comments and likes.

    It may be repeated: what is there stays as it is. The files of deleted posts are gone.
    """
    _bind(the_stack(context))
    try:
        restored = archive.restore(run_id.removesuffix("/take"), at=datetime.now(UTC))
    except LookupError as error:
        raise NotFound(str(error)) from error
    posts, comments, likes = (
        counted(restored.posts, "post"),
        counted(restored.comments, "comment"),
        counted(restored.likes, "like"),
    )
    text = f"Restored {posts}, {comments} and {likes}."
    if restored.shown:
        text += f" {counted(restored.shown, 'post was', 'posts were')} hidden, and shown again."
    if restored.there:
        text += f" {counted(restored.there, 'post was', 'posts were')} there already."
    if restored.files:
        text += f" The posts had {counted(restored.files, 'file')} ({size(restored.bytes)}), gone with them."
    answer(restored, text, as_json)


def unhide(
    context: typer.Context,
    post_id: Annotated[str, typer.Argument(metavar="POST_ID", help="The post.")],
    as_json: AsJson = False,
) -> None:
    """Show a post again that cleanup_old_posts has hidden, to whom it was shown before."""
    stack = the_stack(context)
    try:
        shown = Post.unhide(post_id, at=datetime.now(UTC))
    except Post.DoesNotExist:
        raise NotFound(f"There is no post {post_id!r} in {stack.name}.") from None
    became = "is shown again" if shown else "was not hidden"
    answer({"post_id": post_id, "shown": shown}, f"{post_id} {became}.", as_json)


def erase(
    context: typer.Context,
    user_id: Annotated[str, typer.Argument(metavar="USER_ID", help="Who is to be erased.")],
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Erase a user everywhere, with every copy: posts, comments, likes, tokens, archive, reports, dead letters, ledger.

    It asks first, as it cannot be undone. It may be repeated, and goes on where it was cut off. Where nothing of the
    user is found, it fails.
    """
    stack = the_stack(context)
    _bind(stack)
    if not yes:
        typer.confirm(f"Erase the user {user_id!r} in {stack.name}, for good?", abort=True)
    found = asdict(erasing.erase(user_id, at=datetime.now(UTC)))
    if not any(found.values()):
        raise NotFound(f"There is no user {user_id!r} in {stack.name}, and nothing that they left behind.")
    names = {"letters": "dead letters", "runs": "rows of the ledger"}
    counts = ", ".join(
        f"{number:,} {names.get(kind, kind)}" for kind, number in found.items() if kind not in ("user", "archived")
    )
    rows = counted(found["archived"], "archived row")
    answer(found, f"Erased the user {user_id!r}: {counts}, {rows}.", as_json)


def _bind(stack: Stack) -> None:
    """Tell the shared code which buckets are the stack's."""
    for purpose, bucket in stack.buckets.items():
        os.environ[f"{purpose.upper()}_BUCKET"] = bucket
