"""What the tasks do comes back: the tasks themselves run here, on what the relay has carried over."""

import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from network.models import Follow, Hashtag, Like, Member, Notification, Post
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken
from support import function_environment, run_whole

import cleanup_expired_tokens
import cleanup_old_posts
import generate_content_analytics
import send_notification
import update_post_engagement_scores
import update_trending_hashtags
import update_user_statistics
from backbeat import models as ours
from backbeat.models import Changed, Token, User
from backbeat.posts import archive
from backbeat_django import mapping, pulling, relay
from backbeat_django.models import Board, Entry
from backbeat_django.pulling import pull

pytestmark = pytest.mark.usefixtures("db", "aws", "few_parts")
NOW = datetime.now(UTC).replace(microsecond=0)
TONIGHT = NOW + timedelta(minutes=10)


@pytest.fixture(autouse=True)
def _buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = function_environment("CleanupOldPostsFunction")
    for name in ("UPLOADS_BUCKET", "MEDIA_BUCKET", "ARCHIVE_BUCKET"):
        monkeypatch.setenv(name, environment[name])
    for name, variable in function_environment("ProcessMediaUploadFunction").items():
        if name.endswith("_TABLE"):
            monkeypatch.setenv(name, variable)
    monkeypatch.setattr("backbeat_django.management.commands.backbeat_diff.connected", dict)
    monkeypatch.setattr("backbeat_django.management.commands.backbeat_compare.connected", dict)


@pytest.fixture
def carried() -> Iterator[Any]:
    """Carries over what waits."""
    with relay.writing() as writer:

        def carry() -> None:
            while relay.drain(writer):
                pass

        yield carry


@pytest.fixture
def ada() -> Member:
    return Member.objects.create_user("ada", "ada@example.net")


def diff(*arguments: str) -> str:
    out = io.StringIO()
    try:
        call_command("backbeat_diff", *arguments, stdout=out, stderr=out)
    except CommandError as error:
        out.write(str(error))
    return out.getvalue()


def test_counts_come_back(carried: Any, ada: Member) -> None:
    bob = Member.objects.create_user("bob")
    Follow.objects.create(follower=bob, followed=ada)
    post = Post.objects.create(author=ada, text="Hello")
    carried()
    assert pull()["user"] == 2
    ada.refresh_from_db()
    assert (ada.followers_count, ada.following_count, ada.posts_count) == (1, 0, 1)
    post.delete()
    carried()
    assert User.get(str(ada.pk)).posts_count == 0
    pull()
    ada.refresh_from_db()
    assert ada.posts_count == 0
    Member.objects.filter(pk=ada.pk).update(followers_count=9)
    Entry.objects.all().delete()
    run_whole(update_user_statistics.handle, "r2", TONIGHT)
    pull()
    ada.refresh_from_db()
    assert ada.followers_count == 1


@pytest.mark.parametrize("kind", ["user", "post", "deleted", "restored", "token", "notification"])
@pytest.mark.parametrize("strange", ["upload-20261126T052427.745Z", "9" * 30])
def test_what_has_an_id_that_the_application_could_not_give_is_passed_over(
    carried: Any, ada: Member, kind: str, strange: str
) -> None:
    Follow.objects.create(follower=Member.objects.create_user("bob"), followed=ada)
    carried()
    Changed.note(kind, strange, *["1"] * (kind in ("token", "notification")))
    assert pull()["user"] == 2
    ada.refresh_from_db()
    assert ada.followers_count == 1


def test_scores_come_back_and_a_second_pull_writes_nothing(carried: Any, ada: Member) -> None:
    post = Post.objects.create(author=ada, text="Hello", created_at=NOW, views=2)
    Like.objects.create(post=post, member=ada)
    carried()
    run_whole(update_post_engagement_scores.handle, "r1", TONIGHT)
    assert pull()["post"] == 1
    post.refresh_from_db()
    assert post.score == 5
    assert not any(pull().values())
    assert Entry.objects.count() == 0


def test_hidden_deleted_and_restored_posts(carried: Any, ada: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleanup_old_posts, "BRAKE", 1e9)
    old = Post.objects.create(author=ada, text="old", created_at=NOW - timedelta(days=400))
    carried()

    def clean(run: str, when: datetime) -> None:
        run_whole(cleanup_old_posts.handle, run, when)
        run_whole(cleanup_old_posts.handle, f"{run}/take", when, survey=run)

    clean("c1", NOW)
    pull()
    old.refresh_from_db()
    assert old.is_hidden
    carried()
    assert diff().endswith("nothing differs\n")
    clean("c2", NOW + timedelta(days=31))
    pull()
    assert not Post.objects.exists()
    carried()
    assert list(ours.Post.scan()) == []
    archive.restore("c2", at=NOW)
    pull()
    (back,) = Post.objects.all()
    assert (back.pk, back.text, back.created_at, back.is_hidden) == (old.pk, "old", old.created_at, False)


def test_what_the_application_did_later_wins(carried: Any, ada: Member) -> None:
    post = Post.objects.create(author=ada, text="Hello", created_at=NOW)
    carried()
    Changed.note("deleted", str(post.pk))
    ours.Post(str(post.pk)).delete()
    Changed.note("user", str(ada.pk))
    User(str(ada.pk)).update(actions=[User.digest.set(False)])
    post.text = "Somebody cares"
    post.save()
    Member.objects.filter(pk=ada.pk).update(wants_digest=False)
    Member.objects.filter(pk=ada.pk).update(wants_digest=True)
    pull()
    ada.refresh_from_db()
    assert (Post.objects.count(), ada.wants_digest) == (1, True)
    carried()
    assert (ours.Post.get(str(post.pk)).text, User.get(str(ada.pk)).digest) == ("Somebody cares", True)


def test_opt_outs_and_bounces_come_back(carried: Any, ada: Member) -> None:
    carried()
    Changed.note("user", str(ada.pk))
    User(str(ada.pk)).update(actions=[User.digest.set(False), User.email_status.set("bounced")])
    pull()
    ada.refresh_from_db()
    assert (ada.wants_digest, ada.email_status) == (False, "bounced")


def test_tokens_that_were_cleaned_up_go_but_not_what_would_be_good_again(carried: Any, ada: Member) -> None:
    def issue(jti: str, days: int) -> OutstandingToken:
        times = {"created_at": NOW - timedelta(days=90), "expires_at": NOW + timedelta(days=days)}
        return OutstandingToken.objects.create(user=ada, jti=jti, token="t", **times)

    issue("expired", -1)
    issue("alive", 5)
    BlacklistedToken.objects.create(token=issue("banned", 5))
    BlacklistedToken.objects.create(token=issue("banned and expired", -1))
    carried()
    run_whole(cleanup_expired_tokens.handle, "r1", NOW)
    pull()
    assert {token.jti for token in OutstandingToken.objects.all()} == {"alive", "banned"}
    Member.objects.filter(pk=ada.pk).update(last_login=NOW - timedelta(days=40))
    carried()
    run_whole(cleanup_expired_tokens.handle, "r2", NOW + timedelta(days=1), full=True)
    pull()
    assert {token.jti for token in OutstandingToken.objects.all()} == {"banned"}
    assert {row.token_id for row in Token.scan()} == {"ban#banned"}
    assert diff().endswith("nothing differs\n")


def test_tokens_that_were_cleaned_up_go_when_their_user_has_gone_before_the_pull(carried: Any, ada: Member) -> None:
    def issue(jti: str, days: int) -> OutstandingToken:
        times = {"created_at": NOW - timedelta(days=90), "expires_at": NOW + timedelta(days=days)}
        return OutstandingToken.objects.create(user=ada, jti=jti, token="t", **times)

    issue("expired", -1)
    BlacklistedToken.objects.create(token=issue("banned and expired", -1))
    issue("alive", 5)
    carried()
    run_whole(cleanup_expired_tokens.handle, "r1", NOW)
    Changed.note("token", str(ada.pk), "alive")  # as where the clean-up found at the last moment that it was renewed
    ada.delete()
    carried()
    pull()
    assert [token.jti for token in OutstandingToken.objects.all()] == ["alive"]
    assert diff().endswith("nothing differs\n")


def test_trends_reports_and_notifications_come_back(carried: Any, ada: Member) -> None:
    bob = Member.objects.create_user("bob")
    Hashtag.objects.create(name="Jazz")
    Hashtag.objects.create(name="old", is_trending=True)
    for author in (ada, bob):
        Post.objects.create(author=author, text="#jazz", created_at=NOW - timedelta(hours=2))
    carried()
    update_trending_hashtags.handle(run=run_at(update_trending_hashtags, NOW), top=10, full=False)
    send_notification.handle(
        user_id=str(ada.pk), kind="like", text="bob likes it", run=run_at(send_notification, NOW), link="/posts/1"
    )
    done = pull()
    assert (done["notification"], bool(done["trending"])) == (1, True)
    assert {(tag.name, tag.is_trending, tag.posts_count) for tag in Hashtag.objects.all()} == {
        ("Jazz", True, 2), ("old", False, 0),
    }  # fmt: skip
    assert [tag["tag"] for tag in Board.objects.get(name="trending").value] == ["jazz"]
    (notification,) = Notification.objects.all()
    assert (notification.member, notification.text, notification.link) == (ada, "bob likes it", "/posts/1")
    assert not any(pull().values())


def run_at(module: Any, when: datetime) -> Any:
    from support import Context

    from backbeat.messages import Message
    from backbeat.runtime import Run

    task = module.handle.task
    return Run(task, Message(task=task.name, id="r1", sent_at=when), Context())  # type: ignore[arg-type]


@pytest.mark.parametrize("strange", ["upload-20261126T052427.745Z", "9" * 30])
def test_the_diff_names_rows_whose_ids_the_application_could_not_give(carried: Any, ada: Member, strange: str) -> None:
    carried()
    ada_id = str(ada.pk)
    ours.Post.new(strange, author_id=strange, text="x", created_at=NOW).save()
    ours.User.new(strange, name="x", email="x@example.org", created_at=NOW).save()
    ours.Comment.new(strange, strange, author_id=strange, text="x", created_at=NOW).save()
    ours.Like(strange, ada_id, created_at=NOW).save()
    ours.Follow(ada_id, strange, created_at=NOW).save()
    Token.new(strange, strange, kind="refresh", created_at=NOW, expires_at=NOW).save()
    said = diff()
    for kind in ("post", "user", "comment", "like", "follow", "token"):
        assert any(strange in line and "gone from Django" in line for line in said.splitlines() if kind in line), kind
    assert "repaired" in diff("--repair")
    assert diff().endswith("nothing differs\n")


def test_a_trend_finds_the_applications_tag_of_several_words(db: None) -> None:
    for name in ("Free Jazz", "free-range jazz", "jazz"):
        Hashtag.objects.create(name=name)
    trend = {"tag": "free_jazz", "shown": "Free_Jazz", "posts": 2, "authors": 2}
    changes = pulling.hashtags_to_change([trend])
    assert [Hashtag.objects.get(pk=pk).name for pk in changes] == ["Free Jazz"]


def test_a_field_for_media_that_is_empty_lacks_none(carried: Any, ada: Member) -> None:
    """Null, or an empty text, is as good as an empty list of them: no post is written to say that it has no picture."""
    post = Post.objects.create(author=ada, text="Hello")
    carried()
    post.media = None
    kind = mapping.mapping()["post"]
    assert "media" not in pulling.missing(kind, ours.Post.get(str(post.pk)), post)


def test_a_long_diff_says_of_all_what_differs(carried: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads that 250 more differ wants to know whether all of those are counts."""
    monkeypatch.setattr("backbeat_django.management.commands.backbeat_diff.SHOWN", 1)
    members = [Member.objects.create_user(f"member{number}") for number in range(3)]
    post = Post.objects.create(author=members[0], text="Hello")
    carried()
    pull()
    for member in members:
        ours.User(str(member.pk)).update([ours.User.name.set("wrong")])
    ours.Post(str(post.pk)).delete()
    said = diff()
    assert "... and 3 more; in all:\n" in said
    assert "user     name (3)\n" in said
    assert "post     not in Backbeat (1)\n" in said


def test_the_diff_names_what_differs_and_repairs_it(carried: Any, ada: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulling, "OVERLAP", timedelta(0))  # what is listed was pulled
    post = Post.objects.create(author=ada, text="Hello", created_at=NOW)
    lost = Post.objects.create(author=ada, text="lost", created_at=NOW)
    carried()
    run_whole(update_post_engagement_scores.handle, "r1", NOW)
    pull()
    assert diff().endswith("nothing differs\n")
    ours.Post(str(lost.pk)).delete()
    ours.Post(str(post.pk)).update(actions=[ours.Post.text.set("another")])
    ours.Post.new("999", author_id=str(ada.pk), text="", created_at=NOW).save()
    pulling._all(mapping.mapping()["post"]).filter(pk=post.pk).update(score=7)
    said = diff()
    assert "post     2 in Django, 2 in Backbeat" in said
    assert f"post {post.pk}: text: 'Hello', in Backbeat 'another'" in said
    assert f"post {post.pk}: score: 7.0, in Backbeat 0.0" in said
    assert f"post {lost.pk}: not in Backbeat" in said
    assert "post 999: gone from Django" in said
    assert said.endswith("4 rows differ; --repair makes them the same")
    assert "repaired" in diff("--repair")
    assert diff().endswith("nothing differs\n")


@pytest.fixture
def shadowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """All tasks that can be are in shadow mode."""
    found = mapping.mapping()
    shadowed = mapping.Map(found.stack, found.database, found.kinds, frozenset(mapping.SHADOWED))
    for module in (mapping, pulling):
        monkeypatch.setattr(module, "mapping", lambda: shadowed)


def compared(task: str) -> str:
    out = io.StringIO()
    call_command("backbeat_compare", task, stdout=out)
    return out.getvalue()


def test_in_shadow_mode_results_are_compared_and_not_taken(
    carried: Any, ada: Member, shadowed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in function_environment("GenerateContentAnalyticsFunction").items():
        monkeypatch.setenv(name, value)
    bob = Member.objects.create_user("bob")
    Hashtag.objects.create(name="jazz")
    Follow.objects.create(follower=bob, followed=ada)
    yesterday = NOW - timedelta(days=1)
    posts = [Post.objects.create(author=each, text="#jazz", created_at=yesterday, views=3) for each in (ada, bob)]
    carried()
    run_whole(update_user_statistics.handle, "r1", TONIGHT)
    run_whole(update_post_engagement_scores.handle, "r2", TONIGHT)
    update_trending_hashtags.handle(run=run_at(update_trending_hashtags, NOW), top=10, full=False)
    run_whole(generate_content_analytics.handle, "r3", NOW, full=False)
    pull()
    ada.refresh_from_db()
    assert (ada.followers_count, ada.posts_count) == (0, 0)
    assert set(Post.objects.values_list("score", flat=True)) == {0.0}
    assert not Hashtag.objects.filter(is_trending=True).exists()
    assert Board.objects.count() == 0

    assert f"user {ada.pk}: followers_count is 0, in Backbeat 1\n" in compared("update_user_statistics")
    said = compared("update_post_engagement_scores")
    assert f"post {posts[0].pk}: score is 0.0, in Backbeat " in said
    assert said.endswith("2 of 2 rows differ\n")
    assert compared("update_trending_hashtags").endswith("1 of 1 rows differ\n")
    assert compared("generate_content_analytics").startswith("0 of ")
    posts[0].delete()
    said = compared("generate_content_analytics")
    assert said.startswith(f"report {yesterday.date()}: posts_created is 1, in Backbeat 2\n1 of ")
