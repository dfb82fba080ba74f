"""Insights: what trends and why, over time, and the daily figures and reports."""

import re
from datetime import UTC, date, datetime
from typing import Any

import boto3
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backbeat.models import Report, TrendingHashtags
from backbeat.models.reports import report_files
from backbeat_ops import runs
from backbeat_ops.console import views
from backbeat_ops.stack import NotFound

DAYS = 30
RANKINGS = 24
HOURS = 7 * 24
"""Rankings of a week."""
REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; sandbox"
LINES = (("one", "active_day"), ("two", "active_week"), ("three", "active_month"))


def context(request: Request) -> dict[str, Any]:
    """What the page shows."""
    try:
        trending = TrendingHashtags.get("#")
    except TrendingHashtags.DoesNotExist:
        trending = None
    rankings = [
        {"at": run.logical_time, "tags": run.result["trending"]}
        for run in runs.recent("update_trending_hashtags", RANKINGS, days=7)
        if isinstance(run.result, dict) and "trending" in run.result
    ]
    rankings = [of for before, of in zip([None, *rankings], rankings, strict=False) if not before or before != of]
    reports = list(Report.query("daily", scan_index_forward=False, limit=DAYS))
    days = [str(report.day) for report in reversed(reports)]
    series = [(colour, [_number(report, name) for report in reversed(reports)]) for colour, name in LINES]
    made = [(str(report.day), _number(report, "posts_created")) for report in reversed(reports)]
    return {
        "title": "Insights",
        "trending": trending,
        "rankings": rankings[:12],
        "reports": reports,
        "days": days,
        "series": series,
        "made": made,
        "today": datetime.now(UTC).date(),
    }


WHY = re.compile(r"#(?P<tag>.+?): (?P<why>(?P<people>[\d,]+) .*)")
"""A line of a ranking, as `update_trending_hashtags` has it in its result: `#cats: 8 people in 7 days, ...`."""


def tag(request: Request) -> dict[str, Any]:
    """What the page of one tag shows: of each ranking of a week, its place, and how many used it in seven days."""
    wanted = request.query_params.get("tag", "").lstrip("#")
    times: list[str] = []
    people: list[int | None] = []
    ranked: list[dict[str, Any]] = []
    for run in reversed(runs.recent("update_trending_hashtags", HOURS, days=7)):
        ranking = run.result.get("trending", []) if isinstance(run.result, dict) else []
        times.append(f"{run.logical_time:%Y-%m-%d}")
        people.append(None)
        for place, line in enumerate(map(WHY.fullmatch, ranking), 1):
            if line and line["tag"].casefold() == wanted.casefold():
                people[-1] = number = int(line["people"].replace(",", ""))
                ranked.append({"at": run.logical_time, "place": place, "people": number, "why": line["why"]})
    return {
        "title": f"#{wanted}",
        "tag": wanted,
        "ranked": list(reversed(ranked))[:RANKINGS],
        "times": len(ranked),
        "of": len(times),
        "series": [("one", people)],
        "names": times,
        "most": max((each["people"] for each in ranked), default=0),
    }


def _number(report: Report, name: str) -> float:
    return float(report.figures.get(name) or 0)


def one(request: Request) -> dict[str, Any]:
    """What the page of one day's report shows."""
    return {"title": f"The report of {_day(request)}", "day": _day(request)}


def _day(request: Request) -> date:
    return date.fromisoformat(request.path_params["day"])


async def frame(request: Request) -> Response:
    """A report as it was published, for a frame that lets it do nothing."""
    key = report_files(_day(request))[2]

    def read() -> bytes:
        client = boto3.client("s3")
        try:
            return client.get_object(Bucket=request.app.state.stack.buckets["reports"], Key=key)["Body"].read()
        except client.exceptions.NoSuchKey:
            raise NotFound(f"There is no report of {_day(request)}.") from None

    content = await run_in_threadpool(read)
    return Response(content, media_type="text/html", headers={"content-security-policy": REPORT_POLICY})


ROUTES = [
    *views.page("/insights", "insights.html", context),
    *views.page("/insights/tag", "insights_tag.html", tag),
    *views.page("/insights/{day}", "insights_report.html", one),
    Route("/insights/{day}/frame", frame),
]
