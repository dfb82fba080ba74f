"""The archive of deleted posts: compressed manifests in a bucket, written before a post is deleted, to restore it from.

`cleanup_old_posts` surveys first, and the run's id names all that follows from it:

    surveys/<run>/<page>.json            what the survey found, up to 100 posts a page
    archive/<run>/<page>.jsonl.gz        one line for each post that was deleted: its row, comments, likes and files

The rows are kept as DynamoDB has them, so attributes that these models do not know are restored as well.
"""

import base64
import contextlib
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
from backbeat.models import Changed, Comment, DayCounts, ErasedUser, Like, Post, Row, User, day_key, readable, update_if
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
    return f"{folder('archive', survey)}{page}.jsonl.gz"


def folder(kind: str, run_id: str) -> str:
    """What the keys of a run's surveys or manifests begin with, and of no other's, as an id may hold slashes."""
    return f"{kind}/{run_id.replace('/', '%2F')}/"


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
    keys, pages = list(manifests(folder("archive", survey))), list(manifests(folder("surveys", survey)))
    if not keys and not pages:
        raise LookupError(f"run {survey!r} has no manifest and no survey in s3://{bucket()}")
    total: Counter[str] = Counter()
    for key in pages:
        total["shown"] += _unhide(json.loads(s3().get_object(Bucket=bucket(), Key=key)["Body"].read()), at)
    for key in keys:
        for entry in read(key):
            total += _put_back(entry, at)
            DayCounts.mark(days_of(entry))
    return Restored(**{field.name: total[field.name] for field in fields(Restored)})


def _unhide(page: dict[str, Any], at: datetime) -> int:
    """Show the posts again that were hidden for being on a page of a survey; return how many."""
    as_of = datetime.fromisoformat(page["as_of"])
    shown = 0
    for post in readable(Post, page["hide"], consistent_read=True):
        if post.hidden_at and post.hidden_at >= as_of:
            with contextlib.suppress(Post.DoesNotExist):  # it was deleted meanwhile
                shown += Post.unhide(post.post_id, at=at)
    return shown


def forget(user_id: str) -> tuple[int, set[str]]:
    """Take a user's posts, comments and likes out of every manifest; return how many rows that were, and the posts."""
    forgotten = 0
    theirs: set[str] = set()
    for key in list(manifests("archive/")):
        entries = read(key)
        theirs |= {entry["post"]["post_id"]["S"] for entry in entries if _is_by(entry["post"], "author_id", user_id)}
        kept = [_without(entry, user_id) for entry in entries if not _is_by(entry["post"], "author_id", user_id)]
        if kept != entries:
            forgotten += _rows(entries) - _rows(kept)
            _replace(key, _packed(kept), "application/gzip")
    unlist(theirs)
    return forgotten, theirs


def _is_by(row: Item, name: str, user_id: str) -> bool:
    return bool(row.get(name) == {"S": user_id})


def _without(entry: Entry, user_id: str) -> Entry:
    """A post without a user's comments and likes, which its counts do not count any more."""
    comments = [row for row in entry["comments"] if not _is_by(row, "author_id", user_id)]
    likes = [row for row in entry["likes"] if not _is_by(row, "user_id", user_id)]
    post = dict(entry["post"])
    for name, fewer in (
        ("comments_count", len(entry["comments"]) - len(comments)),
        ("likes_count", len(entry["likes"]) - len(likes)),
    ):
        if fewer and "N" in post.get(name, {}):
            post[name] = {"N": str(max(0, int(float(post[name]["N"])) - fewer))}
    return Entry(post=post, comments=comments, likes=likes, files=entry["files"])


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


def _put_back(entry: Entry, at: datetime) -> Counter[str]:
    """Put what is not there of a post with its comments and likes, but nothing by users who were erased meanwhile."""
    done: Counter[str] = Counter()
    post = with_media_that_is_there(as_before_hiding(entry["post"]))
    post_id, author = post["post_id"]["S"], post["author_id"]["S"]
    Changed.note("restored", post_id)
    put = _put(Post, post)
    unmet = _unmet(put, _unless_erased(author), _counted(author, at))
    if unmet == {2}:  # the author is not here any more
        unmet = _unmet(put, _unless_erased(author))
    if 1 in unmet:
        return done
    if unmet:
        done["there"] += 1
    else:
        done["posts"] += 1
        done["files"] += len(entry["files"])
        done["bytes"] += sum(file["size"] for file in entry["files"])
    for model, by, rows in ((Comment, "author_id", entry["comments"]), (Like, "user_id", entry["likes"])):
        name = f"{model.__name__.lower()}s"
        for row in rows:
            there = _check(Post, {"post_id": row["post_id"]}, "attribute_exists(post_id)")
            unmet = _unmet(_put(model, row), _unless_erased(row[by]["S"]), there)
            done[name] += not unmet
            if 1 in unmet and done["posts"]:
                count = Post.comments_count if model is Comment else Post.likes_count
                update_if(Post(post_id), [count.add(-1)], Post.post_id.exists() & (count > 0))
    return done


def _unmet(*items: "TransactWriteItemTypeDef") -> set[int]:
    """Write all or nothing; return the places of those whose conditions did not hold, and then nothing was written."""
    try:
        dynamodb().transact_write_items(TransactItems=items)
    except dynamodb().exceptions.TransactionCanceledException as error:
        codes = [reason.get("Code") for reason in error.response["CancellationReasons"]]
        if not set(codes) <= {"None", "ConditionalCheckFailed"}:
            raise
        return {place for place, code in enumerate(codes) if code != "None"}
    return set()


def _put(model: type[Post] | type[Comment] | type[Like], item: Item) -> "TransactWriteItemTypeDef":
    """Put a row that is not there."""
    condition = "attribute_not_exists(post_id)"
    return {"Put": {"TableName": model.Meta.table_name, "Item": item, "ConditionExpression": condition}}


def _check(model: type[Row], key: Item, condition: str) -> "TransactWriteItemTypeDef":
    """Write nothing, but look whether a condition holds of a row."""
    return {"ConditionCheck": {"TableName": model.Meta.table_name, "Key": key, "ConditionExpression": condition}}


def _unless_erased(user_id: str) -> "TransactWriteItemTypeDef":
    """The condition that a user was not erased; erasing notes it first, and then looks for what there is of them."""
    mark = ErasedUser.of(user_id)
    key = {"task_day": {"S": mark.partition}, "run_id": {"S": mark.mark}}
    return _check(ErasedUser, key, "attribute_not_exists(run_id)")


def _counted(author: str, at: datetime) -> "TransactWriteItemTypeDef":
    """Count a post on its author, who is marked as touched."""
    return {
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
