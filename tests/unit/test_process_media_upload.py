"""From an S3 notification to renditions on a post, whatever is repeated, gone, foreign or broken."""

import hashlib
import io
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import av
import boto3
import permissions
import pytest
from botocore.exceptions import ClientError
from PIL import Image
from support import Context, Queue, event, function_environment, resolve

import process_media_upload as function
from backbeat import ledger
from backbeat.models import Post
from sandbox import Sandbox

WHEN = datetime(2026, 11, 1, 4, tzinfo=UTC)
UPLOADS = resolve({"Ref": "UploadsBucket"})
MEDIA = resolve({"Ref": "MediaBucket"})


def photo(colour: str = "red", size: tuple[int, int] = (400, 300)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "JPEG")
    return buffer.getvalue()


def notification(key: str, version_id: str | None = None, **changes: str) -> dict[str, Any]:
    """A notification of the event number `sequencer` of a key."""
    change = {"sequencer": "01", "time": "2026-11-01T04:00:00.000Z", "name": "ObjectCreated:Put", **changes}
    content = {"key": key, "sequencer": change["sequencer"], **({"versionId": version_id} if version_id else {})}
    record = {"eventName": change["name"], "eventTime": change["time"]}
    return {"Records": [{**record, "s3": {"bucket": {"name": UPLOADS}, "object": content}}]}


def put(key: str, content: bytes) -> str:
    return str(boto3.client("s3").put_object(Bucket=UPLOADS, Key=key, Body=content)["VersionId"])


def served() -> dict[str, dict[str, Any]]:
    """What lies in the media bucket, by key."""
    s3 = boto3.client("s3")
    return {
        item["Key"]: s3.get_object(Bucket=MEDIA, Key=item["Key"])
        for item in s3.list_objects_v2(Bucket=MEDIA).get("Contents", [])
    }


def post(post_id: str = "post-1") -> Any:
    return Post.get(post_id)


@pytest.fixture
def queue(media_queue: Queue, monkeypatch: pytest.MonkeyPatch) -> Queue:
    for name, value in function_environment("ProcessMediaUploadFunction").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("random.uniform", lambda low, high: 0)
    Post("post-1", author_id="ada", text="Look!", created_at=WHEN).save()
    return media_queue


DELETED = "ObjectRemoved:DeleteMarkerCreated"


def hash_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def count_conversions(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    made: list[Any] = []
    convert = Sandbox.convert
    monkeypatch.setattr(Sandbox, "convert", lambda *args: made.append(args) or convert(*args))
    return made


def deliver(name: str) -> list[str]:
    answer = function.lambda_handler(event("process_media_upload", name), Context())
    return [item["itemIdentifier"] for item in answer["batchItemFailures"]]


def test_an_upload_comes_out_as_renditions_on_its_post(queue: Queue) -> None:
    content = photo()
    put("posts/post-1/sample.jpg", content)
    assert deliver("typical") == []
    content_hash = hash_of(content)
    assert (post().media_status, post().media_reason) == ("ready", None)
    entry = post().media.as_dict()[content_hash]
    assert (entry["format"], entry["width"], entry["height"]) == ("JPEG", 400, 300)
    assert entry["upload"] == "posts/post-1/sample.jpg"
    files = served()
    folder = entry["renditions"][0]["key"].removesuffix("400.webp")
    assert re.fullmatch(rf"posts/post-1/[0-9a-f]{{12}}-{content_hash}-{function.RECIPE}/", folder)
    assert [r["key"] for r in entry["renditions"]] == [
        f"{folder}{name}" for name in ("400.webp", "400.jpg", "320.webp", "320.jpg", "square.webp", "square.jpg")
    ]
    assert set(files) == {r["key"] for r in entry["renditions"]}
    for rendition in entry["renditions"]:
        file = files[rendition["key"]]
        body = file["Body"].read()
        assert (file["ContentType"], len(body)) == (rendition["content_type"], rendition["bytes"])
        assert file["CacheControl"] == "public, max-age=31536000, immutable"
        assert Image.open(io.BytesIO(body)).size == (rendition["width"], rendition["height"])


def test_a_video_comes_out_beside_its_poster(queue: Queue) -> None:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as target:
        stream = target.add_stream("libx264", rate=10)
        stream.width = stream.height = 64
        for _ in range(3):
            target.mux(stream.encode(av.VideoFrame.from_image(Image.new("RGB", (64, 64), "red"))))
        target.mux(stream.encode())
    put("posts/post-1/clip.jpg", buffer.getvalue())
    queue.send(notification("posts/post-1/clip.jpg"))
    assert queue.deliver(function, Context(memory_limit_in_mb=3008)) == []
    (entry,) = post().media.as_dict().values()
    assert (entry["format"], entry["width"], entry["seconds"]) == ("MP4 video", 64, pytest.approx(0.3))
    assert [r["role"] for r in entry["renditions"]] == ["picture", "picture", "square", "square", "video"]
    assert served()[entry["renditions"][-1]["key"]]["ContentType"] == "video/mp4"


def test_an_upload_announced_twice_is_processed_once(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    put("posts/post-1/sample.jpg", photo())
    made = count_conversions(monkeypatch)
    assert deliver("duplicate") == []
    assert len(made) == 1
    before, files = post().to_simple_dict(), set(served())
    assert deliver("duplicate") == []
    assert len(made) == 1
    assert (post().to_simple_dict(), set(served())) == (before, files)


@pytest.mark.parametrize("again", ["the same event", "the same key", "another key"])
@pytest.mark.parametrize("lost", ["all", "one", "cut"])
def test_renditions_that_are_gone_are_made_again_whatever_the_row_says(queue: Queue, again: str, lost: str) -> None:
    key, s3 = "posts/post-1/a.jpg", boto3.client("s3")
    first = put(key, photo())
    queue.send(notification(key, first))
    queue.drain(function.handle)
    assert post().media_status == "ready"
    for name in list(served())[: None if lost == "all" else 1]:
        if lost == "cut":
            s3.put_object(Bucket=MEDIA, Key=name, Body=b"cut")
        else:
            s3.delete_object(Bucket=MEDIA, Key=name)
    if again == "another key":
        key = "posts/post-1/b.jpg"
    version = first if again == "the same event" else put(key, photo())
    queue.send(notification(key, version, sequencer="01" if again == "the same event" else "02"))
    queue.drain(function.handle)
    (entry,) = post().media.as_dict().values()
    shown = {rendition["key"]: rendition["bytes"] for rendition in entry["renditions"]}
    files = {name: file["ContentLength"] for name, file in served().items()}
    assert shown == files, "what it shows is there, and nothing else is"
    (run, *_) = ledger.recent("process_media_upload", WHEN.date(), 9)
    assert run.outcome == "succeeded"
    assert queue.dead() == []


def test_the_same_picture_under_two_keys_is_made_once_and_goes_with_the_second(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = count_conversions(monkeypatch)
    for key in ("posts/post-1/a.jpg", "posts/post-1/b.jpg"):
        put(key, photo())
        queue.send(notification(key))
    queue.deliver(function)
    assert (len(made), len(post().media.as_dict())) == (1, 1)
    queue.send(notification("posts/post-1/a.jpg", sequencer="02", name=DELETED))
    queue.deliver(function)
    assert len(served()) == 6
    queue.send(notification("posts/post-1/b.jpg", sequencer="02", name=DELETED))
    queue.deliver(function)
    assert (served(), post().media.as_dict(), post().media_status) == ({}, {}, None)


def test_a_key_arrives_url_encoded(queue: Queue) -> None:
    put("posts/post-1/café + 1.jpg", photo())
    assert deliver("url_encoded_key") == []
    (entry,) = post().media.as_dict().values()
    assert entry["upload"] == "posts/post-1/café + 1.jpg"


def test_s3s_test_event_asks_for_nothing(queue: Queue) -> None:
    assert deliver("s3_test_event") == []
    assert queue.dead() == []


def test_a_key_outside_posts_is_rejected(queue: Queue) -> None:
    assert deliver("poison") == []
    (letter,) = queue.dead()
    assert (letter["reason"], letter["outcome"]) == ("foreign_key", "rejected")
    assert "'avatars/7.jpg'" in letter["error"]
    assert served() == {}


def test_an_upload_waits_for_its_post_and_then_is_dead(queue: Queue) -> None:
    put("posts/unknown/a.jpg", photo())
    sent = queue.send(notification("posts/unknown/a.jpg"))
    for _ in range(4):
        assert queue.deliver(function) == [sent]
    assert queue.deliver(function) == []
    (letter,) = queue.dead()
    assert letter["reason"] == "not_yet"
    assert "no post 'unknown' (yet)" in letter["error"]
    Post("unknown", author_id="ada", text="Late", created_at=WHEN).save()
    queue.send(letter["body"])
    assert queue.deliver(function) == []
    assert post("unknown").media_status == "ready"


@pytest.mark.parametrize("post_id", ["post-1", "unknown"])
def test_a_version_that_can_be_none_is_rejected(queue: Queue, monkeypatch: pytest.MonkeyPatch, post_id: str) -> None:
    """S3 answers 400 to what is no version's id; moto answers that it is not there."""

    def refused(**_: Any) -> Any:
        answer: Any = {"Error": {"Code": "InvalidArgument"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
        raise ClientError(answer, "GetObject")

    for operation in ("get_object", "head_object"):
        monkeypatch.setattr(function.s3(), operation, refused)
    queue.send(notification(f"posts/{post_id}/a.jpg", "no version"))
    assert queue.deliver(function) == []
    (letter,) = queue.dead()
    assert letter["reason"] == "no_such_upload"
    assert letter["error"].endswith(f"cannot have the upload 'posts/{post_id}/a.jpg' in the version 'no version'")


def test_an_upload_that_went_with_its_post_is_not_waited_for(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPLOADS_BUCKET", UPLOADS)
    version = put("posts/post-1/a.jpg", photo())
    with permissions.by_another():
        Post.remove("post-1", at=WHEN)
    for version_id in (version, None):
        queue.send(notification("posts/post-1/a.jpg", version_id, sequencer=f"0{bool(version_id):d}"))
    assert queue.deliver(function) == []
    assert queue.dead() == []
    skipped = [(run.outcome, run.error) for run in ledger.recent("process_media_upload", WHEN.date(), 9)]
    assert skipped == [("skipped", "there is no post 'post-1', and the upload 'posts/post-1/a.jpg' is gone")] * 2


@pytest.mark.parametrize(
    ("content", "reason", "explanation"),
    [
        (b"%PDF-1.7", "foreign", "the file is PDF, neither a picture nor a video that can be shown"),
        (photo()[:300], "broken", "the file is a broken JPEG"),
        (b"", "empty", "the file is empty"),
    ],
)
def test_what_can_never_work_is_rejected_with_a_reason(
    queue: Queue, content: bytes, reason: str, explanation: str
) -> None:
    put("posts/post-1/good.jpg", photo())
    queue.send(notification("posts/post-1/good.jpg"))
    queue.deliver(function)
    put("posts/post-1/bad.jpg", content)
    queue.send(notification("posts/post-1/bad.jpg"))
    assert queue.deliver(function) == []
    (letter,) = queue.dead()
    assert letter["reason"] == reason
    assert post().media_status == "failed"
    assert post().media_reason.startswith(explanation)
    assert len(post().media.as_dict()) == 1


def test_too_large_an_upload_is_not_even_fetched(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_UPLOAD_MB", "1")
    put("posts/post-1/a.jpg", b"\0" * 1_000_001)
    queue.send(notification("posts/post-1/a.jpg"))
    assert queue.deliver(function) == []
    assert post().media_reason == "the file has 1.0 MB, more than 1"


def test_too_many_pixels_are_refused(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_MEGAPIXELS", "1")
    put("posts/post-1/a.jpg", photo(size=(1001, 1000)))
    queue.send(notification("posts/post-1/a.jpg"))
    assert queue.deliver(function) == []
    (letter,) = queue.dead()
    assert letter["reason"] == "too_many_pixels"


def test_the_version_that_was_announced_is_read(queue: Queue) -> None:
    first = put("posts/post-1/a.jpg", photo("red"))
    put("posts/post-1/a.jpg", photo("blue"))
    queue.send(notification("posts/post-1/a.jpg", first))
    assert queue.deliver(function) == []
    assert list(post().media.as_dict()) == [hash_of(photo("red"))]


def test_an_upload_that_is_gone_is_skipped(queue: Queue) -> None:
    version = put("posts/post-1/a.jpg", photo())
    boto3.client("s3").delete_object(Bucket=UPLOADS, Key="posts/post-1/a.jpg", VersionId=version)
    queue.send(notification("posts/post-1/a.jpg", version))
    queue.send(notification("posts/post-1/never.jpg"))
    assert queue.deliver(function) == []
    assert (queue.dead(), served(), post().media_status) == ([], {}, None)


def test_several_uploads_stand_beside_each_other(queue: Queue) -> None:
    for colour in ("red", "blue"):
        put(f"posts/post-1/{colour}.jpg", photo(colour))
        queue.send(notification(f"posts/post-1/{colour}.jpg"))
    queue.deliver(function)
    assert len(post().media.as_dict()) == 2


def test_an_older_upload_handled_late_does_not_overwrite_a_newer_ones_status(queue: Queue) -> None:
    put("posts/post-1/new.jpg", photo())
    put("posts/post-1/old.jpg", b"no picture")
    queue.send(notification("posts/post-1/new.jpg", time="2026-11-01T05:00:00.000Z"))
    queue.deliver(function)
    queue.send(notification("posts/post-1/old.jpg", time="2026-11-01T04:00:00.000Z"))
    queue.deliver(function)
    assert (post().media_status, post().media_reason) == ("ready", None)


def test_a_post_written_without_a_media_map_gets_one(queue: Queue) -> None:
    boto3.client("dynamodb").put_item(
        TableName="PostsTable",
        Item={
            "post_id": {"S": "bare"},
            "author_id": {"S": "ada"},
            "text": {"S": ""},
            "created_at": {"S": "2026-11-01T04:00:00.000000+0000"},
        },
    )
    put("posts/bare/a.jpg", photo())
    queue.send(notification("posts/bare/a.jpg"))
    assert queue.deliver(function) == []
    assert len(post("bare").media.as_dict()) == 1


def test_a_post_deleted_meanwhile_is_not_brought_back(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    while_converting(monkeypatch, lambda: Post("post-1").delete())
    put("posts/post-1/a.jpg", photo())
    queue.send(notification("posts/post-1/a.jpg"))
    assert queue.deliver(function) == []
    assert (list(Post.scan()), served()) == ([], {})


def while_converting(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], Any]) -> None:
    convert = Sandbox.convert

    def and_something_happens(*args: Any) -> Any:
        monkeypatch.setattr(Sandbox, "convert", convert)
        with permissions.by_another():
            happens()
        return convert(*args)

    monkeypatch.setattr(Sandbox, "convert", and_something_happens)


def test_a_deleted_upload_takes_its_renditions_with_it(queue: Queue) -> None:
    put("posts/post-1/sample.jpg", photo())
    deliver("typical")
    assert len(served()) == 6
    assert deliver("removed") == []
    assert (served(), post().media.as_dict(), post().media_status) == ({}, {}, None)
    assert deliver("removed") == []
    assert queue.dead() == []


def test_a_deletion_that_was_cut_off_is_made_up_for(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    put("posts/post-1/sample.jpg", photo())
    deliver("typical")
    with monkeypatch.context() as cut:
        cut.setattr(function, "_delete", lambda *_: 1 / 0)
        assert len(deliver("removed")) == 1
    assert len(served()) == 6
    assert deliver("removed") == []
    assert served() == {}


def test_a_replaced_upload_takes_its_renditions_with_it(queue: Queue) -> None:
    for number, colour in enumerate(("red", "blue")):
        version = put("posts/post-1/a.jpg", photo(colour))
        queue.send(notification("posts/post-1/a.jpg", version, sequencer=f"0{number}"))
        queue.deliver(function)
    assert list(post().media.as_dict()) == [hash_of(photo("blue"))]
    assert set(served()) == shown()


@pytest.mark.parametrize("newer", ["0055AED6DCD90281F0", "0055AED6DCD90281E500"])
def test_of_events_out_of_order_the_newest_counts(queue: Queue, newer: str) -> None:
    older = "0055AED6DCD90281E4"
    first = put("posts/post-1/a.jpg", photo("red"))
    second = put("posts/post-1/a.jpg", photo("blue"))
    queue.send(notification("posts/post-1/a.jpg", second, sequencer=newer))
    queue.deliver(function)
    queue.send(notification("posts/post-1/a.jpg", first, sequencer=older))
    assert queue.deliver(function) == []
    assert list(post().media.as_dict()) == [hash_of(photo("blue"))]
    queue.send(notification("posts/post-1/a.jpg", sequencer=older, name=DELETED))
    assert queue.deliver(function) == []
    assert list(post().media.as_dict()) == [hash_of(photo("blue"))]


def test_a_deletion_that_comes_first_holds(queue: Queue) -> None:
    version = put("posts/post-1/a.jpg", photo())
    queue.send(notification("posts/post-1/a.jpg", sequencer="02", name=DELETED))
    queue.deliver(function)
    queue.send(notification("posts/post-1/a.jpg", version, sequencer="01"))
    assert queue.deliver(function) == []
    assert (served(), post().media.as_dict()) == ({}, {})


def test_the_deletion_of_another_version_changes_nothing(queue: Queue) -> None:
    first = put("posts/post-1/a.jpg", photo("red"))
    second = put("posts/post-1/a.jpg", photo("blue"))
    queue.send(notification("posts/post-1/a.jpg", second, sequencer="02"))
    queue.deliver(function)
    queue.send(notification("posts/post-1/a.jpg", first, sequencer="03", name="ObjectRemoved:Delete"))
    assert queue.deliver(function) == []
    assert len(served()) == 6
    queue.send(notification("posts/post-1/a.jpg", second, sequencer="04", name="ObjectRemoved:Delete"))
    assert queue.deliver(function) == []
    assert served() == {}


def test_an_upload_deleted_while_it_is_processed_leaves_nothing(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    def deleted() -> None:
        queue.send(notification("posts/post-1/a.jpg", sequencer="02", name=DELETED))
        queue.deliver(function)

    while_converting(monkeypatch, deleted)
    put("posts/post-1/a.jpg", photo())
    queue.send(notification("posts/post-1/a.jpg"))
    assert queue.deliver(function) == []
    assert (served(), post().media.as_dict()) == ({}, {})


def shown() -> set[str]:
    """The keys of all renditions that the post shows."""
    return {r["key"] for entry in post().media.as_dict().values() for r in entry["renditions"]}


def upload(queue: Queue, key: str, sequencer: str) -> None:
    """Put the photo under a key, and handle the event."""
    put(key, photo())
    queue.send(notification(key, sequencer=sequencer))
    queue.deliver(function)


def delete(queue: Queue, key: str, sequencer: str) -> None:
    queue.send(notification(key, sequencer=sequencer, name=DELETED))
    queue.deliver(function)


A, B = "posts/post-1/a.jpg", "posts/post-1/b.jpg"


def test_a_picture_uploaded_again_while_its_first_upload_is_deleted_keeps_its_renditions(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(queue, A, "01")
    delete_files = function._delete

    def late(*args: Any) -> int:
        monkeypatch.setattr(function, "_delete", delete_files)
        with permissions.by_another():
            upload(queue, B, "01")
        return delete_files(*args)

    monkeypatch.setattr(function, "_delete", late)
    delete(queue, A, "02")
    assert set(served()) == shown()
    assert len(shown()) == 6


@pytest.mark.parametrize("delivered_before", [False, True])
def test_an_upload_that_was_overtaken_takes_nothing_that_another_delivery_made(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, delivered_before: bool
) -> None:
    def happens() -> None:
        if delivered_before:
            upload(queue, A, "01")
        upload(queue, B, "01")
        delete(queue, A, "02")

    while_converting(monkeypatch, happens)
    upload(queue, A, "01")
    assert set(served()) == shown()
    assert len(shown()) == 6


def test_an_old_deletion_repeated_takes_nothing_that_came_after_it(queue: Queue) -> None:
    upload(queue, A, "01")
    delete(queue, A, "02")
    upload(queue, B, "01")
    upload(queue, A, "01")
    delete(queue, A, "02")
    assert set(served()) == shown()
    assert len(shown()) == 6


def test_the_same_picture_under_two_keys_at_once_is_kept_once(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    while_converting(monkeypatch, lambda: upload(queue, B, "01"))
    upload(queue, A, "01")
    assert set(served()) == shown()
    assert len(shown()) == 6
    for key in (A, B):
        delete(queue, key, "02")
    assert (served(), shown()) == ({}, set())


def test_what_a_run_that_was_cut_off_left_goes_when_it_is_repeated(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as cut:
        cut.setattr(function, "_settle", lambda *_: 1 / 0)
        upload(queue, A, "01")
    assert len(served()) == 6
    queue.sqs.purge_queue(QueueUrl=queue.url)
    delete(queue, A, "02")
    upload(queue, A, "01")
    assert (served(), shown()) == ({}, set())


def test_two_uploads_at_once_both_stand(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    for colour in ("red", "blue"):
        put(f"posts/post-1/{colour}.jpg", photo(colour))

    def other() -> None:
        queue.send(notification("posts/post-1/blue.jpg"))
        queue.deliver(function)

    while_converting(monkeypatch, other)
    queue.send(notification("posts/post-1/red.jpg"))
    assert queue.deliver(function) == []
    assert set(post().media.as_dict()) == {hash_of(photo("red")), hash_of(photo("blue"))}


def test_a_broken_replacement_leaves_what_was_there(queue: Queue) -> None:
    put("posts/post-1/a.jpg", photo())
    queue.send(notification("posts/post-1/a.jpg", sequencer="01"))
    queue.deliver(function)
    put("posts/post-1/a.jpg", photo()[:300])
    queue.send(notification("posts/post-1/a.jpg", sequencer="02"))
    queue.deliver(function)
    assert post().media_status == "failed"
    assert (len(served()), list(post().media.as_dict())) == (6, [hash_of(photo())])


def test_a_fault_of_our_own_is_retried_not_blamed_on_the_file(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(*_: Any) -> Any:
        raise RuntimeError("the conversion failed")

    monkeypatch.setattr(Sandbox, "convert", faulty)
    put("posts/post-1/a.jpg", photo())
    sent = queue.send(notification("posts/post-1/a.jpg"))
    assert queue.deliver(function) == [sent]
    assert post().media_status is None


def test_a_link_in_place_of_a_rendition_leads_nowhere(
    queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decoder that a stranger's file has taken over could lead the function to files that only it may read."""
    secret = tmp_path / "secret"
    secret.write_text("secret")
    convert = Sandbox.convert

    def and_link(box: Sandbox, upload: Path, kind: str, folder: Path, *args: Any) -> Any:
        media = convert(box, upload, kind, folder, *args)
        (folder / "400.webp").unlink()
        (folder / "400.webp").symlink_to(secret)
        return media

    monkeypatch.setattr(Sandbox, "convert", and_link)
    put("posts/post-1/a.jpg", photo())
    sent = queue.send(notification("posts/post-1/a.jpg"))
    assert queue.deliver(function) == [sent]
    assert not any(b"secret" in file["Body"].read() for file in served().values())


def test_a_post_without_media_is_left_alone_when_storage_fails(queue: Queue) -> None:
    boto3.client("s3").delete_bucket(Bucket=MEDIA)
    put("posts/post-1/a.jpg", photo())
    sent = queue.send(notification("posts/post-1/a.jpg"))
    assert queue.deliver(function) == [sent]
    assert (post().media_status, post().media.as_dict()) == (None, {})
