"""Schedules: when each fires, in words; edited, paused, and played over a stretch of time."""

from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from backbeat.messages import iso
from backbeat_ops import localcloud, mail, runs, schedules
from backbeat_ops.console import views
from backbeat_ops.console.jobs import Job
from backbeat_ops.console.pages.tasks import time_of

NEXT = 5
SECONDS_FOR_A_TICK = 600.0
LONGEST = timedelta(days=31)


def context(request: Request) -> dict[str, Any]:
    """What the list shows."""
    now = datetime.now(UTC)
    counts = schedules.counts(now)
    rows = []
    for schedule in schedules.schedules(request.app.state.stack.name):
        row = schedules.described(schedule, now)
        rows.append(row | {"words": words(row["expression"]), "counts": counts.get(row.get("task", ""), {})})
    return {"title": "Schedules", "schedules": rows, "now": now}


def words(expression: str) -> str:
    """When a schedule fires, for a page: as `in_words` has it, without its marks."""
    return schedules.in_words(expression).strip("`")


def one(request: Request) -> dict[str, Any]:
    """What the page of one schedule shows."""
    (schedule,) = schedules.named(request.app.state.stack.name, [request.path_params["name"]])
    now = datetime.now(UTC)
    row = schedules.described(schedule, now)
    recent = runs.recent(row["task"], 100, now.date(), runs.DAYS_BACK) if "task" in row else []
    return {
        "title": schedule.name,
        "schedule": row | {"words": words(row["expression"])},
        "times": [iso(at) for at in islice(schedule.times(now), NEXT)] if not row["problem"] else [],
        "counts": schedules.counts(now).get(row.get("task", ""), {}),
        "recent": [runs.shown(run) for run in recent if run.run_id.startswith(f"{schedule.name}@")][:20],
        "today": now.date(),
    }


def preview(request: Request, form: dict[str, Any]) -> Response:
    """Show when a schedule would fire with another expression; nothing is changed."""
    edited, now = _edited(request, form)
    return views.html(
        request,
        "schedule_preview.html",
        times=list(islice(edited.times(now), NEXT)),
        words=words(edited.definition["ScheduleExpression"]),
    )


def edit(request: Request, form: dict[str, Any]) -> Response:
    """Change when a schedule fires."""
    edited, _ = _edited(request, form)
    (schedule,) = schedules.named(request.app.state.stack.name, [edited.name])
    schedules.change(
        schedule,
        ScheduleExpression=edited.definition["ScheduleExpression"],
        ScheduleExpressionTimezone=edited.definition.get("ScheduleExpressionTimezone") or "UTC",
    )
    return views.went(f"/schedules/{edited.name}")


def _edited(request: Request, form: dict[str, Any]) -> tuple[schedules.Schedule, datetime]:
    (schedule,) = schedules.named(request.app.state.stack.name, [request.path_params["name"]])
    now = datetime.now(UTC)
    given = str(form.get("expression") or "").strip(), str(form.get("timezone") or "").strip()
    return schedules.edited(schedule, given[0] or None, given[1] or None, now), now


def switch(request: Request, form: dict[str, Any]) -> Response:
    """Let a schedule fire, or not."""
    (schedule,) = schedules.named(request.app.state.stack.name, [request.path_params["name"]])
    schedules.switch(schedule, "ENABLED" if form.get("to") == "on" else "DISABLED")
    return views.went(f"/schedules/{schedule.name}")


def play(request: Request, form: dict[str, Any]) -> Response:
    """Play a stretch of a schedule, tick by tick."""
    stack = request.app.state.stack
    chosen = schedules.named(stack.name, [request.path_params["name"]])
    ahead = stack.name == localcloud.STACK
    start, end = (time_of(str(form.get(name) or ""), ahead=ahead) for name in ("start", "end"))
    if not start < end <= start + LONGEST:
        raise ValueError(f"A stretch ends after it begins, and takes {LONGEST.days} days at the most.")
    most = 0 if ahead else mail.most_mailed_by(schedules.to_be_sent(chosen, start, end))
    if question := views.ask_before_mailing(request, form, most):
        return question
    before = start - timedelta(microseconds=1)
    total = len(_times(chosen[0], before, end))

    def work(job: Job) -> str:
        sent = known = failed = 0
        for tick in schedules.play(chosen, start, end):
            ended = runs.wait([played.message for played in tick if played.sent], SECONDS_FOR_A_TICK)
            sent += sum(played.sent for played in tick)
            known += sum(not played.sent for played in tick)
            failed += sum(run.outcome in ("dead", "rejected", "incomplete") for run in ended)
            job.done += len(tick)
        return f"{sent} sent, {known} were known already, {failed} failed."

    job = request.app.state.jobs.start(f"Playing {chosen[0].name}", f"/schedules/{chosen[0].name}", total, work)
    return views.went(f"/jobs/{job.number}")


def _times(schedule: schedules.Schedule, before: datetime, end: datetime) -> list[datetime]:
    found = []
    for at in schedule.times(before):
        if at >= end:
            break
        found.append(at)
    return found


ROUTES = [
    *views.page("/schedules", "schedules.html", context, live=True),
    *views.page("/schedules/{name}", "schedule.html", one),
    views.action("/schedules/{name}/preview", preview),
    views.action("/schedules/{name}/edit", edit),
    views.action("/schedules/{name}/switch", switch),
    views.action("/schedules/{name}/play", play),
]
