"""Media: drop a photo in, and watch what becomes of it."""

from datetime import UTC, datetime
from typing import Any

import boto3
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from backbeat import ledger
from backbeat.models import Post
from backbeat.posts.files import post_of
from backbeat_ops import runs, status, uploads
from backbeat_ops.console import views
from backbeat_ops.stack import NotFound

TASK = "process_media_upload"
LARGEST = 200_000_000
"""Bytes of a file that is taken; what is too large for the task is for the task to say."""
SHOWN, MOST = 25, 1_000
"""Uploads on a page, and how many are listed at all."""


def context(request: Request) -> dict[str, Any]:
    """What the page shows: the uploads that were handled last."""
    stack, now = request.app.state.stack, datetime.now(UTC)
    recent = runs.recent(TASK, MOST, days=7)
    page = views.paged(request, recent, SHOWN)
    page["found"] = found = [runs.shown(run) for run in page["found"]]
    for run in found:
        if isinstance(run["result"], dict):
            run["result"] = {name: of for name, of in run["result"].items() if name not in ("post_id", "content_hash")}
        try:
            run["post_id"] = post_of(run["about"] or "")
        except ValueError:
            run["post_id"] = None
    queues = stack.tasks()[TASK]
    waiting, busy = status.depth(queues["queue_url"])
    rate = ledger.started_since(TASK, now - status.SPAN)
    today = next((total for total in ledger.totals(now.date()) if total.task == TASK), None)
    return {
        "title": "Media",
        "page": page,
        "more": len(recent) == MOST,
        "waiting": waiting,
        "busy": busy,
        "rate": rate,
        "left": status.span(60 * (waiting + busy) / rate) if rate and waiting + busy else "",
        "made": int(today.succeeded) if today else 0,
        "refused": int(today.rejected + today.dead) if today else 0,
        "dead": sum(status.depth(queues["dead_queue_url"])),
    }


def one(request: Request) -> dict[str, Any]:
    """What became of the files of a post."""
    post_id = request.path_params["post_id"]
    try:
        post = Post.get(post_id, consistent_read=True)
    except Post.DoesNotExist:
        raise NotFound(f"There is no post {post_id!r}.") from None
    media = post.media.as_dict() if post.media else {}  # type: ignore[no-untyped-call]
    since = request.query_params.get("since")
    waits = post.media_status is None
    if since and post.media_as_of is not None:
        waits = post.media_as_of.timestamp() < float(since) - 0.001
    sizes: dict[str, int] = {}
    for item in media.values():
        try:
            head = boto3.client("s3").head_object(Bucket=request.app.state.stack.buckets["uploads"], Key=item["upload"])
            sizes[item["upload"]] = head["ContentLength"]
        except boto3.client("s3").exceptions.ClientError as error:
            if error.response["Error"]["Code"] not in ("404", "NoSuchKey"):
                raise
    tried = [runs.shown(run) for run in runs.recent(TASK, MOST, days=2)]
    prefix = f"posts/{post_id}/"
    return {
        "title": f"Media of {post_id}",
        "post_id": post_id,
        "post": {"status": post.media_status, "reason": post.media_reason, "text": post.text},
        "media": list(media.values()),
        "sizes": sizes,
        "waits": waits,
        "tried": [run for run in tried if (run["about"] or "").startswith(prefix)],
    }


async def drop(request: Request) -> Response:
    """Take a file that was dropped, and put it where an application would."""
    name = request.query_params.get("name", "")
    content = bytearray()
    async for piece in request.stream():
        content += piece
        if len(content) > LARGEST:
            return JSONResponse({"said": f"{name} is larger than {views.size(LARGEST)}."})

    def put() -> dict[str, str]:
        try:
            now = datetime.now(UTC)
            post_id = uploads.new_post(name, now)
            uploads.upload(request.app.state.stack, post_id, name, bytes(content))
        except views.SAID as error:
            return {"said": views.said(error)}
        return {"to": f"/media/{post_id}?since={now.timestamp():.3f}"}

    answer = await run_in_threadpool(put)
    return JSONResponse(answer)


async def file(request: Request) -> Response:
    """One file of a post: a rendition, or an upload."""
    which, key = request.path_params["which"], request.query_params.get("key", "")
    if which not in ("media", "uploads") or not key.startswith("posts/"):
        raise NotFound("There is no such file.")

    def read() -> tuple[bytes, str]:
        client = boto3.client("s3")
        try:
            got = client.get_object(Bucket=request.app.state.stack.buckets[which], Key=key)
        except client.exceptions.NoSuchKey:
            raise NotFound(f"There is no file {key!r}.") from None
        return got["Body"].read(), got["ContentType"]

    content, kind = await run_in_threadpool(read)
    # Whatever somebody has uploaded: a picture or a video is shown, anything else is only to be kept.
    shown = kind if kind.startswith(("image/", "video/")) and kind != "image/svg+xml" else "application/octet-stream"
    headers = {"content-security-policy": "default-src 'none'; sandbox", "cache-control": "private, max-age=300"}
    return Response(content, media_type=shown, headers=headers)


ROUTES = [
    *views.page("/media", "media.html", context, live=True),
    Route("/media/drop", drop, methods=["POST"]),
    Route("/media/file/{which}", file),
    *views.page("/media/{post_id}", "media_one.html", one, live=True),
]
