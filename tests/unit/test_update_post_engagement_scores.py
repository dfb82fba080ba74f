"""update_post_engagement_scores: the formula, and that only what differs is written, from today's counts."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import STACK, Calls, Context, Queue, event, run_at, run_whole

from backbeat import sweeps
from backbeat.models import Post, User
from update_post_engagement_scores import VERSION, engagement_score, handle

TASK = "update_post_engagement_scores"
NIGHT = datetime(2026, 11, 1, 5, tzinfo=UTC)
DAY = timedelta(days=1)

counts = st.integers(0, 10**9)


@pytest.mark.parametrize(
    ("likes", "comments", "shares", "views", "days", "score"),
    [
        (1, 0, 0, 0, 0, 3),
        (0, 1, 0, 0, 0, 5),
        (0, 0, 1, 0, 0, 7),
        (0, 0, 0, 1, 0, 1),
        (1, 1, 1, 1, 1, 14.4),
        (10, 4, 2, 100, 3.99, 114.8),
        (10, 0, 0, 0, 8, 6),
        (10, 0, 0, 0, 9, 3),
        (10, 0, 0, 0, 400, 3),
        (1, 0, 0, 0, -0.5, 3),
        (0, 0, 0, 0, 2, 0),
    ],
)
def test_the_formula(likes: int, comments: int, shares: int, views: int, days: float, score: float) -> None:
    assert engagement_score(likes, comments, shares, views, timedelta(days=days)) == score


@given(counts, counts, counts, counts, st.integers(0, 5_000))
def test_a_score_never_rises_with_age_and_keeps_a_tenth(
    likes: int, comments: int, shares: int, views: int, days: int
) -> None:
    score = engagement_score(likes, comments, shares, views, timedelta(days=days))
    fresh = engagement_score(likes, comments, shares, views, timedelta(0))
    assert fresh >= score >= engagement_score(likes, comments, shares, views, timedelta(days=days + 1)) >= fresh / 10


@pytest.fixture
def queue(aws: None, few_parts: None, played_ahead: None) -> Queue:
    return Queue(f"{STACK}-analytics-{TASK}")


def add(post_id: str, age: timedelta, **counts: int) -> None:
    Post.new(post_id, author_id="ann", text="Hi", created_at=NIGHT - age, **counts).save()


def scores() -> dict[str, Any]:
    return {post.post_id: post.score for post in Post.scan()}


@pytest.fixture
def posts(queue: Queue) -> None:
    add("new", timedelta(hours=3), likes_count=2)
    add("week", 7 * DAY, comments_count=2)
    add("quiet", 2 * DAY)
    add("old", 40 * DAY, shares_count=1)


def test_after_an_outage_what_was_young_before_it_fades_as_far_as_it_does(posts: None, queue: Queue) -> None:
    """The post of seven days is twelve days old by then, and nothing has touched it."""
    run_at(handle, queue, NIGHT)
    run_at(handle, queue, NIGHT + 5 * DAY)
    assert scores() == {"new": 3.0, "week": 1.0, "quiet": 0, "old": None}
    run_at(handle, queue, NIGHT + 500 * DAY)
    assert scores() == {"new": 0.6, "week": 1.0, "quiet": 0, "old": 0.7}, "after a year it looks at all there is"


def test_a_full_run_takes_a_post_with_a_bad_date(posts: None, queue: Queue) -> None:
    Post.new("first", author_id="ann", text="", created_at=datetime(1, 1, 1, tzinfo=UTC), likes_count=1).save()
    assert run_at(handle, queue, NIGHT, full=True) == {"posts": 5, "changed": 5, "busy": 0, "unreadable": 0}
    assert scores()["first"] == 0.3


def test_the_young_are_scored_and_only_what_differs_is_written(posts: None, queue: Queue, calls: Calls) -> None:
    assert run_at(handle, queue, NIGHT) == {"posts": 3, "changed": 3, "busy": 0, "unreadable": 0}
    assert scores() == {"new": 6, "week": 3, "quiet": 0, "old": None}
    post = Post.get("new")
    assert (post.score_version, post.score_as_of) == (VERSION, NIGHT)
    calls.clear()
    again = run_at(handle, queue, NIGHT + timedelta(hours=1))
    assert again == {"posts": 3, "changed": 0, "busy": 0, "unreadable": 0}
    assert calls.number("UpdateItem", "PostsTable") == 0
    fading = run_at(handle, queue, NIGHT + DAY)
    assert fading["changed"] == calls.number("UpdateItem", "PostsTable") == 2, "the quiet one stays 0"
    assert scores() == {"new": 5.4, "week": 2, "quiet": 0, "old": None}


def test_an_old_post_is_scored_when_it_is_touched(posts: None, queue: Queue, calls: Calls) -> None:
    run_at(handle, queue, NIGHT)
    User.join("bob", name="Bob", email="bob@example.com", at=NIGHT)
    Post.like("old", "bob", at=NIGHT + timedelta(hours=5))
    Post.view("new", at=NIGHT + timedelta(hours=5))
    result = run_at(handle, queue, NIGHT + DAY)
    assert result["posts"] == 4, "the new one is examined once, though it is young and was touched"
    assert scores()["old"] == 1
    assert scores()["new"] == 6.3


def test_the_formula_is_followed_when_its_version_changes(
    posts: None, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_at(handle, queue, NIGHT)
    monkeypatch.setattr("update_post_engagement_scores.VERSION", VERSION + 1)
    assert run_at(handle, queue, NIGHT + timedelta(hours=1))["changed"] == 3
    assert Post.get("new").score_version == VERSION + 1


def test_a_full_run_scores_posts_that_were_imported(posts: None, queue: Queue) -> None:
    run_at(handle, queue, NIGHT)
    add("imported", 100 * DAY, views_count=20)
    run_at(handle, queue, NIGHT + timedelta(hours=1))
    assert scores()["imported"] is None
    assert run_at(handle, queue, NIGHT + timedelta(hours=2), full=True) == {
        "posts": 5,
        "changed": 2,
        "busy": 0,
        "unreadable": 0,
    }
    assert scores() == {"new": 6, "week": 3, "quiet": 0, "old": 0.7, "imported": 2}


def test_a_full_run_of_an_empty_network_comes_to_nothing(queue: Queue) -> None:
    assert run_at(handle, queue, NIGHT, full=True) == {"posts": 0, "changed": 0, "busy": 0, "unreadable": 0}


def test_a_like_between_reading_and_writing_counts(posts: None, queue: Queue, calls: Calls) -> None:
    calls.before("UpdateItem", "PostsTable", lambda: Post.view("new", at=NIGHT, times=4))
    add("new", timedelta(hours=3), likes_count=2)
    Post("week").delete()
    Post("quiet").delete()
    run_at(handle, queue, NIGHT)
    assert scores()["new"] == 10


def test_two_runs_at_once_agree(posts: None, queue: Queue, calls: Calls) -> None:
    """The second runs whole while the first is about to write its first score."""
    calls.before("UpdateItem", "PostsTable", lambda: run_whole(handle, "beside", NIGHT))
    run_at(handle, queue, NIGHT)
    assert scores() == {"new": 6, "week": 3, "quiet": 0, "old": None}


def test_a_run_that_is_late_overwrites_no_newer_score(posts: None, queue: Queue, calls: Calls) -> None:
    run_at(handle, queue, NIGHT + DAY)
    newer = scores()
    calls.clear()
    run_at(handle, queue, NIGHT)
    assert calls.number("UpdateItem", "PostsTable") == 0
    assert scores() == newer
    assert sweeps.watermark(TASK) == NIGHT + DAY


def test_killed_half_way_it_is_resumed(posts: None, queue: Queue, calls: Calls) -> None:
    def killed() -> None:
        raise ConnectionError("the function was killed")

    calls.before("UpdateItem", "PostsTable", lambda: calls.before("UpdateItem", "PostsTable", killed))
    run_at(handle, queue, NIGHT)
    assert scores() == {"new": 6, "week": 3, "quiet": 0, "old": None}


def test_short_of_time_it_sends_itself_on(posts: None, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "PAGE", 1)
    monkeypatch.setattr(sweeps, "MOST_OF_A_KIND", 250)
    add("twin", timedelta(hours=3), likes_count=2)
    assert run_at(handle, queue, NIGHT, Context(remaining_ms=20_000)) == {
        "posts": 4,
        "changed": 4,
        "busy": 0,
        "unreadable": 0,
    }


def test_the_events_are_what_the_queue_delivers(posts: None, queue: Queue) -> None:
    for name in ("typical", "duplicate", "late"):
        assert handle.lambda_handler(event(TASK, name), Context())["batchItemFailures"] == []
    queue.drain(handle)
    assert scores()["new"] == 6


def test_poison_is_rejected(queue: Queue) -> None:
    poison = event(TASK, "poison")
    queue.send(poison["Records"][0]["body"])
    queue.drain(handle)
    (letter,) = queue.dead()
    assert letter["reason"] == "invalid_arguments"
