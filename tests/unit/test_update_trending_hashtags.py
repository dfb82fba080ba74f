"""update_trending_hashtags: the ranking by itself, and whole runs against an independent count over the raw rows."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from hypothesis import given
from hypothesis.strategies import integers, lists, sampled_from, tuples
from support import STACK, Calls, Context, Queue, event, function_environment, run_at

import ranking
import tallies
import update_trending_hashtags as trending
from backbeat.messages import Message
from backbeat.models import Hashtag, HashtagTally, HourMark, Post, RunRecord, SweepRun, TrendingHashtags, day_key
from backbeat.posts.hashtags import fold
from backbeat.runtime import Run
from backbeat.sweeps import Split, Unfinished
from ranking import CHANCE, Tag, Trend, Union, Week, rank, surprise
from update_trending_hashtags import handle

NOW = datetime(2026, 11, 1, 4, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def week(authors: int, **tags: int) -> Week:
    return Week(authors, {tag: Tag(tag, of, of) for tag, of in tags.items()})


def count(hours: Iterable[Mapping[str, Mapping[str, int]]]) -> Week:
    union = Union()
    for hour in hours:
        union.add(tallies.entries_of({(tag, who): of for tag, people in hour.items() for who, of in people.items()}))
    return union.week()


def ranked(week: Week, before: Sequence[Week]) -> list[Trend]:
    past = Counter(dict.fromkeys(week.tags, 0))
    for earlier in before:
        past.update({tag: of.authors for tag, of in earlier.tags.items()})
    return rank(week, past, sum(earlier.authors for earlier in before), 100)


# ---- The ranking -----------------------------------------------------------------------------------------------------


def test_an_hour_more_is_no_author_more() -> None:
    united = count([{"Jazz": {"ann": 2, "bob": 1}}, {"jazz": {"ann": 1}, "Blues": {"cy": 1}}, {}])
    assert united == Week(3, {"jazz": Tag("Jazz", 2, 4), "blues": Tag("Blues", 1, 1)})


def test_a_tag_is_shown_as_most_people_write_it() -> None:
    often = {"JAZZ": {"ann": 50}, "Jazz": {"bob": 1, "cy": 1}}
    assert count([often]).tags["jazz"].shown == "Jazz"
    assert count([{"jazz": {"ann": 1}, "JAZZ": {"bob": 1}}]).tags["jazz"].shown == "JAZZ"


def test_the_score_is_the_published_one() -> None:
    """Worked by hand: E1 = 1000 * 60 / 5000 = 12, E2 = 48, 2 (30 ln(30/12) + 30 ln(30/48)) = 26.777..."""
    assert surprise(30, 1000, 30, 4000) == pytest.approx(26.777, abs=0.001)
    assert surprise(5, 100, 20, 400) == 0  # as usual
    assert surprise(4, 100, 20, 400) == 0  # a fall
    assert surprise(5, 100, 0, 400) == pytest.approx(10 * 1.6094379)  # new: 2 * 5 ln(500/100)
    assert surprise(5, 100, 0, 0) == 0  # nothing is known


def test_what_rises_comes_before_what_is_always_there() -> None:
    now = week(1000, always=400, rising=40, new=8, falling=50)
    usual = week(1000, always=400, rising=10, falling=100)
    trends = ranked(now, [usual] * 4)
    assert [trend.tag for trend in trends] == ["rising", "new", "always", "falling"]
    assert [trend.why for trend in trends] == [
        "40 people in 7 days, 4.0 times its usual 10.0",
        "8 people in 7 days, none in the weeks before",
        "400 people in 7 days, where 400.0 are usual",
        "50 people in 7 days, where 100.0 are usual",
    ]


def test_growth_of_the_whole_network_is_no_trend() -> None:
    (trend,) = ranked(week(2000, always=800), [week(1000, always=400)] * 4)
    assert (trend.score, trend.usual) == (0, 800)


def test_chance_is_no_trend() -> None:
    (trend,) = ranked(week(1000, steady=420), [week(1000, steady=400)] * 4)
    assert 0 < surprise(420, 1000, 1600, 4000) < CHANCE
    assert trend.score == 0


def test_nobody_trends_alone() -> None:
    spam = {"BuyNow": {"spammer": 5_000}}
    trends = ranked(count([spam] * 168 + [{"tea": {"ann": 1, "bob": 1}}]), [])
    assert [trend.tag for trend in trends] == ["tea"]


def test_ties_go_by_tag_and_without_a_past_by_people() -> None:
    trends = ranked(week(50, zebra=5, ant=5, bee=7, cat=5), [])
    assert [trend.tag for trend in trends] == ["bee", "ant", "cat", "zebra"]
    assert trends[0].why == "7 people in 7 days; no earlier week is known"


@dataclass
class Row:
    """What tells a part how much there is."""

    entries: int
    as_of: datetime = NOW


def unite(spec: Any) -> dict[str, Any]:
    """Do a part, and those into which it splits itself."""
    run = Run(handle.task, Message(task=handle.task.name, scheduled_time=NOW), cast(LambdaContext, Context()))
    cursor, tally = None, {}
    while isinstance(outcome := trending._work(run, 10, spec, cursor, tally), Split):
        tally = trending._merge(10, [outcome.tally, *map(unite, outcome.parts)])
        cursor = outcome.cursor
        if cursor is None:
            return tally
    assert not isinstance(outcome, Unfinished)
    return dict(outcome)


SPELLINGS = ("Jazz", "jazz", "JAZZ", "tea", "Tea", "snow", "blues", "Straße", "STRASSE", "rain")


@given(
    hours=lists(
        lists(tuples(sampled_from(SPELLINGS), sampled_from("abcdefgh"), integers(1, 3)), max_size=12), max_size=6
    ),
    most=integers(1, 12),
    digits=integers(1, 3),
)
def test_a_week_united_in_parts_of_any_size_is_that_of_a_simple_count(
    hours: list[list[tuple[str, str, int]]], most: int, digits: int
) -> None:
    """Down to parts that hold one person or one tag alone, whose people are shared out."""
    people: dict[str, set[str]] = defaultdict(set)
    spelt: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    posts: Counter[str] = Counter()
    for shown, who, number in (entry for hour in hours for entry in hour):
        people[fold(shown)].add(who)
        spelt[fold(shown)][shown].add(who)
        posts[fold(shown)] += number
    expected = {
        tag: Tag(min(spelt[tag], key=lambda shown: (-len(spelt[tag][shown]), shown)), len(people[tag]), posts[tag])
        for tag in people
    }
    hourly: list[Counter[tuple[str, str]]] = []
    for hour in hours:
        hourly.append(Counter())
        for shown, who, number in hour:
            hourly[-1][shown, who] += number
    found: dict[str, Tag] = {}
    with pytest.MonkeyPatch.context() as patch:
        for module in (ranking, trending):
            patch.setattr(module, "MOST_HELD", most)
        patch.setattr(trending, "DIGITS", digits)
        patch.setattr(trending, "known", lambda *_: {n: Row(len(hour)) for n, hour in enumerate(hourly)})
        patch.setattr(trending, "entries", lambda *_: (tallies.entries_of(hour) for hour in hourly))
        patch.setattr(trending, "save_week", lambda end, bucket, week, now: found.update(week.tags))
        (united,) = unite({"week": NOW.isoformat(), "bucket": ""})["weeks"].values()
    assert found == expected
    assert united["authors"] == len(set().union(*people.values()))


@pytest.mark.parametrize("ago", [5, 24, 100, 144])
def test_every_hour_of_the_week_is_counted_again_within_a_day(ago: int) -> None:
    hour = NOW - HOUR * ago
    runs = [NOW + HOUR * later for later in range(24)]
    assert sum(hour in trending._hours_to_count(until, until - HOUR) for until in runs) == 1
    assert all(4 <= len(trending._hours_to_count(until, until - HOUR)) <= 4 + 7 for until in runs)


def test_what_no_run_has_counted_yet_is_counted() -> None:
    assert len(trending._hours_to_count(NOW, None)) == 168
    assert set(trending._hours_to_count(NOW, NOW - HOUR * 27)) >= {NOW - HOUR * ago for ago in range(1, 31)}


# ---- Whole runs ------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _few_shards(one_shard: None) -> None:
    """As moto takes its time for every query."""


@pytest.fixture
def queue(aws: None) -> Queue:
    return Queue(f"{STACK}-analytics-update_trending_hashtags")


def post(post_id: str, author: str, text: str, at: datetime, **more: Any) -> None:
    Post.new(post_id, author_id=author, text=text, created_at=at, **more).save()


@pytest.fixture
def posts(aws: None) -> None:
    """Five weeks: #tea is always there, #snow is new, and a spammer is at work."""
    for days in range(0, 34, 3):
        at = NOW - DAY * days - HOUR
        post(f"tea{days}", f"user{days % 9}", "#tea time", at)
    for number in range(4):
        post(f"snow{number}", f"user{number}", "＃Snow! #SNOW", NOW - HOUR * (3 + 40 * number))
        post(f"spam{number}", "spammer", "#BuyNow #snow", NOW - HOUR * (number + 1) + timedelta(minutes=59))
    post("edge.in", "user7", "#edge", NOW - 7 * DAY)
    post("edge.also", "user8", "#edge", NOW - timedelta(microseconds=1))
    post("edge.before", "user5", "#edge", NOW - 7 * DAY - timedelta(microseconds=1))
    post("edge.after", "user6", "#edge", NOW)
    post("hidden", "user6", "#edge #secret", NOW - HOUR, visibility="hidden")
    post("friends", "user7", "#secret", NOW - HOUR, visibility="followers")


def independent_count(until: datetime) -> dict[str, tuple[int, int]]:
    """People and posts of each tag, from the raw rows."""
    people: dict[str, set[str]] = defaultdict(set)
    in_posts: Counter[str] = Counter()
    for row in Post.scan():
        if row.visibility == "public" and until - 7 * DAY <= row.created_at < until:
            for tag in {word.lstrip("#＃").rstrip("!").casefold() for word in row.text.split() if word[0] in "#＃"}:
                people[tag].add(row.author_id)
                in_posts[tag] += 1
    return {tag: (len(people[tag]), in_posts[tag]) for tag in people}


def message(at: datetime = NOW, **kwargs: Any) -> dict[str, Any]:
    return {"task": "update_trending_hashtags", "scheduled_time": at.isoformat(), "kwargs": kwargs}


def make_run(queue: Queue, at: datetime = NOW, **kwargs: Any) -> Any:
    """Run once through the queue; return the ledger's row."""
    queue.send(message(at, **kwargs))
    queue.deliver(handle)
    (row,) = RunRecord.query(f"update_trending_hashtags#{at.date()}", RunRecord.run_id.startswith(run_id(at)))
    return row


def beside(at: datetime) -> None:
    """Make a run in the midst of another."""
    message = Message(task="update_trending_hashtags", id="beside it", sent_at=at)
    handle(top=10, full=False, run=Run(handle.task, message, cast(LambdaContext, Context())))


def run_id(at: datetime) -> str:
    return f"update_trending_hashtags@{at:%Y-%m-%dT%H:%M:%SZ}"


def rows() -> dict[str, tuple[int, int]]:
    """People and posts of each hashtag that has any."""
    return {row.tag: (row.authors, row.posts) for row in Hashtag.scan(Hashtag.posts > 0)}


def marked() -> set[str]:
    return {row.tag for row in Hashtag.scan(Hashtag.trending == True)}  # noqa: E712


def everything() -> list[dict[str, Any]]:
    """All that a run writes, but for when."""
    found = [
        {k: v for k, v in row.attribute_values.items() if k not in ("as_of", "expires")}
        for model in (Hashtag, HashtagTally)
        for row in model.scan()
    ]
    return sorted(found, key=repr)


@pytest.mark.usefixtures("posts")
def test_a_run_agrees_with_a_count_over_the_raw_rows(queue: Queue) -> None:
    run = make_run(queue)
    assert run.outcome == "succeeded"
    expected = independent_count(NOW)
    assert rows() == expected
    assert expected["edge"] == (2, 2), "the week is half open"
    assert "secret" not in expected
    board = TrendingHashtags.get("#")
    found = [(entry["tag"], entry["shown"], entry["authors"]) for entry in board.tags]
    assert found == [("snow", "Snow", 5), ("tea", "tea", 3), ("edge", "edge", 2)]
    assert marked() == {"snow", "tea", "edge"}
    assert run.result["trending"][0].startswith("#Snow: 5 people in 7 days, none in the weeks before")
    assert (run.result["tags"], run.result["hours_counted"]) == (4, 168)


@pytest.mark.usefixtures("posts")
def test_the_next_hour_counts_few_hours_and_writes_what_differs(queue: Queue) -> None:
    make_run(queue)
    post("new", "user1", "#snow again", NOW + timedelta(minutes=5))
    run = make_run(queue, NOW + HOUR)
    assert rows() == independent_count(NOW + HOUR)
    assert run.result["hours_counted"] <= 4 + 7
    assert run.result["hours_changed"] == 1
    assert run.result["rows_written"] == 1, "as many use #edge as before, though others"
    assert Hashtag.get("buynow").as_of == NOW


@pytest.mark.usefixtures("posts")
def test_only_the_first_are_marked_and_the_rest_unmarked(queue: Queue) -> None:
    make_run(queue)
    make_run(queue, NOW + HOUR, top=1)
    assert marked() == {TrendingHashtags.get("#").tags[0]["tag"]}
    assert rows() == independent_count(NOW + HOUR)


@pytest.mark.usefixtures("posts")
def test_a_late_post_counts_with_the_next_run_if_it_is_hours_late_and_within_a_day_if_days(queue: Queue) -> None:
    make_run(queue)
    post("hours.late", "user8", "#snow", NOW - HOUR * 2 + timedelta(minutes=1))
    make_run(queue, NOW + HOUR)
    assert rows() == independent_count(NOW + HOUR)
    late = NOW - DAY * 3
    post("days.late", "user6", "#snow", late)
    post("hidden.since", "user5", "#snow", late, visibility="hidden")
    runs = [NOW + HOUR * later for later in range(2, 26)]
    (when,) = [until for until in runs if late in trending._hours_to_count(until, until - HOUR)]
    make_run(queue, when - HOUR)
    assert rows() != independent_count(when - HOUR)
    make_run(queue, when)
    assert rows() == independent_count(when)


@pytest.mark.usefixtures("posts")
def test_what_is_hidden_edited_or_deleted_leaves_the_trends_with_the_next_run(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long ago it was posted; its mark stays for as long as an index may lag."""
    for bucket in ("MEDIA_BUCKET", "UPLOADS_BUCKET"):
        monkeypatch.setenv(bucket, function_environment("CleanupOldPostsFunction")[bucket])
    make_run(queue)
    at = NOW + timedelta(minutes=58)
    Post.edit("snow1", visibility="hidden", at=NOW + timedelta(minutes=20))
    Post.edit("snow2", text="#tea", at=NOW + timedelta(minutes=20))
    Post.remove("snow3", at=at)
    Post.remove("tea30", at=at)  # too old to be in a week
    run = make_run(queue, NOW + HOUR)
    assert rows() == independent_count(NOW + HOUR)
    assert rows()["snow"] == (2, 5), "user0 and the spammer"
    assert run.result["hours_changed"] == 3 + 1, "the hour that has passed, too"
    assert [mark.at for mark in HourMark.query("again")] == [at]
    make_run(queue, NOW + 2 * HOUR)
    assert [*HourMark.query("again")] == []


@pytest.mark.usefixtures("posts")
def test_a_full_run_counts_all_hours_again(queue: Queue) -> None:
    make_run(queue)
    post("days.late", "user6", "#snow", NOW - DAY * 3)
    run = make_run(queue, NOW + HOUR, full=True)
    assert rows() == independent_count(NOW + HOUR)
    assert (run.result["hours_counted"], run.result["hours_changed"]) == (168, 2)


@pytest.mark.usefixtures("posts")
def test_a_full_run_counts_the_weeks_before_again_too(queue: Queue) -> None:
    """As is needed where history was imported after a first run, which had stored those weeks without it."""
    make_run(queue)
    for number in range(40):
        post(f"imported{number}", f"imported{number}", "#snow", NOW - DAY * 10)
    assert TrendingHashtags.get("#").tags[0]["tag"] == "snow"
    make_run(queue, NOW + HOUR)
    assert TrendingHashtags.get("#").tags[0]["usual"] == 0
    make_run(queue, NOW + 2 * HOUR, full=True)
    snow = next(entry for entry in TrendingHashtags.get("#").tags if entry["tag"] == "snow")
    assert snow["usual"] > 0 and snow["score"] == 0


@pytest.mark.usefixtures("posts")
def test_hours_played_after_a_newer_run_are_counted_by_it_and_none_is_lost(queue: Queue) -> None:
    """After an outage the next run comes first, and what was missed is made up for later."""
    make_run(queue)
    for hour in range(1, 30, 4):
        post(f"missed{hour}", f"user{hour}", "#outage", NOW + HOUR * hour + timedelta(minutes=30))
    newest = make_run(queue, NOW + 30 * HOUR)
    assert newest.result["hours_changed"] == 8 + 1, "one had a post already"
    expected = independent_count(NOW + 30 * HOUR)
    assert expected["outage"] == (8, 8)
    for hour in (1, 20, 29):  # 20: the midnight whose week the weeks after are compared with
        assert make_run(queue, NOW + HOUR * hour).outcome == "skipped"
    assert rows() == expected
    hours = {(row.period, row.chunk[:3]) for row in HashtagTally.scan() if not row.period.startswith("week")}
    missed = [NOW + HOUR * hour for hour in range(1, 30, 4)]
    assert {(f"{at:%Y-%m-%d}", f"T{at:%H}") for at in missed} <= hours
    later = NOW + 8 * DAY
    make_run(queue, later)
    week = dict(tallies.load_week(later.replace(hour=0) - 7 * DAY, "", pytest.fail))
    assert week["outage"].authors == 5, "those before midnight"


@pytest.mark.usefixtures("posts")
def test_a_run_made_twice_changes_nothing(queue: Queue) -> None:
    make_run(queue)
    before = everything()
    again = {**message(), "id": "another run of the same hour"}
    del again["scheduled_time"]
    queue.send({**again, "sent_at": NOW.isoformat()})
    queue.deliver(handle)
    (row,) = RunRecord.query(
        f"update_trending_hashtags#{NOW.date()}", RunRecord.run_id == "another run of the same hour"
    )
    assert (row.result["hours_changed"], row.result["rows_written"]) == (0, 0)
    assert everything() == before


@pytest.mark.usefixtures("posts")
def test_two_runs_at_once_come_to_the_same(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    queue.send(message())
    write_rows = trending._write_rows

    def interrupted(*args: Any) -> Any:
        monkeypatch.setattr(trending, "_write_rows", write_rows)
        beside(NOW)
        return write_rows(*args)

    monkeypatch.setattr(trending, "_write_rows", interrupted)
    assert queue.deliver(handle) == []
    assert rows() == independent_count(NOW)


@pytest.mark.parametrize("seconds", [60, 20], ids=["too many", "too little time"])
def test_a_run_in_parts_comes_to_the_same(queue: Queue, monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    """A first run, one of the next hour, and one at once after it, each after what runs at once have come to.

    A week is half a day here, as moto takes its time.
    """
    for module in (trending, tallies):
        monkeypatch.setattr(module, "WEEK", DAY / 2)
    monkeypatch.setattr(trending, "SLICES", 4)
    monkeypatch.setattr(trending, "WEEKS_BEFORE", 1)
    monkeypatch.setattr(trending, "MOST_IN_A_TRANSACTION", 2)
    monkeypatch.setattr(tallies, "ENTRIES_IN_A_ROW", 1)
    monkeypatch.setattr(tallies, "DIGITS", 1)
    for number in range(12):
        text = ("#snow #tea", "#Snow", "#tea #blues #SNOW", "#jazz")[number % 4]
        post(f"snow{number}", f"user{number % 5}", text, NOW - HOUR * (1 + 2 * number))

    def made(at: datetime, context: Context | None) -> tuple[Any, ...]:
        result = run_at(handle, queue, at, context)
        hashtags = sorted((row.tag, row.shown, row.authors, row.posts, row.trending) for row in Hashtag.scan())
        return result, TrendingHashtags.get("#").tags, hashtags

    def made_all(context: Context | None) -> list[Any]:
        first = made(NOW, context)
        post("new", "user1", "#snow again #rain", NOW + timedelta(minutes=5))
        Post.edit("snow3", visibility="hidden", at=NOW + timedelta(minutes=6))
        return [first, made(NOW + HOUR, context), made(NOW + 2 * HOUR, None)]

    expected = made_all(None)
    for model in (Hashtag, HashtagTally, RunRecord, SweepRun):
        for row in list(model.scan()):
            row.delete()
    Post.edit("snow3", visibility="public", at=NOW - 9 * DAY)
    Post("new").delete()
    if seconds == 60:
        for module in (ranking, trending):
            monkeypatch.setattr(module, "MOST_HELD", 4)
        monkeypatch.setattr(trending, "DIGITS", 1)
    assert made_all(Context(seconds * 1_000)) == expected


@pytest.mark.usefixtures("posts")
def test_a_late_run_leaves_a_newer_ones_work_alone(queue: Queue) -> None:
    make_run(queue, NOW + HOUR)
    before = everything()
    late = make_run(queue, NOW)
    assert (late.outcome, late.error) == ("skipped", "a newer run, of 2026-11-01 05:00 UTC, has been made")
    assert everything() == before


@pytest.mark.usefixtures("posts")
def test_a_run_overtaken_by_a_newer_one_writes_over_none_of_its_rows(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    post("next", "user1", "#edge", NOW + timedelta(minutes=1))
    write_rows = trending._write_rows

    def overtaken(*args: Any) -> Any:
        monkeypatch.setattr(trending, "_write_rows", write_rows)
        beside(NOW + HOUR)
        return write_rows(*args)

    monkeypatch.setattr(trending, "_write_rows", overtaken)
    make_run(queue)
    assert rows() == independent_count(NOW + HOUR)
    assert TrendingHashtags.get("#").as_of == NOW + HOUR


@pytest.mark.usefixtures("posts")
@pytest.mark.parametrize("step", ["save", "save_week", "_write_rows", "_save_rows", "_rank", "_write"])
def test_a_run_cut_off_anywhere_is_made_up_for(queue: Queue, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    make_run(queue, NOW - HOUR)

    def cut_off(*args: Any) -> Any:
        raise ConnectionError("cut off")

    with monkeypatch.context() as cut:
        cut.setattr(trending, step, cut_off)
        queue.send(message())
        assert len(queue.deliver(handle)) == 1
    queue.send(message())
    queue.deliver(handle)
    assert rows() == independent_count(NOW)
    assert marked() == {entry["tag"] for entry in TrendingHashtags.get("#").tags}
    assert TrendingHashtags.get("#").as_of == NOW


@pytest.mark.usefixtures("posts")
def test_a_tag_that_nobody_uses_any_more_is_unmarked_and_may_go(queue: Queue) -> None:
    make_run(queue)
    make_run(queue, NOW + 8 * DAY)
    snow = Hashtag.get("snow")
    assert (snow.authors, snow.posts, snow.trending) == (0, 0, False)
    assert snow.expires is not None
    assert TrendingHashtags.get("#").tags == []
    post("back", "user1", "#SnoW", NOW + 8 * DAY)
    make_run(queue, NOW + 8 * DAY + HOUR)
    assert (Hashtag.get("snow").shown, Hashtag.get("snow").expires) == ("SnoW", None)


@pytest.mark.usefixtures("posts")
def test_what_is_usual_is_what_was_counted_then(queue: Queue) -> None:
    """Earlier weeks are read from the rows of their own runs, or counted from the posts where there was no run."""
    midnight = NOW.replace(hour=0)
    make_run(queue, midnight - 7 * DAY)
    for row in list(Post.scan(Post.created_at < midnight - 7 * DAY)):
        row.delete()
    make_run(queue)
    tea = next(entry for entry in TrendingHashtags.get("#").tags if entry["tag"] == "tea")
    assert tea["usual"] == pytest.approx(9 * 4 / (9 * 4) * 10, rel=0.5)
    assert tea["score"] == 0


def test_what_is_too_large_for_a_row_is_split(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tallies, "ENTRIES_IN_A_ROW", 2)
    monkeypatch.setattr(tallies, "ENTRIES_IN_A_CHUNK", 2)
    for number in range(5):
        post(f"many{number}", f"user{number}", f"#many #tag{number}", NOW - HOUR)

    def kept() -> list[HashtagTally]:
        return [row for row in HashtagTally.scan() if row.chunk.startswith("T03.0#")]

    make_run(queue)
    assert rows() == independent_count(NOW)
    assert rows()["many"] == (5, 5)
    assert 7 <= len(kept()) <= 15, "five pairs with #many are three rows, and each holds two at most"
    assert all(sum(map(len, row.unpack().values())) <= 2 for row in kept())
    (lost,) = {row.period: row for row in kept() if "many" in row.unpack()}.values()
    lost.delete()
    for number in range(4):
        Post(f"many{number}").delete()
    make_run(queue, NOW + HOUR)
    assert rows() == independent_count(NOW + HOUR) == {"many": (1, 1), "tag4": (1, 1)}
    assert kept() == []


def test_a_network_without_posts_has_no_trends(queue: Queue) -> None:
    run = make_run(queue)
    assert run.outcome == "succeeded"
    assert run.result["trending"] == []
    assert TrendingHashtags.get("#").tags == []


@pytest.mark.parametrize("name", ["typical", "duplicate", "poison"])
def test_the_events_are_what_lambda_receives(queue: Queue, name: str) -> None:
    answer = handle.lambda_handler(event("update_trending_hashtags", name), Context())
    assert answer == {"batchItemFailures": []}
    (row,) = RunRecord.query("update_trending_hashtags#2026-11-01")
    assert row.outcome == ("rejected" if name == "poison" else "succeeded")
    assert (row.error or "").startswith("update_trending_hashtags: top: " if name == "poison" else "")


def test_a_post_of_many_tags_counts_for_few_and_is_written_at_once(queue: Queue, calls: Calls) -> None:
    tags = {f"tag{number:04}" for number in range(3_000)}
    Post(
        "many",
        author_id="ann",
        text="",
        created_at=NOW - HOUR,
        day=day_key(NOW - HOUR, "many"),
        hashtags=tags,
        tagged_at=NOW - HOUR,
    ).save()
    for number in range(8):
        text = " ".join(f"#t{number}x{tag}" for tag in range(30))
        post(f"p{number}", "bob", text, NOW - HOUR)
    calls.clear()
    result = make_run(queue).result
    assert (result["tags"], result["rows_written"]) == (270, 270)
    assert calls.number("TransactWriteItems", None) == 3 + 1, "and one for the board"


def test_a_tag_is_a_key_in_its_folded_form(queue: Queue) -> None:
    post("one", "ann", "#Straße", NOW - HOUR)
    post("two", "bob", "#STRASSE", NOW - HOUR)
    make_run(queue)
    assert rows() == {fold("straße"): (2, 2)}
