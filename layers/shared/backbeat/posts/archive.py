"""The archive of deleted posts: compressed manifests in a bucket, written before a post is deleted, to restore it from.

`cleanup_old_posts` surveys first, and the run's id names all that follows from it:

    surveys/<run>/<page>.json            what the survey found, up to 100 posts a page
    archive/<run>/<page>.jsonl.gz        one line for each post that was deleted: its row, comments, likes and files

The rows are kept as DynamoDB has them, so attributes that these models do not know are restored as well.
"""

import base64
import gzip
import json
import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypedDict

from botocore.exceptions import ClientError

from backbeat.aws import dynamodb, s3
from backbeat.models import Changed, Comment, DayCounts, Like, Post, User, day_key
from backbeat.models.arguments import checked
from backbeat.posts.files import File, delete_files, files_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

Item = dict[str, Any]
"""A row as DynamoDB's JSON: `{"post_id": {"S": "..."}, ...}`."""


class Entry(TypedDict):
    """A post with everything that is deleted with it."""

    post: Item
    comments: list[Item]
    likes: list[Item]
    files: list[File]


class ManifestDiffers(Exception):
    """What was read back of a manifest is not what was written, so nothing of it may be deleted."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore brought back.

    Attributes:
        posts: Posts restored.
        comments: Comments restored.
        likes: Likes restored.
        shown: Posts that the run had only hidden, and that are shown again.
        there: Posts that were there already, and stay as they are.
        files: Files that the posts had; a manifest names them, but does not hold them.
        bytes: The size of those files.
    """

    posts: int
    comments: int
    likes: int
    shown: int
    there: int
    files: int
    bytes: int


def bucket() -> str:
    """The archive bucket's name.

    Raises:
        LookupError: The environment does not give it.
    """
    if "ARCHIVE_BUCKET" not in os.environ:
        raise LookupError("ARCHIVE_BUCKET is not set: the environment must name the bucket of the archive")
    return os.environ["ARCHIVE_BUCKET"]


def manifest_key(survey: str, page: str) -> str:
    """The key of the manifest of what a page of a survey found."""
    return f"archive/{survey}/{page}.jsonl.gz"


def rows_of(model: type[Post] | type[Comment] | type[Like], post_id: str) -> list[Item]:
    """All rows of a post in a table, whole, as they are now."""
    pages = (
        dynamodb()
        .get_paginator("query")
        .paginate(
            TableName=model.Meta.table_name,
            KeyConditionExpression="post_id = :post_id",
            ExpressionAttributeValues={":post_id": {"S": post_id}},
            ConsistentRead=True,
        )
    )
    return [item for page in pages for item in page["Items"]]


def entry_of(post_id: str) -> Entry | None:
    """A post with everything that is to be deleted with it, or None where it is gone."""
    for post in rows_of(Post, post_id):
        return Entry(
            post=post, comments=rows_of(Comment, post_id), likes=rows_of(Like, post_id), files=files_of(post_id)
        )
    return None


def write(survey: str, page: str, entries: Sequence[Entry]) -> list[Entry]:
    """Write a manifest, unless there is one, and read it back.

    Returns:
        The entries of the manifest that is there: these, or those of the delivery that came first.

    Raises:
        ManifestDiffers: What was read back is not what was written.
    """
    key = manifest_key(survey, page)
    try:
        s3().put_object(
            Bucket=bucket(),
            Key=key,
            Body=_packed(entries),
            ContentType="application/gzip",
            IfNoneMatch="*",
        )
    except ClientError as error:
        if error.response["Error"]["Code"] != "PreconditionFailed":
            raise
        return read(key)
    written = read(key)
    if written != list(entries):
        raise ManifestDiffers(f"s3://{bucket()}/{key} differs from what was written; nothing of it was deleted")
    return written


def exists(survey: str, page: str) -> bool:
    """Whether a page's manifest has been written."""
    found = s3().list_objects_v2(Bucket=bucket(), Prefix=manifest_key(survey, page))
    return found["KeyCount"] > 0


def read(key: str) -> list[Entry]:
    """The entries of a manifest."""
    body = s3().get_object(Bucket=bucket(), Key=key)["Body"].read()
    return [json.loads(line, object_hook=_from_json) for line in gzip.decompress(body).decode().splitlines()]


def days_of(entry: Entry) -> list[str]:
    """The day keys of an entry's post and comments."""
    return [row["day"]["S"] for row in (entry["post"], *entry["comments"]) if "day" in row]


def manifests(prefix: str) -> Iterator[str]:
    """The keys under a prefix: `archive/` for all manifests, `archive/<run>/` for those of a run, `surveys/`."""
    for page in s3().get_paginator("list_objects_v2").paginate(Bucket=bucket(), Prefix=prefix):
        for found in page.get("Contents", []):
            yield found["Key"]


@checked
def restore(survey: str, *, at: datetime) -> Restored:
    """Bring the posts of a run back, with their comments and likes, as they were before they were hidden.

    Posts that the run has only hidden are shown again. It may be repeated: what is there stays as it is.

    Args:
        survey: The id of the run, as the ledger names it.
        at: When this happens; the authors are marked as touched.

    Raises:
        LookupError: The run has neither a manifest nor a survey.
    """
    keys, pages = list(manifests(f"archive/{survey}/")), list(manifests(f"surveys/{survey}/"))
    if not keys and not pages:
        raise LookupError(f"run {survey!r} has no manifest and no survey in s3://{bucket()}")
    total: Counter[str] = Counter()
    for key in pages:
        total["shown"] += _unhide(json.loads(s3().get_object(Bucket=bucket(), Key=key)["Body"].read()), at)
    for key in keys:
        for entry in read(key):
            if _put_post(with_media_that_is_there(as_before_hiding(entry["post"])), at):
                total["posts"] += 1
                total["files"] += len(entry["files"])
                total["bytes"] += sum(file["size"] for file in entry["files"])
            else:
                total["there"] += 1
            total["comments"] += sum(_put(Comment, comment) for comment in entry["comments"])
            total["likes"] += sum(_put(Like, like) for like in entry["likes"])
            DayCounts.mark(days_of(entry))
    return Restored(**{field.name: total[field.name] for field in fields(Restored)})


def _unhide(page: dict[str, Any], at: datetime) -> int:
    """Show the posts again that were hidden for being on a page of a survey; return how many."""
    as_of = datetime.fromisoformat(page["as_of"])
    posts = Post.batch_get(page["hide"], consistent_read=True) if page["hide"] else ()
    return sum(Post.unhide(post.post_id, at=at) for post in posts if post.hidden_at and post.hidden_at >= as_of)


def forget(user_id: str) -> int:
    """Take a user's posts, comments and likes out of every manifest; return how many rows that were."""
    forgotten = 0
    theirs: set[str] = set()
    for key in list(manifests("archive/")):
        entries = read(key)
        theirs |= {entry["post"]["post_id"]["S"] for entry in entries if entry["post"]["author_id"]["S"] == user_id}
        kept = [
            Entry(
                post=entry["post"],
                comments=[row for row in entry["comments"] if row["author_id"]["S"] != user_id],
                likes=[row for row in entry["likes"] if row["user_id"]["S"] != user_id],
                files=entry["files"],
            )
            for entry in entries
            if entry["post"]["author_id"]["S"] != user_id
        ]
        if kept != entries:
            forgotten += _rows(entries) - _rows(kept)
            _replace(key, _packed(kept), "application/gzip")
    unlist(theirs)
    return forgotten


def unlist(post_ids: Collection[str]) -> None:
    """Take posts off the lists of the surveys."""
    for key in list(manifests("surveys/")) if post_ids else ():
        page = json.loads(s3().get_object(Bucket=bucket(), Key=key)["Body"].read())
        without = {
            name: [post_id for post_id in of if post_id not in post_ids] if isinstance(of, list) else of
            for name, of in page.items()
        }
        if without != page:
            _replace(key, json.dumps(without).encode(), "application/json")


def _replace(key: str, body: bytes, content_type: str) -> None:
    """Write an object anew, and delete what it was before."""
    s3().put_object(Bucket=bucket(), Key=key, Body=body, ContentType=content_type)
    delete_files(
        [
            File(bucket=bucket(), key=key, version_id=version["VersionId"], size=version["Size"])
            for version in s3().list_object_versions(Bucket=bucket(), Prefix=key).get("Versions", [])
            if version["Key"] == key and not version["IsLatest"]
        ]
    )


def _rows(entries: Sequence[Entry]) -> int:
    return sum(1 + len(entry["comments"]) + len(entry["likes"]) for entry in entries)


def as_before_hiding(post: Item) -> Item:
    """A post's row as it was before `cleanup_old_posts` hid it."""
    shown = {name: value for name, value in post.items() if name not in ("hidden_at", "hidden_day", "hidden_from")}
    return shown | ({"visibility": post["hidden_from"]} if "hidden_from" in post else {})


def with_media_that_is_there(post: Item) -> Item:
    """A post's row that shows only renditions whose files are there, and takes every upload that is not for a new one.

    The files of an archived post were deleted, unless that was cut off. What the row says of them is not believed.
    """
    media: Item = post.get("media", {}).get("M", {})
    if not media:
        return post
    there = {file["key"] for file in files_of(post["post_id"]["S"]) if file["size"]}
    kept = {
        content_hash: entry
        for content_hash, entry in media.items()
        if {rendition["M"]["key"]["S"] for rendition in entry["M"].get("renditions", {}).get("L", ())} <= there
    }
    if kept == media:
        return post
    gone = ("media_uploads", "media_status", "media_reason", "media_as_of")
    return {name: value for name, value in post.items() if name not in gone} | {"media": {"M": kept}}


def _put_post(post: Item, at: datetime) -> bool:
    """Put a post that is not there, and count it; return whether it was put."""
    Changed.note("restored", post["post_id"]["S"])
    author = post["author_id"]["S"]
    put: TransactWriteItemTypeDef = {
        "Put": {
            "TableName": Post.Meta.table_name,
            "Item": post,
            "ConditionExpression": "attribute_not_exists(post_id)",
        }
    }
    count: TransactWriteItemTypeDef = {
        "Update": {
            "TableName": User.Meta.table_name,
            "Key": {"user_id": {"S": author}},
            "UpdateExpression": "ADD posts_count :one SET touched_at = :at, touched_day = :day",
            "ConditionExpression": "attribute_exists(user_id)",
            "ExpressionAttributeValues": {
                ":one": {"N": "1"},
                ":at": {"S": User.touched_at.serialize(at)},  # type: ignore[no-untyped-call]
                ":day": {"S": day_key(at, author)},
            },
        }
    }
    try:
        dynamodb().transact_write_items(TransactItems=[put, count])
    except dynamodb().exceptions.TransactionCanceledException as error:
        of_post, of_author = (reason.get("Code") for reason in error.response["CancellationReasons"])
        if of_post == "ConditionalCheckFailed":
            return False
        if (of_post, of_author) == ("None", "ConditionalCheckFailed"):  # the author has left
            return _put(Post, post)
        raise
    return True


def _put(model: type[Post] | type[Comment] | type[Like], item: Item) -> bool:
    """Put a row that is not there; return whether it was put."""
    try:
        dynamodb().put_item(
            TableName=model.Meta.table_name, Item=item, ConditionExpression="attribute_not_exists(post_id)"
        )
    except dynamodb().exceptions.ConditionalCheckFailedException:
        return False
    return True


def _packed(entries: Sequence[Entry]) -> bytes:
    """The content of a manifest."""
    lines = "".join(json.dumps(entry, default=_to_json, ensure_ascii=False) + "\n" for entry in entries)
    return gzip.compress(lines.encode(), mtime=0)


def _to_json(value: Any) -> Any:
    """What JSON has no form for: a binary value of an application's own attribute."""
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    raise TypeError(f"a row holds a {type(value).__name__}, which a manifest cannot")


def _from_json(value: dict[str, Any]) -> Any:
    match value:
        case {"base64": str(text), **rest} if not rest:
            return base64.b64decode(text)
    return value
