"""The console as an application: its pages, its files, and the guard before them."""

from botocore.exceptions import BotoCoreError, ClientError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from backbeat.mail.deliveries import NotUnknown
from backbeat_ops.console import views
from backbeat_ops.console.guard import Guard
from backbeat_ops.console.jobs import Jobs
from backbeat_ops.console.kept import Letters
from backbeat_ops.console.pages import dead, insights, jobs, mail, media, now, runs, schedules, tasks
from backbeat_ops.emulator import NotUnderstood
from backbeat_ops.runs import NotSettled
from backbeat_ops.stack import Stack

PAGES = (now, tasks, schedules, runs, dead, media, mail, insights, jobs)
MENDABLE = (ClientError, BotoCoreError, LookupError, ValueError, NotSettled, NotUnderstood, NotUnknown)
"""What a page says in a sentence."""


class Files(StaticFiles):
    """The console's own files. Their addresses change with their content, so that they may be kept."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """One file."""
        response = await super().get_response(path, scope)
        if response.status_code == 200:
            response.headers["cache-control"] = "private, max-age=31536000, immutable"
        return response


def create(stack: Stack, token: str, port: int) -> Guard:
    """The console of a stack.

    Args:
        stack: The stack, with this process pointed at it.
        token: The secret that whoever uses it must have.
        port: Where it listens.
    """
    routes = [route for page in PAGES for route in page.ROUTES]

    async def gone(request: Request, error: Exception) -> Response:
        return views.html(request, "fault.html", 404, said="There is no such page.", forbidden=False)

    app = Starlette(
        routes=[*routes, Mount("/static", Files(directory=views.HERE / "static"))],
        exception_handlers={**dict.fromkeys(MENDABLE, views.on_error), 404: gone},
    )
    guard = Guard(app, token, port)
    app.state.stack, app.state.csrf, app.state.kept, app.state.jobs = stack, guard.csrf, {}, Jobs()
    app.state.letters = Letters()
    return guard
