"""A project of another make: what it names otherwise, and keeps otherwise, arrives all the same."""

import io
import os
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.management import call_command
from garden.models import Note, Person, Profile, Sketch, Tag
from support import Calls, function_environment, run_whole

import update_post_engagement_scores
from backbeat import models as ours
from backbeat.aws import forget_clients, s3
from backbeat.models import Changed, Follow, Like, User
from backbeat.posts.files import post_of
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
        "file": "sketches__image",
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
    forget_clients()
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
    note.audience = "nobody"
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
    climbing, tea = (Tag.objects.create(name=name) for name in ("climbing roses", "tea-roses"))
    note.tags.add(climbing, tea)
    carried()
    assert ours.Post.get(str(note.pk)).hashtags == {"Roses", "climbing_roses", "tea_roses"}
    note.tags.remove(climbing, tea)
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
    assert [(each.what, each.result) for each in found] == [("fans: 0, in Backbeat 1", True)]
    comparing.repair(found, NOW)
    assert list(comparing.differences(kinds)) == []


def copies(note: Note) -> list[str]:
    found = s3().list_objects_v2(Bucket=os.environ["UPLOADS_BUCKET"], Prefix=f"posts/{note.pk}/")
    return [str(each["Key"]) for each in found.get("Contents", [])]


def draw(note: Note, name: str) -> Sketch:
    return Sketch.objects.create(note=note, image=ContentFile(f"the picture {name}".encode(), name=name))


def handled(note: Note, *keys: str) -> None:
    """That process_media_upload has made renditions of uploads."""
    seen = {key: {"order": "1", "hash": "abc", "version_id": None, "doomed": []} for key in keys}
    ours.Post(str(note.pk)).update(actions=[ours.Post.media_uploads.set(seen)])


def test_a_picture_whose_key_is_djangos_own_becomes_an_upload_of_its_post(carried: Any, note: Note) -> None:
    sketch = draw(note, "rose.jpg")
    assert sketch.image.name == f"posts/images/{NOW:%Y/%m/%d}/rose.jpg"
    carried()
    (key,) = copies(note)
    assert re.fullmatch(rf"posts/{note.pk}/file-[0-9a-f]{{12}}-rose\.jpg", key)
    assert post_of(key) == str(note.pk)
    body = s3().get_object(Bucket=os.environ["UPLOADS_BUCKET"], Key=key)["Body"].read()
    assert body == b"the picture rose.jpg"


def test_a_picture_that_is_gone_takes_its_copy_with_it_and_nothing_else(carried: Any, note: Note) -> None:
    rose, _ = draw(note, "rose.jpg"), draw(note, "lily.jpg")
    carried()
    lily, first = sorted(copies(note), key=lambda key: "rose" in key)
    sent = f"posts/{note.pk}/sent-by-a-form.jpg"
    s3().put_object(Bucket=os.environ["UPLOADS_BUCKET"], Key=sent, Body=b"a picture")
    handled(note, lily, first, sent)
    rose.delete()
    carried()
    assert set(copies(note)) == {lily, sent}


def test_a_post_whose_pictures_are_known_asks_s3_nothing(carried: Any, ada: Person, note: Note, calls: Calls) -> None:
    draw(note, "rose.jpg")
    carried()
    handled(note, *copies(note))
    calls.clear()
    note.liked_by.add(ada)
    carried()
    assert {name for name, table in calls.made if table is None and "Object" in name} == set()


def test_a_picture_that_is_not_there_is_set_aside_alone_until_it_is(note: Note) -> None:
    sketch = draw(note, "rose.jpg")
    sketch.image.storage.delete(sketch.image.name)
    with relay.writing() as writer:
        while relay.drain(writer):
            pass
        (entry,) = Entry.objects.all()
        assert (entry.kind, entry.error.split(":")[0]) == ("file", "FileNotFoundError")
        assert ours.Post.get(str(note.pk)).text == "Roses"
        sketch.image.storage.save(sketch.image.name, ContentFile(b"it is back"))
        relay.retry_aside()
        relay.drain(writer)
    assert (len(copies(note)), Entry.objects.count()) == (1, 0)


def test_pictures_that_exist_are_carried_with_the_import_where_that_is_asked_for(
    note: Note, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backbeat_django.management.commands.backbeat_import.connected", dict)
    draw(note, "rose.jpg")
    lost = draw(Note.objects.create(writer=note.writer, body="Lilies", made=NOW), "lily.jpg")
    lost.image.storage.delete(lost.image.name)
    Entry.objects.all().delete()
    out = io.StringIO()
    call_command("backbeat_import", stdout=out)
    assert copies(note) == []
    call_command("backbeat_import", "--files", stdout=out)
    assert len(copies(note)) == 1
    assert "2 posts looked at: 1 copied, not there for 1" in out.getvalue()
    assert Entry.objects.get(kind="file", key=f'["{lost.note.pk}"]').error.startswith("FileNotFoundError")
