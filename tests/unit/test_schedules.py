"""Schedules and runs made by hand: what lands on the queues, for which time, and how often."""

import itertools
import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
import typer
from support import STACK, Context, Queue, logical_ids, resolve, resources
from typer.testing import CliRunner

from backbeat import ledger
from backbeat.ledger import Outcome
from backbeat.messages import Message
from backbeat.producer import InvalidTaskArguments, Retry, Task
from backbeat.runtime import Implementation, Rejected, Run, Skipped
from backbeat.tasks import TASKS, send_welcome_email
from backbeat_ops import checkout, commands, mail, runs, schedules, terminal
from backbeat_ops.cli import app
from backbeat_ops.emulator import NotUnderstood
from backbeat_ops.runs import NotSettled
from backbeat_ops.schedules import Schedule
from backbeat_ops.stack import NotFound, Stack

MONDAY = datetime(2026, 11, 2, tzinfo=UTC)
HOUR, DAY, WEEK = timedelta(hours=1), timedelta(days=1), timedelta(weeks=1)
EXPRESSIONS = {"daily": "cron(0 3 * * ? *)", "hourly": "cron(0 * * * ? *)", "weekly": "cron(0 9 ? * MON *)"}
INPUT = {
    "task": "send_welcome_email",
    "kwargs": {"user_id": "7"},
    "scheduled_time": "<aws.scheduler.scheduled-time>",
}


def put(name: str, expression: str, target_input: str, queue: Queue) -> None:
    boto3.client("scheduler").create_schedule(
        Name=name,
        GroupName=f"{STACK}-schedules",
        Description="what it is for",
        ScheduleExpression=expression,
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={
            "Arn": f"arn:aws:sqs:us-east-1:123456789012:{queue.name}",
            "RoleArn": "arn:aws:iam::123456789012:role/any",
            "Input": target_input,
            "RetryPolicy": {"MaximumRetryAttempts": 7, "MaximumEventAgeInSeconds": 3600},
        },
    )


@pytest.fixture
def welcome_queue(aws: None) -> Queue:
    return Queue(f"{STACK}-emails-send_welcome_email")


@pytest.fixture
def queue(welcome_queue: Queue) -> Queue:
    """The queue of three schedules of one task, whose identities their arguments tell apart."""
    for name, expression in EXPRESSIONS.items():
        identity = f"{name}@<aws.scheduler.scheduled-time>"
        put(name, expression, json.dumps({**INPUT, "id": identity}), welcome_queue)
    return welcome_queue


def the(name: str) -> Schedule:
    (schedule,) = schedules.named(STACK, [name])
    return schedule


def sent(queue: Queue) -> list[str]:
    """The identities of the messages on the queue, which is emptied."""
    found = []
    while records := queue.receive()["Records"]:
        for record in records:
            found.append(Message.of(json.loads(record["body"])).id)
            queue.sqs.delete_message(QueueUrl=queue.url, ReceiptHandle=record["receiptHandle"])
    return found


def implemented(does: Any) -> Implementation[Any]:
    def handle(user_id: str, run: Run) -> Any:
        return does(run)

    return Implementation(send_welcome_email, handle)


def test_schedules_are_read_as_they_are_deployed(queue: Queue) -> None:
    found = schedules.schedules(STACK)
    assert [(s.name, s.enabled, s.queue) for s in found] == [(name, True, queue.name) for name in EXPRESSIONS]
    assert found[1].task is send_welcome_email
    assert found[1].message(MONDAY).id == "hourly@2026-11-02T00:00:00Z"
    assert found[1].message(MONDAY).logical_time == MONDAY


def test_one_time_schedules_are_not_among_them(queue: Queue) -> None:
    send_welcome_email.apply_async({"user_id": "7"}, countdown=86_400)
    assert len(schedules.schedules(STACK)) == 3


def test_a_name_that_is_wrong_is_answered_with_those_there_are(queue: Queue) -> None:
    with pytest.raises(NotFound, match=r"no schedule 'nightly' in backbeat-test. Schedules: daily, hourly, weekly"):
        schedules.named(STACK, ["hourly", "nightly"])


def test_switching_changes_the_state_and_nothing_else(queue: Queue) -> None:
    before = the("hourly").definition
    schedules.switch(the("hourly"), "DISABLED")
    after = the("hourly").definition
    assert after["State"] == "DISABLED"
    same = set(before) - {"State", "LastModificationDate", "ResponseMetadata"}
    assert {key: after.get(key) for key in same} == {key: before.get(key) for key in same}
    schedules.switch(the("hourly"), "ENABLED")
    assert the("hourly").enabled


def test_a_sent_run_is_in_the_ledger_before_it_starts(queue: Queue) -> None:
    message = schedules.send(the("daily"), MONDAY)
    run = ledger.find(message)
    assert run is not None and run.outcome == Outcome.QUEUED
    queue.deliver(implemented(lambda run: None))
    run = ledger.find(message)
    assert run is not None and (run.outcome, run.attempts) == (Outcome.SUCCEEDED, 1)


def test_a_run_that_has_succeeded_is_not_made_again_by_hand(queue: Queue) -> None:
    times: list[datetime] = []
    implementation = implemented(lambda run: times.append(run.now))
    for _ in range(2):
        schedules.send(the("daily"), MONDAY)
        queue.deliver(implementation)
    assert times == [MONDAY]


def test_a_day_is_played_tick_by_tick_each_run_once_though_played_twice(queue: Queue) -> None:
    ticks = list(schedules.play(schedules.schedules(STACK), MONDAY, MONDAY + DAY))
    assert [tick[0].message.logical_time for tick in ticks] == [MONDAY + HOUR * n for n in range(24)]
    assert [(run.schedule.name, run.message.logical_time) for run in ticks[9]] == [
        ("hourly", MONDAY + HOUR * 9),
        ("weekly", MONDAY + HOUR * 9),
    ]
    again = [run for tick in schedules.play(schedules.schedules(STACK), MONDAY, MONDAY + DAY) for run in tick]
    assert len(again) == 26
    assert not any(run.sent for run in again)
    identities = sent(queue)
    assert len(identities) == len(set(identities))
    assert Counter(identity.split("@")[0] for identity in identities) == {"hourly": 24, "daily": 1, "weekly": 1}


def test_a_stretch_is_played_on_from_where_it_stopped(queue: Queue) -> None:
    chosen = schedules.named(STACK, ["hourly"])
    stopped = schedules.play(chosen, MONDAY, MONDAY + HOUR * 4)
    next(stopped)
    next(stopped)
    assert len(sent(queue)) == 2  # a tick is sent when it is asked for
    on = [run.sent for tick in schedules.play(chosen, MONDAY, MONDAY + HOUR * 4) for run in tick]
    assert on == [False, False, True, True]


def test_playing_waits_for_a_ticks_runs_and_says_how_they_ended(queue: Queue) -> None:
    def reject_at_nine(run: Run) -> None:
        if run.now == MONDAY + HOUR * 9:
            raise Rejected("nine", "not at nine")

    implementation = implemented(reject_at_nine)
    ended = []
    for tick in schedules.play(schedules.schedules(STACK), MONDAY + HOUR * 8, MONDAY + HOUR * 10):
        wanted = [run.message for run in tick]
        ended += runs.wait(wanted, 60, pause=lambda _: queue.deliver(implementation))
    assert [(run.run_id, run.outcome) for run in ended] == [
        ("hourly@2026-11-02T08:00:00Z", "succeeded"),
        ("hourly@2026-11-02T09:00:00Z", "rejected"),
        ("weekly@2026-11-02T09:00:00Z", "rejected"),
    ]


def test_waiting_ends_and_names_what_has_not(queue: Queue) -> None:
    message = schedules.send(the("daily"), MONDAY)
    unknown = Message(task="send_welcome_email", id="nobody-sent-this", sent_at=MONDAY)
    with pytest.raises(NotSettled) as refused:
        runs.wait([message, unknown], 0)
    assert "daily@2026-11-02T00:00:00Z is queued" in str(refused.value)
    assert "nobody-sent-this is not in the ledger" in str(refused.value)


def test_without_a_function_nobody_answers(queue: Queue) -> None:
    assert not schedules.consumed(the("daily"))


def test_a_schedule_is_described_with_its_next_times_and_its_last_run(queue: Queue) -> None:
    now = MONDAY + HOUR * 12
    schedules.send(the("weekly"), MONDAY + HOUR * 9)
    queue.deliver(implemented(lambda run: {"sent": 3}))
    schedules.switch(the("hourly"), "DISABLED")
    weekly = schedules.described(the("weekly"), now)
    assert weekly["next"] == ["2026-11-09T09:00:00Z", "2026-11-16T09:00:00Z", "2026-11-23T09:00:00Z"]
    assert weekly["last_run"]["run_id"] == "weekly@2026-11-02T09:00:00Z"
    assert weekly["last_run"]["result"] == {"sent": 3}
    assert schedules.described(the("weekly"), now + WEEK)["last_run"] == weekly["last_run"]
    assert schedules.described(the("weekly"), now + WEEK * 2)["last_run"] is None
    assert schedules.described(the("hourly"), now)["next"] == []


@pytest.mark.parametrize(
    ("expression", "target_input", "wrong"),
    [
        ("cron(0 99 * * ? *)", json.dumps(INPUT), "99"),
        ("cron(every day)", json.dumps(INPUT), r"2 provided\.$"),
        ("cron(0 3 LW * ? *)", json.dumps(INPUT), "LW"),
        ("cron(0 3 * * ? *)", "not JSON", "no message for a task"),
        ("cron(0 3 * * ? *)", json.dumps({**INPUT, "task": "wash_dishes"}), "no message for a task"),
        ("cron(0 3 * * ? *)", json.dumps({**INPUT, "scheduled_time": "noon"}), "scheduled_time"),
    ],
)
def test_a_schedule_that_means_nothing_is_shown_and_is_not_played(
    welcome_queue: Queue, expression: str, target_input: str, wrong: str
) -> None:
    put("broken", expression, target_input, welcome_queue)
    assert wrong.rstrip(r"\.$") in schedules.described(the("broken"), MONDAY)["problem"]
    with pytest.raises(NotUnderstood, match=f"Schedule 'broken': .*{wrong}"):
        list(schedules.play([the("broken")], MONDAY, MONDAY + DAY))
    assert welcome_queue.depth() == (0, 0)


def test_a_schedule_that_never_fires_is_named(welcome_queue: Queue) -> None:
    for name, expression in (("leap", "cron(0 3 31 2 ? *)"), ("past", "cron(0 3 1 1 ? 2020)")):
        put(name, expression, json.dumps(INPUT), welcome_queue)
        assert f"Schedule '{name}' never fires" in schedules.described(the(name), MONDAY)["problem"]
    schedules.switch(the("leap"), "DISABLED")
    assert schedules.described(the("leap"), MONDAY)["problem"] is None, "it is not meant to"


def test_a_run_by_hand_is_a_new_one_as_if_at_its_time(queue: Queue) -> None:
    times: list[datetime] = []
    implementation = implemented(lambda run: times.append(run.now))
    kwargs = {"user_id": "7"}
    messages = [runs.by_hand(STACK, send_welcome_email, kwargs, MONDAY) for _ in range(2)]
    assert messages[0].id != messages[1].id
    queue.deliver(implementation, Context())
    assert times == [MONDAY, MONDAY]
    assert [run.outcome for run in runs.wait(messages, 0)] == ["succeeded", "succeeded"]


def every_type(
    text: str, number: int = 1, flag: bool = False, when: datetime | None = None, many: list[str] | None = None
) -> None: ...


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["text=7"], {"text": "7"}),
        (["text=a=b"], {"text": "a=b"}),
        (["text=", "number=7"], {"text": "", "number": 7}),
        (["text=null", "flag=true"], {"text": "null", "flag": True}),
        (["text=x", "when=2026-11-01T04:00:00Z"], {"text": "x", "when": datetime(2026, 11, 1, 4, tzinfo=UTC)}),
        (["text=x", 'many=["a", "b"]'], {"text": "x", "many": ["a", "b"]}),
    ],
)
def test_words_become_arguments_of_the_types_that_the_task_declares(
    given: list[str], expected: dict[str, object]
) -> None:
    assert runs.arguments(Task(every_type, "default", Retry()), given) == expected


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        (["text"], "'text' is no key=value"),
        (["number=7"], "text: Field required"),
        (["text=x", "number=seven"], "number: Expected `int`, got `str`"),
        (["text=x", "number=7.5"], "number"),
        (["text=x", "colour=red"], "colour"),
    ],
)
def test_words_that_do_not_fit_are_refused_by_name(given: list[str], wrong: str) -> None:
    with pytest.raises(InvalidTaskArguments, match=f"every_type: .*{wrong}"):
        runs.arguments(Task(every_type, "default", Retry()), given)


# ---- The template's own ----------------------------------------------------------------------------------------------


@pytest.fixture
def deployed(aws: None) -> None:
    """The schedules of the template."""
    for schedule in resources("AWS::Scheduler::Schedule").values():
        properties = resolve(schedule["Properties"])
        target = schedule["Properties"]["Target"]
        (queue,) = logical_ids(target["Arn"])
        properties["GroupName"] = f"{STACK}-schedules"
        properties["Target"]["Arn"] = f"arn:aws:sqs:us-east-1:123456789012:{resolve({'Ref': queue})}"
        boto3.client("scheduler").create_schedule(**properties)


TIMES_A_WEEK = {
    "cleanup_expired_tokens": 7,
    "cleanup_old_posts": 1,
    "generate_content_analytics": 7,
    "send_content_digest_email": 1,
    "update_post_engagement_scores": 7,
    "update_trending_hashtags": 168,
    "update_user_statistics": 7,
}


def test_the_schedules_are_those_of_the_design(deployed: None) -> None:
    found = {}
    for schedule in schedules.schedules(STACK):
        week = itertools.takewhile(lambda time: time < MONDAY + WEEK, schedule.times(MONDAY - timedelta(seconds=1)))
        found[schedule.name] = len(list(week))
    assert TIMES_A_WEEK.items() <= found.items()


@pytest.mark.parametrize("name", [s["Properties"]["Name"] for s in resources("AWS::Scheduler::Schedule").values()])
def test_the_message_of_a_schedule_is_one_that_its_task_takes(deployed: None, name: str) -> None:
    message = the(name).message(MONDAY)
    assert message.id == f"{name}@2026-11-02T00:00:00Z"
    assert the(name).queue == TASKS[name].queue_name(STACK)
    TASKS[name].parse(message.kwargs)


# ---- The commands ----------------------------------------------------------------------------------------------------


@pytest.fixture
def backbeat(queue: Queue, of_template: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run a command on the stack in moto; return its JSON, or what it raised or said where it failed."""
    for module in (commands.runs, commands.schedules):
        monkeypatch.setattr(module, "the_stack", lambda context: Stack(STACK))

    def run(*arguments: str, stack: str = "") -> Any:
        done = CliRunner().invoke(app, [*arguments, "--json"], env={"BACKBEAT_STACK": stack, "COLUMNS": "200"})
        if done.exit_code == 0:
            return json.loads(done.stdout)
        return done.output if isinstance(done.exception, SystemExit) else done.exception

    return run


def test_the_listing_holds_state_next_times_and_last_run(backbeat: Callable[..., Any]) -> None:
    backbeat("schedules", "disable", "hourly")
    assert [(s["name"], s["state"], len(s["next"]), s["last_run"]) for s in backbeat("schedules")] == [
        ("daily", "ENABLED", 3, None),
        ("hourly", "DISABLED", 0, None),
        ("weekly", "ENABLED", 3, None),
    ]
    assert backbeat("schedules", "enable", "hourly")[0]["state"] == "ENABLED"


def test_a_schedule_is_fired_by_hand_for_a_time(backbeat: Callable[..., Any], queue: Queue) -> None:
    fired = backbeat("schedules", "run", "daily", "--at", "2026-11-02T03:00Z")
    known = {name: value for name, value in fired.items() if value is not None}
    assert known == {
        "task": "send_welcome_email",
        "class": "emails",
        "run_id": "daily@2026-11-02T03:00:00Z",
        "outcome": "queued",
        "attempts": 0,
        "logical_time": "2026-11-02T03:00:00Z",
    }
    assert sent(queue) == ["daily@2026-11-02T03:00:00Z"]


def test_a_finished_run_is_not_fired_again_and_that_is_said(
    backbeat: Callable[..., Any], queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = ("schedules", "run", "daily", "--at", "2026-11-02T03:00Z")
    backbeat(*again)
    queue.deliver(implemented(lambda run: {"sent": 3}))
    answer = backbeat(*again)
    assert (answer["outcome"], answer["result"]) == ("succeeded", {"sent": 3})
    assert queue.depth() == (0, 0)
    said = " ".join(CliRunner().invoke(app, list(again)).stdout.split())
    assert said.startswith("daily@2026-11-02T03:00:00Z has succeeded already, in the attempt of ")
    assert "`backbeat run send_welcome_email --at 2026-11-02T03:00:00Z` makes a new one." in said


def test_it_is_said_why_a_run_was_skipped(
    backbeat: Callable[..., Any], queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip, wait = implemented(lambda run: Skipped("a newer run has been made")), runs.wait
    monkeypatch.setattr(schedules, "consumed", lambda schedule: True)
    monkeypatch.setattr(runs, "wait", lambda w, s: wait(w, s, lambda _: queue.deliver(skip)))
    run = ("run", "send_welcome_email", "user_id=7", "--at", "2026-11-02", "--wait")
    assert "skipped: a newer run has been made" in CliRunner().invoke(app, run, env={"COLUMNS": "200"}).stdout
    played = CliRunner().invoke(app, ["play", "--from", "2026-11-02", "--to", "2026-11-03", "daily"]).stdout
    assert "was skipped: a newer run has been made" in " ".join(played.split())


def test_a_task_is_run_by_hand_with_its_arguments(backbeat: Callable[..., Any], queue: Queue) -> None:
    made = backbeat("run", "send_welcome_email", "user_id=7", "--at", "2026-11-02")
    (record,) = queue.receive()["Records"]
    body = json.loads(record["body"])
    assert (body["id"], body["kwargs"]) == (made["run_id"], {"user_id": "7"})
    assert datetime.fromisoformat(body["sent_at"]) == MONDAY


def test_waiting_for_a_run_by_hand_is_bounded(backbeat: Callable[..., Any]) -> None:
    failed = backbeat("run", "send_welcome_email", "user_id=7", "--wait", "--timeout", "0")
    assert isinstance(failed, NotSettled)
    assert "is not in the ledger" in str(failed)


def test_a_day_is_played_onto_a_queue_that_no_function_empties(backbeat: Callable[..., Any], queue: Queue) -> None:
    day = ("play", "--from", "2026-11-02", "--to", "2026-11-03", "daily", "weekly")
    assert backbeat(*day) == [
        {"schedule": name, "runs": 1, "sent": 1, "known": 0, "outcomes": {}, "failed": [], "waiting": 1}
        for name in ("daily", "weekly")
    ]
    assert [(s["sent"], s["known"]) for s in backbeat(*day)] == [(0, 1), (0, 1)]
    assert len(sent(queue)) == 2


def test_disabled_schedules_are_played_only_by_name(backbeat: Callable[..., Any]) -> None:
    backbeat("schedules", "disable", "hourly")
    stretch = ("play", "--from", "2026-11-02T08:00Z", "--to", "2026-11-02T10:00Z")
    assert {s["schedule"]: s["sent"] for s in backbeat(*stretch)} == {"daily": 0, "weekly": 1}
    assert {s["schedule"]: s["sent"] for s in backbeat(*stretch, "hourly")} == {"hourly": 2}


def test_playing_asks_before_it_mails_users_of_a_stack_on_aws(
    backbeat: Callable[..., Any], queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail, "most_mailed", lambda task, kwargs, at: 40)
    stretch = ("play", "--from", "2026-11-02", "--to", "2026-11-04", "daily", "--timeout", "0")
    assert "This sends up to 80 emails to users of prod. Do it?" in backbeat(*stretch, stack="prod")
    assert queue.depth() == (0, 0)
    assert backbeat(*stretch, "--yes", stack="prod")[0]["sent"] == 2
    assert backbeat(*stretch, stack="prod")[0]["known"] == 2  # nothing is left that would be sent: nothing to ask


def test_playing_fails_where_a_run_has_failed(
    backbeat: Callable[..., Any], queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reject(run: Run) -> None:
        raise Rejected("never", "not ever")

    implementation = implemented(reject)
    wait = runs.wait
    monkeypatch.setattr(schedules, "consumed", lambda schedule: True)
    monkeypatch.setattr(runs, "wait", lambda w, s: wait(w, s, lambda _: queue.deliver(implementation)))
    said = backbeat("play", "--from", "2026-11-02", "--to", "2026-11-03", "daily")
    found, end = json.JSONDecoder().raw_decode(said, said.index("[\n"))  # the task may have logged a line before
    assert found[0]["outcomes"] == {"rejected": 1}
    assert [(run["run_id"], run["error"]) for run in found[0]["failed"]] == [("daily@2026-11-02T03:00:00Z", "not ever")]
    assert "1 of 1 run failed: daily@2026-11-02T03:00:00Z (rejected)." in said[end:]


def test_a_stretch_that_does_not_end_can_be_played_on(
    backbeat: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedules, "consumed", lambda schedule: True)
    failed = backbeat("play", "--from", "2026-11-02", "--to", "2026-11-03", "--timeout", "0")
    assert isinstance(failed, NotSettled)
    assert "hourly@2026-11-02T00:00:00Z is queued" in str(failed)
    assert "Play the same stretch again" in str(failed)


def test_times_to_come_are_for_the_local_cloud(backbeat: Callable[..., Any], queue: Queue) -> None:
    """Whatever a run writes holds off every older one."""
    assert "is still to come" in backbeat("schedules", "run", "daily", "--at", "2999-01-01", stack="prod")
    assert "is still to come" in backbeat("play", "--from", "2026-11-02", "--to", "2999-01-01", stack="prod")
    for command in (
        ("schedules", "run", "daily", "--at", "2999-01-01"),
        ("play", "--from", "2026-11-02", "--to", "2999-01-01"),
        ("run", "send_welcome_email", "user_id=7", "--at", "2999-01-01"),
    ):
        assert "--force does it all the same" in backbeat(*command)
        assert "is still to come; only the local cloud" in backbeat(*command, "--force", stack="prod")
    arguments = ("user_id=7", "--at", "2999-01-01", "--force")
    assert "is still to come" in backbeat("run", "send_welcome_email", *arguments, stack="prod")
    assert queue.depth() == (0, 0)
    forced = backbeat("schedules", "run", "daily", "--at", "2999-01-01", "--force")
    assert forced["run_id"] == "daily@2999-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-02", MONDAY),
        ("2026-11-02T01:00+01:00", MONDAY),
        ("2026-11-02T00:00Z", MONDAY),
        ("20261102T000000Z", MONDAY),
    ],
)
def test_a_time_has_a_zone_or_is_a_date(text: str, expected: datetime) -> None:
    assert terminal.moment(text) == expected


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("2026-11-02T00:00", "say 2026-11-02T00:00Z"),
        ("2026-13-02", "no time"),
        ("now", "no time"),
        ("0001-01-01", "years 1970 to 2999"),
    ],
)
def test_a_time_without_a_zone_is_refused(text: str, wrong: str) -> None:
    with pytest.raises(typer.BadParameter, match=wrong):
        terminal.moment(text)


def test_an_unknown_task_or_schedule_is_answered_with_those_there_are(backbeat: Callable[..., Any]) -> None:
    assert "no task 'wash_dishes'. Tasks: " in str(backbeat("run", "wash_dishes"))
    assert isinstance(backbeat("schedules", "run", "nightly"), NotFound)
    assert "is not before" in backbeat("play", "--from", "2026-11-02", "--to", "2026-11-02")


# ---- Changed by hand -------------------------------------------------------------------------------------------------


@pytest.fixture
def of_template(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, str]]:
    """The schedules as the template has them, and a checkout that would deploy the same."""
    had = {
        name: {"ScheduleExpression": expression, "ScheduleExpressionTimezone": "UTC", "State": "ENABLED"}
        for name, expression in EXPRESSIONS.items()
    }
    coming = {name: dict(expected) for name, expected in had.items()}
    monkeypatch.setattr(schedules, "of_template", lambda deployed: had)
    monkeypatch.setattr(checkout, "schedules", lambda stack: coming)
    return coming


def test_an_edited_schedule_shows_its_next_times_first_and_differs_from_the_template(
    backbeat: Callable[..., Any], queue: Queue, of_template: Any
) -> None:
    refused = CliRunner().invoke(app, ["schedules", "edit", "daily", "--cron", "0 6 * * ? *"], input="n\n")
    assert "would fire next, in UTC: " in refused.stderr and " 06:00, " in refused.stderr
    assert the("daily").definition["ScheduleExpression"] == EXPRESSIONS["daily"]
    before = the("daily").definition
    found = backbeat("schedules", "edit", "daily", "--rate", "2 hours", "--timezone", "Europe/Paris", "--yes")
    assert (found["expression"], found["timezone"], found["state"]) == ("rate(2 hours)", "Europe/Paris", "ENABLED")
    assert found["differs"] == [
        "ScheduleExpression is 'rate(2 hours)' in place of 'cron(0 3 * * ? *)'",
        "ScheduleExpressionTimezone is 'Europe/Paris' in place of 'UTC'",
    ]
    assert the("daily").definition["Target"] == before["Target"]
    reset = backbeat("schedules", "reset", "daily", "--yes")
    assert (reset["expression"], reset["differs"]) == (EXPRESSIONS["daily"], [])


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        (["--cron", "0 6 * * *"], "6 required"),
        (["--cron", "0 0 31 2 ? *"], "never fires"),
        (["--rate", "3 weeks"], "minutes, hours or days"),
        (["--timezone", "Mars/Olympus"], "is not known"),
        ([], "Say --cron, --rate or --timezone"),
        (["--cron", "0 6 * * ? *", "--rate", "1 hour"], "either --cron or --rate"),
    ],
)
def test_what_could_never_fire_is_refused_before_anything_is_changed(
    backbeat: Callable[..., Any], queue: Queue, of_template: Any, given: list[str], wrong: str
) -> None:
    before = the("daily").definition["ScheduleExpression"]
    assert wrong in str(backbeat("schedules", "edit", "daily", *given, "--yes"))
    assert the("daily").definition["ScheduleExpression"] == before


def test_many_are_switched_at_once_by_names_and_patterns(
    backbeat: Callable[..., Any], queue: Queue, of_template: Any
) -> None:
    assert [item["name"] for item in backbeat("schedules", "disable", "*ly", "daily")] == ["daily", "hourly", "weekly"]
    assert [item["state"] for item in backbeat("schedules", "enable", "w*", "hourly")] == ["ENABLED", "ENABLED"]
    assert not the("daily").enabled
    assert {item["state"] for item in backbeat("schedules", "enable", "--all")} == {"ENABLED"}
    assert "no schedule 'x*'" in str(backbeat("schedules", "disable", "daily", "x*"))
    assert the("daily").enabled
    assert "Say which schedules, or --all" in backbeat("schedules", "disable")


def test_what_a_deployment_would_change_is_said_before_it(
    queue: Queue, of_template: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands.schedules, "the_stack", lambda context: Stack(STACK))
    schedules.switch(the("daily"), "DISABLED")
    schedules.switch(the("hourly"), "DISABLED")
    quiet = CliRunner().invoke(app, ["schedules"])
    assert "A deployment of this checkout" not in quiet.stderr
    assert "daily: State is 'DISABLED' in place of 'ENABLED'" in quiet.stdout
    of_template["hourly"]["ScheduleExpression"] = "cron(30 * * * ? *)"
    said = " ".join(CliRunner().invoke(app, ["schedules"]).stderr.split())
    assert "A deployment of this checkout changes hourly, and whatever was changed by hand with it" in said
    assert "'cron(0 * * * ? *)', and becomes 'cron(30 * * * ? *)'" in said
    assert "changes daily" not in said


def test_a_checkout_knows_what_it_would_deploy() -> None:
    coming = checkout.schedules("backbeat-local")
    assert coming["update_trending_hashtags"] == {
        "ScheduleExpression": "cron(0 * * * ? *)",
        "ScheduleExpressionTimezone": "UTC",
        "State": "ENABLED",
    }
    with pytest.raises(NotFound, match="deploys no stack 'another'"):
        checkout.schedules("another")


def test_runs_are_counted_by_how_they_ended(backbeat: Callable[..., Any], queue: Queue, of_template: Any) -> None:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for back, does in ((0, lambda run: None), (6, lambda run: Skipped("no")), (7, lambda run: None)):
        schedules.send(the("daily"), today - DAY * back)
        queue.deliver(implemented(does))
    (daily,) = [item for item in backbeat("schedules") if item["name"] == "daily"]
    assert daily["runs"] == {"succeeded": 1, "skipped": 1}
