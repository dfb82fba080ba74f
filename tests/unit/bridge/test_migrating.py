"""docs/migrating-from-celery.md is followed by a project as many are: each block of the page runs here."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from django.conf import settings
from django.core.files.base import ContentFile
from django.db import transaction
from studio.models import Account, Clip, Comment, Follow, Hashtag, Post, Reaction, Repost, Video
from support import ROOT, function_environment, run_whole, written

import update_post_engagement_scores
import update_user_statistics
from backbeat import models as ours
from backbeat import tasks
from backbeat.aws import forget_clients, s3
from backbeat.producer import OptionRefused, Retry
from backbeat_django import comparing, files, importing, outbox, relay
from backbeat_django.mapping import mapping, read
from backbeat_django.models import Entry
from backbeat_django.pulling import pull

PAGE = (ROOT / "docs/migrating-from-celery.md").read_text("utf-8")
NOW = datetime.now(UTC).replace(microsecond=0)


def blocks(language: str, first: str = "") -> list[str]:
    """The page's blocks of a language that begin so."""
    found = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return [block for block in found if block.startswith(first)]


def shown() -> dict[str, Any]:
    (block,) = blocks("python", "BACKBEAT = ")
    names: dict[str, Any] = {}
    exec(block, names)
    given: dict[str, Any] = names["BACKBEAT"]
    return given


@pytest.fixture
def given() -> dict[str, Any]:
    """The settings."""
    return shown()


@pytest.fixture
def studio(
    db: None, aws: None, few_parts: None, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any]
) -> Iterator[None]:
    """The project with the settings that the page shows."""
    environment = function_environment("CleanupOldPostsFunction")
    for name in ("UPLOADS_BUCKET", "MEDIA_BUCKET", "ARCHIVE_BUCKET"):
        monkeypatch.setenv(name, environment[name])
    forget_clients()
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


def test_the_project_is_moved_by_the_page(studio: None, monkeypatch: pytest.MonkeyPatch) -> None:
    ada, bob = (
        Account.objects.create(email=f"{name}@example.net", full_name=name, date_joined=NOW) for name in ("Ada", "Bob")
    )
    tag = Hashtag.objects.create(name="roses")
    post = Post.objects.create(
        author=ada, content="Hello", created_at=NOW, image=ContentFile(b"a picture", name="rose.jpg")
    )
    post.hashtags.add(tag)
    Comment.objects.create(post=post, author=bob, text="Hi")
    Follow.objects.create(follower=bob, following=ada)
    Reaction.objects.create(account=bob, target=post)
    Reaction.objects.create(account=bob, target=ada)
    Reaction.objects.create(account=ada, target=post, kind="laugh")
    Entry.objects.all().delete()  # they were there before the bridge was
    with relay.writing() as writer:
        states = importing.import_all(writer)
        assert [done for _, done in files.carry_all(relay.set_aside)] == [{"copied": 1}]
    rows = {kind: state.rows for kind, state in states.items()}
    assert rows == {"post": 1, "comment": 1, "like": 1, "follow": 1, "user": 2}

    there = ours.Post.get(str(post.pk))
    assert (there.likes_count, there.comments_count, there.hashtags) == (1, 1, {"roses"})
    Reaction.objects.create(account=ada, target=post)  # a day of writes
    gone = Post.objects.create(author=bob, content="Oh", created_at=NOW)
    carry()
    gone.is_deleted = True
    gone.save()
    carry()
    assert not ours.Post.by_author.count(str(bob.pk))
    found = s3().list_objects_v2(Bucket=settings_bucket(), Prefix=f"posts/{post.pk}/")["Contents"]
    assert [each["Key"].rpartition("-")[2] for each in found] == ["rose.jpg"]

    tonight = NOW + timedelta(minutes=10)
    run_whole(update_user_statistics.handle, "r1", tonight)
    run_whole(update_post_engagement_scores.handle, "r2", tonight)
    pull()
    kinds = [kind for kind in importing.ORDER if kind in mapping()]
    comparing.repair(list(comparing.differences(kinds)), tonight)  # counts that the import knew better
    ada.refresh_from_db()
    post.refresh_from_db()
    assert (ada.followers_count, post.engagement_score) == (1, 0.0), "the score is in shadow mode"
    assert comparing.compare("update_post_engagement_scores").differ == 1
    assert list(comparing.differences(kinds)) == []

    monkeypatch.setitem(settings.BACKBEAT, "SHADOW", [])  # cut over
    mapping.cache_clear()
    pull()
    comparing.repair(list(comparing.differences(kinds)), tonight)  # what was left out meanwhile
    post.refresh_from_db()
    assert post.engagement_score > 0
    assert list(comparing.differences(kinds)) == []


def test_a_reaction_to_what_is_no_post_or_to_one_that_is_gone_stays_with_the_application(studio: None) -> None:
    """Its entry is written before anybody asks what it is about, and its id may be none of a post's."""
    ada = Account.objects.create(email="ada@example.net", full_name="Ada", date_joined=NOW)
    post, gone = (Post.objects.create(author=ada, content="Hello", created_at=NOW) for _ in range(2))
    comment = Comment.objects.create(post=post, author=ada, text="Hi")
    for target in (comment, post, gone):
        Reaction.objects.create(account=ada, target=target)
    Post.objects.filter(pk=gone.pk).update(is_deleted=True)
    carry()
    assert [row.post_id for row in ours.Like.scan()] == [str(post.pk)]
    kinds = [kind for kind in importing.ORDER if kind in mapping()]
    assert list(comparing.differences(kinds)) == []
    assert comparing.counts(["like", "post"]) == {"like": (1, 1), "post": (1, 1)}
    with relay.writing() as writer:
        assert importing.import_all(writer, ["like"])["like"].counts == {}
    Post.objects.filter(pk=gone.pk).update(is_deleted=False)  # its reactions come back with it
    carry()
    assert {row.post_id for row in ours.Like.scan()} == {str(post.pk), str(gone.pk)}
    ours.Like(post_id="verify-1", user_id=str(ada.pk), created_at=NOW).save()  # what else writes to the stack
    assert [each.key[0] for each in comparing.differences(["like"])] == ["verify-1"]


def test_a_repost_that_is_a_post_counts_as_long_as_it_is_one(studio: None) -> None:
    ada = Account.objects.create(email="ada@example.net", full_name="Ada", date_joined=NOW)
    post = Post.objects.create(author=ada, content="Hello", created_at=NOW)
    for _ in range(2):
        again = Post.objects.create(author=ada, content="", created_at=NOW, repost_of=post)
    carry()
    assert ours.Post.get(str(post.pk)).shares_count == 2
    Post.objects.filter(pk=again.pk).update(is_deleted=True)
    carry()
    assert ours.Post.get(str(post.pk)).shares_count == 1
    assert list(comparing.differences(["post"])) == []


def test_a_kind_of_posts_with_a_table_and_managers_of_its_own_is_posts(studio: None) -> None:
    ada = Account.objects.create(email="ada@example.net", full_name="Ada", date_joined=NOW)
    video = Video.objects.create(author=ada, content="Hello", created_at=NOW, seconds=90)
    Reaction.objects.create(account=ada, target=video)
    carry()
    assert ours.Post.get(str(video.pk)).text == "Hello"
    assert ours.Post.get(str(video.pk)).likes_count == 1
    Video.long.update(content="Long")
    carry()
    assert ours.Post.get(str(video.pk)).text == "Long"
    video.delete()
    carry()
    assert ours.Post.count(str(video.pk)) == 0


@pytest.mark.parametrize(
    ("model", "given"),
    [
        (model, {name: shown()[name] for name in ("STACK", "USER")} | {"POST": shown()["POST"] | {"model": label}})
        for model, label in ((Video, "studio.Video"), (Clip, "studio.Clip"), (Repost, "studio.Repost"))
    ],
)
def test_posts_that_inherit_a_model_are_seen_when_they_are_written_as_that(model: Any, studio: None) -> None:
    """Posts are the rows of a model that inherits another, twice over, or of a proxy."""
    ada = Account.objects.create(email="ada@example.net", full_name="Ada", date_joined=NOW)
    made = model.objects.create(author=ada, content="Hello", created_at=NOW)
    Post.objects.create(author=ada, content="Only a post", created_at=NOW)
    carry()
    post = Post.objects.get(pk=made.pk)
    post.content = "Saved"
    post.save()
    carry()
    assert ours.Post.get(str(post.pk)).text == "Saved"
    Post.objects.filter(content="Saved").update(content="Updated")
    carry()
    assert ours.Post.get(str(post.pk)).text == "Updated"
    post.refresh_from_db()
    post.content = "In bulk"
    Post.objects.bulk_update([post], ["content"])
    carry()
    assert ours.Post.get(str(post.pk)).text == "In bulk"
    post.is_deleted = True
    post.save()
    carry()
    assert ours.Post.count(str(post.pk)) == 0
    Post.objects.filter(pk=post.pk).update(is_deleted=False)
    carry()
    assert ours.Post.count(str(post.pk)) == 1
    assert list(comparing.differences(["user", "post"])) == []
    Post.objects.filter(pk=post.pk).delete()
    carry()
    assert ours.Post.count(str(post.pk)) == 0
    assert list(comparing.differences(["user", "post"])) == []
    assert comparing.counts(["post"])["post"] == ((1, 1) if model is Repost else (0, 0))


def settings_bucket() -> str:
    return function_environment("CleanupOldPostsFunction")["UPLOADS_BUCKET"]


def test_old_names_lead_to_the_new_tasks(studio: None) -> None:
    (block,) = blocks("python", "# posts/tasks.py")
    old: Any = SimpleNamespace()
    exec(block, old.__dict__)
    old.send_welcome.delay(42)
    old.send_welcome.apply_async(args=[42], countdown=60)
    old.notify.delay(42, text="Hello")
    old.process_media_upload.delay("p1")
    sent = [(entry.kind, entry.key, entry.body) for entry in Entry.objects.order_by("pk")]
    welcome, notice = ("task", "send_welcome_email"), ("task", "send_notification")
    assert [entry[:2] for entry in sent] == [welcome, welcome, notice, ("post", '["p1"]')]
    assert json.loads(json.loads(sent[0][2])["message"])["kwargs"] == {"user_id": "42"}


def test_a_send_is_a_row_of_the_callers_transaction(studio: None) -> None:
    (block,) = blocks("python", "from backbeat.tasks import send_welcome_email")
    with transaction.atomic():
        exec(block, {"transaction": transaction})
    assert list(Entry.objects.values_list("key", flat=True)) == ["send_welcome_email"] * 2


def test_what_is_refused_says_what_the_page_says() -> None:
    table = PAGE[PAGE.index("| option | instead |") : PAGE.index("Programs in other languages")]
    options = [name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", f"{row}||".split("|")[1])]
    assert len(options) >= 7
    for option in options:
        with pytest.raises(OptionRefused, match=option):
            tasks.send_welcome_email.apply_async(kwargs={"user_id": "1"}, **{option: 1})


def test_the_declaration_and_the_schedule_are_those_of_the_project() -> None:
    (block,) = blocks("python", "# now: layers/shared/backbeat/tasks.py")
    declared: list[Any] = []
    names = {"Retry": Retry, "task": lambda *given, **more: declared.append((given, more)) or (lambda it: it)}
    exec(block[: block.index("# ... and functions")], names)
    assert declared == [(("emails",), {"retry": tasks.send_welcome_email.retry})]
    (row,) = blocks("yaml", "# now, in template.yaml")
    said = re.search(r'Cron: (".*?")', row)
    assert said is not None
    assert yaml.safe_load(said[1]) == written()["Mappings"]["Tasks"]["CleanupExpiredTokens"]["Cron"]


def test_rows_written_through_the_models_count_once(aws: None) -> None:
    (block,) = blocks("python", "Post.publish")
    now = NOW
    for user_id in ("42", "43"):
        ours.User.new(user_id, name=user_id, email=f"{user_id}@example.net", created_at=now).save()
    for _ in range(2):
        exec(block, {"Post": ours.Post, "User": ours.User, "timezone": SimpleNamespace(now=lambda: now)})
    post, followed = ours.Post.get("p1"), ours.User.get("42")
    assert (post.likes_count, followed.followers_count, followed.posts_count) == (1, 1, 1)


def test_each_tasks_signature_is_in_the_table() -> None:
    table = PAGE[PAGE.index("| task | takes |") : PAGE.index("## Moving over")]
    for name, task in tasks.TASKS.items():
        if name == "record_email_feedback":
            continue  # SES's events send it
        (row,) = [row for row in table.splitlines() if f"`{name}`" in row]
        needed = [p.name for p in task.signature.parameters.values() if p.default is p.empty]
        assert [each for each in needed if f"`{each}`" not in row] == [], name
