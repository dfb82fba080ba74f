"""A project whose posts, likes and friends are a profile's: after any writes, nothing differs."""

import copy
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from club.models import Card, Notice, Remark
from django.conf import settings
from django.utils import timezone
from network.models import Member
from rest_framework_simplejwt.token_blacklist.models import OutstandingToken
from support import function_environment

from backbeat import models as ours
from backbeat.aws import forget_clients
from backbeat_django import comparing, outbox, relay
from backbeat_django.mapping import mapping, read
from backbeat_django.models import Entry

SETTINGS: dict[str, Any] = {
    "STACK": "club",
    "USER": {"name": "card__first_name"},
    "POST": {
        "model": "club.Notice", "author": "author__member", "text": "text", "created_at": "made",
        "where": {"draft": False},
    },
    "COMMENT": {
        "model": "club.Remark", "post": "notice", "author": "author__member", "text": "text", "created_at": "made",
    },
    "LIKE": {"model": "club.Notice.liked", "post": "notice", "user": "card__member"},
    "FOLLOW": {"model": "club.Card.friends", "follower": "card__member", "followed": "member"},
}  # fmt: skip


@pytest.fixture(params=[{}, {"USER": {
    "model": "club.Card", "name": "first_name", "email": "member__email", "created_at": "made",
    "last_login_at": "member__last_login", "active": "member__is_active",
}}], ids=["user", "profile"])  # fmt: skip
def club(request: pytest.FixtureRequest, db: None, aws: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The club, whose users are Django's, or else the profiles."""
    environment = function_environment("CleanupOldPostsFunction")
    for name in ("UPLOADS_BUCKET", "MEDIA_BUCKET", "ARCHIVE_BUCKET"):
        monkeypatch.setenv(name, environment[name])
    forget_clients()
    given = copy.deepcopy(SETTINGS | request.param)
    if request.param:
        for kind, name, path in (
            ("POST", "author", "author"), ("COMMENT", "author", "author"), ("LIKE", "user", "card"),
            ("FOLLOW", "follower", "card"), ("FOLLOW", "followed", "member__card"),
        ):  # fmt: skip
            given[kind][name] = path
        given["TOKEN"], given["BAN"] = {"user": "user__card"}, {"user": "token__user__card"}
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(settings, "BACKBEAT", given)
        mapping.cache_clear()
        assert read(given)[1] == []
        outbox.watch(mapping())
        yield
    mapping.cache_clear()
    outbox.watch(mapping())


def carry() -> None:
    with relay.writing() as writer:
        while relay.drain(writer):
            pass
    assert Entry.objects.count() == 0


def differing() -> list[str]:
    """On what the sides differ once everything is carried over."""
    carry()
    return [f"{each.kind} {each.key}: {each.what}" for each in comparing.differences([kind.name for kind in mapping()])]


def joined(where: str) -> list[Card]:
    members = [Member.objects.create_user(f"{name} {where}", "m@example.net") for name in ("ada", "bob", "eve")]
    return [Card.objects.create(member=member, first_name=member.username.title()) for member in members]


def written(cards: list[Card]) -> Notice:
    ada, bob, eve = cards
    notice = Notice.objects.create(author=ada, text="Hello #bees")
    notice.liked.add(bob, eve)
    Remark.objects.create(notice=notice, author=bob, text="Hi")
    ada.friends.add(bob.member, eve.member)
    eve.friends.add(bob.member)
    return notice


def rest(member: Member) -> None:
    member.is_active = False
    member.save()


CHANGES: dict[str, Callable[[Notice, list[Card]], object]] = {
    "a like taken back": lambda notice, cards: notice.liked.remove(cards[1]),
    "likes taken back from the other side": lambda _, cards: cards[2].likes.clear(),
    "other friends": lambda _, cards: cards[0].friends.set([cards[2].member]),
    "a profile that goes, whose user stays": lambda _, cards: cards[1].delete(),
    "a user who goes as somebody likes": lambda notice, cards: (
        notice.liked.remove(cards[2]), cards[1].member.delete()
    ),
    "a name": lambda _, cards: Card.objects.filter(pk=cards[0].pk).update(first_name="Augusta"),
    "an address": lambda _, cards: Member.objects.filter(pk=cards[0].member.pk).update(email="a@example.org"),
    "a user who is saved": lambda _, cards: rest(cards[0].member),
    "a member without a profile": lambda _, __: Member.objects.create_user("zoe", "zoe@example.net"),
    "a post taken back": lambda notice, _: Notice.objects.filter(pk=notice.pk).update(draft=True),
}  # fmt: skip


def test_nothing_differs_after_a_change(club: None) -> None:
    there = {change: (cards := joined(change), written(cards)) for change in CHANGES}
    carry()
    for change, (cards, notice) in there.items():
        CHANGES[change](notice, cards)
        assert differing() == [], change


def test_a_post_that_is_published_again_has_its_likes_and_comments(club: None) -> None:
    notice = written(joined("here"))
    Notice.objects.update(draft=True)
    assert (differing(), list(ours.Like.scan())) == ([], [])
    Notice.objects.update(draft=False)
    assert differing() == []
    post = ours.Post.get(str(notice.pk))
    assert (post.likes_count, post.comments_count, ours.Like.count(post.post_id)) == (2, 1, 2)


def test_a_row_that_gets_another_key_is_gone_under_the_old_one(club: None) -> None:
    cards = joined("here")
    one, other = written(cards), Notice.objects.create(author=cards[1], text="Another")
    carry()
    remark = Remark.objects.get()
    remark.notice = other
    remark.save()
    assert differing() == []
    Remark.objects.update(notice=one)
    assert differing() == []
    assert [row.post_id for row in ours.Comment.scan()] == [str(one.pk)]


def test_the_tokens_of_a_user_who_is_gone_are_nobodys(club: None) -> None:
    cards, now = joined("here"), timezone.now()
    for name, card in zip("ab", cards, strict=False):
        OutstandingToken.objects.create(
            jti=name, user=card.member, token="t", created_at=now, expires_at=now + timedelta(1)
        )
    cards[0].member.delete()  # before anything was carried over
    assert differing() == []
    cards[1].member.delete()
    assert differing() == []
    assert sorted((row.user_id, row.token_id) for row in ours.Token.scan()) == [("-", "a"), ("-", "b")]


def test_a_path_that_ends_at_the_profile_is_named_with_the_way_on() -> None:
    given = copy.deepcopy(SETTINGS)
    given["POST"]["author"] = "author"
    given["LIKE"]["user"] = "card"
    assert [(str(fault), fault.mend) for fault in read(given)[1]] == [
        (
            "BACKBEAT[\"POST\"]: 'author' is 'author', which leads to club.Card; users are network.Member",
            'Write "author": "author__member".',
        ),
        (
            "BACKBEAT[\"LIKE\"]: 'user' is 'card', which leads to club.Card; users are network.Member",
            'Write "user": "card__member".',
        ),
    ]
