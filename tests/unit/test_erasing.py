"""Erasing a user: one word that they wrote and their id are searched for wherever anything is kept."""

import gzip
import json
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from support import STACK, Calls, Context, Queue, function_environment

import cleanup_old_posts
import generate_content_analytics
import send_notification
import update_trending_hashtags
from backbeat import models
from backbeat.app import erasing
from backbeat.mail.digest import week_of
from backbeat.models import Delivery, Hashtag, Notification, Post, Report, RunRecord, SweepPart, Token, User, day_key
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
