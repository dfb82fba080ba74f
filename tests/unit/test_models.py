"""The models' methods: each keeps rows, counts, day keys and touched_day true together, and may be repeated."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import boto3
import pytest
from pynamodb.connection import Connection
from pynamodb.exceptions import CancellationReason, TransactWriteError, VerboseClientError
from support import Calls, Killed, function_environment

from backbeat import models
from backbeat.app import erasing, leaving
from backbeat.mail import digest
from backbeat.models import (
    Activity,
    Comment,
    DayCounts,
    Delivery,
    Follow,
    InvalidArgument,
    Like,
    Notification,
    Post,
    Token,
    TokenReused,
    User,
    day_key,
)
from backbeat.posts import archive

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=1)

pytestmark = pytest.mark.usefixtures("aws")


@pytest.fixture
def ann(aws: None) -> str:
    User.join("ann", name="Ann", email="ann@example.com", at=NOW)
    return "ann"


@pytest.fixture
def bob(aws: None) -> str:
    User.join("bob", name="Bob", email="bob@example.com", at=NOW)
    return "bob"


@pytest.fixture
def post(ann: str) -> str:
    Post.publish("p1", author_id=ann, text="Hello", at=NOW)
    return "p1"


def counts(user_id: str) -> tuple[int, int, int]:
    user = User.get(user_id)
    return int(user.followers_count), int(user.following_count), int(user.posts_count)


def engagement(post_id: str) -> tuple[int, int, int, int]:
    post = Post.get(post_id)
    return int(post.likes_count), int(post.comments_count), int(post.shares_count), int(post.views_count)


def test_a_user_joins_once(ann: str) -> None:
    assert not User.join(ann, name="Another", email="another@example.com", at=LATER)
    user = User.get(ann)
    assert (user.name, user.created_at) == ("Ann", NOW)
    assert [row.user_id for row in User.by_day.query(day_key(NOW, ann))] == [ann]
    assert [row.user_id for row in User.by_slice.query(models.slice_key(ann))] == [ann]


def test_a_follow_counts_once_on_both_sides(ann: str, bob: str) -> None:
    assert User.follow(ann, bob, at=LATER)
    assert not User.follow(ann, bob, at=LATER)
    assert (counts(ann), counts(bob)) == ((0, 1, 0), (1, 0, 0))
    assert [row.follower_id for row in Follow.by_followed.query(bob)] == [ann]
    for user in (ann, bob):
        assert User.get(user).touched_at == LATER
        assert [row.user_id for row in User.by_touch.query(day_key(LATER, user))] == [user]


def test_an_unfollow_counts_once_on_both_sides(ann: str, bob: str) -> None:
    User.follow(ann, bob, at=NOW)
    assert User.unfollow(ann, bob, at=LATER)
    assert not User.unfollow(ann, bob, at=LATER)
    assert (counts(ann), counts(bob)) == ((0, 0, 0), (0, 0, 0))
    assert not list(Follow.query(ann))


def test_a_follow_of_nobody_leaves_nothing(ann: str) -> None:
    for pair, missing in (((ann, "nobody"), "nobody"), (("nobody", ann), "nobody")):
        with pytest.raises(User.DoesNotExist, match=f"user '{missing}' does not exist"):
            User.follow(*pair, at=NOW)
    with pytest.raises(ValueError, match="cannot follow themselves"):
        User.follow(ann, ann, at=NOW)
    assert counts(ann) == (0, 0, 0)
    assert not list(Follow.query(ann))


def test_an_unfollow_of_someone_who_is_gone_still_counts_on_the_other_side(ann: str, bob: str) -> None:
    User.follow(ann, bob, at=NOW)
    User(bob).delete()
    assert User.unfollow(ann, bob, at=LATER)
    assert counts(ann) == (0, 0, 0)
    with pytest.raises(User.DoesNotExist):
        User.get(bob)


def test_a_login_only_moves_forward(ann: str) -> None:
    User.log_in(ann, at=LATER)
    User.log_in(ann, at=NOW)
    assert User.get(ann).last_login_at == LATER
    assert [row.user_id for row in User.by_login.query(day_key(LATER, ann))] == [ann]
    for day in (NOW, LATER):
        (row,) = Activity.query(day_key(day, ann))
        assert row.expires == day + timedelta(days=40)
    with pytest.raises(User.DoesNotExist):
        User.log_in("nobody", at=NOW)


def test_a_post_is_published_once(post: str, ann: str) -> None:
    assert not Post.publish(post, author_id=ann, text="Again", at=LATER)
    assert counts(ann) == (0, 0, 1)
    assert Post.get(post).text == "Hello"
    assert [row.post_id for row in Post.by_day.query(day_key(NOW, post))] == [post]
    assert [row.post_id for row in Post.by_author.query(ann)] == [post]
    with pytest.raises(User.DoesNotExist):
        Post.publish("p2", author_id="nobody", text="Hi", at=NOW)
    with pytest.raises(Post.DoesNotExist):
        Post.get("p2")


def test_likes_and_comments_count_once_and_can_be_taken_back(post: str, bob: str) -> None:
    assert Post.like(post, bob, at=LATER)
    assert not Post.like(post, bob, at=LATER)
    assert Post.comment(post, "c1", author_id=bob, text="Hi", at=LATER)
    assert not Post.comment(post, "c1", author_id=bob, text="Hi", at=LATER)
    assert engagement(post) == (1, 1, 0, 0)
    assert [row.post_id for row in Post.by_touch.query(day_key(LATER, post))] == [post]
    assert [row.post_id for row in Like.by_user.query(bob)] == [post]
    assert [row.comment_id for row in Comment.by_day.query(day_key(LATER, "c1"))] == ["c1"]
    assert Post.unlike(post, bob, at=LATER)
    assert not Post.unlike(post, bob, at=LATER)
    assert Post.uncomment(post, "c1", at=LATER)
    assert not Post.uncomment(post, "c1", at=LATER)
    assert engagement(post) == (0, 0, 0, 0)


def test_shares_and_views_count_each_time(post: str, bob: str) -> None:
    Post.share(post, bob, at=LATER)
    Post.share(post, bob, at=LATER)
    Post.view(post, at=LATER)
    Post.view(post, at=LATER, times=8)
    assert engagement(post) == (0, 0, 2, 9)


@pytest.mark.parametrize(
    "change",
    [
        lambda: Post.like("gone", "bob", at=NOW),
        lambda: Post.comment("gone", "c1", author_id="bob", text="Hi", at=NOW),
        lambda: Post.share("gone", "bob", at=NOW),
        lambda: Post.view("gone", at=NOW),
    ],
)
def test_nothing_can_be_done_with_a_post_that_is_gone(change: Callable[[], Any]) -> None:
    with pytest.raises(Post.DoesNotExist, match="post 'gone' does not exist"):
        change()
    with pytest.raises(Post.DoesNotExist):
        Post.get("gone")
    assert not list(Like.query("gone")) and not list(Comment.query("gone"))


def test_a_transaction_that_meets_another_is_tried_again(ann: str, bob: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real, met = Connection.transact_write_items, []

    def busy(self: Connection, **items: Any) -> Any:
        met.append(items)
        if len(met) > 3:
            return real(self, **items)
        reasons = [None, CancellationReason("TransactionConflict"), None]
        error = {"Error": {"Code": "TransactionCanceledException"}}
        cause = VerboseClientError(error, "TransactWriteItems", cancellation_reasons=reasons)  # type: ignore[arg-type]
        raise TransactWriteError("Failed to write transaction items", cause)

    monkeypatch.setattr(Connection, "transact_write_items", busy)
    monkeypatch.setattr("random.uniform", lambda low, high: 0)
    assert User.follow(ann, bob, at=NOW)
    assert len(met) == 4
    assert counts(bob) == (1, 0, 0)


def test_a_refresh_token_is_exchanged_once_and_used_twice_ends_its_family(ann: str) -> None:
    until = NOW + timedelta(days=14)
    Token.issue(ann, "r1", kind="refresh", at=NOW, expires_at=until)
    Token.rotate(ann, "r1", "r2", at=LATER, expires_at=until + timedelta(days=1))
    assert {token.token_id: token.family for token in Token.query(ann)} == {"r1": "r1", "r2": "r1"}
    with pytest.raises(TokenReused):
        Token.rotate(ann, "r1", "r3", at=LATER, expires_at=until)
    assert {token.token_id for token in Token.query(ann)} == {"ban#family#r1"}
    Token.issue(ann, "r9", kind="refresh", at=NOW, expires_at=until)
    with pytest.raises(Token.DoesNotExist, match="has expired"):
        Token.rotate(ann, "r9", "r10", at=until, expires_at=until + timedelta(days=1))


@pytest.mark.parametrize("meanwhile", ["UpdateItem", "BatchWriteItem"])
def test_an_exchange_that_meets_the_end_of_its_family_leaves_nothing_of_it(
    ann: str, calls: Calls, meanwhile: str
) -> None:
    """Whether it comes before the family is banned, or after its tokens were read to be deleted."""
    until = NOW + timedelta(days=14)
    Token.issue(ann, "t1", kind="refresh", at=NOW, expires_at=until)
    Token.rotate(ann, "t1", "t2", at=NOW, expires_at=until)
    thief: list[Any] = []

    def exchange() -> None:
        try:
            thief.append(Token.rotate(ann, "t2", "t3", at=NOW, expires_at=until))
        except TokenReused as error:
            thief.append(str(error))

    calls.before(meanwhile, "TokensTable" if meanwhile == "UpdateItem" else None, exchange)
    with pytest.raises(TokenReused):
        Token.rotate(ann, "t1", "t4", at=NOW, expires_at=until)
    assert len(thief) == 1
    assert [token.token_id for token in Token.query(ann) if token.kind == "refresh"] == []


def test_an_exchange_that_was_under_way_when_its_family_ended_does_not_take_place(ann: str, calls: Calls) -> None:
    until = NOW + timedelta(days=14)
    Token.issue(ann, "t1", kind="refresh", at=NOW, expires_at=until)
    calls.before("TransactWriteItems", None, lambda: Token.revoke_family(ann, "t1"))
    with pytest.raises(Token.DoesNotExist):
        Token.rotate(ann, "t1", "t2", at=NOW, expires_at=until)
    assert {token.token_id for token in Token.query(ann)} == {"ban#family#t1"}


def test_a_family_whose_end_was_cut_off_stays_ended(ann: str, calls: Calls) -> None:
    until = NOW + timedelta(days=14)
    Token.issue(ann, "t1", kind="refresh", at=NOW, expires_at=until)

    def killed() -> None:
        raise Killed

    calls.before("BatchWriteItem", None, killed)
    with pytest.raises(Killed):
        Token.revoke_family(ann, "t1")
    with pytest.raises(TokenReused, match="'t1' is of a family that is revoked"):
        Token.rotate(ann, "t1", "t2", at=NOW, expires_at=until)
    assert {token.token_id for token in Token.query(ann)} == {"ban#family#t1"}


def test_an_exchange_writes_all_or_nothing(ann: str) -> None:
    until = NOW + timedelta(days=14)
    Token.issue(ann, "t1", kind="refresh", at=NOW, expires_at=until)
    Token.issue(ann, "other", kind="access", at=NOW, expires_at=until)
    with pytest.raises(ValueError, match="new_id 'other' is the id of another token"):
        Token.rotate(ann, "t1", "other", at=LATER, expires_at=until)
    Token.new("nobody", "t1", kind="refresh", created_at=NOW, expires_at=until).save()
    with pytest.raises(User.DoesNotExist):
        Token.rotate("nobody", "t1", "t2", at=LATER, expires_at=until)
    with pytest.raises(User.DoesNotExist):
        Token.renew("nobody", "t1", at=LATER, expires_at=LATER)
    assert [(token.token_id, token.rotated_at) for token in Token.query("nobody")] == [("t1", None)]
    assert Token.rotate(ann, "t1", "t2", at=NOW, expires_at=until).family == "t1", "though no login is new"
    assert Token.issue(ann, "t1", kind="refresh", at=LATER, expires_at=until).rotated_at == NOW, "issued again"


def test_a_session_is_seen_and_its_user_back_at_once(ann: str, calls: Calls) -> None:
    """Or a cleaning between the two would take the session of a user who still seems to be away."""
    Token.issue(ann, "s1", kind="session", at=NOW)
    calls.clear()
    Token.seen(ann, "s1", at=LATER)
    assert (calls.number("TransactWriteItems", None), calls.number("UpdateItem", "TokensTable")) == (1, 0)
    assert (User.get(ann).last_login_at, Token.get(ann, "s1").last_seen_at) == (LATER, LATER)


def test_a_ban_lasts_as_long_as_the_token(ann: str) -> None:
    token = Token.issue(ann, "a1", kind="access", at=NOW, expires_at=LATER)
    assert not Token.is_banned(ann, "a1")
    Token.ban(ann, "a1", at=NOW)
    assert Token.is_banned(ann, "a1")
    assert Token.get(ann, "ban#a1").expires_at == token.expires_at


def test_a_session_is_found_by_the_day_it_was_seen(ann: str) -> None:
    Token.issue(ann, "s1", kind="session", at=NOW)
    Token.seen(ann, "s1", at=LATER)
    assert [row.token_id for row in Token.by_seen.query(day_key(LATER, "s1"))] == ["s1"]
    assert not list(Token.by_seen.query(day_key(NOW, "s1")))
    with pytest.raises(Token.DoesNotExist):
        Token.seen(ann, "s2", at=LATER)
    with pytest.raises(ValueError, match="never expires"):
        Token.ban(ann, "s1", at=LATER)


def test_a_token_can_be_renewed(ann: str) -> None:
    Token.issue(ann, "a1", kind="access", at=NOW, expires_at=LATER)
    Token.renew(ann, "a1", at=NOW, expires_at=LATER + timedelta(days=3))
    assert [row.token_id for row in Token.by_due.query(day_key(LATER + timedelta(days=3), "a1"))] == ["a1"]
    for kind, expires_at in (("cookie", LATER), ("access", None)):
        with pytest.raises(ValueError, match=r"kind|expires_at"):
            Token.issue(ann, "x", kind=kind, at=NOW, expires_at=expires_at)


NAIVE = datetime(2026, 11, 1)  # noqa: DTZ001 - that is what it is about
EARLY = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))


@pytest.mark.parametrize("wrong", [7, uuid.UUID(int=7), b"u1", "", "x" * 1025, "\ud83d"], ids=repr)
@pytest.mark.parametrize(
    ("method", "name"),
    [
        (lambda it: User.join(it, name="Ann", email="ann@example.com", at=NOW), "user_id"),
        (lambda it: User.new(it, name="Ann", email="ann@example.com", created_at=NOW), "user_id"),
        (lambda it: User.follow("ann", it, at=NOW), "followed_id"),
        (lambda it: User.log_in(it, at=NOW), "user_id"),
        (lambda it: Post.publish("p9", author_id=it, text="Hi", at=NOW), "author_id"),
        (lambda it: Post.new(it, author_id="ann", text="Hi", created_at=NOW), "post_id"),
        (lambda it: Post.like("p1", it, at=NOW), "user_id"),
        (lambda it: Post.comment("p1", it, author_id="ann", text="Hi", at=NOW), "comment_id"),
        (lambda it: Token.issue("ann", it, kind="access", at=NOW, expires_at=LATER), "token_id"),
        (lambda it: Token.rotate("ann", "r1", it, at=NOW, expires_at=LATER), "new_id"),
        (lambda it: Notification.mark_read("ann", it, at=NOW), "notification_id"),
        (lambda it: erasing.erase(it, at=NOW), "user_id"),
    ],
)
def test_an_id_that_is_none_is_refused_before_anything_is_written(
    post: str, calls: Calls, method: Callable[[Any], Any], name: str, wrong: Any
) -> None:
    calls.clear()
    with pytest.raises(InvalidArgument, match=f"^{name} "):
        method(wrong)
    assert calls.made == []


@pytest.mark.parametrize("wrong", [NAIVE, EARLY, datetime.max.replace(tzinfo=UTC), "2026-11-01T00:00:00Z", 7], ids=str)
@pytest.mark.parametrize(
    ("method", "name"),
    [
        (lambda it: User.join("zoe", name="Zoe", email="zoe@example.com", at=it), "at"),
        (lambda it: User.follow("ann", "bob", at=it), "at"),
        (lambda it: Post.publish("p9", author_id="ann", text="Hi", at=it), "at"),
        (lambda it: Post.new("p9", author_id="ann", text="Hi", created_at=it), "created_at"),
        (lambda it: Post.like("p1", "ann", at=it), "at"),
        (lambda it: Post.share("p1", "ann", at=it), "at"),
        (lambda it: Post.hold("p1", at=it), "at"),
        (lambda it: Comment.new("p1", "c1", author_id="ann", text="Hi", created_at=it), "created_at"),
        (lambda it: Token.seen("ann", "s1", at=it), "at"),
        (lambda it: Notification.mark_read("ann", "n1", at=it), "at"),
        (lambda it: archive.restore("a-run", at=it), "at"),
        (lambda it: erasing.erase("ann", at=it), "at"),
    ],
)
def test_a_time_that_is_none_is_refused_before_anything_is_written(
    post: str, bob: str, calls: Calls, method: Callable[[Any], Any], name: str, wrong: Any
) -> None:
    calls.clear()
    with pytest.raises(InvalidArgument, match=f"^{name} "):
        method(wrong)
    assert calls.made == []


def test_what_is_given_beside_the_rest_is_checked_too() -> None:
    with pytest.raises(InvalidArgument, match="last_seen_at must have a time zone"):
        Token.new("ann", "s1", kind="session", created_at=NOW, last_seen_at=NAIVE)
    with pytest.raises(InvalidArgument, match="expires_at must have a time zone"):
        Token.issue("ann", "a1", kind="access", at=NOW, expires_at=NAIVE)
    assert Token.new("ann", "a1", kind="access", created_at=NOW, expires_at=datetime.max.replace(tzinfo=UTC))


@pytest.mark.parametrize(
    "change",
    [
        lambda: Post.like("p1", "nobody", at=NOW),
        lambda: Post.comment("p1", "c1", author_id="nobody", text="Hi", at=NOW),
        lambda: Post.share("p1", "nobody", at=NOW),
        lambda: Token.issue("nobody", "a1", kind="access", at=NOW, expires_at=LATER),
    ],
)
def test_nobody_does_nothing(post: str, change: Callable[[], Any]) -> None:
    with pytest.raises(User.DoesNotExist, match="user 'nobody' does not exist"):
        change()
    assert engagement(post) == (0, 0, 0, 0)
    assert not list(Like.scan()) and not list(Comment.scan()) and not list(Token.scan())
    assert {row.user_id for row in Activity.scan()} == {"ann"}
    with pytest.raises(ValueError, match="times must be at least 1"):
        Post.view(post, at=NOW, times=-3)


def test_a_row_that_is_mirrored_again_keeps_what_the_tasks_wrote(post: str, ann: str) -> None:
    Post(post).update([Post.score.set(3), Post.media.set({"aa": {"recipe": "1"}}), Post.likes_count.set(4)])
    Post.hold(post, at=NOW)
    Post.new(post, author_id=ann, text="Hello #again", created_at=NOW).save()
    row = Post.get(post)
    assert (row.text, row.hashtags, row.tagged_at) == ("Hello #again", {"again"}, NOW)
    assert (row.score, row.media.as_dict(), row.likes_count, row.legal_hold) == (3, {"aa": {"recipe": "1"}}, 4, True)
    Post.new(post, author_id=ann, text="Hello", created_at=NOW, likes_count=5).save()
    row = Post.get(post)
    assert (row.hashtags, row.tagged_at, row.likes_count, row.score) == (None, None, 5, 3)
    User(ann).update([User.email_status.set("bounced"), User.digest.set(False)])
    User.new(ann, name="Ann B.", email="ann@example.com", created_at=NOW, locale="fr").save()
    user = User.get(ann)
    assert (user.name, user.locale, user.email_status, user.digest) == ("Ann B.", "fr", "bounced", False)
    assert (user.posts_count, user.last_login_at) == (1, NOW)


def test_a_token_that_is_mirrored_again_stays_spent(ann: str) -> None:
    Token.new(ann, "r1", kind="refresh", created_at=NOW, expires_at=LATER).save()
    Token.rotate(ann, "r1", "r2", at=NOW, expires_at=LATER)
    for name in ("r1", "r2"):
        Token.new(ann, name, kind="refresh", created_at=NOW, expires_at=LATER).save()
    assert {token.token_id: (token.family, token.rotated_at) for token in Token.query(ann)} == {
        "r1": ("r1", NOW),
        "r2": ("r1", None),
    }


def test_a_new_row_is_whole_however_it_is_saved(ann: str) -> None:
    """As a program that reads it without the models expects."""
    Post.new("one", author_id=ann, text="Hi", created_at=NOW).save()
    with Post.batch_write() as batch:
        batch.save(Post.new("two", author_id=ann, text="Hi", created_at=NOW))
    one, two = (
        boto3.client("dynamodb").get_item(TableName="PostsTable", Key={"post_id": {"S": name}})["Item"]
        for name in ("one", "two")
    )
    assert one.pop("post_id") != two.pop("post_id")
    assert one.pop("day")["S"][:10] == two.pop("day")["S"][:10] == "2026-11-01"
    assert one == two


def test_an_application_may_bring_a_posts_hashtags(ann: str) -> None:
    Post.publish("p7", author_id=ann, text="A walk in the hills #ignored", at=NOW, hashtags=["hills", "#Dawn", "HILLS"])
    assert Post.get("p7").hashtags == {"hills", "Dawn"}
    Post.publish("p8", author_id=ann, text="#ignored", at=NOW, hashtags=[])
    assert (Post.get("p8").hashtags, Post.get("p8").tagged_at) == (None, None)
    for wrong in ("two words", "", "#", "16", 7):
        with pytest.raises(ValueError, match="hashtags: "):
            Post.publish("p9", author_id=ann, text="Hi", at=NOW, hashtags=[wrong])  # type: ignore[list-item]


def test_a_post_is_not_removed_where_its_files_cannot_be(post: str) -> None:
    with pytest.raises(LookupError, match="MEDIA_BUCKET is not set"):
        Post.remove(post, at=LATER)
    assert Post.get(post).text == "Hello"


def test_a_new_address_is_written_to_again(ann: str) -> None:
    User(ann).update([User.email_status.set("bounced"), User.soft_bounces.set({"welcome:ann"})])
    assert User.change(ann, name="Ann B.", locale="fr")
    user = User.get(ann)
    assert (user.name, user.locale, user.email, user.email_status) == ("Ann B.", "fr", "ann@example.com", "bounced")
    assert not User.change(ann, name="Ann B.", email="ann@example.com")
    assert User.get(ann).email_status == "bounced"
    assert User.change(ann, email="ann@example.net")
    user = User.get(ann)
    assert (user.email, user.email_status, user.soft_bounces) == ("ann@example.net", "ok", None)
    with pytest.raises(User.DoesNotExist, match="'nobody' does not exist"):
        User.change("nobody", name="N")


def test_an_address_that_is_changed_twice_at_once_is_one_of_the_two_and_good(ann: str, calls: Calls) -> None:
    def meanwhile() -> None:
        User.change(ann, email="two@example.com")
        User(ann).update([User.email_status.set("bounced")])

    calls.before("UpdateItem", "UsersTable", meanwhile)
    User.change(ann, email="one@example.com")
    assert (User.get(ann).email, User.get(ann).email_status) == ("one@example.com", "ok")


def test_an_edited_post_has_the_hashtags_of_its_text(ann: str) -> None:
    Post.publish("p2", author_id=ann, text="Up early #hills", at=NOW)
    assert Post.edit("p2", text="Up early #dawn #Fog", at=LATER)
    post = Post.get("p2")
    assert (post.text, post.hashtags, post.tagged_at) == ("Up early #dawn #Fog", {"dawn", "Fog"}, NOW)
    assert (post.edited_at, post.created_at, post.touched_day) == (LATER, NOW, day_key(LATER, "p2"))
    assert [row.day for row in DayCounts.query("counts") if row.changes] == ["2026-11-01"], "its report is made anew"
    assert not Post.edit("p2", text="Up early #dawn #Fog", at=LATER)
    assert Post.edit("p2", hashtags=["calm"], visibility="followers", at=LATER)
    post = Post.get("p2")
    assert (post.text, post.hashtags, post.visibility) == ("Up early #dawn #Fog", {"calm"}, "followers")
    assert Post.edit("p2", text="Up", at=LATER)
    assert (Post.get("p2").hashtags, Post.get("p2").tagged_at) == (None, None)
    with pytest.raises(Post.DoesNotExist):
        Post.edit("gone", text="Up", at=LATER)


def test_a_hidden_post_that_is_edited_stays_hidden(post: str) -> None:
    Post(post).update([Post.visibility.set("hidden"), Post.hidden_from.set("public"), Post.hidden_at.set(NOW)])
    assert Post.edit(post, text="Well", visibility="followers", at=LATER)
    assert (Post.get(post).visibility, Post.get(post).hidden_from) == ("hidden", "followers")
    assert Post.unhide(post, at=LATER)
    assert (Post.get(post).visibility, Post.get(post).hidden_at) == ("followers", None)


def test_a_share_can_be_taken_back_as_often_as_there_are_any(post: str, bob: str) -> None:
    Post.share(post, bob, at=NOW)
    assert Post.unshare(post, bob, at=LATER)
    assert not Post.unshare(post, bob, at=LATER)
    assert engagement(post) == (0, 0, 0, 0)
    with pytest.raises(Post.DoesNotExist):
        Post.unshare("gone", bob, at=LATER)


def test_whoever_leaves_can_do_nothing_until_they_come_back(post: str, ann: str, bob: str) -> None:
    Token.issue(bob, "t1", kind="refresh", at=NOW, expires_at=LATER)
    Token.issue(bob, "t2", kind="access", at=NOW, expires_at=LATER)
    Token.ban(bob, "t2", at=NOW)
    User.follow(bob, ann, at=NOW)
    Post.like(post, bob, at=NOW)
    assert leaving.leave(bob, at=LATER)
    assert not leaving.leave(bob, at=LATER + timedelta(days=1))
    assert User.get(bob).deleted_at == LATER
    assert [token.token_id for token in Token.query(bob)] == ["ban#t2"]
    assert (counts(ann), engagement(post)) == ((1, 0, 1), (1, 0, 0, 0)), "what they made stays"
    for write in (
        lambda: Post.comment(post, "c1", author_id=bob, text="Hi", at=LATER),
        lambda: Post.publish("p2", author_id=bob, text="Hi", at=LATER),
        lambda: User.follow(ann, bob, at=LATER),
        lambda: User.log_in(bob, at=LATER),
        lambda: User.change(bob, name="B"),
        lambda: Token.issue(bob, "t3", kind="access", at=LATER, expires_at=LATER),
    ):
        with pytest.raises(User.DoesNotExist, match="user 'bob' has left"):
            write()
    assert Post.unlike(post, bob, at=LATER), "others' counts can still be put right"
    back = LATER + timedelta(days=2)
    assert leaving.come_back(bob, at=back)
    assert not leaving.come_back(bob, at=back)
    user = User.get(bob)
    assert (user.deleted_at, user.last_login_at, user.touched_at) == (None, back, back)
    assert User.follow(ann, bob, at=back)
    for change in (leaving.leave, leaving.come_back):
        with pytest.raises(User.DoesNotExist):
            change("nobody", at=NOW)


@pytest.fixture
def buckets(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in function_environment("CleanupOldPostsFunction").items():
        monkeypatch.setenv(name, value)


def test_a_post_is_removed_with_all_that_belongs_to_it(post: str, ann: str, bob: str, buckets: None) -> None:
    Post.like(post, bob, at=NOW)
    Post.comment(post, "c1", author_id=bob, text="Hi", at=LATER)
    for key in (f"posts/{post}/a.webp", f"posts/{post}0/a.webp"):
        boto3.client("s3").put_object(Bucket="mediabucket", Key=key, Body=b"x")
    assert Post.remove(post, at=LATER)
    assert not Post.remove(post, at=LATER)
    assert counts(ann) == (0, 0, 0)
    assert not list(Like.scan()) and not list(Comment.scan()) and not list(Post.scan())
    left = boto3.client("s3").list_objects_v2(Bucket="mediabucket")["Contents"]
    assert [item["Key"] for item in left] == [f"posts/{post}0/a.webp"]
    assert {row.day for row in DayCounts.query("counts") if row.changes} == {"2026-11-01", "2026-11-02"}


def test_a_comment_made_while_its_post_is_removed_goes_with_it(
    post: str, bob: str, buckets: None, calls: Calls
) -> None:
    calls.before("TransactWriteItems", None, lambda: Post.comment(post, "c1", author_id=bob, text="Wait", at=LATER))
    assert Post.remove(post, at=LATER)
    assert not list(Comment.scan())


def test_a_user_is_erased_everywhere_and_the_others_keep_true_counts(
    post: str, ann: str, bob: str, buckets: None
) -> None:
    Post.publish("p2", author_id=bob, text="Yes", at=NOW)
    User.follow(ann, bob, at=NOW)
    User.follow(bob, ann, at=NOW)
    Post.like("p2", ann, at=NOW)
    Post.like(post, bob, at=NOW)
    Post.comment("p2", "c1", author_id=ann, text="Hi", at=NOW)
    Post.comment(post, "c2", author_id=bob, text="Hi", at=NOW)
    Token.issue(ann, "a1", kind="access", at=NOW, expires_at=LATER)
    Notification(ann, "n1", kind="like", text="Bob likes your post", created_at=NOW).save()
    for days in (0, 1, 6, 7, 30, 89, 93):
        sent: Any = {"email": "content_digest", "user_id": ann, "state": "sent", "shelf": "s", "run_id": "r"}
        at = LATER - timedelta(days=days)
        Delivery(digest.delivery_id(ann, at), claimed_at=at, logical_time=at, **sent).save()
    archive.write("a-run", "page", [entry for post_id in (post, "p2") if (entry := archive.entry_of(post_id))])
    erased = erasing.erase(ann, at=LATER)
    assert erased == erasing.Erased(
        user=True, follows=2, likes=1, comments=1, posts=1, tokens=1, notifications=1, archived=5
    )
    assert counts(bob) == (0, 0, 1)
    assert engagement("p2") == (0, 0, 0, 0)
    for table in models.TABLES.values():
        for model in table:
            rows = boto3.client("dynamodb").scan(TableName=model.Meta.table_name)["Items"]
            assert "ann" not in str(rows), model.__name__
    ((kept,),) = (archive.read(key) for key in archive.manifests("archive/"))
    assert (kept["post"]["post_id"], kept["comments"], kept["likes"]) == ({"S": "p2"}, [], [])
    again = erasing.erase(ann, at=LATER)
    assert (again.follows, again.posts, again.archived) == (0, 0, 0)


def test_bound_again_the_models_go_where_the_endpoint_is_by_now(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The local cloud on another port: the tables' names are the same."""
    names = {variable: of_it[0].Meta.table_name for variable, of_it in models.TABLES.items()}
    User("ada", name="Ada", email="ada@example.net", created_at=NOW).save()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    models.bind(names)
    assert {model._get_connection().connection.host for of_it in models.TABLES.values() for model in of_it} == {
        "http://127.0.0.1:9"
    }
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    models.bind(names)
    assert User.get("ada").name == "Ada"
