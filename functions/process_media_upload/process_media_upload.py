"""process_media_upload: an uploaded picture or video becomes the renditions that the application serves.

An upload at `posts/<post_id>/<filename>` is read in the version the event names, made into renditions (`renditions.py`,
`video.py`; in a process of its own, `sandbox.py`) and written to the media bucket. The post says what became of it:
`media`, `media_status` and `media_reason`. An upload that is deleted or replaced takes its renditions with it.

Events repeat, and come out of order. `post.media_uploads` keeps, for each key, the order of the newest event that was
handled; an older one changes nothing. All of this is one conditional write on `post.media_revision`.

What is to be skipped, as it has been made, is looked for in the bucket: a post that was restored, or a rendition that
somebody deleted, is made again when the same picture comes again.

Each event writes to a folder of its own, so what one run deletes can be nothing that another has just made. Of the
same picture under several keys, the folder that came first is shown by all. Only its own event can make a post show a
folder, and none does so twice: one that is not shown any more never will be again, and can be deleted at any time.
"""

import hashlib
import itertools
import os
import tempfile
from collections.abc import Collection, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError
from pynamodb.expressions.update import Action

from backbeat.aws import s3
from backbeat.models import Changed, Post, update_if
from backbeat.posts.files import post_of
from backbeat.runtime import NotYet, Rejected, Run, Skipped, implementation
from backbeat.tasks import process_media_upload
from kinds import PICTURES, VIDEOS, kind_of
from sandbox import Sandbox
from terms import RECIPE, Limits, Media, Unusable

FOR_EVER = "public, max-age=31536000, immutable"
"""A rendition's key names its content and recipe, so what it holds never changes."""
SECONDS_TO_END = 15
"""What a conversion leaves of the invocation's time, to store its files and settle."""
MOST_TRIES = 10
"""How often a post is read anew when another upload of it has changed it."""


@dataclass(frozen=True, slots=True)
class MediaProcessed:
    """What was made of an upload.

    Attributes:
        post_id: The post it belongs to.
        content_hash: SHA-256 of its bytes, in 32 hexadecimal digits: its key in `post.media`.
        renditions: How many renditions were written.
        bytes: Their size together.
    """

    post_id: str
    content_hash: str
    renditions: int
    bytes: int


@dataclass(frozen=True, slots=True)
class MediaRemoved:
    """What went with an upload that was deleted.

    Attributes:
        post_id: The post it belonged to.
        renditions: How many renditions were deleted.
    """

    post_id: str
    renditions: int


@implementation(process_media_upload)
def handle(
    bucket: str,
    key: str,
    run: Run,
    version_id: str | None = None,
    sequencer: str | None = None,
    event_name: str = "ObjectCreated:Put",
) -> MediaProcessed | MediaRemoved | Skipped:
    """Make an upload's renditions, or remove those of a deleted one, and say so on its post."""
    try:
        post_id = post_of(key)
    except ValueError as error:
        raise Rejected("foreign_key", str(error)) from error
    upload = Upload(bucket, key, version_id, post_id, order=(sequencer or "").ljust(32, "0"))
    if event_name.startswith("ObjectRemoved:"):
        return _remove(upload, run, any_version=event_name.endswith(":DeleteMarkerCreated"))
    try:
        post = Post.get(post_id, consistent_read=True)
    except Post.DoesNotExist as error:
        if _is_gone(upload):  # with its post, which goes first
            return Skipped(f"there is no post {post_id!r}, and the upload {key!r} is gone")
        raise NotYet(f"there is no post {post_id!r} (yet) for the upload {key!r}") from error

    seen = _uploads(post).get(key)
    if seen and sequencer and seen["order"] >= upload.order:
        entry = _media(post).get(seen["hash"] or "")
        if seen["order"] > upload.order or (entry and entry["recipe"] == RECIPE and _is_there(entry)):
            _delete(seen["doomed"])  # a run that was cut off may have left them
            if seen["order"] > upload.order:
                _discard(upload)
            return Skipped("this upload, or a newer one under its key, has been processed")

    with tempfile.TemporaryDirectory() as folder, Sandbox() as sandbox:
        try:
            kind, content_hash, version_id = _download(upload, Path(folder, "upload"))
            made = _media(post).get(content_hash)
            if made and made["recipe"] == RECIPE and _is_there(made):
                _settle(upload, run, Change("ready", version_id=version_id, content_hash=content_hash))
                return Skipped("this upload has been processed")
            seconds = run.seconds_left - SECONDS_TO_END
            memory_mb = int(run.context.memory_limit_in_mb)  # Lambda's own runtime has it as text
            media = sandbox.convert(Path(folder, "upload"), kind, Path(folder), limits(), memory_mb, seconds)
        except _Gone:
            return Skipped(f"the upload {key!r} is gone")
        except Unusable as error:
            _settle(upload, run, Change("failed", reason=str(error)))
            raise Rejected(error.code, str(error)) from error
        entry = _entry(media, f"{upload.own}{content_hash}-{RECIPE}/", key)
        for rendition in entry["renditions"]:
            _put(rendition, Path(folder))

    if not _settle(upload, run, Change("ready", version_id=version_id, content_hash=content_hash, entry=entry)):
        _discard(upload)
        return Skipped("the upload was replaced or deleted, or its post was, while it was processed")
    sizes = [rendition.bytes for rendition in media.renditions]
    return MediaProcessed(post_id, content_hash, len(sizes), sum(sizes))


@dataclass(frozen=True, slots=True)
class Upload:
    """What an event is about.

    Attributes:
        bucket: The uploads bucket.
        key: The upload's key.
        version_id: The version that was made or removed, if the event names it.
        post_id: The post it belongs to.
        order: The event's place among those of the same key: S3's sequencer, filled up with zeros on the right, as it
            is to be compared (Amazon S3 User Guide, "Event message structure").
    """

    bucket: str
    key: str
    version_id: str | None
    post_id: str
    order: str

    @property
    def own(self) -> str:
        """What the folders that this event writes to begin with, and no other's."""
        event = "\n".join((self.key, self.order, self.version_id or ""))
        return f"posts/{self.post_id}/{hashlib.sha256(event.encode()).hexdigest()[:12]}-"


@dataclass(frozen=True, slots=True)
class Change:
    """What an event comes to, for its post.

    Attributes:
        status: `ready`, `failed` or `removed`.
        reason: Why it failed.
        version_id: The version of the upload that the post now shows.
        content_hash: Its content.
        entry: What `post.media` is to keep of it; None where that is there already.
    """

    status: str
    reason: str | None = None
    version_id: str | None = None
    content_hash: str | None = None
    entry: dict[str, Any] | None = None


class _Gone(Exception):
    """The upload is not there any more."""


def limits() -> Limits:
    """The limits that the template's parameters set."""
    return Limits(
        megabytes=float(os.environ["MAX_UPLOAD_MB"]),
        megapixels=float(os.environ["MAX_MEGAPIXELS"]),
        side=int(os.environ["MAX_SIDE"]),
        frames=int(os.environ["MAX_FRAMES"]),
        animation_megapixels=float(os.environ["MAX_ANIMATION_MEGAPIXELS"]),
        video_megabytes=float(os.environ["MAX_VIDEO_MB"]),
        video_seconds=float(os.environ["MAX_VIDEO_SECONDS"]),
        video_side=int(os.environ["MAX_VIDEO_SIDE"]),
    )


def _is_gone(upload: Upload) -> bool:
    """Whether the upload is not there any more."""
    version = {"VersionId": upload.version_id} if upload.version_id else {}
    try:
        s3().head_object(Bucket=upload.bucket, Key=upload.key, **version)  # type: ignore[arg-type]
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if status in (404, 405):  # 405: the version is a delete marker
            return True
        if status == 400:  # a HEAD has no code to tell what is wrong
            raise _nowhere(upload) from error
        raise
    return False


def _nowhere(upload: Upload) -> Rejected:
    """That an event names what can be nowhere: S3 knows no such bucket, or no version could have such an id."""
    version = f" in the version {upload.version_id!r}" if upload.version_id else ""
    return Rejected("no_such_upload", f"the bucket {upload.bucket!r} cannot have the upload {upload.key!r}{version}")


def _download(upload: Upload, to: Path) -> tuple[str, str, str | None]:
    """Fetch an upload into a file; return its kind, its content's hash and its version.

    Raises:
        _Gone: It is not there any more.
        Unusable: It is of a kind that nothing is made of, or larger than it may be; it was not fetched.
        Rejected: It can be nowhere.
    """
    version = {"VersionId": upload.version_id} if upload.version_id else {}
    try:
        answer = s3().get_object(Bucket=upload.bucket, Key=upload.key, **version)  # type: ignore[arg-type]
    except ClientError as error:
        # MethodNotAllowed: the version is a delete marker.
        if error.response["Error"]["Code"] in ("NoSuchKey", "NoSuchVersion", "MethodNotAllowed"):
            raise _Gone from error
        if error.response["Error"]["Code"] in ("InvalidArgument", "NoSuchBucket"):
            raise _nowhere(upload) from error
        raise
    content_hash = hashlib.sha256()
    with closing(answer["Body"]) as body, to.open("wb") as file:
        start = body.read(4096)
        kind = kind_of(start)
        limits().check_size(answer["ContentLength"], video=kind in VIDEOS)
        if kind not in PICTURES and kind not in VIDEOS:
            what = kind or "of an unknown kind"
            raise Unusable("foreign", f"the file is {what}, neither a picture nor a video that can be shown")
        for chunk in itertools.chain([start], body.iter_chunks(1 << 20)):
            content_hash.update(chunk)
            file.write(chunk)
    return kind, content_hash.hexdigest()[:32], answer.get("VersionId")


def _put(rendition: dict[str, Any], folder: Path) -> None:
    """Write a rendition to the media bucket. The sandbox made it: were it a link, it might lead to our own secrets."""
    path = folder / Path(rendition["key"]).name
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW)) as file:
        s3().put_object(
            Bucket=os.environ["MEDIA_BUCKET"],
            Key=rendition["key"],
            Body=file,
            ContentType=rendition["content_type"],
            CacheControl=FOR_EVER,
        )


def _delete(folders: Iterable[str], *, but: Collection[str] = ()) -> int:
    """Delete the renditions in these folders, or all whose names begin so; return how many there were."""
    deleted, bucket = 0, os.environ["MEDIA_BUCKET"]
    for folder in folders:
        found = s3().list_objects_v2(Bucket=bucket, Prefix=folder).get("Contents", [])
        for item in found:
            if _folder(item["Key"]) not in but:
                s3().delete_object(Bucket=bucket, Key=item["Key"])
                deleted += 1
    return deleted


def _is_there(entry: dict[str, Any]) -> bool:
    """Whether the renditions that a post shows are in the bucket: what a post's row says of them is not enough."""
    wanted = {rendition["key"]: int(rendition["bytes"]) for rendition in entry["renditions"]}
    found: dict[str, int] = {}
    for folder in {_folder(key) for key in wanted}:
        listed = s3().list_objects_v2(Bucket=os.environ["MEDIA_BUCKET"], Prefix=folder).get("Contents", [])
        found |= {item["Key"]: item["Size"] for item in listed}
    return wanted.items() <= found.items()


def _discard(upload: Upload) -> None:
    """Delete what an overtaken event made, but for what the post shows: an earlier delivery of it may have settled."""
    try:
        shown = _folders(_media(Post.get(upload.post_id, consistent_read=True)))
    except Post.DoesNotExist:
        shown = set()
    _delete([upload.own], but=shown)


def _remove(upload: Upload, run: Run, *, any_version: bool) -> MediaRemoved | Skipped:
    """Remove the renditions of an upload that was deleted."""
    try:
        seen = _uploads(Post.get(upload.post_id, consistent_read=True)).get(upload.key)
    except Post.DoesNotExist:
        return Skipped(f"there is no post {upload.post_id!r}")
    if seen and seen["hash"] and not any_version and seen["version_id"] != upload.version_id:
        return Skipped("another version of the upload stands")
    settled = _settle(upload, run, Change("removed"))
    return MediaRemoved(upload.post_id, settled.deleted) if settled else Skipped("a newer event has been handled")


@dataclass(frozen=True, slots=True)
class _Settled:
    """That a post shows what an event came to.

    Attributes:
        deleted: How many renditions that nothing shows any more were deleted.
    """

    deleted: int


def _settle(upload: Upload, run: Run, change: Change) -> _Settled | None:
    """Write what an event came to, unless a newer one was handled or the post is gone; then delete what is unused."""
    for _ in range(MOST_TRIES):
        try:
            post = Post.get(upload.post_id, consistent_read=True)
        except Post.DoesNotExist:
            return None
        uploads, media = _uploads(post), _media(post)
        before = _folders(media)
        seen = uploads.get(upload.key, {"order": "", "version_id": None, "hash": None, "doomed": []})
        if upload.order.strip("0") and upload.order < seen["order"]:
            return None
        if change.content_hash and not change.entry and change.content_hash not in media:
            raise NotYet("the same picture was removed from the post meanwhile, and is to be made anew")

        now = {"order": max(upload.order, seen["order"]), "version_id": change.version_id, "hash": change.content_hash}
        if change.status == "failed":  # what was there before stays
            now |= {"version_id": seen["version_id"], "hash": seen["hash"]}
        if change.entry:
            before |= _folders({"": change.entry})
            there = media.get(change.content_hash or "")
            if not there or there["recipe"] != RECIPE or not _is_there(there):
                media[change.content_hash or ""] = change.entry
        uploads[upload.key] = now
        if seen["hash"] not in {each["hash"] for each in uploads.values()}:
            media.pop(seen["hash"], None)
        _delete(seen["doomed"])  # a run that was cut off may have left them
        # Kept in the row, so that a run that is cut off below is made up for when it is repeated.
        now["doomed"] = doomed = sorted(before - _folders(media))

        actions: list[Action] = [
            Post.media.set(media),
            Post.media_uploads.set(uploads),
            Post.media_revision.set((post.media_revision or 0) + 1),
        ]
        if not post.media_as_of or post.media_as_of <= run.now:
            actions += _status(change, post, is_empty=not media)
            actions.append(Post.media_as_of.set(run.now))
        unchanged = Post.media_revision == post.media_revision if post.media_revision else _NEW
        Changed.note("post", post.post_id)
        if update_if(post, actions, Post.post_id.exists() & unchanged):
            return _Settled(_delete(doomed))
        # Another upload was faster: read the post again.
    raise NotYet("other uploads of the post keep changing its media")


_NEW = Post.media_revision.does_not_exist()


def _status(change: Change, post: Post, *, is_empty: bool) -> list[Action]:
    """What the post says of its newest upload; nothing, once all are removed."""
    status, reason = change.status, change.reason
    if change.status == "removed":
        status, reason = ("", None) if is_empty else (post.media_status or "", post.media_reason)
    return [
        Post.media_status.set(status) if status else Post.media_status.remove(),
        Post.media_reason.set(reason) if reason else Post.media_reason.remove(),
    ]


def _media(post: Post) -> dict[str, Any]:
    media: dict[str, Any] = post.media.as_dict() if post.media else {}  # type: ignore[no-untyped-call]
    return media


def _uploads(post: Post) -> dict[str, Any]:
    uploads: dict[str, Any] = post.media_uploads.as_dict() if post.media_uploads else {}  # type: ignore[no-untyped-call]
    return uploads


def _folder(key: str) -> str:
    """The folder of a rendition."""
    return key.rpartition("/")[0] + "/"


def _folders(media: dict[str, Any]) -> set[str]:
    """The folders of all renditions that a post shows."""
    return {_folder(rendition["key"]) for entry in media.values() for rendition in entry["renditions"]}


def _entry(media: Media, folder: str, key: str) -> dict[str, Any]:
    """What a post keeps of one upload: enough to write an `<img srcset>` without another look-up."""
    return {
        "upload": key,
        "recipe": RECIPE,
        "format": media.format,
        "width": media.width,
        "height": media.height,
        "blurhash": media.blurhash,
        "seconds": media.seconds,
        "renditions": [
            {
                "key": folder + rendition.name,
                "role": rendition.role,
                "content_type": rendition.content_type,
                "width": rendition.width,
                "height": rendition.height,
                "bytes": rendition.bytes,
            }
            for rendition in media.renditions
        ],
    }


lambda_handler = handle.lambda_handler
