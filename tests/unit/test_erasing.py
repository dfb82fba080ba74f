"""Erasing a user: one word that they wrote and their id are searched for wherever anything is kept."""

import gzip
import json
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from support import STACK, Calls, Context, Outbox, Queue, function_environment

import cleanup_old_posts
import generate_content_analytics
import record_email_feedback
import send_content_digest_email
import send_notification
import send_welcome_email
import update_trending_hashtags
from backbeat import models
from backbeat.app import erasing
from backbeat.mail import deliveries
from backbeat.mail.digest import week_of
from backbeat.models import (
    Changed,
    Delivery,
    DigestSelection,
    Hashtag,
    Notification,
    Post,
    Report,
    RunRecord,
    SweepPart,
    Token,
    User,
    day_key,
)
from backbeat.posts import archive

NOW = datetime(2026, 11, 2, 4, tzinfo=UTC)
DAY = timedelta(days=1)
WORD, ANN = "quokkastew", "ann-7f3a"


@pytest.fixture(autouse=True)
def _environment(aws: None, few_parts: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for function in ("CleanupOldPostsFunction", "GenerateContentAnalyticsFunction"):
        for name, value in function_environment(function).items():
            if name.endswith("_BUCKET"):
                monkeypatch.setenv(name, value)
    monkeypatch.setattr(generate_content_analytics, "SEGMENTS", 1)
    monkeypatch.setattr(update_trending_hashtags, "WEEKS_BEFORE", 1)


def run(module: Any, queue: str, **kwargs: Any) -> None:
    mapping = Queue(f"{STACK}-{queue}-{module.__name__}")
    mapping.send({"task": module.__name__, "kwargs": kwargs, "scheduled_time": NOW.isoformat()})
    mapping.drain(module.handle)


def delivery(delivery_id: str, user_id: str) -> None:
    Delivery(
        delivery_id,
        email="content_digest",
        user_id=user_id,
        state="sent",
        run_id="x",
        shelf=day_key(NOW, delivery_id),
        claimed_at=NOW,
        logical_time=NOW,
    ).save()


@pytest.fixture
def network() -> None:
    """A user who has left traces of every kind, and another who is to keep theirs."""
    for user in (ANN, "bob", "ann-7f3ab"):
        User.join(user, name=f"Name of {user}", email=f"{user}@example.com", at=NOW - 3 * DAY)
        Post.publish(f"p-{user[-2:]}", author_id=user, text=f"Hello #{'hills' if user != ANN else WORD}", at=NOW - DAY)
    Post.publish("deleted", author_id=ANN, text=f"More {WORD} #hills", at=NOW - DAY)
    Post.publish("old", author_id=ANN, text=WORD, at=NOW - 400 * DAY)
    for user in (ANN, "ann-7f3ab"):
        User.follow(user, "bob", at=NOW)
        Post.like("p-ob", user, at=NOW)
        Post.comment("p-ob", f"c-{user}", author_id=user, text=f"Says {user}", at=NOW)
        Token.issue(user, "t", kind="refresh", at=NOW, expires_at=NOW + DAY)
        delivery(f"welcome:{user}", user)
        delivery(f"content_digest:{week_of(NOW - 80 * DAY)}:{user}", user)
        Notification(user, "n1", kind="like", text="Bob likes your post", created_at=NOW).save()
        link = f"/users/{user}?from=like"
        Notification("bob", f"n-{user}", kind="like", text="Someone likes it", link=link, created_at=NOW).save()
    boto3.client("s3").put_object(Bucket="mediabucket", Key="posts/p-3a/aa.webp", Body=WORD.encode())
    run(generate_content_analytics, "analytics")
    run(update_trending_hashtags, "analytics")
    run(cleanup_old_posts, "maintenance")
    archive.write("a-run", "page", [entry for post in ("p-3a", "p-ob") if (entry := archive.entry_of(post))])
    for kwargs in ({"user_id": ANN}, {"user_id": "ann-7f3ab"}, {"user_id": "bob", "link": f"/users/{ANN}"}):
        body = {"task": "send_notification", "id": f"m-{len(kwargs)}-{kwargs['user_id']}", "kwargs": kwargs}
        Queue(f"{STACK}-default-send_notification").send({**body, "sent_at": NOW.isoformat()})
    Queue(f"{STACK}-default-send_notification").drain(send_notification.handle)
    letters = boto3.client("sqs")
    for body in (f"not JSON, of {ANN}", json.dumps({"kwargs": {"key": "posts/p-3a/a.jpg"}}), "another's"):
        url = letters.get_queue_url(QueueName=f"{STACK}-media-process_media_upload-dead")["QueueUrl"]
        letters.send_message(QueueUrl=url, MessageBody=body)
    for run_id, more in (
        ("r1", {"error": f"user '{ANN}' has no address, as user 'ann-7f3ab'"}),
        ("r2", {"result": {"to": [ANN, "ann-7f3ab"]}}),
        (f"welcome-{ANN}", {}),
        ("r3", {"about": f"posts/p-3a/{WORD}.jpg", "error": f"no post for the upload 'posts/p-3a/{WORD}.jpg'"}),
        ("r4", {"about": "posts/p-ob/hills.jpg"}),
    ):
        identity = {"task": "x", "task_class": "x", "logical_time": NOW, "started": NOW, "outcome": "dead"}
        RunRecord("x#2026-11-02", run_id, **identity, **more).save()
    DigestSelection(f"digest#{week_of(NOW - 70 * DAY)}", post_ids=["p-ob", "p-3a"], as_of=NOW).save()
    SweepPart("sweep#digest", "part#0000", spec={"users": ["bob", ANN]}, tally={ANN: 1}).save()


def everything() -> Iterator[tuple[str, str]]:
    """All that is kept, by where it is: rows, versions of objects with their keys, and messages."""
    for table in models.TABLES.values():
        name = table[0].Meta.table_name
        for row in boto3.client("dynamodb").scan(TableName=name)["Items"]:
            packed = row.get("packed", {}).get("B")
            yield name, f"{row} {zlib.decompress(packed).decode() if packed else ''}"
    s3 = boto3.client("s3")
    for bucket in (bucket["Name"] for bucket in s3.list_buckets()["Buckets"]):
        for found in s3.list_object_versions(Bucket=bucket).get("Versions", []):
            body = s3.get_object(Bucket=bucket, Key=found["Key"], VersionId=found["VersionId"])["Body"].read()
            content = gzip.decompress(body) if found["Key"].endswith(".gz") else body
            yield f"{bucket}/{found['Key']}", content.decode()
    sqs = boto3.client("sqs")
    for url in sqs.list_queues()["QueueUrls"]:
        found = sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0, MessageAttributeNames=["All"]
        )
        for message in found.get("Messages", []):
            yield url.rsplit("/", 1)[-1], f"{message['Body']} {message.get('MessageAttributes')}"


def holding(word: str) -> set[str]:
    """Where a word is kept."""
    return {where for where, text in everything() if word in text or word in where}


@pytest.mark.usefixtures("network")
def test_nothing_of_what_a_user_wrote_and_of_their_id_is_left() -> None:
    seeded = holding(WORD) | holding(f"{ANN}'") | holding(f'{ANN}"')
    for where in ("PostsTable", "ReportsTable", "TalliesTable", "TrendingTable", "DeliveriesTable", "RunsTable"):
        assert where in seeded
    for where in ("latest.html", "report.csv", "report.json", "-default-send_notification-dead", "archivebucket"):
        assert any(where in place for place in seeded), where
    others = {where for where, text in everything() if "ann-7f3ab" in text}

    Post.remove("deleted", at=NOW)  # whose report still shows it
    erased = erasing.erase(ANN, at=NOW + DAY)
    assert DigestSelection.get(f"digest#{week_of(NOW - 70 * DAY)}", "posts").post_ids == ["p-ob"]
    assert (erased.user, erased.posts, erased.reports, erased.letters) == (True, 2, 1, 4)
    assert holding(WORD) == set()
    assert RunRecord.get("x#2026-11-02", "r3").error == "no post for the upload '(erased)'"
    assert RunRecord.get("x#2026-11-02", "r4").about == "posts/p-ob/hills.jpg"
    left = [(where, text) for where, text in everything() if ANN in text.replace("ann-7f3ab", "")]
    assert left == []
    kept = {where for where, text in everything() if "ann-7f3ab" in text}
    assert kept == others - {"reportsbucket/daily/2026-11-01/report.json"}, "another's, whose id is like theirs, stays"
    assert Hashtag.get("hills").authors == 3
    assert [post["post_id"] for post in Report.get("daily", "2026-11-01").figures["top_posts"]] == ["p-ob", "p-ab"]

    again = erasing.erase(ANN, at=NOW + DAY)
    assert not any((again.user, again.posts, again.reports, again.letters, again.runs, again.notifications))
    later = Queue(f"{STACK}-analytics-generate_content_analytics")
    later.send({"task": "generate_content_analytics", "scheduled_time": (NOW + DAY).isoformat()})
    later.drain(generate_content_analytics.handle, Context())
    assert holding(WORD) == set()
    assert "reportsbucket/daily/2026-11-01/report.html" in {where for where, _ in everything()}


@pytest.mark.usefixtures("network")
def test_a_report_of_long_ago_is_published_again_without_them() -> None:
    row = Report.get("daily", "2026-11-01")
    Report("daily", "2026-08-01", figures={**row.figures, "day": "2026-08-01"}, published=True, as_of=NOW).save()
    erasing.erase(ANN, at=NOW)
    later = Queue(f"{STACK}-analytics-generate_content_analytics")
    later.send({"task": "generate_content_analytics", "scheduled_time": (NOW + DAY).isoformat()})
    later.drain(generate_content_analytics.handle)
    page = boto3.client("s3").get_object(Bucket="reportsbucket", Key="daily/2026-08-01/report.json")["Body"].read()
    assert [post["post_id"] for post in json.loads(page)["top_posts"]] == ["p-ob", "p-ab"]
    assert Report.get("daily", "2026-08-01").published


def test_whoever_is_being_erased_writes_nothing_meanwhile(calls: Calls) -> None:
    for user in (ANN, "bob"):
        User.join(user, name=user, email=f"{user}@example.com", at=NOW)
    refused = []

    def meanwhile() -> None:
        for write in (
            lambda: User.follow("bob", ANN, at=NOW),
            lambda: Post.publish("p1", author_id=ANN, text=WORD, at=NOW),
            lambda: Token.issue(ANN, "t", kind="refresh", at=NOW, expires_at=NOW + DAY),
        ):
            with pytest.raises(User.DoesNotExist, match="has left"):
                write()
            refused.append(write)

    calls.before("Scan", "TalliesTable", meanwhile)
    erasing.erase(ANN, at=NOW)
    assert len(refused) == 3
    assert holding(WORD) == set()


def archived_with_others() -> None:
    """A post of bob's and one of ann's in the archive, each with a comment and a like by both."""
    for user in (ANN, "bob"):
        User.join(user, name=user, email=f"{user}@example.com", at=NOW)
    for author in (ANN, "bob"):
        Post.publish(f"p-{author[:3]}", author_id=author, text=f"By {author}", at=NOW)
        for user in (ANN, "bob"):
            Post.comment(f"p-{author[:3]}", f"c-{user}", author_id=user, text=f"Says {user}", at=NOW)
            Post.like(f"p-{author[:3]}", user, at=NOW)
    archive.write("a-run", "page", [entry for post in ("p-ann", "p-bob") if (entry := archive.entry_of(post))])
    for author in (ANN, "bob"):
        Post.remove(f"p-{author[:3]}", at=NOW)


def left_of_ann() -> set[str]:
    """What the tables of posts hold, by key, once bob's post is to be there alone."""
    tables = ("PostsTable", "CommentsTable", "LikesTable")
    rows = [row for table in tables for row in boto3.client("dynamodb").scan(TableName=table)["Items"]]
    return {"/".join(value["S"] for name, value in sorted(row.items()) if name.endswith("_id")) for row in rows}


@pytest.mark.parametrize(
    ("before", "table"),
    [
        ("TransactWriteItems", None),  # the restore has read the manifest, and is about to put the first row
        ("UpdateItem", "RunsTable"),  # ... or has yet to put the first post
        ("UpdateItem", "ReportsTable"),  # it has put a whole post
    ],
)
def test_a_restore_beside_an_erasure_brings_back_nothing_of_theirs(
    before: str, table: str, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    archived_with_others()
    calls.before(before, table, lambda: erasing.erase(ANN, at=NOW))
    archive.restore("a-run", at=NOW)
    assert left_of_ann() == {"bob/p-bob", "bob/c-bob/p-bob", "p-bob/bob"}
    assert (int(Post.get("p-bob").comments_count), int(Post.get("p-bob").likes_count)) == (1, 1)
    assert [where for where, text in everything() if ANN in text] == []
    assert archive.restore("a-run", at=NOW).posts == 0


def test_an_erasure_in_the_midst_of_which_all_is_restored_takes_it_again(calls: Calls) -> None:
    archived_with_others()
    calls.before("PutItem", "RunsTable", lambda: archive.restore("a-run", at=NOW))
    erasing.erase(ANN, at=NOW)
    assert left_of_ann() == {"bob/p-bob", "bob/c-bob/p-bob", "p-bob/bob"}
    assert (int(Post.get("p-bob").comments_count), int(Post.get("p-bob").likes_count)) == (1, 1)


def test_a_restore_after_it_has_the_counts_of_who_is_left() -> None:
    archived_with_others()
    erasing.erase(ANN, at=NOW)
    archive.restore("a-run", at=NOW)
    assert left_of_ann() == {"bob/p-bob", "bob/c-bob/p-bob", "p-bob/bob"}
    assert (int(Post.get("p-bob").comments_count), int(Post.get("p-bob").likes_count)) == (1, 1)
    User.join(ANN, name="Ann", email="ann@example.com", at=NOW)
    assert Post.publish("new", author_id=ANN, text="Again here", at=NOW), "who was erased may join again"


def test_a_user_whose_id_is_a_number_takes_no_time_and_no_other_row_of_that_number_along() -> None:
    def listed(entry: str) -> None:
        Changed("changes#2026-11-02#1", f"2026-11-02T{entry}", expires=NOW + DAY).save()

    def left() -> set[tuple[str, tuple[str, ...]]]:
        return {(row.kind, row.key) for row in Changed.scan() if row.partition.startswith("changes#")}

    others = ['04:46:46.000000Z post ["7"]', '04:00:00.000000Z deleted ["46"]', '04:00:00.000000Z user ["460"]']
    for entry in (*others, '05:00:00.000000Z user ["46"]', '05:00:00.000000Z notification ["46", "n1"]'):
        listed(entry)
    listed('05:00:00.000000Z token ["46", "t1"]')
    identity = {"task": "x", "task_class": "x", "logical_time": NOW, "started": NOW, "outcome": "succeeded"}
    for run_id, error in (
        ("x@2026-11-02T04:46:00Z", "not before 2026-11-02T04:46:46Z"),
        ("m1", "user:46 has left"),
    ):
        RunRecord("x#2026-11-02", run_id, error=error, **identity).save()
    erasing.erase("46", at=NOW)
    erasing.erase("2026", at=NOW)
    assert left() == {
        ("post", ("7",)),
        ("deleted", ("46",)),
        ("user", ("460",)),
        ("token", ("(erased)", "t1")),  # it is gone, and the application is still to hear of it
    }
    assert {(row.run_id, row.error) for row in RunRecord.query("x#2026-11-02")} == {
        ("x@2026-11-02T04:46:00Z", "not before 2026-11-02T04:46:46Z"),
        ("m1", "user:(erased) has left"),
    }


def test_rows_of_theirs_that_cannot_be_read_are_erased_as_well() -> None:
    archived_with_others()
    Post.publish("p1", author_id=ANN, text=WORD, at=NOW)
    Post.comment("p1", "c1", author_id="bob", text="Yes", at=NOW)
    Token.issue(ANN, "t", kind="session", at=NOW)
    Notification(ANN, "n1", kind="like", text=WORD, created_at=NOW).save()
    update = boto3.client("dynamodb").update_item
    for table, key in (
        ("UsersTable", {"user_id": ANN}),
        ("PostsTable", {"post_id": "p1"}),
        ("CommentsTable", {"post_id": "p1", "comment_id": "c1"}),
        ("TokensTable", {"user_id": ANN, "token_id": "t"}),
        ("NotificationsTable", {"user_id": ANN, "notification_id": "n1"}),
    ):
        update(
            TableName=table,
            Key={name: {"S": value} for name, value in key.items()},
            UpdateExpression="SET created_at = :bad",
            ExpressionAttributeValues={":bad": {"M": {}}},
        )
    erasing.erase(ANN, at=NOW)
    assert holding(WORD) == set()
    assert [where for where, text in everything() if ANN in text] == []


def test_a_message_that_comes_later_is_skipped_and_names_nobody(outbox: Outbox) -> None:
    User.join(ANN, name="Ann", email="ann@example.com", at=NOW)
    delivery(f"welcome:{ANN}", ANN)
    erasing.erase(ANN, at=NOW)
    told = {"eventType": "Delivery", "delivery": {}}
    told["mail"] = {"messageId": "1", "tags": {"delivery": [deliveries.tag(f"welcome:{ANN}")]}}
    for module, task_class, kwargs in (
        (send_welcome_email, "emails", {"user_id": ANN}),
        (send_content_digest_email, "emails", {"user_id": ANN}),
        (send_notification, "default", {"user_id": ANN, "kind": "like", "text": f"Hi {ANN}"}),
        (record_email_feedback, "users", {"detail_type": "Email Delivered", "detail": told}),
    ):
        queue = Queue(f"{STACK}-{task_class}-{module.__name__}")
        queue.send({"task": module.__name__, "id": "late", "kwargs": kwargs, "sent_at": NOW.isoformat()})
        queue.drain(module.handle)
        assert queue.dead() == []
        assert RunRecord.get(f"{module.__name__}#{NOW.date()}", "late").outcome == "skipped"
    assert [where for where, text in everything() if ANN in text] == []
    assert outbox.mails == []


@pytest.mark.parametrize(("before", "mails"), [("GetItem", 0), ("TransactWriteItems", 0), ("SendEmail", 1)])
@pytest.mark.parametrize("module", [send_welcome_email, send_content_digest_email])
def test_a_mail_under_way_leaves_nothing_of_who_is_erased_meanwhile(
    module: Any, before: str, mails: int, calls: Calls, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the user's row is read, before the mail is claimed, and as it is handed to SES."""
    monkeypatch.setenv("DIGEST_SENDERS", "2")
    monkeypatch.setattr("backbeat.mail.sending.Pacer.wait", lambda pacer: None)
    for user in (ANN, "bob"):
        User.join(user, name=user, email=f"{user}@example.com", at=NOW)
    Post.publish("p1", author_id="bob", text="Hello", at=NOW - DAY)
    calls.before(before, "UsersTable" if before == "GetItem" else None, lambda: erasing.erase(ANN, at=NOW))
    queue = Queue(f"{STACK}-emails-{module.__name__}")
    kwargs = {"user_id": ANN} if module is send_welcome_email else {}
    queue.send({"task": module.__name__, "id": "a-run", "kwargs": kwargs, "sent_at": NOW.isoformat()})
    queue.drain(module.handle)
    assert len(outbox.mails) == mails
    assert queue.dead() == []
    assert RunRecord.get(f"{module.__name__}#{NOW.date()}", "a-run").outcome in ("succeeded", "skipped")
    assert [where for where, text in everything() if ANN in text] == []


@pytest.mark.parametrize("missing", ["MEDIA_BUCKET", "ARCHIVE_BUCKET", "REPORTS_BUCKET"])
def test_nothing_is_erased_where_something_cannot_be(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    User.join(ANN, name="Ann", email="ann@example.com", at=NOW)
    figures = {"top_posts": [{"post_id": "p", "author_id": ANN, "text": WORD}]}
    Report("daily", "2026-08-01", figures=figures, as_of=NOW).save()
    monkeypatch.delenv(missing)
    with pytest.raises(LookupError, match=missing):
        erasing.erase(ANN, at=NOW)
    assert User.get(ANN).deleted_at is None


@pytest.mark.parametrize(
    ("user_id", "text", "named"),
    [
        ("ann-7f3a", "user 'ann-7f3a' is gone", True),
        ("ann-7f3a", "ann-7f3a is gone", True),
        ("ann-7f3a", "ann-7f3ab is there", False),
        ("42", "part 42 of 42 took 42 ms", False),
        ("42", "user '42' is gone", True),
        ("42", "welcome:42 may have been sent", True),
        ("the", "the part is done", False),
        ("a.b", "user 'axb' is gone", False),
    ],
)
def test_what_counts_as_naming_a_user(user_id: str, text: str, named: bool) -> None:
    assert bool(erasing._naming(user_id).search(text)) is named
