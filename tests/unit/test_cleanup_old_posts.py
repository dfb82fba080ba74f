"""cleanup_old_posts: what nobody cared for is hidden, then archived and deleted; nothing else is ever lost."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from support import STACK, Calls, Context, Queue, event, function_environment, run_at, run_whole

from backbeat import ledger, sweeps
from backbeat.models import Comment, DayCounts, Like, Post, User, day_key
from backbeat.posts import archive, files
from backbeat_ops import sample
from cleanup_old_posts import handle, plan_taking

TASK = "cleanup_old_posts"
SUNDAY = datetime(2026, 11, 1, 1, tzinfo=UTC)
WEEK = timedelta(days=7)
DAY = timedelta(days=1)
YEAR = timedelta(days=365)
LISTED = f"{TASK}@2026-11-01T01:00:00Z"


@pytest.fixture
def queue(aws: None, few_parts: None, monkeypatch: pytest.MonkeyPatch) -> Queue:
    for name, value in function_environment("CleanupOldPostsFunction").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("STAGE", "local")  # which may run what is still to come
    monkeypatch.setattr("cleanup_old_posts.BRAKE", 1.0)
    return Queue(f"{STACK}-maintenance-{TASK}")


def add(post_id: str, age: timedelta = YEAR, **more: Any) -> None:
    Post.new(post_id, author_id="ann", text=f"I am {post_id}", created_at=SUNDAY - age, **more).save()
    User("ann").update(actions=[User.posts_count.add(1)])


def put(key: str, bucket: str = "mediabucket") -> None:
    boto3.client("s3").put_object(Bucket=bucket, Key=key, Body=b"0123456789")


def keys(bucket: str = "mediabucket") -> list[str]:
    return [o["Key"] for o in boto3.client("s3").list_objects_v2(Bucket=bucket).get("Contents", [])]


def rows(table: str) -> list[dict[str, Any]]:
    return sorted(boto3.client("dynamodb").scan(TableName=table)["Items"], key=str)


def hidden() -> set[str]:
    return {post.post_id for post in Post.scan() if post.visibility == "hidden"}


def there() -> set[str]:
    return {post.post_id for post in Post.scan()}


@pytest.fixture
def posts(queue: Queue) -> None:
    """Posts that just came of age, of which two are to go."""
    User.join("ann", name="Ann", email="ann@example.com", at=SUNDAY - 2 * YEAR)
    add("old")
    add("ancient", YEAR + 20 * DAY, views_count=9, visibility="followers")
    add("young", YEAR - timedelta(minutes=1))
    add("liked", likes_count=1)
    add("discussed", comments_count=1)
    add("shared", shares_count=1)
    add("seen", views_count=10)
    add("held", legal_hold=True)


def test_the_survey_and_the_taking_are_one_chain_that_stays_short(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of their parts runs short of time at every page; that the chain stays short is what `aws` sees to."""
    monkeypatch.setattr(sweeps, "PAGE", 1)
    User.join("ann", name="Ann", email="ann@example.com", at=SUNDAY - 2 * YEAR)
    for number in range(9):
        add(f"post-{number}")
    result = run_at(handle, queue, SUNDAY, Context(remaining_ms=20_000))
    assert (result["posts"], result["hidden"]) == (9, 9)


WANTED = {"young", "liked", "discussed", "shared", "seen", "held"}


def test_first_they_are_hidden_and_a_month_later_deleted(posts: None, queue: Queue) -> None:
    first = run_at(handle, queue, SUNDAY)
    assert (first["posts"], first["to_hide"], first["hidden"], first["deleted"]) == (8, 2, 2, 0)
    assert hidden() == {"old", "ancient"}
    assert (Post.get("ancient").hidden_from, Post.get("ancient").hidden_at) == ("followers", SUNDAY)
    for week in range(1, 5):
        run_at(handle, queue, SUNDAY + week * WEEK)
    assert there() == WANTED | {"old", "ancient"}, "28 days are not yet 30"
    assert hidden() == {"old", "ancient", "young"}
    fifth = run_at(handle, queue, SUNDAY + 5 * WEEK)
    assert (fifth["hidden"], fifth["deleted"]) == (0, 2)
    assert there() == WANTED
    assert User.get("ann").posts_count == 6
    sixth = run_at(handle, queue, SUNDAY + 6 * WEEK)
    assert sixth["deleted"] == 1, "the young one was hidden a week after the others"
    assert there() == WANTED - {"young"}


def test_one_bad_date_is_one_partition_more(posts: None, queue: Queue) -> None:
    for name, liked in (("first", 0), ("best", 1)):
        at = datetime(1, 1, 1, tzinfo=UTC)
        Post.new(name, author_id="ann", text="", created_at=at, likes_count=liked).save()
        if liked:
            Post(name).update([Post.visibility.set("hidden"), Post.hidden_from.set("public"), Post.hidden_at.set(at)])
            Post(name).update([Post.hidden_day.set(day_key(at, name))])
    first = run_at(handle, queue, SUNDAY)
    assert (first["hidden"], first["shown"]) == (3, 1)
    assert run_at(handle, queue, SUNDAY + timedelta(seconds=30), full=True)["to_hide"] == 0


def test_after_a_long_gap_it_looks_at_all_there_is(posts: None, queue: Queue, calls: Calls) -> None:
    sweeps.advance(TASK, SUNDAY - 5 * YEAR)
    at = SUNDAY - DAY
    add("regretted", 2 * YEAR, visibility="hidden", hidden_from="public", hidden_at=at, likes_count=1)
    Post("regretted").update([Post.hidden_day.set(day_key(at, "regretted"))])
    first = run_at(handle, queue, SUNDAY)
    assert (first["hidden"], first["shown"]) == (2, 1)
    assert calls.number("Query", "PostsTable") < 20, "not one for each day of the gap"


def test_a_full_run_finds_posts_that_were_imported(posts: None, queue: Queue) -> None:
    run_at(handle, queue, SUNDAY)
    add("imported", 2 * YEAR)
    Post.like("old", "ann", at=SUNDAY + DAY)
    assert run_at(handle, queue, SUNDAY + WEEK)["hidden"] == 1, "the young one alone"
    assert (hidden(), Post.get("imported").hidden_at) == ({"ancient", "young"}, None)
    Post.like("ancient", "ann", at=SUNDAY + WEEK + DAY)
    full = run_at(handle, queue, SUNDAY + 2 * WEEK, full=True)
    assert (full["hidden"], full["shown"]) == (1, 1), "what was touched since the last run is not passed over"
    assert hidden() == {"young", "imported"}


@pytest.fixture
def due(queue: Queue) -> dict[str, list[dict[str, Any]]]:
    """Two posts hidden 31 days ago, with comments, likes and files; the rows of all as they were before that."""
    User.join("ann", name="Ann", email="ann@example.com", at=SUNDAY - 2 * YEAR)
    User.join("bob", name="Bob", email="bob@example.com", at=SUNDAY - 2 * YEAR)
    for name in ("one", "two"):
        add(name, 2 * YEAR, views_count=3)
        Comment.new(name, f"c-{name}", author_id="ann", text="Hm", created_at=SUNDAY - YEAR).save()
        Like(name, "ann", created_at=SUNDAY - YEAR).save()
        put(f"posts/{name}/aa-1/small.webp")
        put(f"posts/{name}/aa-1/small.webp")
    boto3.client("dynamodb").update_item(
        TableName="PostsTable",
        Key={"post_id": {"S": "one"}},
        UpdateExpression="SET app_flags = :flags, app_blob = :blob",
        ExpressionAttributeValues={":flags": {"SS": ["a", "b"]}, ":blob": {"B": b"\x00\xff"}},
    )
    put("posts/other/aa-1/small.webp")
    before = {table: rows(table) for table in ("PostsTable", "CommentsTable", "LikesTable")}
    sweeps.advance(TASK, SUNDAY - WEEK)
    for name in ("one", "two"):
        Post(name).update(
            [
                Post.visibility.set("hidden"),
                Post.hidden_from.set("public"),
                Post.hidden_at.set(SUNDAY - 31 * DAY),
                Post.hidden_day.set(day_key(SUNDAY - 31 * DAY, name)),
            ]
        )
    return before


def test_nothing_of_a_deleted_post_is_left(due: Any, queue: Queue) -> None:
    uploads = next(b["Name"] for b in boto3.client("s3").list_buckets()["Buckets"] if "uploads" in b["Name"])
    put("posts/one/original.jpg", uploads)
    put("posts/one/original.jpg", uploads)
    boto3.client("s3").delete_object(Bucket=uploads, Key="posts/one/original.jpg")
    result = run_at(handle, queue, SUNDAY)
    assert (result["deleted"], result["comments"], result["files"], result["bytes"]) == (2, 2, 5, 40)
    assert there() == set()
    assert not rows("CommentsTable") and not rows("LikesTable")
    assert keys() == ["posts/other/aa-1/small.webp"]
    versions = boto3.client("s3").list_object_versions(Bucket=uploads)
    assert "Versions" not in versions and "DeleteMarkers" not in versions
    assert User.get("ann").posts_count == 0
    marked = {row.day for row in DayCounts.query("counts") if row.changes}
    assert marked == {str((SUNDAY - 2 * YEAR).date()), str((SUNDAY - YEAR).date())}, "the totals are counted again"


def test_a_restore_brings_back_every_row_as_it_was(due: Any, queue: Queue) -> None:
    result = run_at(handle, queue, SUNDAY)
    restored = archive.restore(result["restore"], at=SUNDAY + DAY)
    assert (restored.posts, restored.comments, restored.likes, restored.there) == (2, 2, 2, 0)
    marks = {row.day: row.changes for row in DayCounts.query("counts")}
    made = {row["day"]["S"][:10] for table in ("PostsTable", "CommentsTable") for row in due[table] if "day" in row}
    assert set(marks) == made, "the totals of these days are summed up anew"
    assert min(marks.values()) >= 2, "once as they were deleted, and once as they came back"
    assert {table: rows(table) for table in due} == due
    assert User.get("ann").posts_count == 2
    again = archive.restore(result["restore"], at=SUNDAY + DAY)
    assert (again.posts, again.comments, again.likes, again.there) == (0, 0, 0, 2)
    assert User.get("ann").posts_count == 2
    assert run_at(handle, queue, SUNDAY + WEEK)["next"] is None
    with pytest.raises(LookupError, match="has no manifest"):
        archive.restore("another", at=SUNDAY)


def test_a_restore_of_a_run_that_only_hid_shows_its_posts_again(posts: None, queue: Queue) -> None:
    result = run_at(handle, queue, SUNDAY)
    assert (result["hidden"], result["deleted"]) == (2, 0)
    Post.unhide("old", at=SUNDAY)
    assert not Post.unhide("old", at=SUNDAY)
    restored = archive.restore(result["restore"], at=SUNDAY + DAY)
    assert (restored.shown, restored.posts, restored.there) == (1, 0, 0)
    assert hidden() == set()
    post = Post.get("ancient")
    assert (post.visibility, post.hidden_from, post.hidden_at, post.hidden_day) == ("followers", None, None, None)
    assert archive.restore(result["restore"], at=SUNDAY + DAY).shown == 0
    assert run_at(handle, queue, SUNDAY + WEEK)["to_delete"] == 0


@pytest.mark.parametrize("files_left", [False, True])
def test_a_restored_post_shows_only_what_is_there(due: Any, queue: Queue, files_left: bool) -> None:
    """And takes its picture when it is uploaded again."""
    media = {"aa": {"recipe": "1", "renditions": [{"key": "posts/one/aa-1/small.webp", "width": 320}]}}
    uploads = {"posts/one/a.jpg": {"order": "9", "hash": "aa", "doomed": []}}
    Post("one").update([Post.media.set(media), Post.media_status.set("ready"), Post.media_uploads.set(uploads)])
    result = run_at(handle, queue, SUNDAY)
    if files_left:
        put("posts/one/aa-1/small.webp")
    archive.restore(result["restore"], at=SUNDAY + DAY)
    post = Post.get("one")
    if files_left:
        assert (post.media.as_dict(), post.media_status, len(post.media_uploads.as_dict())) == (media, "ready", 1)
    else:
        assert (post.media.as_dict(), post.media_status, post.media_uploads) == ({}, None, None)
    assert Post.get("two").text == "I am two"


def test_a_restore_needs_no_author(due: Any, queue: Queue) -> None:
    survey = run_at(handle, queue, SUNDAY)["restore"]
    User("ann").delete()
    assert archive.restore(survey, at=SUNDAY + DAY).posts == 2
    assert [user["user_id"]["S"] for user in rows("UsersTable")] == ["bob"]


def test_a_user_who_is_erased_is_forgotten_by_the_archive(due: Any, queue: Queue) -> None:
    add("bobs", 2 * YEAR)
    Post("bobs").update([Post.author_id.set("bob")])
    survey = run_at(handle, queue, SUNDAY)["restore"]
    assert archive.forget("ann") == (2 * 3, {"one", "two"})
    assert archive.forget("ann") == (0, set())
    versions = boto3.client("s3").list_object_versions(Bucket="archivebucket", Prefix="archive/")["Versions"]
    assert len(versions) == 1, "the manifest's versions from before are gone"
    assert archive.restore(survey, at=SUNDAY + DAY).posts == 0


def test_the_manifest_holds_the_rows_and_names_the_files(due: Any, queue: Queue) -> None:
    survey = run_at(handle, queue, SUNDAY)["restore"]
    assert survey == LISTED
    (key,) = archive.manifests(f"archive/{survey}/")
    body = boto3.client("s3").get_object(Bucket="archivebucket", Key=key)["Body"].read()
    lines = [json.loads(line) for line in gzip.decompress(body).splitlines()]
    assert {line["post"]["post_id"]["S"] for line in lines} == {"one", "two"}
    for line in lines:
        assert [file["key"] for file in line["files"]] == [f"posts/{line['post']['post_id']['S']}/aa-1/small.webp"]
        assert len(line["comments"]) == len(line["likes"]) == 1


def test_a_manifest_that_differs_stops_the_delete(due: Any, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    real = archive.read
    monkeypatch.setattr(archive, "read", lambda key: real(key)[:1])
    queue.send({"task": TASK, "kwargs": {}, "scheduled_time": SUNDAY.isoformat()})
    for _ in range(3):
        queue.deliver(handle)
    assert there() == {"one", "two"}
    assert keys().count("posts/one/aa-1/small.webp") == 1


@pytest.mark.parametrize("kind", ["hide", "delete"])
def test_a_like_between_the_survey_and_the_taking_saves_a_post(due: Any, queue: Queue, kind: str) -> None:
    name = "one"
    if kind == "hide":
        add("fresh")
        name = "fresh"
    queue.send({"task": TASK, "kwargs": {}, "scheduled_time": SUNDAY.isoformat()})
    for _ in range(2):  # the plan, then the survey
        queue.deliver(handle)
    assert listed()
    Post.like(name, "bob", at=SUNDAY)
    queue.drain(handle)
    assert name in there()
    assert (name in hidden()) is (kind == "delete")
    following = run_at(handle, queue, SUNDAY + WEEK)
    assert following.get("shown", 0) == (kind == "delete")
    assert name not in hidden()


def listed() -> list[str]:
    found = boto3.client("s3").list_objects_v2(Bucket="archivebucket", Prefix=f"surveys/{LISTED}/")
    return [item["Key"] for item in found.get("Contents", [])]


def test_a_like_between_the_archive_and_the_delete_saves_a_post(due: Any, queue: Queue, calls: Calls) -> None:
    calls.before("TransactWriteItems", None, lambda: Post.like("one", "bob", at=SUNDAY))
    result = run_at(handle, queue, SUNDAY)
    assert (result["deleted"], result["changed"]) == (1, 1)
    assert there() == {"one"}
    assert {row["comment_id"]["S"] for row in rows("CommentsTable")} == {"c-one"}
    assert "posts/one/aa-1/small.webp" in keys()


def test_a_legal_hold_saves_a_post_at_any_time(due: Any, queue: Queue, calls: Calls) -> None:
    Post.hold("two", at=SUNDAY - DAY)
    calls.before("TransactWriteItems", None, lambda: Post.hold("one", at=SUNDAY))
    result = run_at(handle, queue, SUNDAY)
    assert (result["to_show"], result["deleted"], result["shown"]) == (1, 0, 1)
    assert there() == {"one", "two"}
    Post.hold("one", at=SUNDAY + DAY, legal=False)
    assert run_at(handle, queue, SUNDAY + WEEK)["deleted"] == 1, "released, it is found by its touch"


def test_killed_half_way_it_is_resumed_from_the_manifest(due: Any, queue: Queue, calls: Calls) -> None:
    def killed() -> None:
        raise ConnectionError("the function was killed")

    calls.before("TransactWriteItems", None, lambda: calls.before("TransactWriteItems", None, killed))
    result = run_at(handle, queue, SUNDAY)
    assert result["deleted"] == 2
    assert there() == set()
    assert not rows("CommentsTable") and not rows("LikesTable")
    assert keys() == ["posts/other/aa-1/small.webp"]
    assert archive.restore(result["restore"], at=SUNDAY + DAY).posts == 2


def test_killed_between_a_post_and_its_comments_nothing_is_left_behind(
    due: Any, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, times = files.delete_files, iter([True, False, False, False])

    def delete_files(gone: Any) -> None:
        if next(times):
            raise ConnectionError("the function was killed")
        real(gone)

    monkeypatch.setattr("cleanup_old_posts.delete_files", delete_files)
    result = run_at(handle, queue, SUNDAY)
    assert (result["deleted"], result["files"]) == (2, 2)
    assert keys() == ["posts/other/aa-1/small.webp"]
    assert User.get("ann").posts_count == 0


def test_two_takings_at_once_delete_each_post_once(due: Any, queue: Queue, calls: Calls) -> None:
    calls.before("TransactWriteItems", None, lambda: run_whole(handle, "beside", SUNDAY, survey=LISTED))
    result = run_at(handle, queue, SUNDAY)
    assert result["deleted"] == 2
    assert there() == set()
    assert User.get("ann").posts_count == 0
    assert archive.restore(LISTED, at=SUNDAY + DAY).posts == 2


def test_run_again_it_takes_nothing_more(due: Any, queue: Queue) -> None:
    run_at(handle, queue, SUNDAY)
    result = run_at(handle, queue, SUNDAY + timedelta(hours=1))
    assert (result["posts"], result["to_hide"], result["to_delete"], result["next"]) == (0, 0, 0, None)
    queue.send({"task": TASK, "kwargs": {"survey": LISTED}, "id": "again", "sent_at": SUNDAY.isoformat()})
    queue.drain(handle)
    (again,) = [run for run in ledger.recent(TASK, SUNDAY.date(), 10) if run.run_id == "again"]
    assert (again.outcome, again.result["hidden"]) == ("succeeded", 0)


def test_late_after_a_newer_run_it_takes_nothing(posts: None, queue: Queue) -> None:
    run_at(handle, queue, SUNDAY + 5 * WEEK)
    assert run_at(handle, queue, SUNDAY)["next"] is None
    assert sweeps.watermark(TASK) == SUNDAY + 5 * WEEK


def test_the_brake_stops_a_run_and_an_operator_can_approve_it(
    posts: None, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cleanup_old_posts.BRAKE", 0.05)
    queue.send({"task": TASK, "kwargs": {}, "scheduled_time": SUNDAY.isoformat()})
    queue.drain(handle)
    (run,) = ledger.recent(TASK, SUNDAY.date(), 10)
    assert run.outcome == "incomplete"
    assert "2 posts (2 to hide, 0 to delete) are more than 5% of the 8 there are, so none was taken" in run.error
    approval = f"backbeat run {TASK} survey={LISTED}"
    assert run.error.endswith(approval)
    assert not hidden()
    assert sweeps.watermark(TASK) is None
    queue.send({"task": TASK, "kwargs": {"survey": LISTED}, "id": "approved", "sent_at": SUNDAY.isoformat()})
    queue.drain(handle)
    assert hidden() == {"old", "ancient"}
    assert sweeps.watermark(TASK) == SUNDAY


def test_the_sample_network_is_cleaned_up_without_an_approval(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """As who runs it for a first time finds it in the morning: something is done, and nothing is dead."""
    monkeypatch.setattr("cleanup_old_posts.BRAKE", 0.05)
    sample.seed(SUNDAY)
    queue.send({"task": TASK, "kwargs": {}, "scheduled_time": SUNDAY.isoformat()})
    queue.drain(handle)
    assert {run.outcome for run in ledger.recent(TASK, SUNDAY.date(), 10)} == {"succeeded"}
    assert hidden()


def test_ids_that_an_operator_made_up_keep_apart(due: Any, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """One run's id begins with another's and a slash, and a third's leaves no room for what follows from it."""
    for run_id in ("a/b", "a", "x" * 200):
        kwargs = {"mode": "report"} if run_id != "x" * 200 else {}
        queue.send({"task": handle.task.name, "id": run_id, "kwargs": kwargs, "sent_at": SUNDAY.isoformat()})
        queue.drain(handle)
    assert len(plan_taking("a")) == len(plan_taking("a/b")) == 1
    assert (queue.dead(), rows("PostsTable")) == ([], [])


def test_a_report_counts_and_takes_nothing(due: Any, queue: Queue, calls: Calls) -> None:
    add("fresh", media={"aa": {"recipe": "1"}})
    put("posts/fresh/aa-1/large.webp")
    calls.clear()
    result = run_at(handle, queue, SUNDAY, mode="report")
    assert (result["to_hide"], result["to_delete"], result["next"]) == (1, 2, None)
    assert result["bytes"] > 30, "the rows and three files of ten bytes"
    assert calls.number("UpdateItem", "PostsTable") == calls.number("TransactWriteItems", None) == 0
    assert there() == {"one", "two", "fresh"}
    assert sweeps.watermark(TASK) == SUNDAY - WEEK


def test_a_survey_that_is_not_there_cannot_be_taken(queue: Queue) -> None:
    queue.send({"task": TASK, "kwargs": {"survey": "nothing"}, "id": "x", "sent_at": SUNDAY.isoformat()})
    queue.drain(handle)
    (letter,) = queue.dead()
    assert (letter["outcome"], letter["reason"]) == ("rejected", "no_survey")


def test_short_of_time_it_sends_itself_on(due: Any, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "PAGE", 1)
    assert run_at(handle, queue, SUNDAY, Context(remaining_ms=20_000))["deleted"] == 2
    assert there() == set()


def test_the_events_are_what_the_queue_delivers(posts: None, queue: Queue) -> None:
    for name in ("duplicate", "typical", "report"):
        assert handle.lambda_handler(event(TASK, name), Context())["batchItemFailures"] == []
        queue.drain(handle)
    assert hidden() == {"old", "ancient"}
    for name in ("approved", "late"):
        assert handle.lambda_handler(event(TASK, name), Context())["batchItemFailures"] == []
        queue.drain(handle)
    assert hidden() == {"old", "ancient"}


def test_poison_is_rejected(queue: Queue) -> None:
    poison = event(TASK, "poison")
    queue.send(poison["Records"][0]["body"])
    queue.drain(handle)
    (letter,) = queue.dead()
    assert letter["reason"] == "invalid_arguments"
