"""A project of another make: what it names otherwise, and keeps otherwise, arrives all the same."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings
from garden.models import Note, Person, Profile, Tag
from support import function_environment, run_whole

import update_post_engagement_scores
from backbeat import models as ours
from backbeat.models import Changed, Follow, Like, User
from backbeat_django import comparing, importing, outbox, relay
from backbeat_django.mapping import mapping
from backbeat_django.models import Entry
from backbeat_django.pulling import pull

NOW = datetime.now(UTC).replace(microsecond=0)
SETTINGS: dict[str, Any] = {
    "STACK": "garden",
    "USER": {
        "model": "garden.Person", "name": "nick", "email": "mail", "created_at": "joined",
        "locale": "profile__language", "results": {"followers_count": "fans"},
    },
    "POST": {
        "model": "garden.Note", "author": "writer", "text": "body", "created_at": "made", "hashtags": "tags__name",
        "visibility": "audience", "values": {"all": "public", "friends": "followers"},
        "results": {"score": "points", "deleted": "gone_at"},
    },
    "LIKE": {"model": "garden.Note.liked_by", "post": "note", "user": "person"},
    "FOLLOW": {"model": "garden.Person.follows", "follower": "from_person", "followed": "to_person"},
}  # fmt: skip


@pytest.fixture(autouse=True)
def garden(db: None, aws: None, few_parts: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The garden's settings instead of the example's."""
    environment = function_environment("CleanupOldPostsFunction")
    for name in ("UPLOADS_BUCKET", "MEDIA_BUCKET", "ARCHIVE_BUCKET"):
        monkeypatch.setenv(name, environment[name])
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(settings, "BACKBEAT", SETTINGS)
        mapping.cache_clear()
        outbox.watch(mapping())
        yield
    mapping.cache_clear()
    outbox.watch(mapping())


@pytest.fixture
def carried() -> Iterator[Any]:
    with relay.writing() as writer:

        def carry() -> list[str]:
            kinds = sorted(set(Entry.objects.values_list("kind", flat=True)))
            while relay.drain(writer):
                pass
            assert Entry.objects.count() == 0
            return kinds

        yield carry


@pytest.fixture
def ada() -> Person:
    return Person.objects.create(nick="ada", mail="ada@example.net", joined=date(2026, 3, 1))


@pytest.fixture
def note(ada: Person) -> Note:
    return Note.objects.create(writer=ada, body="Roses", made=NOW, audience="friends")


def test_ids_days_profiles_and_audiences(carried: Any, ada: Person, note: Note) -> None:
    carried()
    user, post = User.get(str(ada.pk)), ours.Post.get(str(note.pk))
    assert (user.name, user.created_at, user.locale) == ("ada", datetime(2026, 3, 1, tzinfo=UTC), "en")
    assert (post.author_id, post.visibility, post.hashtags) == (str(ada.pk), "followers", None)
    profile = Profile.objects.create(person=ada, language="fr_CA")
    assert carried() == ["user"]
    assert User.get(str(ada.pk)).locale == "fr-CA"
    profile.language = "de"
    profile.save()
    carried()
    assert User.get(str(ada.pk)).locale == "de"
    note.audience = "nobody knows"
    note.save()
    carried()
    assert ours.Post.get(str(note.pk)).visibility == "hidden"


def test_hashtags_that_are_rows(carried: Any, note: Note) -> None:
    roses, bees = (Tag.objects.create(name=name) for name in ("Roses", "#bees"))
    note.tags.add(roses, bees)
    assert "post" in carried()
    assert ours.Post.get(str(note.pk)).hashtags == {"Roses", "bees"}
    bees.notes.remove(note)
    carried()
    assert ours.Post.get(str(note.pk)).hashtags == {"Roses"}
    roses.notes.clear()
    carried()
    assert ours.Post.get(str(note.pk)).hashtags is None
    note.tags.set([bees])
    note.tags.clear()
    carried()
    assert ours.Post.get(str(note.pk)).hashtags is None


def test_likes_and_follows_that_are_many_to_many(carried: Any, ada: Person, note: Note) -> None:
    bob = Person.objects.create(nick="bob", mail="b@example.net", joined=date(2026, 3, 2))
    note.liked_by.add(ada, bob)
    bob.follows.add(ada)
    carried()
    assert {row.user_id for row in Like.query(str(note.pk))} == {str(ada.pk), str(bob.pk)}
    assert ours.Post.get(str(note.pk)).likes_count == 2
    assert (User.get(str(ada.pk)).followers_count, User.get(str(bob.pk)).following_count) == (1, 1)
    pull()
    ada.refresh_from_db()
    assert ada.fans == 1
    bob.liked.clear()
    ada.followed_by.remove(bob)
    carried()
    assert [row.user_id for row in Like.query(str(note.pk))] == [str(ada.pk)]
    assert (Follow.count(str(bob.pk)), User.get(str(ada.pk)).followers_count) == (0, 0)
    bob.follows.set([ada])
    bob.follows.clear()
    note.liked_by.clear()
    carried()
    assert (Follow.count(str(bob.pk)), ours.Post.get(str(note.pk)).likes_count) == (0, 0)


def test_what_is_deleted_softly_is_gone_on_either_side(carried: Any, note: Note) -> None:
    other = Note.objects.create(writer=note.writer, body="Tulips", made=NOW)
    carried()
    note.gone_at = NOW
    note.save()
    carried()
    assert [post.post_id for post in ours.Post.scan()] == [str(other.pk)]
    Changed.note("deleted", str(other.pk))
    ours.Post(str(other.pk)).delete()
    pull()
    other.refresh_from_db()
    assert other.gone_at is not None
    carried()
    assert list(ours.Post.scan()) == []


def test_it_is_imported_scored_and_compared(carried: Any, ada: Person, note: Note) -> None:
    note.liked_by.add(ada)
    ada.follows.add(Person.objects.create(nick="bob", mail="b@example.net", joined=date(2026, 3, 2)))
    Entry.objects.all().delete()
    with pytest.MonkeyPatch.context() as small:
        small.setattr(importing, "CHUNK", 1)
        states = importing.import_all(relay.Writer())
    assert {kind: state.counts["added"] for kind, state in states.items() if state.rows} == {
        "user": 2, "post": 1, "like": 1, "follow": 1
    }  # fmt: skip
    run_whole(update_post_engagement_scores.handle, "r1", NOW + timedelta(minutes=10))
    pull()
    note.refresh_from_db()
    assert note.points == 3
    kinds = ["user", "post", "like", "follow"]
    assert comparing.counts(kinds) == {"user": (2, 2), "post": (1, 1), "like": (1, 1), "follow": (1, 1)}
    found = list(comparing.differences(kinds))
    assert [(each.what, each.result) for each in found] == [("fans: 0, here 1", True)]
    comparing.repair(found, NOW)
    assert list(comparing.differences(kinds)) == []
