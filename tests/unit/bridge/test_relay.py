"""The relay makes Backbeat's tables what the application's are, whatever comes in between."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from network.models import Comment, Follow, Like, Member, Post, Share
from support import Queue, function_environment

from backbeat import models as ours
from backbeat.models import Activity, DayCounts, Token, User, day_key
from backbeat.tasks import send_welcome_email
from backbeat_django import relay
from backbeat_django.models import Entry, Lease
from backbeat_django.relay import AwsUnavailable, Busy, Writer

pytestmark = pytest.mark.usefixtures("db", "aws", "buckets")
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.fixture
def buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `connect` puts into the environment."""
    environment = function_environment("CleanupOldPostsFunction")
    for name in ("UPLOADS_BUCKET", "MEDIA_BUCKET", "ARCHIVE_BUCKET"):
        monkeypatch.setenv(name, environment[name])


@pytest.fixture
def writer() -> Iterator[Writer]:
    with relay.writing() as writer:
        yield writer


@pytest.fixture
def ada() -> Member:
    return Member.objects.create_user("ada", "ada@example.net", date_joined=NOW - timedelta(days=3))


@pytest.fixture
def bob() -> Member:
    return Member.objects.create_user("bob", "bob@example.net", date_joined=NOW - timedelta(days=2))


def drained(writer: Writer) -> dict[str, int]:
    """Apply all that waits; return what was done in all."""
    total: dict[str, int] = {}
    while done := relay.drain(writer, NOW):
        for name, number in done.items():
            total[name] = total.get(name, 0) + number
    return total


def test_rows_arrive_as_they_are(writer: Writer, ada: Member, bob: Member) -> None:
    post = Post.objects.create(author=ada, text="Hello #World", created_at=NOW, visibility="followers", views=4)
    comment = Comment.objects.create(post=post, author=bob, text="Hi", created_at=NOW)
    Like.objects.create(post=post, member=bob, created_at=NOW)
    Share.objects.create(post=post, member=bob)
    Follow.objects.create(follower=bob, followed=ada, created_at=NOW)
    drained(writer)
    user = User.get(str(ada.pk))
    assert (user.name, user.email, user.digest, user.created_at) == ("ada", "ada@example.net", True, ada.date_joined)
    assert (user.day, user.slice_key) == (day_key(ada.date_joined, user.user_id), ours.slice_key(user.user_id))
    assert user.touched_day == day_key(NOW, user.user_id)
    row = ours.Post.get(str(post.pk))
    assert (row.author_id, row.text, row.hashtags, row.tagged_at) == (str(ada.pk), "Hello #World", {"World"}, NOW)
    assert (row.likes_count, row.comments_count, row.shares_count, row.views_count) == (1, 1, 1, 4)
    assert (row.visibility, row.day) == ("followers", day_key(NOW, row.post_id))
    assert ours.Comment.get(str(post.pk), str(comment.pk)).author_id == str(bob.pk)
    assert ours.Like.get(str(post.pk), str(bob.pk)).created_at == NOW
    assert ours.Follow.get(str(bob.pk), str(ada.pk)).created_at == NOW
    assert {(row.day, row.user_id) for row in Activity.scan()} == {
        (day_key(NOW, str(member.pk)), str(member.pk)) for member in (ada, bob)
    }


def test_applied_once_more_nothing_changes(writer: Writer, ada: Member, calls: Any) -> None:
    Post.objects.create(author=ada, text="Hello", created_at=NOW)
    entries = list(Entry.objects.all())
    drained(writer)
    Entry.objects.bulk_create(Entry(kind=entry.kind, key=entry.key, at=entry.at) for entry in entries)
    calls.clear()
    assert drained(writer) == {"entries": len(entries)}
    assert {operation for operation, _ in calls.made} == {"BatchGetItem"}


def test_what_changes_arrives_and_what_the_tasks_wrote_stays(writer: Writer, ada: Member) -> None:
    post = Post.objects.create(author=ada, text="#one", created_at=NOW)
    drained(writer)
    ours.Post(str(post.pk)).update(actions=[ours.Post.score.set(12), ours.Post.media_status.set("ready")])
    User(str(ada.pk)).update(actions=[User.email_status.set("bounced"), User.soft_bounces.add({"m1"})])
    post.text = "#two"
    post.save()
    ada.email = "ada@example.org"
    ada.save()
    drained(writer)
    row, user = ours.Post.get(str(post.pk)), User.get(str(ada.pk))
    assert (row.text, row.hashtags, row.score, row.media_status) == ("#two", {"two"}, 12, "ready")
    assert (user.email, user.email_status, user.soft_bounces) == ("ada@example.org", "ok", None)


def test_what_is_gone_goes_and_is_counted_again(writer: Writer, ada: Member, bob: Member) -> None:
    post = Post.objects.create(author=ada, text="Hello", created_at=NOW)
    comment = Comment.objects.create(post=post, author=bob, text="Hi", created_at=NOW)
    like = Like.objects.create(post=post, member=bob)
    follow = Follow.objects.create(follower=bob, followed=ada)
    drained(writer)
    ours.Post(str(post.pk)).update(actions=[ours.Post.touched_day.remove()])
    like.delete()
    comment.delete()
    follow.delete()
    drained(writer)
    row = ours.Post.get(str(post.pk))
    assert (row.likes_count, row.comments_count) == (0, 0)
    assert row.touched_day == day_key(NOW, row.post_id)
    assert (ours.Like.count(str(post.pk)), ours.Follow.count(str(bob.pk))) == (0, 0)
    assert DayCounts.get("counts", str(NOW.date())).changes == 1
    ada.delete()
    drained(writer)
    assert [row.user_id for row in User.scan()] == [str(bob.pk)]
    assert list(ours.Post.scan()) == []


def test_who_unsubscribed_stays_so_unless_the_application_says_otherwise(writer: Writer, ada: Member) -> None:
    drained(writer)
    User(str(ada.pk)).update(actions=[User.digest.set(False)])
    stale = Member.objects.get(pk=ada.pk)
    stale.first_name = "Ada"
    stale.save()
    drained(writer)
    assert User.get(str(ada.pk)).digest is False
    Member.objects.filter(pk=ada.pk).update(wants_digest=True)
    drained(writer)
    assert User.get(str(ada.pk)).digest is True


def test_what_was_hidden_stays_so_unless_the_application_says_otherwise(writer: Writer, ada: Member) -> None:
    post = Post.objects.create(author=ada, text="Hello", created_at=NOW)
    drained(writer)
    row = ours.Post.get(str(post.pk))
    hide = {"visibility": "hidden", "hidden_from": "public", "hidden_at": NOW, "hidden_day": day_key(NOW, row.post_id)}
    row.update(actions=[getattr(ours.Post, name).set(value) for name, value in hide.items()])
    Post.objects.filter(pk=post.pk).update(views=1)
    drained(writer)
    assert ours.Post.get(row.post_id).visibility == "hidden"
    Post.objects.filter(pk=post.pk).update(is_hidden=False)
    drained(writer)
    shown = ours.Post.get(row.post_id)
    assert (shown.visibility, shown.hidden_at, shown.hidden_day, shown.hidden_from) == ("public", None, None, None)


def test_while_aws_is_away_entries_wait(writer: Writer, ada: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as away:

        def refuse(*_: Any, **__: Any) -> Any:
            raise EndpointConnectionError(endpoint_url="http://127.0.0.1:1")

        away.setattr("botocore.client.BaseClient._make_api_call", refuse)
        with pytest.raises(AwsUnavailable):
            relay.drain(writer, NOW)
        assert relay.state().waiting == Entry.objects.count() == 1
    drained(writer)
    assert (User.get(str(ada.pk)).name, Entry.objects.count()) == ("ada", 0)


def test_ten_minutes_without_aws_lose_nothing_and_no_request_asks_for_it(
    writer: Writer, ada: Member, bob: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each write costs its own statements and one INSERT, as long as it never waits for what is away."""
    asked: list[str] = []

    def hangs(client: Any, operation: str, parameters: Any) -> Any:
        asked.append(operation)
        raise ConnectTimeoutError(endpoint_url="https://dynamodb")

    queue = Queue("backbeat-test-emails-send_welcome_email")
    with monkeypatch.context() as away:
        away.setattr("botocore.client.BaseClient._make_api_call", hangs)
        for minute in range(10):
            before = len(asked)
            with CaptureQueriesContext(connection) as queries:
                post = Post.objects.create(author=ada, text=f"minute {minute}", created_at=NOW)
                Like.objects.create(post=post, member=bob)
                send_welcome_email.delay(user_id=str(bob.pk))
            entries = [query for query in queries if 'INTO "backbeat_django_entry"' in query["sql"]]
            assert (len(entries), len(asked)) == (3, before)
            with pytest.raises(AwsUnavailable):
                relay.drain(writer, NOW + timedelta(minutes=minute))
            assert len(asked) > before
    assert drained(writer)["sent"] == 10
    assert {(post.text, post.likes_count) for post in ours.Post.scan()} == {(f"minute {n}", 1) for n in range(10)}
    assert ours.Like.count(str(post.pk)) == 1
    assert queue.depth() == (10, 0)


def test_an_entry_that_can_never_be_applied_holds_up_no_other(writer: Writer, ada: Member) -> None:
    huge = Post.objects.create(author=ada, text="x" * 500_000, created_at=NOW)
    fine = Post.objects.create(author=ada, text="Hello", created_at=NOW)
    drained(writer)
    assert ours.Post.get(str(fine.pk)).text == "Hello"
    (aside,) = Entry.objects.all()
    assert (aside.key, "size" in aside.error.lower()) == (f'["{huge.pk}"]', True)
    assert (relay.state().waiting, relay.state().aside) == (0, 1)
    huge.text = "shorter"
    huge.save()
    drained(writer)
    assert (ours.Post.get(str(huge.pk)).text, Entry.objects.count()) == ("shorter", 0)


def test_one_is_at_work_at_a_time_and_gives_way_when_silent(writer: Writer, ada: Member) -> None:
    other = Writer()
    assert not other.renew()
    with pytest.raises(Busy, match="a minute after it went silent"), relay.writing():
        pass
    with pytest.raises(Busy, match="a minute after it went silent"):
        relay.drain(other)
    Lease.objects.update(until=timezone.now() - timedelta(seconds=1))
    assert other.renew()
    with pytest.raises(Busy):
        relay.drain(writer)


def test_a_relay_that_was_overtaken_has_its_batch_read_again(
    writer: Writer, ada: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overtaken(self: Writer) -> bool:
        return False

    with monkeypatch.context() as held_up:
        held_up.setattr(Writer, "holds", overtaken)
        relay.drain(writer, NOW)
    assert [entry.kind for entry in Entry.objects.all()] == ["user"]


def test_tokens_of_simplejwt_and_their_bans_arrive(writer: Writer, ada: Member) -> None:
    from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken

    expires = NOW + timedelta(days=1)
    made = OutstandingToken.objects.create(user=ada, jti="j1", token="t", created_at=NOW, expires_at=expires)
    OutstandingToken.objects.create(user=None, jti="j2", token="t", created_at=NOW, expires_at=expires)
    BlacklistedToken.objects.create(token=made)
    drained(writer)
    assert {(row.user_id, row.token_id, row.kind) for row in Token.scan()} == {
        (str(ada.pk), "j1", "refresh"), ("-", "j2", "refresh"), (str(ada.pk), "ban#j1", "blacklist"),
    }  # fmt: skip
    made.delete()
    drained(writer)
    assert [row.token_id for row in Token.scan()] == ["j2"]


def test_messages_are_sent_after_the_rows_that_they_are_about(writer: Writer, ada: Member) -> None:
    queue = Queue("backbeat-test-emails-send_welcome_email")
    sent = send_welcome_email.delay(user_id=str(ada.pk))
    assert drained(writer)["sent"] == 1
    (record,) = queue.receive()["Records"]
    assert json.loads(record["body"])["id"] == sent
    assert User.get(str(ada.pk)).name == "ada"


def test_a_message_that_cannot_be_sent_now_waits(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    send_welcome_email.delay(user_id="1")
    monkeypatch.setenv("BACKBEAT_STACK", "elsewhere")
    with pytest.raises(AwsUnavailable, match="no queue 'elsewhere-emails-send_welcome_email'"):
        relay.drain(writer, NOW)
    assert Entry.objects.filter(error="").count() == 1
