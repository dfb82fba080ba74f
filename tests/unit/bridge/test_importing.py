"""The import brings all that exists, once, and goes on where it was cut off."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from network.models import Comment, Follow, Like, Member, Post, Share

from backbeat import models as ours
from backbeat.models import Activity, Token, User
from backbeat_django import importing, mirror, relay
from backbeat_django.importing import import_all
from backbeat_django.mapping import mapping
from backbeat_django.models import Entry, Progress
from backbeat_django.relay import Writer
from backbeat_django.rows import rows

pytestmark = pytest.mark.usefixtures("db", "aws")
NOW = datetime.now(UTC)


@pytest.fixture
def writer() -> Iterator[Writer]:
    with relay.writing() as writer:
        yield writer


@pytest.fixture
def network() -> None:
    """Three people, one of whom has not been here for 400 days, and what they have done; no entries wait."""
    ada, bob, eve = (Member.objects.create_user(name, f"{name}@example.net") for name in ("ada", "bob", "eve"))
    Member.objects.filter(pk=eve.pk).update(last_login=NOW - timedelta(days=400), date_joined=NOW - timedelta(days=500))
    Member.objects.filter(pk=bob.pk).update(last_login=NOW - timedelta(days=1))
    post = Post.objects.create(author=ada, text="#one", created_at=NOW - timedelta(days=2), views=9)
    Comment.objects.create(post=post, author=bob, text="Hi", created_at=NOW - timedelta(days=1))
    Like.objects.create(post=post, member=bob, created_at=NOW - timedelta(days=1))
    Share.objects.create(post=post, member=bob)
    Share.objects.create(post=post, member=eve)
    Follow.objects.create(follower=bob, followed=ada, created_at=NOW - timedelta(days=50))
    Entry.objects.all().delete()


def everything() -> dict[str, list[Any]]:
    """All that Backbeat has."""
    tables = (ours.User, ours.Post, ours.Comment, ours.Like, ours.Follow, ours.Token, ours.Activity)
    return {table.__name__: sorted(str(row.to_dynamodb_dict()) for row in table.scan()) for table in tables}


def test_all_arrives_with_counts_and_activity_and_no_login_of_its_own(writer: Writer, network: None) -> None:
    states = import_all(writer)
    assert {kind: state.counts for kind, state in states.items()} == {
        "user": {"added": 3}, "post": {"added": 1}, "comment": {"added": 1}, "like": {"added": 1},
        "follow": {"added": 1}, "token": {}, "ban": {},
    }  # fmt: skip
    users = {user.name: user for user in User.scan()}
    assert users["ada"].last_login_at is None
    assert users["eve"].last_login_at == NOW - timedelta(days=400)
    (post,) = ours.Post.scan()
    assert (post.likes_count, post.comments_count, post.shares_count, post.views_count) == (1, 1, 2, 9)
    who = {user.user_id: user.name for user in users.values()}
    assert sorted((who[row.user_id], row.day[:10]) for row in Activity.scan()) == [
        ("ada", str((NOW - timedelta(days=2)).date())), ("bob", str((NOW - timedelta(days=1)).date())),
    ]  # fmt: skip


def test_again_it_changes_nothing(writer: Writer, network: None, calls: Any) -> None:
    import_all(writer)
    before = everything()
    calls.clear()
    states = import_all(writer)
    assert everything() == before
    assert not {operation for operation, _ in calls.made} & {"PutItem", "UpdateItem", "BatchWriteItem", "DeleteItem"}
    assert {kind: state.counts for kind, state in states.items()} == {key: {} for key in importing.ORDER}


def test_a_later_one_writes_what_differs_and_leaves_results_alone(writer: Writer, network: None) -> None:
    import_all(writer)
    (post,) = ours.Post.scan()
    post.update(actions=[ours.Post.score.set(5), ours.Post.text.set("changed here")])
    states = import_all(writer)
    (post,) = ours.Post.scan()
    assert (post.text, post.score, states["post"].counts) == ("#one", 5, {"changed": 1})


def test_what_was_on_its_way_when_it_was_cut_off_is_compared(
    writer: Writer, network: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "CHUNK", 1)
    real = importing._write
    pks = list(Member.objects.order_by("pk").values_list("pk", flat=True))

    def killed(kind: Any, chunk: Any, notes: Any) -> Any:
        done = real(kind, chunk, notes)
        if (str(pks[1]),) in chunk:
            raise KeyboardInterrupt
        return done

    with monkeypatch.context() as first:
        first.setattr(importing, "_write", killed)
        with pytest.raises(KeyboardInterrupt):
            import_all(writer)
    assert importing._begun("user").done == str(pks[0])
    User(str(pks[1])).update(actions=[User.followers_count.set(7)])
    compared: list[str] = []
    real_compared = importing._compared

    def noted(kind: Any, chunk: Any, now: Any) -> Any:
        compared.extend(key[0] for key in chunk)
        return real_compared(kind, chunk, now)

    monkeypatch.setattr(importing, "_compared", noted)
    states = import_all(writer)
    assert compared == [str(pk) for pk in pks[1:]]  # all three were on their way
    assert User.get(str(pks[1])).followers_count == 7
    assert (User.count(), states["user"].finished) == (3, True)


def test_a_row_that_cannot_be_had_is_set_aside_and_holds_up_no_other(writer: Writer, network: None) -> None:
    ada = Member.objects.get(username="ada")
    huge = Post.objects.create(author=ada, text="x" * 500_000)
    old = Post.objects.create(author=ada, text="old", created_at=datetime(1, 1, 1, 0, 30, tzinfo=UTC))
    Entry.objects.all().delete()
    states = import_all(writer)
    assert states["post"].counts["refused"] == 1
    assert {entry.key for entry in Entry.objects.exclude(error="")} == {f'["{huge.pk}"]'}
    assert {row.post_id for row in ours.Post.scan()} > {str(old.pk)}


def test_tokens_without_users_and_users_without_tokens(writer: Writer, network: None) -> None:
    from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken

    ada = Member.objects.get(username="ada")
    expires = timezone.now() - timedelta(days=3)
    made = OutstandingToken.objects.create(user=ada, jti="j1", token="t", created_at=expires, expires_at=expires)
    OutstandingToken.objects.create(user=None, jti="j2", token="t", created_at=expires, expires_at=expires)
    BlacklistedToken.objects.create(token=made)
    import_all(writer)
    assert {(row.user_id, row.token_id, row.expires_at) for row in Token.scan()} == {
        (str(ada.pk), "j1", expires), ("-", "j2", expires), (str(ada.pk), "ban#j1", expires),
    }  # fmt: skip


def test_a_row_is_written_in_bulk_as_the_models_would_write_it(network: None) -> None:
    from rest_framework_simplejwt.token_blacklist.models import OutstandingToken

    ada = Member.objects.get(username="ada")
    OutstandingToken.objects.create(user=ada, jti="j1", token="t", created_at=NOW, expires_at=NOW)
    seen = 0
    for kind in mapping():
        if kind.name in importing.ORDER:
            for key, attributes in rows(kind, kind.rows).items():
                seen += 1
                plain = mirror.build(kind.name, key, attributes).to_dynamodb_dict()
                assert mirror.item(kind.name, key, attributes) == plain
    assert seen == 3 + 1 + 1 + 1 + 1 + 1


def test_meanwhile_the_relay_waits(writer: Writer, network: None) -> None:
    assert not Writer().renew()
    import_all(writer)
    assert Progress.objects.filter(name="import user").exists()
