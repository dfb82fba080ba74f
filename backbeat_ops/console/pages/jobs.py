"""Long work: how far it is. It goes on when its page is left."""

from typing import Any

from starlette.requests import Request

from backbeat_ops.console import views


def context(request: Request) -> dict[str, Any]:
    """What the page shows."""
    job = request.app.state.jobs.get(request.path_params["number"])
    return {"title": job.title, "job": job, "fault": views.said(job.fault) if job.fault else None}


ROUTES = views.page("/jobs/{number}", "job.html", context, live=True)
