"""Pictures that a model of the application's holds in a file field are copied to where Backbeat makes renditions.

The application's own file stays where its storage has put it, under whatever key Django chose. Its copy is an upload of
the post's, `posts/<post_id>/file-<hash>-<name>`, where the hash is of the name in the storage: a file is known by it.
Files that the post has no more take their copies, and so their renditions, with them.
"""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from backbeat.aws import s3
from backbeat.models import Post
from backbeat.posts.files import upload_key
from backbeat_django import mirror
from backbeat_django.mapping import follow, mapping
from backbeat_django.outbox import Key, as_id, mark

ENTRY = "file"
"""What entries are called that are about a post's files alone."""
COPY = "file-"
"""What the names of copies begin with, and of no other upload."""
LONGEST_NAME = 100
AT_ONCE = 100
"""Posts whose files are looked at together."""


def are_mapped() -> bool:
    """Whether the settings say in which field a post's files are."""
    return "post" in mapping() and "file" in mapping()["post"].fields


SetAside = Callable[[str, Key, str], None]
"""Keeps an entry that cannot be applied: of which kind and row, and why."""


def carry(keys: Sequence[Key], set_aside: SetAside) -> Counter[str]:
    """Make the copies of some posts' files what the application has.

    Args:
        keys: The posts.
        set_aside: Takes the posts whose files are not there, or cannot be read.

    Returns:
        How many files were `copied` and `removed`, and of how many posts files are `missing`.
    """
    if not keys:
        return Counter()
    kind, done = mapping()["post"], Counter[str]()
    path = kind.fields["file"]
    names: dict[str, set[str]] = defaultdict(set)
    for pk, name in kind.rows.filter(pk__in=[key[0] for key in keys]).values_list("pk", path):
        names[as_id(pk)].update([name] if name else [])
    for (post_id,), post in mirror.fetch("post", keys).items():
        if post_id not in names:
            continue
        try:
            done += _carry(post_id, post, names[post_id], follow(kind.model, path)[-1].storage)
        except OSError as error:
            set_aside(ENTRY, (post_id,), f"{type(error).__name__}: {error}")
            done["missing"] += 1
    return done


def _carry(post_id: str, post: Any, names: set[str], storage: Any) -> Counter[str]:
    """The same of one post."""
    assert isinstance(post, Post)
    seen: dict[str, Any] = post.media_uploads.as_dict() if post.media_uploads else {}  # type: ignore[no-untyped-call]
    wanted = {copy_of(post_id, name): name for name in sorted(names)}
    own = upload_key(post_id, COPY)
    shown = {key for key, event in seen.items() if key.startswith(own) and event["hash"]}
    if not (wanted.keys() - seen.keys() or shown - wanted.keys()):
        return Counter()  # as after most changes of a post, for which S3 need not be asked
    done, bucket = Counter[str](), os.environ["UPLOADS_BUCKET"]
    found = s3().list_objects_v2(Bucket=bucket, Prefix=own).get("Contents", [])
    there = {each["Key"] for each in found}
    for key in wanted.keys() - seen.keys() - there:
        with storage.open(wanted[key], "rb") as file:
            s3().put_object(Bucket=bucket, Key=key, Body=file)
        done["copied"] += 1
    for key in (shown | there) - wanted.keys():
        s3().delete_object(Bucket=bucket, Key=key)
        done["removed"] += 1
    return done


def copy_of(post_id: str, name: str) -> str:
    """The key of the copy of a file that the application's storage has under a name."""
    short = name.rpartition("/")[2][-LONGEST_NAME:]
    return upload_key(post_id, f"{COPY}{hashlib.sha256(name.encode()).hexdigest()[:12]}-{short}")


def carry_all(set_aside: SetAside) -> Iterator[tuple[int, Counter[str]]]:
    """Carry the files of all posts, and tell after some how many posts were looked at, and what was done."""
    last: Any = None
    while True:
        query = mapping()["post"].rows.order_by("pk")
        if last is not None:
            query = query.filter(pk__gt=last)
        pks = list(query[:AT_ONCE].values_list("pk", flat=True))
        if not pks:
            return
        last = pks[-1]
        yield len(pks), carry([(as_id(pk),) for pk in pks], set_aside)


class PostFiles:
    """What a task that took a post's id, and made its picture's renditions, becomes: `delay` has the relay look again.

    The relay copies what is new, and S3 then sends `process_media_upload` by itself. A post that is saved with its file
    needs no such call; this is for the calls that a project has.
    """

    def delay(self, post_id: object) -> None:
        """Leave an entry that says that a post's files have changed, in the caller's transaction."""
        mark("post", [(as_id(post_id),)], mapping().database)

    def apply_async(self, args: Sequence[object] = (), kwargs: Mapping[str, object] | None = None) -> None:
        """The same; when it happens is the relay's business."""
        self.delay(*args, **(kwargs or {}))
