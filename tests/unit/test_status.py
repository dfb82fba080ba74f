"""`backbeat status`: a verdict first, what is wrong with what to type, and how work goes on."""

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from backbeat import ledger
from backbeat.ledger import Attempt, Outcome
from backbeat.messages import Message
from backbeat_ops import status
from backbeat_ops.commands import status as command

NAME = "send_welcome_email"


def a_task(**given: Any) -> dict[str, Any]:
    task: dict[str, Any] = {"class": "emails", "waiting": 0, "in_flight": 0, "dead": 0, "oldest_s": None, "causes": []}
    return {**task, "at_work": [], "paused": None, "consumer": "on", "rate_per_minute": 0, "last_run": None, **given}


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({}, []),
        ({"waiting": 9, "oldest_s": 60}, []),
        ({"dead": 1}, [f"1 message is dead of {NAME}: `backbeat dead --task {NAME}`"]),
        ({"dead": 2}, [f"2 messages are dead of {NAME}: `backbeat dead --task {NAME}`"]),
        ({"consumer": "off"}, [f"nothing takes from the queue of {NAME}, as its mapping is off: `backbeat doctor`"]),
        ({"consumer": "missing"}, [f"nothing takes from the queue of {NAME}, as it has no mapping: `backbeat doctor`"]),
        ({"oldest_s": 400}, [f"{NAME} is late by 100s: `backbeat capacity`"]),
        ({"oldest_s": 400, "consumer": "paused"}, []),
    ],
)
def test_a_verdict_names_what_is_wrong_and_what_to_type(given: dict[str, Any], wrong: list[str]) -> None:
    found = status.verdict({NAME: a_task(**given)}, {NAME: 300})
    assert (found["ok"], found["wrong"]) == (not wrong, wrong)


def test_what_is_paused_or_silent_is_known_and_not_wrong() -> None:
    during = {"since": "2026-11-02T08:00:00Z", "until": "2026-11-02T09:00:00Z"}
    paused = a_task(consumer="paused", paused=during, at_work=[{"silent": True}])
    found = status.verdict({NAME: paused}, {})
    assert found["ok"] is True
    assert found["known"] == [
        f"{NAME} is paused since 2026-11-02T08:00:00Z until 2026-11-02T09:00:00Z: `backbeat resume {NAME}`",
        f"a worker of {NAME} gives no sign of life; its message comes back by itself",
    ]


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        ([(0, 0)], (0, 0, 0.0, None)),
        ([(0, 500)], (500, 500, 0.0, None)),
        ([(0, 500), (10, 400)], (400, 500, 10.0, 40.0)),
        ([(0, 100), (5, 500), (10, 250)], (250, 500, 50.0, 5.0)),
        ([(0, 500), (10, 500), (20, 400)], (400, 500, 10.0, 40.0)),
    ],
)
def test_progress_is_reckoned_since_there_was_most(
    looks: list[tuple[float, int]], expected: tuple[int, int, float, float | None]
) -> None:
    found = status.progress(looks)
    assert (found.left, found.most, found.per_second, found.seconds_left) == expected


def test_the_rate_counts_what_started_in_the_last_minute(aws: None) -> None:
    now = datetime.now(UTC)
    for number, ago in enumerate((1, 30, 90)):
        message = Message(task=NAME, id=f"r{number}", sent_at=now)
        ledger.record(message, "emails", Attempt(Outcome.SUCCEEDED, now - timedelta(seconds=ago), 1, "r"))
    assert ledger.started_since(NAME, now - timedelta(minutes=1)) == 2


def test_at_60_columns_no_line_of_a_task_is_longer() -> None:
    last = {"outcome": "retrying", "started": datetime.now(UTC).isoformat()}
    task = a_task(waiting=99_999, in_flight=99_999, dead=99_999, oldest_s=9_000, last_run=last, rate_per_minute=99_999)
    tasks = {"update_post_engagement_scores": task | {"class": "analytics"}}
    verdict = {"ok": True, "wrong": [], "known": []}
    found = {"stack": "backbeat", "endpoint": "http://127.0.0.1:4566", "tasks": tasks, "verdict": verdict}
    assert "      oldest 2h, retrying 0s ago" in printed(found, 60)
    assert any("last run" in line for line in printed(found, 120))


def printed(found: dict[str, Any], width: int) -> list[str]:
    """What `status` prints on a terminal of a width that no line of it is longer than."""
    terminal = Console(width=width, record=True, file=io.StringIO(), force_terminal=True, color_system=None)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(command, "console", terminal)
        for line in command._lines(found, width):
            terminal.print(line)
    lines = [line.rstrip() for line in terminal.export_text().splitlines()]
    assert max(map(len, lines)) <= width
    return lines


def test_at_60_columns_what_to_type_is_in_one_line_and_the_rest_goes_on_where_it_began() -> None:
    wrong = ["20 messages are dead of process_media_upload: `backbeat dead --task process_media_upload`"]
    known = ["send_notification is paused since 2026-11-26T16:29:09Z until 2026-11-26T17:29:09Z: `backbeat resume x`"]
    verdict = {"ok": False, "wrong": wrong, "known": known}
    found = {"stack": "backbeat", "endpoint": "http://127.0.0.1:4566", "tasks": {}, "verdict": verdict}
    assert printed(found, 60)[1:6] == [
        "  20 messages are dead of process_media_upload:",
        "      backbeat dead --task process_media_upload",
        "  send_notification is paused since 2026-11-26T16:29:09Z",
        "  until 2026-11-26T17:29:09Z:",
        "      backbeat resume x",
    ]
    assert f"  {wrong[0]}" in printed(found, 140)
    file = Console(width=60, file=io.StringIO())
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(command, "console", file)
        for line in command._lines(found, 60):
            file.print(line, soft_wrap=True)
    assert f"  {wrong[0]}\n" in file.file.getvalue()  # type: ignore[attr-defined]
