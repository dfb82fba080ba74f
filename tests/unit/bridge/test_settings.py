"""What is wrong with the settings is said at the start, with its mend."""

import copy
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db.models import QuerySet
from network.models import Comment

from backbeat_django.checks import check_settings
from backbeat_django.mapping import mapping


def problems(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> list[tuple[str, str]]:
    """What the checks say of the example's settings with some changes: `POST__text="body"`."""
    given = copy.deepcopy(settings.BACKBEAT)
    for path, value in changes.items():
        *through, last = path.split("__")
        here = given
        for name in through:
            here = here[name]
        if value is None:
            del here[last]
        else:
            here[last] = value
    monkeypatch.setattr(settings, "BACKBEAT", given)
    return [(problem.msg, problem.hint or "") for problem in check_settings(None)]


REACTION = {"model": "studio.Reaction", "post": "target", "user": "account"}


def test_the_examples_settings_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    assert problems(monkeypatch) == []


@pytest.mark.parametrize(
    ("changes", "says", "mend"),
    [
        ({"STACK": None}, 'BACKBEAT["STACK"] is missing', "name of the deployed stack"),
        ({"POSTS": {}}, "no setting 'POSTS'", "POST"),
        ({"POST__model": "network.Pots"}, "the model 'network.Pots', which is not there", "app_label.ModelName"),
        ({"POST__text": None}, "does not say where 'text' is", 'Add "text"'),
        ({"POST__text": "body"}, "'text' is 'body', which leads nowhere", "created_at, id"),
        ({"POST__text": "likes__pk"}, "has several values", "Only hashtags"),
        ({"POST__texts": "text"}, "no entry 'texts'", "text"),
        ({"POST__results__score": "engagement"}, "goes to 'engagement'", "Add the field and its migration"),
        ({"POST__results__scores": "score"}, "no result 'scores'", "score, hidden, deleted"),
        ({"POST__values": {"followers": "friends"}}, "the visibility 'friends'", "public"),
        ({"COMMENT__post": 3}, "'post' is 3, no path", "author"),
        ({"POST__file": "text"}, "'file' is 'text', which is no file field", "ImageField"),
        ({"SHADOW": ["update_scores"]}, "SHADOW\"] is ['update_scores']", "update_post_engagement_scores"),
        ({"SHADOW": "update_user_statistics"}, "SHADOW", "a list of tasks"),
        ({"SHADOW": 7}, "SHADOW", "a list of tasks"),
        ({"POST__values": ["friends"]}, "'values' is no dictionary", '"values": {'),
        ({"POST__results": ["score"]}, "'results' is no dictionary", '"results": {'),
        ({"LIKE__where": "kind=like"}, "'where' is no dictionary", '"where": {'),
        ({"LIKE__where": {"knd": "like"}}, '"where" is no filter of network.Like', "objects.filter"),
        ({"LIKE__where": {"member": "ada"}}, '"where" is no filter of network.Like', "objects.filter"),
        ({"POST__created_at": "text"}, "'created_at' is 'text', which holds a text", "DateTimeField"),
        ({"POST__hashtags": "author"}, "'hashtags' is 'author', which holds a relation", '"author__<field>"'),
        ({"POST__text": "views"}, "'text' is 'views', which holds a number", "TextField"),
        ({"USER__name": "date_joined"}, "'name' is 'date_joined', which holds a day or a time", "CharField"),
        ({"FOLLOW__follower": "followed"}, "'follower' and 'followed' are the same field, 'followed'", "two fields"),
        ({"POST__author": "author__username"}, "not the primary key of network.Member", '"author__pk"'),
        ({"POST__author": "text"}, "'author' is 'text', a plain column of texts, and users have numbers", "a relation"),
        ({"POST__likes": "text"}, "'likes' is 'text', which holds a text", "a yes-or-no"),
        ({"POST__results__score": "text"}, "'score' goes to 'text', which holds a text", "holds a number"),
        ({"POST__results__deleted": "author"}, "'deleted' goes to 'author', which holds a relation", "a day or a time"),
        ({"LIKE__model": "network.Post.text"}, "text is no many-to-many field", "many-to-many"),
        ({"LIKE": REACTION}, "'post' is 'target', which is a generic foreign key", '"post": "object_id", and "where"'),
        ({"LIKE__model": "network.Post.likes.x"}, "which is not there", "many-to-many"),
    ],
)
def test_a_fault_is_named_with_its_mend(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], says: str, mend: str
) -> None:
    ((said, hint),) = problems(monkeypatch, **changes)
    assert says in said
    assert mend in hint


def test_a_visibility_without_a_meaning_would_hide_posts(monkeypatch: pytest.MonkeyPatch) -> None:
    field = mapping()["post"].model._meta.get_field("visibility")
    monkeypatch.setattr(field, "choices", [("public", ""), ("friends", "")])
    ((said, hint),) = problems(monkeypatch)
    assert "'friends'" in said
    assert "values" in hint


def test_a_manager_that_writes_past_the_outbox_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    manager = Comment._meta.managers[0]
    monkeypatch.setattr(type(manager), "get_queryset", lambda self: QuerySet(Comment))
    ((said, hint),) = problems(monkeypatch)
    assert "network.Comment.objects" in said
    assert "MirroredQuerySet" in hint


def test_a_manager_of_a_model_that_is_two_kinds_is_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(Comment._meta.managers[0]), "get_queryset", lambda self: QuerySet(Comment))
    (_,) = problems(monkeypatch, SHARE={"model": "network.Comment", "post": "post", "user": "author"})


def test_django_refuses_to_start_with_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "BACKBEAT", {"STACK": ""})
    with pytest.raises(Exception, match="the name of the deployed stack") as refused:
        call_command("check")
    assert issubclass(refused.type, CommandError)
