"""generate_content_analytics: yesterday in figures, for people, spreadsheets and programs.

A run states yesterday and restates the three days before it, whose data may have come late; after an outage it states
the days that were missed, and restates the three before those. It is made in parts, one for each shard of the indexes
by day and each month; a user's activity is all in one shard, so that the unions of the shards add up.

Totals come without reading what exists: how many posts, comments and users each day has is stored, a day a row, and a
total is their sum. A run counts a day again if it is among the four, if something of it was deleted since
(`DayCounts.mark`), or on one day in 28, so that nothing that went unnoticed stays wrong for longer than four weeks. The
first run, one after more than 400 days, and one with `full`, count all days from the indexes.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

from backbeat.aws import s3
from backbeat.models import (
    ACTIVITY_KEPT,
    Activity,
    Changed,
    Comment,
    DayCounts,
    DayTotals,
    Delivery,
    Post,
    Report,
    Unreadable,
    User,
    day_keys,
    each,
    readable,
    report_files,
    reports_bucket,
    save_if,
    shards,
    update_if,
)
from backbeat.runtime import InParts, Run, implementation
from backbeat.sweeps import LONGEST_GAP, PartDone, Tally, advance, bounded, in_parts, last_run, note_in
from backbeat.tasks import generate_content_analytics
from backbeat.text import cut
from report import LONGEST_TEXT, DayReport, TopPost, to_csv, to_html, to_json

DAY = timedelta(days=1)
RESTATED = 3
"""How many days before yesterday are stated again."""
DAYS_IN_A_PART = 31
"""How many reported days one part counts: what it tells of them is to fit a row."""
DAYS_IN_A_COUNT = 500
"""How many days one part counts again, all shards of each."""
ACTIVE = ("active_day", "active_week", "active_month")
ALL_ACTIVE_KNOWN = ACTIVITY_KEPT - timedelta(days=30)
"""Until this age of a day all the activity of its thirty days is known; later its report keeps what it knew before."""
DAYS_ON_A_PAGE = 30
SLICES = 28
"""In how many runs every day's rows are counted again."""
SEGMENTS = 8
"""Into how many parts each index is split where all of it is counted."""
TOP_POSTS = 5
KINDS: dict[str, Any] = {"posts": Post.by_day, "comments": Comment.by_day, "users": User.by_day}
"""What totals are made of: the index by day of each."""
TASK_OF_MEDIA = "process_media_upload"


@dataclass(frozen=True, slots=True)
class Reported:
    """The result of a run.

    Attributes:
        day: The day that was reported.
        posts: Posts made on it; likewise comments and users.
        active: Users active on it.
        page: The key of its page in the reports bucket.
        restated: Earlier days whose figures had changed.
        recounted: Days whose stored counts had to be corrected, other than those reported.
        unreadable: Rows that cannot be read; the log names them.
    """

    day: str
    posts: int
    comments: int
    users: int
    active: int
    page: str
    restated: list[str]
    recounted: int
    unreadable: int


@implementation(generate_content_analytics)
def handle(full: bool, run: Run, only: list[str] | None = None) -> Reported | InParts | PartDone:
    """Count the shards, then put the reports together; or only count some posts, and put one together of them."""
    return in_parts(
        run,
        plan=lambda: bounded(only) if only else _plan(run, full),
        work=lambda spec, cursor, tally: _count_posts(spec["only"], run) if "only" in spec else _count(spec),
        finish=lambda tallies: _report_posts(tallies, run) if only else _finish(tallies, run),
    )


def _plan(run: Run, full: bool) -> list[dict[str, Any]]:
    """One part for each shard and month of the days to report, and further parts for those only counted again.

    Where no day has been counted yet, or all are asked for, that is all of the indexes.
    """
    now, yesterday = run.now, run.now.date() - DAY
    known = [row for row in each(DayCounts.query("counts", consistent_read=True)) if _is_day(row.day)]
    counted = max((row.as_of for row in known if row.as_of), default=None)
    last = last_run(run.task.name, now) or (counted if counted and now - counted <= LONGEST_GAP else None)
    first = min(yesterday, last.date() if last else yesterday) - DAY * RESTATED
    days = [f"{first + DAY * ago}" for ago in range((yesterday - first).days + 1)]
    marked = {row.day: int(row.changes) for row in known if row.changes}
    parts: list[dict[str, Any]] = []
    for start in range(0, len(days), DAYS_IN_A_PART):
        some = days[start : start + DAYS_IN_A_PART]
        changes = {day: marked[day] for day in some if day in marked}
        parts += [{"shard": shard, "days": some, "changes": changes} for shard in shards()]
    turns = set()
    if full or not last:
        parts += [{"kind": kind, "segment": segment} for kind in KINDS for segment in range(SEGMENTS)]
    else:
        turns = {(now.toordinal() - night) % SLICES for night in range(max(1, (now.date() - last.date()).days))}
    again = [
        row.day
        for row in known
        if (row.changes or date.fromisoformat(row.day).toordinal() % SLICES in turns) and row.day not in days
    ]
    for start in range(0, len(again), DAYS_IN_A_COUNT):
        some = again[start : start + DAYS_IN_A_COUNT]
        parts.append({"again": some, "changes": {day: marked[day] for day in some if day in marked}})
    return parts


def _is_day(text: str) -> bool:
    """Whether a text is a day, as what applications write themselves need not be."""
    try:
        return f"{date.fromisoformat(text)}" == text
    except ValueError:
        return False


# ----------------------------------------------------------------------------------------------------------------------
# Parts
# ----------------------------------------------------------------------------------------------------------------------


def _count(spec: dict[str, Any]) -> Tally:
    """Do one part."""
    if "kind" in spec:
        return _count_index(spec)
    return _count_shard(spec) if "shard" in spec else _count_again(spec)


def _count_index(spec: dict[str, Any]) -> Tally:
    """Count the rows of every day in one segment of a kind's index by day."""
    days = DayCounts.read(KINDS[spec["kind"]], spec["segment"], SEGMENTS)
    return {"all": {spec["kind"]: days}}


def _count_shard(spec: dict[str, Any]) -> Tally:
    """Count one shard of the days to report."""
    shard, days = spec["shard"], [date.fromisoformat(day) for day in spec["days"]]
    active, unreadable = _active(shard, days), Counter[str]()
    counts: dict[str, dict[str, int]] = {}
    reports: dict[str, dict[str, Any]] = {}
    for day in days:
        partition = f"{day}#{shard}"
        posts = _posts(partition, note_in(unreadable))
        comments = [
            row.created_at for row in each(Comment.by_day.query(partition), note_in(unreadable), needs=["created_at"])
        ]
        hours = Counter(time.hour for time in [*(post.created_at for post in posts), *comments])
        counts[f"{day}"] = {"posts": len(posts), "comments": len(comments), "users": User.by_day.count(partition)}
        reports[f"{day}"] = {
            "active": active[day],
            "hours": [hours[hour] for hour in range(24)],
            "top": [_top_post(post) for post in _most_liked(posts)],
            "emails": Delivery.by_shelf.count(partition, filter_condition=Delivery.state == "sent"),
        }
    return {"counts": counts, "reports": reports, "changes": spec["changes"], **unreadable}


def _count_again(spec: dict[str, Any]) -> Tally:
    """Count the rows of days that are not reported."""
    counts = {
        day: {
            kind: sum(index.count(partition) for partition in day_keys(date.fromisoformat(day)))
            for kind, index in KINDS.items()
        }
        for day in spec["again"]
    }
    return {"counts": counts, "changes": spec["changes"]}


def _active(shard: int, days: Sequence[date]) -> dict[date, list[int]]:
    """How many users were active on each day, in the seven and in the thirty days that end with it."""
    first = days[0] - DAY * 29
    seen: dict[str, int] = defaultdict(int)  # by user, a bit for each day
    for ago in range((days[-1] - first).days + 1):
        for row in Activity.query(f"{first + DAY * ago}#{shard}", attributes_to_get=["user_id"]):
            seen[row.user_id] |= 1 << ago
    counts = {}
    for day in days:
        last = (day - first).days
        spans = [((1 << span) - 1) << (last - span + 1) for span in (1, 7, 30)]
        counts[day] = [sum(1 for bits in seen.values() if bits & span) for span in spans]
    return counts


def _posts(partition: str, broken: Callable[[Unreadable], object]) -> list[Post]:
    """The posts of a partition of the index by day, with what a report needs of them."""
    return _read([row.post_id for row in Post.by_day.query(partition)], broken)


def _read(ids: list[str], broken: Callable[[Unreadable], object]) -> list[Post]:
    wanted = ["post_id", "author_id", "visibility", "created_at", "likes_count", "comments_count"]
    return list(readable(Post, ids, broken, needs=["author_id", "created_at"], attributes_to_get=wanted))


def _most_liked(posts: list[Post]) -> list[Post]:
    """The public posts with the most likes, of equal likes the most comments, of equals the first by id."""
    public = [post for post in posts if post.visibility == "public"]
    return sorted(public, key=lambda post: (-post.likes_count, -post.comments_count, post.post_id))[:TOP_POSTS]


def _top_post(post: Post) -> dict[str, Any]:
    """A post in a tally, without its text: tallies are kept for a month, whatever becomes of the post."""
    return {"post_id": post.post_id, "likes": int(post.likes_count), "comments": int(post.comments_count)}


def _count_posts(post_ids: list[str], run: Run) -> Tally:
    """Count some posts as if they were all of yesterday."""
    broken: Counter[str] = Counter()
    day, posts = f"{run.now.date() - DAY}", _read(post_ids, note_in(broken))
    hours = Counter(post.created_at.hour for post in posts)
    report = {
        "active": [0, 0, 0],
        "hours": [hours[hour] for hour in range(24)],
        "top": [_top_post(post) for post in _most_liked(posts)],
        "emails": 0,
    }
    counts = {"posts": len(posts), "comments": 0, "users": 0}
    return {"counts": {day: counts}, "reports": {day: report}, "unreadable": broken.total()}


# ----------------------------------------------------------------------------------------------------------------------
# Finish
# ----------------------------------------------------------------------------------------------------------------------


def _finish(tallies: list[Tally], run: Run) -> Reported:
    """Sum up the parts, store the counts and the reports that differ, and publish these."""
    days = sorted({date.fromisoformat(day) for tally in tallies for day in tally.get("reports", ())})
    counts, corrected = _store_counts(tallies, run.now)
    changed = [
        report.day
        for report in _reports(days, [tally for tally in tallies if "reports" in tally], counts)
        if _store(report, run.now)
    ]
    _publish_from(days)
    _refresh({day for tally in tallies for day in tally.get("changes", ())} - {f"{day}" for day in days})
    advance(run.task.name, run.now)
    (last,) = _load(days[-1], days[-1])
    return _reported(
        last,
        page=f"daily/{last.day}/report.html",
        restated=[f"{day}" for day in changed if day != days[-1]],
        recounted=len(corrected - {f"{day}" for day in days}),
        unreadable=sum(tally.get("unreadable", 0) for tally in tallies),
    )


def _report_posts(tallies: list[Tally], run: Run) -> Reported:
    """Put the report of some posts together, with its files, which are not stored."""
    (tally,) = tallies
    (report,) = _reports([run.now.date() - DAY], [tally], tally["counts"])
    to_html(report, []), to_json(report), to_csv(report)
    return _reported(report, page="", restated=[], recounted=0, unreadable=tally["unreadable"])


def _reported(last: DayReport, *, page: str, restated: list[str], recounted: int, unreadable: int) -> Reported:
    return Reported(
        day=f"{last.day}",
        posts=last.posts_created,
        comments=last.comments_created,
        users=last.users_created,
        active=last.active_day,
        page=page,
        restated=restated,
        recounted=recounted,
        unreadable=unreadable,
    )


def _store_counts(tallies: list[Tally], now: datetime) -> tuple[dict[str, dict[str, int]], set[str]]:
    """Store each day's counts that differ from those known; return all days' counts, and which were stored."""
    rows = {row.day: row for row in each(DayCounts.query("counts", consistent_read=True))}
    counted: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(KINDS, 0))
    everything = [tally["all"] for tally in tallies if "all" in tally]
    if everything:
        for day in rows:
            counted[day]
    for of_kind in everything:
        for kind, by_day in of_kind.items():
            for day, number in by_day.items():
                if day < f"{now.date()}":
                    counted[day][kind] += number
    changes: dict[str, int] = {}
    sums: dict[str, Counter[str]] = defaultdict(Counter)
    for tally in tallies:
        changes |= tally.get("changes", {})
        for day, numbers in tally.get("counts", {}).items():
            sums[day].update(numbers)
    counted |= {day: {kind: numbers[kind] for kind in KINDS} for day, numbers in sums.items()}

    stored = set()
    for day, numbers in counted.items():
        row = rows.get(day)
        seen = changes.get(day, 0)
        if row and row.as_of and not seen and numbers == row.numbers():
            continue
        if _store_count(day, numbers, seen, now):
            stored.add(day)
    return {**{day: row.numbers() for day, row in rows.items()}, **counted}, stored


def _store_count(day: str, numbers: dict[str, int], seen: int, now: datetime) -> bool:
    """Store a day's counts, unless a newer run has, or the day was marked since the run was planned."""
    values = [getattr(DayCounts, kind).set(number) for kind, number in numbers.items()]
    older = DayCounts.as_of.does_not_exist() | (DayCounts.as_of <= now)
    unchanged = DayCounts.changes == seen if seen else DayCounts.changes.does_not_exist()
    actions = [*values, DayCounts.as_of.set(now), DayCounts.changes.remove()]
    return update_if(DayCounts("counts", day), actions, older & unchanged)


def _reports(days: list[date], shards: list[Tally], counts: dict[str, dict[str, int]]) -> Iterator[DayReport]:
    """The reports of the days, from the tallies of all shards."""
    top = {
        day: _best([post for tally in shards for post in tally["reports"].get(f"{day}", {}).get("top", ())])
        for day in days
    }
    shown = _shown({post["post_id"] for posts in top.values() for post in posts})
    for day in days:
        parts = [tally["reports"][f"{day}"] for tally in shards if f"{day}" in tally["reports"]]
        created = counts[f"{day}"]
        total = {kind: sum(of[kind] for known, of in counts.items() if known <= f"{day}") for kind in KINDS}
        active = [sum(of) for of in zip(*(part["active"] for part in parts), strict=True)]
        yield DayReport(
            day=day,
            posts_created=created["posts"],
            comments_created=created["comments"],
            users_created=created["users"],
            posts_total=total["posts"],
            comments_total=total["comments"],
            users_total=total["users"],
            active_day=active[0],
            active_week=active[1],
            active_month=active[2],
            hours=[sum(of) for of in zip(*(part["hours"] for part in parts), strict=True)],
            top_posts=[
                TopPost(**shown[post["post_id"]], likes=post["likes"], comments=post["comments"])
                for post in top[day]
                if post["post_id"] in shown
            ],
            media_processed=DayTotals.of_kind(day, TASK_OF_MEDIA, "MediaProcessed"),
            emails_sent=sum(part["emails"] for part in parts),
        )


def _best(posts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of the best posts of all shards the best, which are looked up by their ids."""
    return sorted(posts, key=lambda post: (-post["likes"], -post["comments"], post["post_id"]))[:TOP_POSTS]


def _shown(ids: Collection[str]) -> dict[str, dict[str, str]]:
    """What a report shows of posts, by id, but for those that are gone, or public no longer."""
    wanted = ["post_id", "author_id", "text", "visibility"]
    return {
        post.post_id: {"post_id": post.post_id, "author_id": post.author_id, "text": cut(post.text or "", LONGEST_TEXT)}
        for post in readable(Post, ids, needs=["author_id"], attributes_to_get=wanted)
        if post.visibility == "public"
    }


def _store(report: DayReport, now: datetime) -> bool:
    """Store a report unless it is stored as it is, or a newer run has written the day's; return whether it was."""
    stored = _load(report.day, report.day)
    if stored and now.date() - report.day >= ALL_ACTIVE_KNOWN:
        active = {name: max(getattr(report, name), getattr(stored[0], name)) for name in ACTIVE}
        report = replace(report, **active)
    if [report] == stored:
        return False
    row = Report("daily", f"{report.day}", figures=report.as_json(), as_of=now)
    Changed.note("report", row.day)
    return save_if(row, Report.as_of.does_not_exist() | (Report.as_of <= now))


def _load(first: date, last: date) -> list[DayReport]:
    """The stored reports of some days, in order."""
    rows = Report.query("daily", Report.day.between(f"{first}", f"{last}"), consistent_read=True)
    return [DayReport.from_json(row.figures) for row in each(rows)]


def _publish_from(days: list[date]) -> None:
    """Write the files of the first day whose report is not published, and of the days after, whose pages show it."""
    rows = list(each(Report.query("daily", Report.day.between(f"{days[0]}", f"{days[-1]}"), consistent_read=True)))
    unpublished = [row for row in rows if not row.published]
    if not unpublished:
        return
    for row in rows:
        if row.day >= unpublished[0].day:
            _publish(date.fromisoformat(row.day))
    for row in unpublished:  # only now: a run that is cut off before writes all of them again
        # Else a newer run has stored something, and publishes it.
        update_if(row, [Report.published.set(True)], Report.as_of == row.as_of)


def _refresh(days: Collection[str]) -> None:
    """Let the reports of days that were marked show their posts as they are now, and write their files anew.

    Posts were edited or deleted, or taken out of a report whose files are deleted.
    """
    for row in (row for day in days for row in each(Report.query("daily", Report.day == day, consistent_read=True))):
        known = row.figures["top_posts"]
        shown = _shown({post["post_id"] for post in known})
        top = [{**post, **shown[post["post_id"]]} for post in known if post["post_id"] in shown]
        if top != known:
            figures = {**row.figures, "top_posts": top}
            actions = [Report.figures.set(figures), Report.published.set(False)]
            if not update_if(row, actions, Report.as_of == row.as_of):
                continue  # a newer run has written it, from its posts
        if not row.published:
            _publish(date.fromisoformat(row.day))
            update_if(row, [Report.published.set(True)], Report.as_of == row.as_of)


def _publish(day: date) -> None:
    """Write a day's files from what is stored; again, if a newer run has stored something else meanwhile."""
    for _ in range(3):
        *before, report = _load(day - DAY * (DAYS_ON_A_PAGE - 1), day)
        page = to_html(report, before)
        as_json, as_csv, as_html = report_files(day)
        files = {
            as_json: (to_json(report), "application/json"),
            as_csv: (to_csv(report), "text/csv; charset=utf-8"),
            as_html: (page, "text/html; charset=utf-8"),
        }
        if Report.newest_day() == f"{day}":
            files["latest.html"] = (page, "text/html; charset=utf-8")
        for key, (text, kind) in files.items():
            s3().put_object(Bucket=reports_bucket(), Key=key, Body=text.encode(), ContentType=kind)
        if _load(day, day) == [report]:
            return


lambda_handler = handle.lambda_handler
