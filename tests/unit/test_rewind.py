"""`backbeat rewind`: after a run for a time that is still to come, the next runs do all their work again."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support import STACK, Queue, run_at
from typer.testing import CliRunner

import update_trending_hashtags as trending
import update_user_statistics as statistics
from backbeat import ledger
from backbeat.messages import Message, iso
from backbeat.models import (
    DayCounts,
    DigestSelection,
    Hashtag,
    HashtagTally,
    Post,
    Report,
    SweepPart,
    TrendingHashtags,
    User,
    Watermark,
)
from backbeat.sweeps import watermark
from backbeat_ops import commands
from backbeat_ops.cli import app
from backbeat_ops.stack import Stack

NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
DAY = timedelta(days=1)
MISTYPED = NOW + 31 * DAY


@pytest.fixture
def backbeat(aws: None, few_parts: None, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """The command, in a stack whose functions run what is still to come."""
    monkeypatch.setenv("STAGE", "local")
    monkeypatch.setattr(commands.rewind, "the_stack", lambda context: Stack(STACK))

    def run(*words: str, answer: str = "") -> Any:
        return CliRunner().invoke(app, ["rewind", *words], input=answer, env={"COLUMNS": "200"})

    return run


def outcome(queue: Queue, at: datetime, number: int, **kwargs: Any) -> tuple[str, str | None]:
    """Make a run of the trends by hand; return how it ended and why."""
    task = "update_trending_hashtags"
    queue.send({"task": task, "id": f"run-{number}", "kwargs": kwargs, "sent_at": at.isoformat()})
    queue.deliver(trending.handle)
    run = ledger.find(Message(task=task, id=f"run-{number}", sent_at=at))
    assert run is not None
    return str(run.outcome), run.error


def test_the_trends_go_on_after_a_mistyped_month(backbeat: Callable[..., Any]) -> None:
    queue = Queue(f"{STACK}-analytics-update_trending_hashtags")
    for number in range(3):
        text, at = "#snow in May", NOW - timedelta(hours=3 + number)
        Post.new(f"post-{number}", author_id=f"user-{number}", text=text, created_at=at).save()
    assert outcome(queue, NOW, 1)[0] == "succeeded"
    board = TrendingHashtags.get("#").tags
    assert [entry["tag"] for entry in board] == ["snow"]
    assert outcome(queue, MISTYPED, 2)[0] == "succeeded"
    assert TrendingHashtags.get("#").tags == []
    for number, full in ((3, False), (4, True)):
        ended, why = outcome(queue, NOW, number, full=full)
        assert (ended, why) == ("skipped", f"a newer run, of {MISTYPED:%Y-%m-%d %H:%M} UTC, has been made")

    done = json.loads(backbeat("--yes", "--json").stdout)
    assert done["boards of trends"] == 1
    assert outcome(queue, NOW, 5)[0] == "succeeded"
    assert TrendingHashtags.get("#").tags == board
    row = Hashtag.get("snow")
    assert (int(row.authors), row.trending) == (3, True)
    assert [row.period for row in HashtagTally.scan() if row.period > f"week to {NOW:%Y-%m-%dT%H}"] == []
    assert json.loads(backbeat("--yes", "--json").stdout) == {}


def test_a_schedules_run_of_tomorrow_is_made_in_its_time(backbeat: Callable[..., Any]) -> None:
    queue = Queue(f"{STACK}-analytics-update_user_statistics")
    User.join("ann", name="Ann", email="ann@example.net", at=NOW - DAY)
    tomorrow = NOW + DAY
    assert run_at(statistics.handle, queue, tomorrow)
    User("ann").update(actions=[User.posts_count.set(9)])
    assert run_at(statistics.handle, queue, tomorrow)
    assert User.get("ann").posts_count == 9, "it has been made"
    assert watermark("update_user_statistics") == tomorrow
    backbeat("--yes")
    assert watermark("update_user_statistics") is None
    assert list(SweepPart.query(f"update_user_statistics#sweep#update_user_statistics@{iso(tomorrow)}")) == []
    User("ann").update(actions=[User.touched_at.set(NOW - DAY)])
    assert run_at(statistics.handle, queue, tomorrow)
    assert User.get("ann").posts_count == 0


def test_whatever_bears_a_time_to_come_is_put_behind_the_clock(backbeat: Callable[..., Any]) -> None:
    clock = datetime.now(UTC)
    for name, at in (("ahead", MISTYPED), ("behind", NOW - DAY)):
        User(name, name=name, email=f"{name}@example.net", created_at=NOW, counted_as_of=at).save()
        more = {"author_id": name, "text": "", "created_at": NOW, "score_as_of": at, "media_as_of": at}
        Post(name, **more).save()
        DayCounts("counts", f"{at.date()}", as_of=at).save()
        DigestSelection(f"digest#{name}", post_ids=[], as_of=at).save()
        Watermark(f"watermark#{name}", "until", until=at).save()
        Report("daily", f"{at.date()}", figures={}, as_of=at).save()
    Report("daily", f"{NOW.date() - 2 * DAY}", figures={}, as_of=MISTYPED).save()

    said = " ".join(backbeat(answer="n\n").output.split())
    assert "watermarks: 1, digests' choices: 1, reports: 2, day counts: 1, users' counts: 1, posts' scores: 1" in said
    assert Watermark.get("watermark#ahead", "until").until == MISTYPED, "it asks first"
    assert backbeat(answer="y\n").exit_code == 0
    for name in ("ahead", "behind"):
        user, post = User.get(name), Post.get(name)
        assert max(user.counted_as_of, post.score_as_of, post.media_as_of) < clock
    assert [row.until for row in Watermark.scan(Watermark.task.startswith("watermark#"))] == [NOW - DAY]
    assert [row.week for row in DigestSelection.scan(DigestSelection.week.startswith("digest#"))] == ["digest#behind"]
    assert max(row.as_of for row in DayCounts.query("counts")) < clock
    reports = {row.day: row.as_of for row in Report.query("daily")}
    assert set(reports) == {f"{NOW.date() - 2 * DAY}", f"{NOW.date() - DAY}"}
    assert max(reports.values()) < clock
    assert "is marked ahead of the clock" in backbeat().stdout
