"""Rows that no model can read: each is named and counted, and never the end of a run, nor of a list."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from support import STACK, Outbox, Queue, function_environment, run_at

import cleanup_expired_tokens
import cleanup_old_posts
import generate_content_analytics
import send_content_digest_email
import send_notification
import update_post_engagement_scores
import update_trending_hashtags
import update_user_statistics
from backbeat import ledger, models, sweeps
from backbeat.logs import logger
from backbeat.mail import deliveries
from backbeat.models import (
    Comment,
    Delivery,
    Hashtag,
    HashtagTally,
    Post,
    Row,
    RunRecord,
    Token,
    TrendingHashtags,
    User,
    Watermark,
    day_key,
)

NOW = datetime(2026, 11, 2, 9, tzinfo=UTC)
DAY = timedelta(days=1)
WRONG_TYPE, NO_DATE, A_MAP, MISSING = {"N": "1"}, {"S": "yesterday"}, {"M": {}}, None


def spoil(row: Row, attribute: str, value: Any) -> None:
    """Put a value into a saved row that its model would not write; None takes the attribute away."""
    model = type(row)
    names = [name for name in (model._hash_keyname, model._range_keyname) if name]
    key = {model.get_attributes()[name].attr_name: {"S": getattr(row, name)} for name in names}
    update: dict[str, Any] = {"UpdateExpression": "REMOVE #a"}
    if value is not None:
        update = {"UpdateExpression": "SET #a = :v", "ExpressionAttributeValues": {":v": value}}
    boto3.client("dynamodb").update_item(
        TableName=model.Meta.table_name, Key=key, ExpressionAttributeNames={"#a": attribute}, **update
    )


@pytest.fixture(autouse=True)
def _environment(aws: None, few_parts: None, played_ahead: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for function in ("CleanupOldPostsFunction", "GenerateContentAnalyticsFunction"):
        for name, value in function_environment(function).items():
            if name.endswith("_BUCKET"):
                monkeypatch.setenv(name, value)
    monkeypatch.setattr(generate_content_analytics, "SEGMENTS", 1)
    monkeypatch.setattr(update_trending_hashtags, "WEEKS_BEFORE", 1)


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the log says of rows that cannot be read."""
    said: list[str] = []
    monkeypatch.setattr(logger, "warning", lambda message, extra: said.append(extra["why"]))
    return said


def posts(made: datetime, **more: Any) -> None:
    """A good post, and one for each way to be broken; each in its own way."""
    ways = {"created_at": (WRONG_TYPE, NO_DATE, MISSING), "text": (A_MAP,), "likes_count": ({"S": "many"},)}
    Post.new("good", author_id="bob", text="Of #hills", created_at=made, **more).save()
    for number, (attribute, value) in enumerate((name, value) for name, of in ways.items() for value in of):
        post = Post.new(f"bad-{number}", author_id="bob", text="Of #hills", created_at=made, **more)
        post.save()
        spoil(post, attribute, value)


BAD = [f"bad-{number}" for number in range(5)]


def all_named(said: list[str], table: str, keys: list[str]) -> bool:
    return {key for key in keys if any(f"{table} '{key}'" in why for why in said)} == set(keys)


def test_scores(named: list[str]) -> None:
    posts(NOW - DAY, shares_count=1)
    queue = Queue(f"{STACK}-analytics-update_post_engagement_scores")
    result = run_at(update_post_engagement_scores.handle, queue, NOW)
    assert (result["changed"], result["unreadable"]) == (1, 5)
    assert Post.get("good").score == 6.3
    assert all_named(named, "Post", BAD)


def test_old_posts(named: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleanup_old_posts, "BRAKE", 1)
    posts(NOW - 400 * DAY)
    queue = Queue(f"{STACK}-maintenance-cleanup_old_posts")
    result = run_at(cleanup_old_posts.handle, queue, NOW)
    assert (result["hidden"], result["deleted"]) == (1, 0)
    assert Post.get("good").visibility == "hidden"
    (survey,) = (run for run in ledger.recent("cleanup_old_posts", NOW.date(), 9) if "to_hide" in run.result)
    assert survey.result["unreadable"] == 5
    assert all_named(named, "Post", BAD)


def test_a_post_that_is_broken_between_survey_and_taking(named: list[str]) -> None:
    posts(NOW - 400 * DAY)
    survey = "a-survey"
    body = f'{{"hide": ["good", "bad-0"], "delete": ["bad-1"], "show": [], "as_of": "{NOW.isoformat()}"}}'
    boto3.client("s3").put_object(Bucket="archivebucket", Key=f"surveys/{survey}/page.json", Body=body.encode())
    queue = Queue(f"{STACK}-maintenance-cleanup_old_posts")
    result = run_at(cleanup_old_posts.handle, queue, NOW, survey=survey)
    assert (result["hidden"], result["unreadable"]) == (1, 2)
    assert all_named(named, "Post", ["bad-0", "bad-1"])


def test_users(named: list[str]) -> None:
    for user in ("bob", "bad-0", "bad-1"):
        User.join(user, name=user, email=f"{user}@example.com", at=NOW - DAY)
        Post.new(f"p-{user}", author_id=user, text="Hi", created_at=NOW - DAY).save()
    spoil(User("bad-0"), "posts_count", A_MAP)
    spoil(User("bad-1"), "created_at", NO_DATE)
    result = run_at(update_user_statistics.handle, Queue(f"{STACK}-analytics-update_user_statistics"), NOW)
    assert (result["changed"], result["unreadable"]) == (1, 2)
    assert User.get("bob").posts_count == 1
    assert all_named(named, "User", ["bad-0", "bad-1"])


def test_tokens(named: list[str]) -> None:
    User.new("away", name="A", email="a@example.com", created_at=NOW - 90 * DAY, last_login_at=NOW - 80 * DAY).save()
    User("away").update([User.login_day.set(day_key(NOW - 80 * DAY, "away"))])
    User.new("bad-u", name="A", email="a@example.com", created_at=NOW - 90 * DAY).save()
    User("bad-u").update([User.login_day.set(day_key(NOW - 80 * DAY, "bad-u"))])
    spoil(User("bad-u"), "last_login_at", NO_DATE)
    for kind in ("access", "refresh", "session"):
        for name in ("good", "bad"):
            Token.new("bob", f"{name}-{kind}", kind=kind, created_at=NOW - 70 * DAY, expires_at=NOW - DAY).save()
    Token.new("away", "t", kind="session", created_at=NOW - 80 * DAY).save()
    Token.new("away", "bad-t", kind="session", created_at=NOW - 80 * DAY).save()
    spoil(Token("bob", "bad-access"), "expires_at", WRONG_TYPE)
    spoil(Token("bob", "bad-refresh"), "created_at", NO_DATE)
    spoil(Token("bob", "bad-session"), "last_seen_at", A_MAP)
    spoil(Token("away", "bad-t"), "kind", A_MAP)
    result = run_at(cleanup_expired_tokens.handle, Queue(f"{STACK}-maintenance-cleanup_expired_tokens"), NOW)
    assert {row["token_id"]["S"] for row in boto3.client("dynamodb").scan(TableName="TokensTable")["Items"]} == {
        "bad-access", "bad-refresh", "bad-session", "bad-t"
    }  # fmt: skip
    assert result["unreadable"] == len(named)
    for key in ("'bob', 'bad-access'", "'bob', 'bad-refresh'", "'bob', 'bad-session'", "'away', 'bad-t'"):
        assert any(f"Token {key} cannot be read" in why for why in named)
    assert any("User 'bad-u' cannot be read" in why for why in named)


def test_reports(named: list[str]) -> None:
    posts(NOW - DAY)
    User.join("bob", name="Bob", email="bob@example.com", at=NOW - DAY)
    for comment in ("c1", "bad-c", "bad-d"):
        Post.comment("good", comment, author_id="bob", text="Yes", at=NOW - DAY)
    spoil(Comment("good", "bad-c"), "created_at", NO_DATE)
    spoil(Comment("good", "bad-d"), "created_at", MISSING)
    result = run_at(generate_content_analytics.handle, Queue(f"{STACK}-analytics-generate_content_analytics"), NOW)
    # Whoever only counts posts counts those as well whose text is of another type, which it does not read.
    assert (result["posts"], result["comments"], result["unreadable"]) == (2, 1, 6)
    assert all_named(named, "Post", [key for key in BAD if key != "bad-3"])
    assert any("'good', 'bad-c' cannot be read" in why for why in named)


@pytest.mark.parametrize("value", [NO_DATE, MISSING], ids=["no date", "missing"])
def test_a_watermark_is_said_to_be_broken_and_mended_by_the_next_run(named: list[str], value: Any) -> None:
    """It counts as one of long ago, so that whatever may have been missed is looked at."""
    queue = Queue(f"{STACK}-analytics-update_post_engagement_scores")
    Post.new("old", author_id="ann", text="", created_at=NOW - 300 * DAY, likes_count=1).save()
    sweeps.advance("update_post_engagement_scores", NOW - DAY)
    spoil(Watermark("watermark#update_post_engagement_scores", "until"), "until", value)
    assert run_at(update_post_engagement_scores.handle, queue, NOW)["posts"] == 1
    assert sweeps.watermark("update_post_engagement_scores") == NOW
    about = "Watermark 'watermark#update_post_engagement_scores', 'until' cannot be read: "
    assert len({why for why in named if why.startswith(about)}) == 1


def test_trends(named: list[str]) -> None:
    for number, user in enumerate(("ann", "bob", "cid", "dot")):
        Post.new(f"p{number}", author_id=user, text="Of #hills", created_at=NOW - DAY).save()
    spoil(Post("p2"), "author_id", A_MAP)
    spoil(Post("p3"), "hashtags", {"S": "hills"})
    queue = Queue(f"{STACK}-analytics-update_trending_hashtags")
    result = run_at(update_trending_hashtags.handle, queue, NOW)
    assert (result["tags"], result["authors"], result["unreadable"]) == (1, 2, 2)
    assert all_named(named, "Post", ["p2", "p3"])

    for row in HashtagTally.scan():  # what a run cannot read of its own, it counts anew
        spoil(row, "packed", {"S": "no tally"} if row.period.startswith("week") else {"B": b"no tally"})
    result = run_at(update_trending_hashtags.handle, queue, NOW + timedelta(hours=1))
    assert (result["tags"], result["authors"]) == (1, 2)
    assert all(row.unpack() is not None for row in HashtagTally.query("2026-11-01"))


@pytest.mark.parametrize(("attribute", "value"), [("as_of", NO_DATE), ("tags", {"S": "no JSON"}), ("tags", MISSING)])
def test_a_board_is_put_up_anew(named: list[str], attribute: str, value: Any) -> None:
    queue = Queue(f"{STACK}-analytics-update_trending_hashtags")
    for number, user in enumerate(("ann", "bob", "cid")):
        Post.new(f"p{number}", author_id=user, text="Of #hills", created_at=NOW - DAY).save()
    run_at(update_trending_hashtags.handle, queue, NOW)
    board = TrendingHashtags.get("#").tags
    spoil(TrendingHashtags(), attribute, value)
    result = run_at(update_trending_hashtags.handle, queue, NOW + timedelta(hours=1))
    assert (result["unreadable"], result["hours_counted"]) == (1, 168)
    assert TrendingHashtags.get("#").tags == board
    assert Hashtag.get("hills").trending
    assert any("TrendingHashtags '#' cannot be read: " in why for why in named)


def test_a_large_tally_that_lost_a_row_is_counted_anew(named: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tallies.ENTRIES_IN_A_ROW", 1)
    queue = Queue(f"{STACK}-analytics-update_trending_hashtags")
    for number, user in enumerate(("ann", "bob", "cid")):
        Post.new(f"p{number}", author_id=user, text="Of #hills", created_at=NOW - DAY).save()
    run_at(update_trending_hashtags.handle, queue, NOW)
    next(row for row in HashtagTally.scan() if row.split is None and "hills" in row.unpack()).delete()
    runs = [run_at(update_trending_hashtags.handle, queue, NOW + timedelta(hours=hours)) for hours in (1, 2)]
    assert [(run["tags"], run["unreadable"]) for run in runs] == [(0, 1), (1, 0)]
    assert any("lacks a row" in why for why in named)


def test_the_digest(outbox: Outbox, named: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIGEST_SENDERS", "2")
    monkeypatch.setattr("backbeat.mail.sending.Pacer.wait", lambda pacer: None)
    posts(NOW - DAY)
    for user in ("bob", "ann", "bad-u"):
        User.join(user, name=user, email=f"{user}@example.com", at=NOW - DAY)
    spoil(User("bad-u"), "digest", {"S": "yes"})
    result = run_at(send_content_digest_email.handle, Queue(f"{STACK}-emails-send_content_digest_email"), NOW)
    assert (result["sent"], result["skipped"], result["refused"]) == (1, 1, 1), "ann, bob whose own it is, and bad-u"
    assert all_named(named, "Post", BAD)


def test_a_message_about_a_row_that_cannot_be_read_is_rejected_at_once() -> None:
    User.join("bad", name="Bad", email="bad@example.com", at=NOW)
    spoil(User("bad"), "created_at", NO_DATE)
    queue = Queue(f"{STACK}-default-send_notification")
    kwargs = {"user_id": "bad", "kind": "like", "text": "Hi"}
    queue.send({"task": "send_notification", "id": "n1", "kwargs": kwargs, "sent_at": NOW.isoformat()})
    queue.drain(send_notification.handle)
    (letter,) = queue.dead()
    assert letter["reason"] == "unreadable_row"
    assert letter["error"].startswith("User 'bad' cannot be read: ")


def run_record(name: str) -> RunRecord:
    identity = {"task": "x", "task_class": "x", "logical_time": NOW, "started": NOW, "outcome": "dead"}
    return RunRecord(f"x#{NOW.date()}", name, **identity)


def delivery(name: str) -> Delivery:
    when = {"claimed_at": NOW, "logical_time": NOW, "lease_until": NOW}
    return Delivery(name, email="welcome", user_id="ann", state="sending", run_id="x", shelf="open#0", **when)


@pytest.mark.parametrize(
    ("make", "attribute", "listed"),
    [
        (run_record, "logical_time", lambda: ledger.recent("x", NOW.date(), 9)),
        (run_record, "result", lambda: ledger.recent("x", NOW.date(), 9)),
        (run_record, "outcome", lambda: ledger.recent("x", NOW.date(), 9)),
        (delivery, "logical_time", lambda: list(deliveries.unsettled(NOW + DAY))),
    ],
)
@pytest.mark.parametrize("value", [A_MAP, {"S": "{"}, MISSING])
def test_a_list_goes_on_without_it_and_names_it(
    make: Callable[[str], Row],
    attribute: str,
    listed: Callable[[], list[Row]],
    value: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name in ("a", "bad", "z"):
        make(name).save()
    spoil(make("bad"), attribute, value)
    with caplog.at_level(logging.WARNING, "backbeat"):
        found = listed()
    may_be_so = (attribute, value) in (("outcome", {"S": "{"}), ("result", MISSING)) or (
        make is delivery and value is MISSING
    )
    assert len(found) == (3 if may_be_so else 2)
    assert ("'bad' cannot be read" in caplog.text) is not may_be_so


def test_a_sender_without_a_lease_is_silent() -> None:
    row = delivery("d")
    row.lease_until = None
    row.save()
    assert [row.delivery_id for row in deliveries.unsettled(NOW)] == ["d"]


def test_what_is_read_is_each_row_once_whatever_lies_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backbeat.models.base.PAGE", 7)
    ids = [f"p{number:02}" for number in range(16)]
    for post_id in ids:
        Post.new(post_id, author_id="bob", text="Hi", created_at=NOW).save()
    for post_id in ("p00", "p06", "p07", "p15"):
        spoil(Post(post_id), "author_id", A_MAP)
    broken: list[str] = []
    found = models.readable(Post, [*ids, "p01", "gone"], lambda error: broken.append(str(error)))
    assert sorted(post.post_id for post in found) == sorted(set(ids) - {"p00", "p06", "p07", "p15"})
    assert len(broken) == 4
