"""generate_content_analytics: whole runs against an independent count over the raw rows, and the files."""

import csv
import io
import itertools
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import boto3
import pytest
from support import STACK, Context, Queue, event, function_environment, run_at

import generate_content_analytics as analytics
from backbeat import sweeps
from backbeat.app import erasing
from backbeat.messages import Message
from backbeat.models import (
    Activity,
    Comment,
    DayCounts,
    DayTotals,
    Delivery,
    Post,
    Report,
    RunRecord,
    User,
    day_key,
)
from backbeat.runtime import Run
from backbeat.sweeps import Split, Unfinished
from generate_content_analytics import handle
from report import DayReport, TopPost, to_csv, to_html, to_json

NOW = datetime(2026, 11, 2, 4, tzinfo=UTC)
DAY = timedelta(days=1)
YESTERDAY = date(2026, 11, 1)
MIDNIGHT = datetime(2026, 11, 2, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _few_parts(one_shard: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As moto takes its time for every query."""
    monkeypatch.setattr(analytics, "SEGMENTS", 1)


@pytest.fixture
def queue(aws: None, monkeypatch: pytest.MonkeyPatch) -> Queue:
    monkeypatch.setenv("REPORTS_BUCKET", function_environment("GenerateContentAnalyticsFunction")["REPORTS_BUCKET"])
    return Queue(f"{STACK}-analytics-generate_content_analytics")


def user(user_id: str, at: datetime) -> None:
    User.new(user_id, name=user_id, email=f"{user_id}@example.com", created_at=at).save()


def post(post_id: str, at: datetime, likes: int = 0, comments: int = 0, **more: Any) -> None:
    Post.new(
        post_id,
        author_id="ann",
        text=f"{post_id} #hi",
        created_at=at,
        likes_count=likes,
        comments_count=comments,
        **more,
    ).save()


def comment(comment_id: str, at: datetime) -> None:
    Comment.new("p0", comment_id, author_id="bob", text="Yes", created_at=at).save()


@pytest.fixture
def network(aws: None) -> None:
    """Rows on both sides of every edge: midnights, a week, thirty days, and long ago."""
    edges = [MIDNIGHT - DAY, MIDNIGHT - timedelta(microseconds=1), MIDNIGHT, MIDNIGHT - DAY - timedelta(microseconds=1)]
    for number, at in enumerate([*edges, MIDNIGHT - 3 * DAY, MIDNIGHT - 5 * DAY, MIDNIGHT - 400 * DAY]):
        user(f"user{number}", at)
        post(f"p{number}", at, likes=number % 3, comments=number % 2)
        comment(f"c{number}", at + timedelta(minutes=30))
    post("liked", MIDNIGHT - timedelta(hours=2), likes=9, comments=1)
    post("commented", MIDNIGHT - timedelta(hours=2), likes=9, comments=4)
    post("secret", MIDNIGHT - timedelta(hours=2), likes=99, visibility="followers")
    for name, days in {
        "ann": [1, 2, 8],
        "bob": [2, 3],
        "cy": [7],
        "di": [8],
        "eve": [30],
        "fay": [31],
        "gus": [1, 30],
    }.items():
        for ago in days:
            Activity.record(name, at=MIDNIGHT - DAY * ago + timedelta(hours=12))
    DayTotals(f"totals#{YESTERDAY}", "process_media_upload", succeeded=12, rejected=3).save()
    for number, state in enumerate(["sent", "sent", "refused", "unknown"]):
        shelf = day_key(MIDNIGHT - DAY + timedelta(hours=number), f"mail{number}")
        Delivery(
            f"mail{number}",
            email="welcome",
            user_id="ann",
            state=state,
            run_id="x",
            shelf=shelf,
            claimed_at=MIDNIGHT - DAY,
            lease_until=MIDNIGHT,
            logical_time=MIDNIGHT - DAY,
        ).save()


def independent_count(day: date) -> dict[str, Any]:
    """A day's figures, from the raw rows."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    rows: dict[str, list[Any]] = {
        "posts": list(Post.scan()),
        "comments": list(Comment.scan()),
        "users": list(User.scan()),
    }
    active_on = [(row.day, row.user_id) for row in Activity.scan()]
    on = {kind: [row for row in of if start <= row.created_at < start + DAY] for kind, of in rows.items()}
    active = {ago: {who for on, who in active_on if on.startswith(f"{day - DAY * ago}")} for ago in range(30)}
    best = sorted(
        (row for row in on["posts"] if row.visibility == "public"),
        key=lambda p: (-p.likes_count, -p.comments_count, p.post_id),
    )
    hours = Counter(row.created_at.hour for kind in ("posts", "comments") for row in on[kind])
    return {
        **{f"{kind}_created": len(of) for kind, of in on.items()},
        **{f"{kind}_total": sum(row.created_at < start + DAY for row in of) for kind, of in rows.items()},
        "active_day": len(active[0]),
        "active_week": len(set().union(*(active[ago] for ago in range(7)))),
        "active_month": len(set().union(*active.values())),
        "hours": [hours[hour] for hour in range(24)],
        "top": [row.post_id for row in best[:5]],
    }


def reported(day: date) -> dict[str, Any]:
    figures = Report.get("daily", f"{day}").figures
    names = independent_count(day).keys() - {"top"}
    return {**{name: figures[name] for name in names}, "top": [post["post_id"] for post in figures["top_posts"]]}


def drain(queue: Queue) -> None:
    """Deliver until nothing is left, in at most 100 batches."""
    for _ in range(100):
        if not queue.depth()[0]:
            return
        queue.deliver(handle)
    raise AssertionError("the queue never empties")


def ledger(at: datetime) -> Any:
    (row,) = RunRecord.query(f"generate_content_analytics#{at.date()}", RunRecord.run_id.startswith("generate"))
    return row


def make_run(queue: Queue, at: datetime = NOW, **kwargs: Any) -> Any:
    queue.send({"task": "generate_content_analytics", "scheduled_time": at.isoformat(), "kwargs": kwargs})
    drain(queue)
    return ledger(at)


def stored_file(key: str) -> str:
    bucket = function_environment("GenerateContentAnalyticsFunction")["REPORTS_BUCKET"]
    return boto3.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read().decode()


def everything() -> dict[str, Any]:
    """All that a run writes, but for when."""
    bucket = function_environment("GenerateContentAnalyticsFunction")["REPORTS_BUCKET"]
    keys = [item["Key"] for item in boto3.client("s3").list_objects_v2(Bucket=bucket).get("Contents", [])]
    rows = {f"{row.series} {row.day}": row.figures for row in Report.query("daily")}
    counts = {row.day: row.numbers() for row in DayCounts.query("counts")}
    return {"rows": rows, "counts": counts, "files": {key: stored_file(key) for key in keys}}


# ---- Whole runs ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("network")
def test_a_run_and_its_files_agree_with_a_count_over_the_raw_rows(queue: Queue) -> None:
    run = make_run(queue)
    assert run.outcome == "succeeded"
    for ago in range(4):
        assert reported(YESTERDAY - DAY * ago) == independent_count(YESTERDAY - DAY * ago)
    figures = Report.get("daily", "2026-11-01").figures
    assert (figures["posts_created"], figures["posts_total"], figures["users_created"]) == (5, 9, 2)
    assert (figures["active_day"], figures["active_week"], figures["active_month"]) == (2, 4, 6)
    assert [post["post_id"] for post in figures["top_posts"]] == ["commented", "liked", "p1", "p0"]
    assert (figures["media_processed"], figures["emails_sent"]) == (12, 2)
    assert (run.result["posts"], run.result["page"]) == (5, "daily/2026-11-01/report.html")

    as_json = json.loads(stored_file("daily/2026-11-01/report.json"))
    assert (as_json["posts_created"], as_json["busiest_hours"]) == (5, [0, 22, 23])
    rows = list(csv.DictReader(io.StringIO(stored_file("daily/2026-11-01/report.csv").removeprefix("\ufeff"))))
    assert {row["figure"]: int(row["value"]) for row in rows}["posts_created"] == 5
    assert "Sunday 1 November 2026" in stored_file("daily/2026-11-01/report.html")
    assert stored_file("latest.html") == stored_file("daily/2026-11-01/report.html")


@pytest.mark.usefixtures("network")
def test_what_came_late_restates_three_days_and_only_what_differs_is_written(queue: Queue) -> None:
    make_run(queue)
    first = Report.get("daily", "2026-10-31").as_of
    post("late", MIDNIGHT - 3 * DAY + timedelta(hours=1), likes=50)
    run = make_run(queue, NOW + DAY)
    for ago in range(-1, 3):
        assert reported(YESTERDAY - DAY * ago) == independent_count(YESTERDAY - DAY * ago)
    assert run.result["restated"] == ["2026-10-30", "2026-10-31", "2026-11-01"], "as their totals have grown, too"
    assert Report.get("daily", "2026-10-31").as_of > first
    assert Report.get("daily", "2026-10-29").as_of == NOW


@pytest.mark.usefixtures("network")
def test_deleted_rows_leave_the_totals_when_their_day_is_marked_or_within_four_weeks(queue: Queue) -> None:
    make_run(queue)
    long_ago = (MIDNIGHT - 400 * DAY).date()
    Post("p6").delete()
    Comment("p0", "c6").delete()
    DayCounts.mark([f"{long_ago}#3", f"{long_ago}#1"])
    DayCounts.mark([None])
    run = make_run(queue, NOW + DAY)
    assert reported(YESTERDAY + DAY) == independent_count(YESTERDAY + DAY)
    assert run.result["recounted"] == 1
    assert DayCounts.get("counts", f"{long_ago}").changes is None
    User("user6").delete()
    later = [NOW + DAY * days for days in range(3, 31)]
    (due,) = [at for at in later if at.toordinal() % 28 == long_ago.toordinal() % 28]
    make_run(queue, due)
    assert reported(due.date() - DAY)["users_total"] == independent_count(due.date() - DAY)["users_total"]


@pytest.mark.usefixtures("network")
def test_after_an_outage_the_days_that_were_missed_are_reported(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    days = 10
    monkeypatch.setattr(analytics, "DAYS_IN_A_PART", 6)
    make_run(queue)
    for ago in range(days):
        post(f"missed{ago}", MIDNIGHT + ago * DAY, likes=ago)
        user(f"missed{ago}", MIDNIGHT + ago * DAY)
        Activity.record("ann", at=MIDNIGHT + ago * DAY)
    post("late", MIDNIGHT - 2 * DAY)
    make_run(queue, NOW + days * DAY)
    for ago in range(-days, 3):
        assert reported(YESTERDAY - DAY * ago) == independent_count(YESTERDAY - DAY * ago)
    assert stored_file("latest.html") == stored_file(f"daily/{YESTERDAY + days * DAY}/report.html")
    assert "missed3" in stored_file(f"daily/{YESTERDAY + 4 * DAY}/report.json")


@pytest.mark.usefixtures("network")
def test_a_report_that_is_restated_when_activity_has_expired_keeps_what_it_knew(queue: Queue) -> None:
    make_run(queue)
    for row in list(Activity.scan()):
        row.delete()
    make_run(queue, NOW + 12 * DAY)
    figures = Report.get("daily", f"{YESTERDAY}").figures
    assert (figures["active_day"], figures["active_week"], figures["active_month"]) == (2, 4, 6)


@pytest.mark.usefixtures("network")
def test_no_row_of_a_plan_is_sized_by_how_many_days_are_known(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analytics, "DAYS_IN_A_COUNT", 5)
    make_run(queue)
    with DayCounts.batch_write() as batch:
        for ago in range(12):
            batch.save(DayCounts("counts", f"{date(2000, 1, 1) + DAY * ago}", changes=1, as_of=NOW, posts=7))
        batch.save(DayCounts("counts", "0001-01-01", changes=1, as_of=NOW))
        batch.save(DayCounts("counts", "not a day", changes=1))
    again: list[int] = []
    count_again = analytics._count_again
    monkeypatch.setattr(
        analytics, "_count_again", lambda run, spec: again.append(len(spec["again"])) or count_again(run, spec)
    )
    assert make_run(queue, NOW + DAY).result["recounted"] == 13
    assert max(again) == 5
    assert reported(YESTERDAY + DAY) == independent_count(YESTERDAY + DAY)


@pytest.mark.usefixtures("network")
def test_parts_that_split_themselves_come_to_the_same(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, number in {"RESTATED": 1, "RANGES": 2, "PAGE": 2, "ROWS_AT_ONCE": 2, "MOST_SEEN": 2}.items():
        monkeypatch.setattr(analytics, name, number)
    monkeypatch.setattr(sweeps, "PAGE", 2)
    shares: list[int] = []
    seen = analytics._seen

    def noted(*args: Any) -> Any:
        found = seen(*args)
        shares.append(len(found[0]))
        return found

    monkeypatch.setattr(analytics, "_seen", noted)
    run_at(analytics.handle, queue, NOW)
    for ago in (0, 1):
        assert reported(YESTERDAY - DAY * ago) == independent_count(YESTERDAY - DAY * ago)
    figures = Report.get("daily", f"{YESTERDAY}").figures
    assert (figures["emails_sent"], figures["active_month"]) == (2, 6)
    assert [shown["post_id"] for shown in figures["top_posts"]] == ["commented", "liked", "p1", "p0"]
    assert max(shares) == 3 and len(shares) > 3, "one too many is when it stops"


@pytest.mark.usefixtures("network")
@pytest.mark.parametrize(
    "spec",
    [
        {"kind": "posts", "segment": 0},
        {"again": [f"{(MIDNIGHT - DAY * ago).date()}" for ago in (0, 1, 2, 3, 5, 400)], "changes": {"2026-11-01": 1}},
        {"shard": 0, "days": ["2026-11-01"], "changes": {"2026-11-01": 1}},
    ],
    ids=lambda spec: next(iter(spec)),
)
def test_a_part_that_runs_short_of_time_comes_to_the_same(spec: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backbeat.models.reports.KEYS_AT_ONCE", 4)
    monkeypatch.setattr(analytics, "RANGES", 2)
    message = Message(task=handle.task.name, scheduled_time=NOW)
    steps = []

    def whole(spec: Any, seconds: int) -> Any:
        run = Run(handle.task, message, Context(seconds * 1_000))  # type: ignore[arg-type]
        outcome = analytics._count(run, spec, None, {})
        while isinstance(outcome, Unfinished):
            steps.append(outcome)
            outcome = analytics._count(run, spec, outcome.cursor, outcome.tally)
        if isinstance(outcome, Split):
            steps.append(outcome)
            return analytics._merge([outcome.tally, *(whole(part, seconds) for part in outcome.parts)])
        return analytics._merge([outcome])

    at_once = whole(spec, 60)
    assert steps == []
    assert whole(spec, 20) == at_once
    assert steps


@pytest.mark.usefixtures("aws")
def test_a_mark_made_while_days_are_counted_is_not_lost() -> None:
    DayCounts.mark([f"{YESTERDAY}#0"])
    DayCounts.mark([f"{YESTERDAY}#1"])
    counted = {"posts": 3, "comments": 0, "users": 0}
    assert not analytics._store_count(f"{YESTERDAY}", counted, 1, NOW)
    assert DayCounts.get("counts", f"{YESTERDAY}").changes == 2
    assert analytics._store_count(f"{YESTERDAY}", counted, 2, NOW)
    assert not analytics._store_count(f"{YESTERDAY}", {**counted, "posts": 2}, 0, NOW - DAY), (
        "a newer run has written it"
    )
    assert DayCounts.get("counts", f"{YESTERDAY}").numbers() == counted


def test_what_deletes_rows_marks_their_days(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The models' methods, and erasing; cleanup_old_posts and the restore have tests of their own."""
    for bucket in ("MEDIA_BUCKET", "UPLOADS_BUCKET", "ARCHIVE_BUCKET"):
        monkeypatch.setenv(bucket, function_environment("CleanupOldPostsFunction")[bucket])
    for ago, name in enumerate(("ann", "bob")):
        User.join(name, name=name, email=f"{name}@example.com", at=NOW - DAY * ago)
    Post.publish("one", author_id="ann", text="One", at=NOW - 10 * DAY)
    Post.publish("two", author_id="bob", text="Two", at=NOW - 11 * DAY)
    for number, post_id in enumerate(("one", "two", "two")):
        Post.comment(post_id, f"c{number}", author_id="ann", text="!", at=NOW - (20 + number) * DAY)

    def marked() -> set[int]:
        rows = [(NOW.date() - date.fromisoformat(row.day)).days for row in DayCounts.query("counts")]
        for row in list(DayCounts.query("counts")):
            row.delete()
        return set(rows)

    Post.uncomment("two", "c2", at=NOW)
    assert marked() == {22}
    Post.remove("two", at=NOW)
    assert marked() == {11, 21}
    erasing.erase("ann", at=NOW)
    assert marked() == {0, 10, 20}


@pytest.mark.usefixtures("network")
def test_a_full_run_counts_every_day_again(queue: Queue) -> None:
    DayCounts("counts", "2025-01-01", posts=77, comments=0, users=0, as_of=NOW - DAY).save()
    make_run(queue, full=True)
    assert reported(YESTERDAY) == independent_count(YESTERDAY)
    assert DayCounts.get("counts", "2025-01-01").numbers() == {"posts": 0, "comments": 0, "users": 0}


@pytest.mark.usefixtures("network")
def test_two_runs_at_once_come_to_the_same_and_a_third_changes_nothing(queue: Queue) -> None:
    for run in ("one", "two"):
        queue.send({"task": "generate_content_analytics", "id": run, "sent_at": NOW.isoformat()})
    drain(queue)
    for ago in range(4):
        assert reported(YESTERDAY - DAY * ago) == independent_count(YESTERDAY - DAY * ago)
    before = everything()
    assert make_run(queue).result["restated"] == []
    assert everything() == before


@pytest.mark.usefixtures("network")
def test_a_late_run_overwrites_no_newer_one(queue: Queue) -> None:
    make_run(queue, NOW + DAY)
    before = everything()
    post("since", MIDNIGHT - DAY)
    late = make_run(queue, NOW)
    assert late.outcome == "succeeded"
    after = everything()
    assert set(after["rows"]) - set(before["rows"]) == {"daily 2026-10-29"}
    for day in ("2026-10-30", "2026-10-31", "2026-11-01", "2026-11-02"):
        assert after["rows"][f"daily {day}"] == before["rows"][f"daily {day}"]
        assert after["files"][f"daily/{day}/report.json"] == before["files"][f"daily/{day}/report.json"]
    assert after["files"]["latest.html"] == before["files"]["latest.html"]


@pytest.mark.usefixtures("network")
def test_a_run_cut_off_anywhere_is_made_up_for(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step fails the second time it is taken or, if it is taken once only, the first time."""
    cut = []

    def cut_off(step: str, on: int) -> Callable[..., Any]:
        whole, calls = getattr(analytics, step), itertools.count(1)

        def once(*args: Any) -> Any:
            if next(calls) == on:
                cut.append(step)
                raise ConnectionError("cut off")
            return whole(*args)

        return once

    steps = {"_count_shard": 1, "_store_counts": 1, "_store": 2, "_publish": 2}
    for step, on in steps.items():
        monkeypatch.setattr(analytics, step, cut_off(step, on))
    monkeypatch.setattr("backbeat.producer.Retry.wait", lambda *_: 0)
    assert make_run(queue).outcome == "succeeded"
    assert cut == list(steps)
    for ago in range(4):
        assert reported(YESTERDAY - DAY * ago) == independent_count(YESTERDAY - DAY * ago)
    assert "Sunday 1 November 2026" in stored_file("latest.html")


def test_the_report_of_a_post_that_was_edited_or_removed_says_so(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    for bucket in ("MEDIA_BUCKET", "UPLOADS_BUCKET"):
        monkeypatch.setenv(bucket, function_environment("CleanupOldPostsFunction")[bucket])
    for name in ("edited", "removed"):
        post(name, MIDNIGHT - timedelta(hours=3))
    make_run(queue)
    make_run(queue, NOW + 6 * DAY)
    Post.edit("edited", text="Better now", at=NOW + 6 * DAY)
    Post.remove("removed", at=NOW + 6 * DAY)
    make_run(queue, NOW + 7 * DAY)
    top = json.loads(stored_file(f"daily/{YESTERDAY}/report.json"))["top_posts"]
    assert [(shown["post_id"], shown["text"]) for shown in top] == [("edited", "Better now")]


def test_an_upload_and_its_deletion_are_one_upload_processed(queue: Queue) -> None:
    made = [DayTotals.count_kind("MediaProcessed"), DayTotals.count_kind("MediaRemoved"), DayTotals.succeeded.add(2)]
    DayTotals(f"totals#{YESTERDAY}", "process_media_upload").update(made)
    DayTotals(f"totals#{YESTERDAY - DAY}", "process_media_upload").update([made[1], DayTotals.succeeded.add(1)])
    make_run(queue)
    assert Report.get("daily", f"{YESTERDAY}").figures["media_processed"] == 1
    assert Report.get("daily", f"{YESTERDAY - DAY}").figures["media_processed"] == 0


def test_an_empty_network_has_a_report(queue: Queue) -> None:
    run = make_run(queue)
    assert run.outcome == "succeeded"
    assert "Nothing was posted on this day." in stored_file("latest.html")


@pytest.mark.parametrize("name", ["typical", "duplicate", "poison"])
def test_the_events_are_what_lambda_receives(queue: Queue, name: str) -> None:
    assert handle.lambda_handler(event("generate_content_analytics", name), Context()) == {"batchItemFailures": []}
    (row,) = RunRecord.query("generate_content_analytics#2026-11-01")
    assert row.outcome == ("rejected" if name == "poison" else "in parts")


# ---- The files -------------------------------------------------------------------------------------------------------

HOSTILE = '=HYPERLINK("http://evil.example","x") </title><script>alert(1)</script>'
REPORT = DayReport(
    date(2026, 11, 1), posts_created=3, hours=[0] * 23 + [3], top_posts=[TopPost("p1", "ann", HOSTILE, 1234, 1)]
)


class Page(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.links: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        if tag not in ("meta", "link", "br", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_else_and_runs_nothing() -> None:
    page = Page(to_html(REPORT, []))
    assert page.links == []
    assert page.open == []
    assert page.tags["script"] == 0
    assert page.tags["svg"] == 3 + 4
    assert "@import" not in to_html(REPORT, []) and "url(" not in to_html(REPORT, [])


def test_the_page_shows_the_days_before() -> None:
    before = [replace(REPORT, day=date(2026, 10, 3) + DAY * ago, posts_created=ago + 1) for ago in range(29)]
    page = to_html(REPORT, before)
    assert page.count('class="posts"') == 30 + 1
    assert "3 Oct: 1 posts, 0 comments" in page
    assert "<b>-87%</b> in a week" in page
    assert Page(page).tags["tr"] == 1 + 7


def test_the_csv_is_harmless_in_a_spreadsheet_and_keeps_every_script() -> None:
    texts = [
        HOSTILE,
        "+1",
        "-1",
        "@cmd",
        "\t=1",
        " =1",
        'Grüße, 世界\n"hi"',
        "＝1",
        "＋1",
        "－1",
        "＠cmd",
        "\u200b\ufeff=1",
        "\u3000＋1",
        "\N{SMALL PLUS SIGN}1",
        "\N{SUPERSCRIPT EQUALS SIGN}1",
        "\N{MINUS SIGN}1",
        "\u115f\u2800=1",
    ]
    report = replace(REPORT, top_posts=[TopPost(f"p{n}", "ann", text, 1, 1) for n, text in enumerate(texts)])
    text = to_csv(report)
    assert text.encode().startswith(b"\xef\xbb\xbf")
    rows = list(csv.reader(io.StringIO(text[1:])))
    cells = [row[2] for row in rows if row[1] == "top_post_likes"]
    assert cells == [f"'{text}" if text[0] != "G" else text for text in texts]
    assert all(len(row) == 4 for row in rows)


def test_json_and_back() -> None:
    assert DayReport.from_json({k: v for k, v in json.loads(to_json(REPORT)).items() if k != "busiest_hours"}) == REPORT


@pytest.mark.parametrize(
    ("highest", "top", "step"),
    [(0, 4, 1), (3, 4, 1), (5, 6, 2), (9, 10, 5), (23, 30, 10), (101, 150, 50), (8258, 10_000, 2500)],
)
def test_an_axis_ends_on_a_round_number(highest: int, top: int, step: int) -> None:
    from report import _scale

    found = _scale(highest)
    assert found[0] >= highest and found[0] % found[1] == 0
    assert found == (top, step)
