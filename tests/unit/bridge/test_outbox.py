"""What the application writes leaves an entry in the same transaction, and nothing where it is rolled back."""

import json
from contextlib import suppress
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from network.models import Comment, Follow, Like, Member, Post, Share

from backbeat.producer import InvalidTaskArguments
from backbeat.tasks import send_welcome_email
from backbeat_django.models import Entry

pytestmark = pytest.mark.usefixtures("db")


def entries() -> list[tuple[str, ...]]:
    """What has been written since the last look."""
    found = [(entry.kind, *json.loads(entry.key)) for entry in Entry.objects.order_by("pk")]
    Entry.objects.all().delete()
    return found


@pytest.fixture
def ada() -> Member:
    ada = Member.objects.create_user("ada", "ada@example.net")
    Entry.objects.all().delete()
    return ada


@pytest.fixture
def post(ada: Member) -> Post:
    post = Post.objects.create(author=ada, text="Hello #world")
    Entry.objects.all().delete()
    return post


def test_each_kind_of_row_leaves_the_key_that_backbeat_has_it_under(ada: Member) -> None:
    bob = Member.objects.create_user("bob")
    post = Post.objects.create(author=ada, text="Hello")
    comment = Comment.objects.create(post=post, author=bob, text="Hi")
    Like.objects.create(post=post, member=bob)
    Follow.objects.create(follower=bob, followed=ada)
    Share.objects.create(post=post, member=bob)
    a, b, p = str(ada.pk), str(bob.pk), str(post.pk)
    assert entries() == [
        ("user", b), ("post", p), ("comment", p, str(comment.pk)), ("like", p, b), ("follow", b, a), ("post", p)
    ]  # fmt: skip


def test_a_write_costs_one_insert_more(ada: Member) -> None:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        Post.objects.create(author=ada, text="Hello")
    written = [query["sql"].split()[:3] for query in queries if query["sql"].startswith(("INSERT", "SELECT", "UPDATE"))]
    assert written == [["INSERT", "INTO", '"network_post"'], ["INSERT", "INTO", '"backbeat_django_entry"']]


def test_what_is_rolled_back_leaves_nothing(ada: Member) -> None:
    with suppress(ZeroDivisionError), transaction.atomic():
        Post.objects.create(author=ada, text="Hello")
        Post.objects.update(views=3)
        1 / 0  # noqa: B018
    assert (Post.objects.count(), entries()) == (0, [])


def test_a_row_is_not_kept_without_its_entry(ada: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens no transaction has one nevertheless."""

    def refused(*_: Any, **__: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("backbeat_django.outbox.mark", refused)
    with pytest.raises(OSError, match="disk"):
        Post.objects.create(author=ada, text="Hello")
    assert Post.objects.count() == 0


def test_deleting_leaves_entries_of_all_that_goes_with_it(ada: Member, post: Post) -> None:
    like = Like.objects.create(post=post, member=ada)
    entries()
    p, a = str(post.pk), str(ada.pk)
    assert like.pk
    post.delete()
    assert sorted(entries()) == [("like", p, a), ("post", p)]


def test_what_sends_no_signal_is_seen_by_the_query_set(ada: Member, post: Post) -> None:
    p, a = str(post.pk), str(ada.pk)
    Post.objects.filter(pk=post.pk).update(views=F("views") + 1)
    assert entries() == [("post", p)]
    more = Post.objects.bulk_create([Post(author=ada, text="1"), Post(author=ada, text="2")])
    assert entries() == [("post", str(each.pk)) for each in more]
    Post.objects.bulk_update(more, ["text"])
    assert sorted(entries()) == [("post", str(each.pk)) for each in more]
    ada.posts.filter(pk=post.pk).update(text="by the relation")
    assert entries() == [("post", p)]
    Like.objects.bulk_create([Like(post=post, member=ada)], ignore_conflicts=True)
    assert entries() == [("like", p, a)]
    Post.objects.filter(pk=post.pk).delete()
    assert ("post", p) in entries()


def test_an_entry_says_which_of_the_fields_that_tasks_write_the_application_changed(ada: Member, post: Post) -> None:
    def said() -> list[str]:
        found = list(Entry.objects.order_by("pk").values_list("fields", flat=True))
        Entry.objects.all().delete()
        return found

    ada.first_name = "Ada"
    ada.save()
    ada.wants_digest = False
    ada.save()
    ada.save()
    Member.objects.filter(pk=ada.pk).update(wants_digest=True)
    Member.objects.filter(pk=ada.pk).update(last_name="Lovelace")
    assert said() == ["", "digest", "", "digest", ""]
    hidden = Post.objects.get(pk=post.pk)
    hidden.is_hidden = True
    hidden.save(update_fields=["is_hidden"])
    assert said() == ["visibility"]


def test_a_message_to_a_task_waits_in_the_callers_transaction(ada: Member) -> None:
    with suppress(ZeroDivisionError), transaction.atomic():
        send_welcome_email.delay(user_id=str(ada.pk))
        1 / 0  # noqa: B018
    assert Entry.objects.count() == 0
    sent = send_welcome_email.apply_async([str(ada.pk)], countdown=60)
    (entry,) = Entry.objects.all()
    message = json.loads(json.loads(entry.body)["message"])
    assert (entry.kind, entry.key, message["id"]) == ("task", "send_welcome_email", sent)
    with pytest.raises(InvalidTaskArguments):
        send_welcome_email.delay(user_id=ada.pk)
