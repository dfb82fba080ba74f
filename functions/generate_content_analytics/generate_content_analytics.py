"""generate_content_analytics: yesterday in figures, for people, spreadsheets and programs.

A run states yesterday and restates the three days before it, whose data may have come late; after an outage it states
the days that were missed, and restates the three before those. It is made in parts, one for each shard of the indexes
by day and each month; a user's activity is all in one shard, so that the unions of the shards add up. What is too much
for one part it splits: into one for each kind of rows of each day, and one for active users, by ranges of their ids.

Totals come without reading what exists: how many posts, comments and users each day has is stored, a day a row, and a
total is their sum. A run counts a day again if it is among the four, if something of it was deleted since
(`DayCounts.mark`), or on one day in 28, so that nothing that went unnoticed stays wrong for longer than four weeks. The
first run, one after more than 400 days, and one with `full`, count all days from the indexes.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import islice, pairwise
from typing import Any

from pynamodb.expressions.condition import Condition

from backbeat.aws import s3
from backbeat.models import (
    ACTIVITY_KEPT,
    PAGE,
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
from backbeat.sweeps import (
    LONGEST_GAP,
    MOST_PARTS,
    SECONDS_TO_STOP,
    PartDone,
    Split,
    Tally,
    Unfinished,
    Worked,
    advance,
    bounded,
    in_parts,
    last_run,
    note_in,
    walk,
)
from backbeat.tasks import generate_content_analytics
from backbeat.text import cut
from report import LONGEST_TEXT, DayReport, TopPost, to_csv, to_html, to_json

DAY = timedelta(days=1)
RESTATED = 3
"""How many days before yesterday are stated again."""
DAYS_IN_A_PART = 31
"""How many reported days one part counts: what it tells of them is to fit a row."""
DAYS_IN_A_COUNT = 500
"""How many days one part counts again, all shards of each, unless that takes too long."""
ROWS_AT_ONCE = 200_000
"""How many posts and comments one part counts of a shard, which takes some 40 seconds, before it splits itself."""
MOST_SEEN = 200_000
"""How many active users one part tells apart: 32 MB, and about seven million rows of activity."""
RANGES = 16
"""Into how many ranges of users those are split who are too many."""
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
ROWS: dict[str, Any] = {**KINDS, "emails": Delivery.by_shelf}
"""Where the rows of a day are found."""
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
        work=lambda spec, cursor, tally: _count(run, spec, cursor, tally),
        merge=_merge,
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


class TooMany(Exception):
    """There is more than one part is to count."""


def _count(run: Run, spec: dict[str, Any], cursor: Any, tally: Tally) -> Worked:
    """Do one part."""
    match spec:
        case {"only": post_ids}:
            return _count_posts(run, post_ids)
        case {"kind": _}:
            return _count_index(run, spec, cursor, tally)
        case {"shard": _, "active": [after, until]}:
            return _split_active(run, spec, after, until)
        case {"shard": _}:
            return _count_shard(run, spec)
        case {"rows": kind, "day": day}:

            def work(page: list[Any], counted: Counter[str]) -> None:
                dict.update(counted, _merge([counted, _count_page(kind, day, page)]))

            needs = ["created_at"] if kind == "comments" else []
            return walk(run, ROWS[kind], spec, cursor, tally or _nothing([day]), work, needs)
    return _count_again(run, spec)


def _nothing(days: Iterable[str]) -> dict[str, Any]:
    """The tally of days on which nothing was made."""
    report = {"active": [0, 0, 0], "hours": [0] * 24, "top": [], "emails": 0}
    days = [*days]
    return {"counts": {day: dict.fromkeys(KINDS, 0) for day in days}, "reports": {day: {**report} for day in days}}


def _merge(tallies: Iterable[Tally]) -> dict[str, Any]:
    """Add up tallies, number by number; of the best posts the best stay."""
    total: dict[str, Any] = {}
    for tally in tallies:
        for name, value in tally.items():
            known = total.get(name)
            if known is None:
                total[name] = value
            elif isinstance(value, dict):
                total[name] = _merge([known, value])
            elif name == "top":
                total[name] = _best([*known, *value])
            elif isinstance(value, list):
                total[name] = [sum(of) for of in zip(known, value, strict=True)]
            else:
                total[name] = known + value
    return total


def _count_index(run: Run, spec: dict[str, Any], cursor: Any, tally: Tally) -> Worked:
    """Count the rows of every day in one segment of a kind's index by day, as far as time allows."""
    found: dict[str, Any] = dict(tally)
    for counts, last in DayCounts.read(KINDS[spec["kind"]], spec["segment"], SEGMENTS, cursor):
        found = _merge([found, {"all": {spec["kind"]: dict(counts)}}])
        if last and run.seconds_left < SECONDS_TO_STOP:
            return Unfinished(last, found)
    return found


def _count_shard(run: Run, spec: dict[str, Any]) -> Worked:
    """Count one shard of the days to report; where there is too much, let parts of their own do so."""
    shard, days = spec["shard"], spec["days"]
    try:
        counted = _count_at_once(run, shard, days)
    except TooMany:
        parts: list[dict[str, Any]] = [
            {"rows": kind, "day": day, "keys": [f"{day}#{shard}"]} for day in days for kind in ROWS
        ]
        parts.append({"shard": shard, "days": days, "active": [None, None]})
        return Split(parts, {**_nothing(days), "changes": spec["changes"]})
    return {**counted, "changes": spec["changes"]}


def _count_at_once(run: Run, shard: int, days: Sequence[str]) -> dict[str, Any]:
    """Count one shard of the days to report.

    Raises:
        TooMany: There is more than one part is to count.
    """
    total, rows, unreadable = _nothing(days), 0, Counter[str]()
    for day in days:
        partition = f"{day}#{shard}"
        for kind in ("posts", "comments"):
            needs = ["created_at"] if kind == "comments" else []
            read = each(ROWS[kind].query(partition), note_in(unreadable), needs=needs)
            while page := list(islice(read, PAGE)):
                rows += len(page)
                if rows > ROWS_AT_ONCE or run.seconds_left < SECONDS_TO_STOP:
                    raise TooMany
                total = _merge([total, _count_page(kind, day, page)])
        total["counts"][day]["users"] = User.by_day.count(partition)
        total["reports"][day]["emails"] = Delivery.by_shelf.count(partition, filter_condition=Delivery.state == "sent")
    seen, is_all = _seen(run, shard, days, None, None)
    if not is_all:
        raise TooMany
    return _merge([total, _active(seen, days), unreadable])


def _count_page(kind: str, day: str, page: list[Any]) -> dict[str, Any]:
    """What a page of rows of one day comes to."""
    unreadable: Counter[str] = Counter()
    match kind:
        case "posts":
            posts = _posts([row.post_id for row in page], note_in(unreadable))
            report = {"hours": _hours(posts), "top": [_top_post(post) for post in _most_liked(posts)]}
            return {"counts": {day: {kind: len(posts)}}, "reports": {day: report}, **unreadable}
        case "comments":
            return {"counts": {day: {kind: len(page)}}, "reports": {day: {"hours": _hours(page)}}}
        case "users":
            return {"counts": {day: {kind: len(page)}}}
    return {"reports": {day: {kind: sum(row.state == "sent" for row in page)}}}


def _hours(rows: Iterable[Any]) -> list[int]:
    """How many rows were made in each hour."""
    hours = Counter(row.created_at.hour for row in rows)
    return [hours[hour] for hour in range(24)]


def _count_again(run: Run, spec: dict[str, Any]) -> Worked:
    """Count the rows of days that are not reported; where that takes too long, others count as many as this has."""
    keys = spec.get("partitions") or [key for day in spec["again"] for key in day_keys(date.fromisoformat(day))]
    counts: dict[str, Counter[str]] = {}
    for done, key in enumerate(keys):
        if done and run.seconds_left < SECONDS_TO_STOP:
            size = max(done, -(-len(keys) // MOST_PARTS))
            parts = [{"partitions": keys[at : at + size]} for at in range(done, len(keys), size)]
            return Split(parts, {"counts": counts, "changes": spec.get("changes", {})})
        of_day = counts.setdefault(key.partition("#")[0], Counter())
        of_day.update({kind: index.count(key) for kind, index in KINDS.items()})
    return {"counts": counts, "changes": spec.get("changes", {})}


def _split_active(run: Run, spec: dict[str, Any], after: str | None, until: str | None) -> Worked:
    """Count the active users of a range; where they are too many, parts of their own count a part of the range each."""
    seen, is_all = _seen(run, spec["shard"], spec["days"], after, until)
    if is_all:
        return _active(seen, spec["days"])
    known = sorted(seen)
    bounds = [known[max(0, len(known) * number // RANGES - 1)] for number in range(1, RANGES)]  # never the last of them
    ends = [after, *dict.fromkeys(bounds), until]
    return Split([{**spec, "active": list(pair)} for pair in pairwise(ends)], {})


def _seen(
    run: Run, shard: int, days: Sequence[str], after: str | None, until: str | None
) -> tuple[dict[str, int], bool]:
    """On which days the users of a range were active, a bit for each; and whether that is all of them."""
    first = date.fromisoformat(days[0]) - DAY * 29
    between: Condition | None = Activity.user_id > after if after else None
    if until:
        between = Activity.user_id.between(after, until) if after else Activity.user_id <= until
    seen: dict[str, int] = defaultdict(int)
    for ago in range((date.fromisoformat(days[-1]) - first).days + 1):
        for row in Activity.query(f"{first + DAY * ago}#{shard}", between, attributes_to_get=["user_id"]):
            if row.user_id != after:
                seen[row.user_id] |= 1 << ago
            if len(seen) > MOST_SEEN:
                return seen, False
        if run.seconds_left < SECONDS_TO_STOP and len(seen) > 1:
            return seen, False
    return seen, True


def _active(seen: Mapping[str, int], days: Sequence[str]) -> dict[str, Any]:
    """How many users were active on each day, in the seven and in the thirty days that end with it."""
    first = date.fromisoformat(days[0]) - DAY * 29
    reports = {}
    for day in days:
        last = (date.fromisoformat(day) - first).days
        spans = [((1 << span) - 1) << (last - span + 1) for span in (1, 7, 30)]
        reports[day] = {"active": [sum(1 for bits in seen.values() if bits & span) for span in spans]}
    return {"reports": reports}


def _posts(ids: Iterable[str], broken: Callable[[Unreadable], object]) -> list[Post]:
    """Posts, with what a report needs of them."""
    wanted = ["post_id", "author_id", "visibility", "created_at", "likes_count", "comments_count"]
    return list(readable(Post, ids, broken, needs=["author_id", "created_at"], attributes_to_get=wanted))


def _most_liked(posts: list[Post]) -> list[Post]:
    """The public posts with the most likes, of equal likes the most comments, of equals the first by id."""
    public = [post for post in posts if post.visibility == "public"]
    return sorted(public, key=lambda post: (-post.likes_count, -post.comments_count, post.post_id))[:TOP_POSTS]


def _top_post(post: Post) -> dict[str, Any]:
    """A post in a tally, without its text: tallies are kept for a month, whatever becomes of the post."""
    return {"post_id": post.post_id, "likes": int(post.likes_count), "comments": int(post.comments_count)}


def _count_posts(run: Run, post_ids: list[str]) -> Tally:
    """Count some posts as if they were all of yesterday."""
    day, broken = f"{run.now.date() - DAY}", Counter[str]()
    posts = _posts(post_ids, note_in(broken))
    report = {"hours": _hours(posts), "top": [_top_post(post) for post in _most_liked(posts)]}
    found = {"counts": {day: {"posts": len(posts)}}, "reports": {day: report}, "unreadable": broken.total()}
    return _merge([_nothing([day]), found])


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
