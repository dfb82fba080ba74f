"""`backbeat runs`: every run of the ledger can be found, whatever time it was made for and whatever its id."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support import Context
from typer.testing import CliRunner

from backbeat import ledger
from backbeat.ledger import Attempt, Outcome
from backbeat.messages import Message
from backbeat_ops import cli, commands, runs

TASK = "update_user_statistics"
TODAY = datetime.now(UTC).replace(hour=3, minute=0, second=0, microsecond=0)
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _stack(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands.runs, "the_stack", lambda context: None)


def made(at: datetime, run_id: str = "", started: datetime = TODAY, task: str = TASK) -> str:
    """A run in the ledger; return its id."""
    scheduled = {} if run_id else {"scheduled_time": at}
    message = Message(task=task, id=run_id, sent_at=at, **scheduled)  # type: ignore[arg-type]
    ledger.record(message, "analytics", Attempt(Outcome.SUCCEEDED, started, 1, Context().aws_request_id))
    return message.id


def shown(*words: str) -> list[str]:
    done = CliRunner().invoke(cli.app, ["runs", "--json", *words])
    assert done.exit_code == 0, done.output
    return [run["run_id"] for run in json.loads(done.stdout)]


def test_without_a_day_the_runs_of_today_and_yesterday_are_shown() -> None:
    today, yesterday = made(TODAY, started=TODAY), made(TODAY - DAY, started=TODAY - DAY)
    made(TODAY - 2 * DAY)
    made(TODAY + DAY)
    assert shown() == [today, yesterday]


@pytest.mark.parametrize("year", [2019, 2061])
def test_a_run_made_as_if_at_another_time_is_found_by_its_day(year: int) -> None:
    at = datetime(year, 5, 6, 23, 59, 59, tzinfo=UTC)
    run, day_before = made(at), made(at - DAY, started=TODAY - DAY)
    assert shown() == []
    assert shown("--day", f"{year}-05-06") == [run]
    assert shown("--day", f"{year}-05-06T04:00Z", "--days", "2", "--task", TASK) == [run, day_before]
    assert shown("--day", f"{year}-05-07", "--days", "3", "--limit", "1") == [run]
    assert shown("--day", f"{year}-05-07") == []


def test_the_last_run_is_the_one_that_started_last_whatever_its_id() -> None:
    """Ids of messages begin with a time, those of schedules' runs with the task, those of events with anything."""
    scheduled = made(TODAY, started=TODAY)
    by_hand = made(TODAY, "20261101T030000.000Z-1", started=TODAY + timedelta(minutes=1))
    of_an_event = made(TODAY, "zzz", started=TODAY + timedelta(minutes=2))
    assert shown() == [of_an_event, by_hand, scheduled]
    assert shown("--limit", "2") == [of_an_event, by_hand]


def test_where_there_is_none_it_says_how_to_look_further() -> None:
    def said(*words: str) -> Any:
        return CliRunner().invoke(cli.app, ["runs", *words]).stdout.replace("\n", " ")

    assert "no runs on 2019-05-06" in said("--day", "2019-05-06")
    assert "no runs from 2019-05-04 to 2019-05-06" in said("--day", "2019-05-06", "--days", "3")
    assert "--day and --days show other days" in said()


def test_a_day_that_is_none_is_refused() -> None:
    done = CliRunner().invoke(cli.app, ["runs", "--day", "yesterday"])
    assert done.exit_code == 2
    assert "'yesterday' is no time" in done.stderr


def test_the_newest_run_is_shown_and_those_left_out_are_counted() -> None:
    """Messages without an id of their own have SQS's, which sorts by nothing."""
    for number in range(25):
        made(TODAY, f"{number % 5}f0e3d70-{number}", started=TODAY + timedelta(seconds=number))
    newest = made(TODAY, "0-newest", started=TODAY + timedelta(minutes=1))
    at_hand = made(TODAY - DAY, "0-yesterdays", started=TODAY + timedelta(minutes=2))
    made(TODAY, "x", task="send_notification")
    done = CliRunner().invoke(cli.app, ["runs", "--json", "--task", TASK])
    found = [run["run_id"] for run in json.loads(done.stdout)]
    assert (len(found), found[:3]) == (20, [at_hand, newest, "4f0e3d70-24"])
    assert "20 of 27 of update_user_statistics: --limit shows more." in done.stderr
    assert "send_notification" not in CliRunner().invoke(cli.app, ["runs", "--limit", "3"]).stderr
    assert CliRunner().invoke(cli.app, ["runs", "--limit", "27", "--task", TASK]).stderr == ""
    last = runs.last(TASK, TODAY)
    assert last is not None
    assert last.run_id == at_hand


def test_more_runs_than_are_counted_are_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "MOST_COUNTED", 3)
    for number in range(5):
        made(TODAY, f"{number}")
    assert runs.left_out(TASK, 2, TODAY.date()) == f"2 of 3 or more of {TASK}"
