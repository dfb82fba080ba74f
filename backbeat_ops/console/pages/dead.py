"""Dead letters: by cause; one edited and tried, then all of its kind; or discarded with a reason."""

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from backbeat.ledger import SETTLED
from backbeat.letters import Letter
from backbeat_ops import dead, mail
from backbeat_ops.console import views
from backbeat_ops.console.jobs import Job
from backbeat_ops.dead import Done

BACK = "/dead"
"""Where work on letters leads back to, by which it is known."""
SHOWN = 50
SECONDS_FOR_ONE = 120


def looked_at(request: Request) -> tuple[list[Letter], dict[str, Any]]:
    """The letters, and what a page says of how new they are: when they were read, and the work on letters that goes on.

    A visit reads them only where the last one is a minute ago, or a queue has more or fewer than then; `anew` reads
    them in any case.
    """
    work = next((job for job in request.app.state.jobs.running() if job.back == BACK), None)
    found, at = request.app.state.letters.look(anew="anew" in request.query_params, still=work is not None)
    query = urlencode({**request.query_params, "anew": "1"})
    return found, {"read": at, "anew": f"{request.url.path}?{query}", "work": work}


def context(request: Request) -> dict[str, Any]:
    """What the list shows: the causes."""
    query = request.query_params
    letters, read = looked_at(request)
    found = dead.chosen(letters, query.get("class") or None, query.get("task") or None)
    return {
        "title": "Dead letters",
        "causes": [asdict(cause) for cause in dead.causes(found)],
        "number": len({(letter.task, letter.id) for letter in found}),
        "only": query.get("class") or query.get("task"),
        **read,
    }


def cause(request: Request) -> dict[str, Any]:
    """What the page of one cause shows: its letters."""
    looked, read = looked_at(request)
    letters = dead.chosen(looked, cause=request.path_params["cause"])
    (found, *_) = dead.causes(letters)
    distinct = list({letter.id: letter for letter in letters}.values())
    page = views.paged(request, distinct, SHOWN)
    return {"title": found.reason, "cause": asdict(found), "page": page, "mails": found.task_class == "emails", **read}


def letter(request: Request) -> dict[str, Any]:
    """What the page of one letter shows."""
    letters, read = looked_at(request)
    found = dead.find(request.query_params.get("id", ""), letters)[0]
    return {"title": found.id, "letter": dead.shown(found), "draft": dead.draft(found), **read}


def retry(request: Request, form: dict[str, Any]) -> Response:
    """Send one letter again, edited or as it is, and watch its next attempt; or all of a cause."""
    stack_jobs = request.app.state.jobs
    letters, _ = looked_at(request)
    if form.get("cause"):
        wanted = dead.chosen(letters, cause=str(form["cause"]))
        if question := views.ask_before_mailing(request, form, mail.most_mailed_again(wanted)):
            return question

        def all_of_them(job: Job) -> str:
            def progress(done: int) -> None:
                job.done = done

            return told(dead.retry(wanted, progress=progress), "sent to the queue")

        job = stack_jobs.start(f"Retrying {wanted[0].task}", BACK, len(wanted), forgetting(request, all_of_them))
        return views.went(f"/jobs/{job.number}")
    found = dead.find(str(form.get("id") or ""), letters)
    body = dead.edited(found[0], str(form["text"])) if form.get("text") else None
    most = mail.most_mailed_again([replace(found[0], body=body or found[0].body)])
    if most > 1 and (question := views.ask_before_mailing(request, form, most)):
        return question

    def one(job: Job) -> str:
        before = dead.run_of(found[0])
        done = dead.send_edited(found, body) if body is not None else dead.retry(found)
        if done.failed or done.missed:
            return told(done, "sent")
        run = dead.outcome_of(found[0], before, SECONDS_FOR_ONE)
        job.done = 1
        if run is None:
            return f"It is on its queue; nothing was heard of it within {SECONDS_FOR_ONE} s."
        why = f": {run.error}" if run.error and run.outcome in SETTLED and run.outcome != "succeeded" else "."
        return f"Its run has {run.outcome}{why}" if run.outcome == "succeeded" else f"Its run is {run.outcome}{why}"

    job = stack_jobs.start(f"Trying {found[0].id}", BACK, 1, forgetting(request, one))
    return views.went(f"/jobs/{job.number}")


def discard(request: Request, form: dict[str, Any]) -> Response:
    """Delete letters; the ledger keeps for which reason."""
    reason = str(form.get("reason") or "")
    letters, _ = looked_at(request)
    if form.get("cause"):
        wanted = dead.chosen(letters, cause=str(form["cause"]))
    else:
        wanted = dead.find(str(form.get("id") or ""), letters)
    if not 0 < len(reason.strip()) <= dead.LONGEST_REASON:
        raise ValueError(f"A reason has 1 to {dead.LONGEST_REASON} characters; the ledger keeps it.")

    def work(job: Job) -> str:
        def progress(done: int) -> None:
            job.done = done

        return told(dead.discard(wanted, reason, progress=progress), "discarded")

    title = f"Discarding {wanted[0].task}"
    job = request.app.state.jobs.start(title, BACK, len(wanted), forgetting(request, work))
    return views.went(f"/jobs/{job.number}")


def forgetting(request: Request, work: Callable[[Job], str]) -> Callable[[Job], str]:
    """Work after which the letters are read anew."""

    def done(job: Job) -> str:
        try:
            return work(job)
        finally:
            request.app.state.letters.forget()

    return done


def told(done: Done, what: str) -> str:
    """What became of letters, in a sentence."""
    parts = [f"{len(done.done):,} {what}"]
    if done.failed:
        first = next(iter(done.failed.items()))
        parts.append(f"{len(done.failed):,} could not be: {first[0]}: {first[1]}")
    if done.missed:
        parts.append(f"{len(done.missed):,} are gone, or are looked at by somebody else")
    return "; ".join(parts) + "."


ROUTES = [
    *views.page("/dead", "dead.html", context),
    *views.page("/dead/letter", "dead_letter.html", letter),
    *views.page("/dead/cause/{cause}", "dead_cause.html", cause),
    views.action("/dead/retry", retry),
    views.action("/dead/discard", discard),
]
