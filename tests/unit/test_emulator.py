"""What the local cloud's process does otherwise than the emulator: schedules, its port, the processes of functions."""

import json
import shutil
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import Queue

from backbeat_ops.emulator import KeptZip, NotUnderstood, Scheduler, move, refusal, retire, scheduled, times

SUNDAY = datetime(2026, 11, 1, tzinfo=UTC)
GROUP = "default"


@pytest.fixture(autouse=True)
def _one_page(refused: list[str]) -> Iterator[None]:
    """The scheduler lists all there is at once, which AWS refuses: the emulator has no second page."""
    yield
    refused[:] = [sentence for sentence in refused if "ListSchedules.MaxResults is 1000000" not in sentence]


def at(*day_hour_minute: int) -> datetime:
    return datetime(2026, 11, *day_hour_minute, tzinfo=UTC)


def a_schedule(expression: str, **more: Any) -> dict[str, Any]:
    return {"ScheduleExpression": expression, "CreationDate": SUNDAY, **more}


@pytest.mark.parametrize(
    ("expression", "after", "expected"),
    [
        ("cron(0 2 * * ? *)", at(1, 1, 59), [at(1, 2), at(2, 2)]),
        ("cron(0 2 * * ? *)", at(1, 2), [at(2, 2), at(3, 2)]),  # after a time means after it
        ("cron(0 * * * ? *)", at(1, 23, 30), [at(2, 0), at(2, 1)]),
        ("cron(0 * * * ? *)", at(1, 2) - timedelta(microseconds=1), [at(1, 2), at(1, 3)]),
        ("cron(0 * * * ? *)", at(1, 2) + timedelta(microseconds=1), [at(1, 3), at(1, 4)]),
        ("cron(0 1 ? * SUN *)", at(1, 1), [at(8, 1), at(15, 1)]),
        ("cron(0 9 ? * 2 *)", at(1), [at(2, 9), at(9, 9)]),  # 2 is Monday, unlike in Unix's cron
        ("cron(0/20 8-9 L * ? *)", at(30, 8, 40), [at(30, 9), at(30, 9, 20)]),
        ("cron(0 0 ? * FRI#2 *)", at(1), [at(13), datetime(2026, 12, 11, tzinfo=UTC)]),
        ("cron(0 12 29 2 ? *)", at(1), [datetime(2028, 2, 29, 12, tzinfo=UTC), datetime(2032, 2, 29, 12, tzinfo=UTC)]),
        ("cron(0 9 ? * L *)", at(1), [at(7, 9), at(14, 9)]),  # the last day of the week is Saturday
        ("cron(0 9 ? * 6L *)", at(1), [at(27, 9), datetime(2026, 12, 25, 9, tzinfo=UTC)]),
        ("cron(0 0 31 2 ? *)", at(1), []),
        ("cron(0 0 1 1 ? 2020)", at(1), []),
        ("rate(1 hour)", at(1, 0, 30), [at(1, 1), at(1, 2)]),
        ("rate(90 minutes)", SUNDAY - timedelta(days=400), [at(1), at(1, 1, 30)]),
        ("rate(2 days)", at(3), [at(5), at(7)]),
        ("at(2026-11-01T04:15:01)", at(1, 4), [at(1, 4, 15, 1)]),
        ("at(2026-11-01T04:15:01)", at(1, 4, 15, 1), []),
    ],
)
def test_the_times_of_an_expression(expression: str, after: datetime, expected: list[datetime]) -> None:
    assert list(islice(times(a_schedule(expression), after), 2)) == expected


@settings(max_examples=50)
@given(
    minute=st.integers(0, 59),
    hours=st.sets(st.integers(0, 23), min_size=1),
    weekday=st.integers(0, 6),
    after=st.datetimes(datetime(2026, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_the_next_time_is_the_first_that_matches(minute: int, hours: set[int], weekday: int, after: datetime) -> None:
    name = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")[weekday]
    expression = f"cron({minute} {','.join(map(str, sorted(hours)))} ? * {name} *)"
    midnight = after.replace(hour=0, minute=0, second=0, microsecond=0)
    within_eight_days = (
        midnight + timedelta(days=day, hours=hour, minutes=minute) for day in range(8) for hour in range(24)
    )
    expected = next(t for t in within_eight_days if t > after and t.hour in hours and t.weekday() == weekday)
    assert next(times(a_schedule(expression), after)) == expected


def test_the_times_lie_between_start_and_end() -> None:
    daily = a_schedule("cron(0 2 * * ? *)", StartDate=at(3, 2), EndDate=at(4, 2))
    assert list(times(daily, SUNDAY)) == [at(3, 2), at(4, 2)]


@pytest.mark.parametrize(
    ("expression", "wrong"),
    [
        ("cron(0 2 * * *)", "6 required, 5 provided"),
        ("cron(61 2 * * ? *)", "61"),
        ("cron(0 2 * * MON *)", "question mark"),
        ("cron(0/0 2 * * ? *)", "step"),
        ("rate(0 hours)", "from 1 up"),
        ("rate(3 weeks)", "minutes, hours or days"),
        ("at(tomorrow)", "tomorrow"),
        ("0 2 * * *", "neither cron"),
    ],
)
def test_an_expression_that_is_wrong_is_named(expression: str, wrong: str) -> None:
    with pytest.raises(NotUnderstood, match=wrong):
        times(a_schedule(expression), SUNDAY)


@pytest.mark.parametrize(
    ("expression", "after", "expected"),
    [
        ("cron(0 9 ? * MON *)", datetime(2026, 7, 1, tzinfo=UTC), "2026-07-06T07:00 2026-07-13T07:00"),
        ("cron(0 9 ? * MON *)", datetime(2026, 11, 1, tzinfo=UTC), "2026-11-02T08:00 2026-11-09T08:00"),
        # On 29 March 2026 clocks there go from 2 to 3; on 25 October from 3 to 2.
        ("cron(30 2 * * ? *)", datetime(2026, 3, 28, 12, tzinfo=UTC), "2026-03-30T00:30 2026-03-31T00:30"),
        ("cron(30 2 * * ? *)", datetime(2026, 10, 24, 12, tzinfo=UTC), "2026-10-25T00:30 2026-10-26T01:30"),
        ("cron(0 * * * ? *)", datetime(2026, 10, 25, 0, 30, tzinfo=UTC), "2026-10-25T02:00 2026-10-25T03:00"),
        ("cron(30 2 * * ? *)", datetime(2026, 10, 25, 1, tzinfo=UTC), "2026-10-26T01:30 2026-10-27T01:30"),
        ("at(2026-07-06T09:00:00)", datetime(2026, 7, 1, tzinfo=UTC), "2026-07-06T07:00"),
    ],
)
def test_another_time_zone_is_kept_and_its_clocks_changes_are(expression: str, after: datetime, expected: str) -> None:
    found = islice(times(a_schedule(expression, ScheduleExpressionTimezone="Europe/Paris"), after), 2)
    assert " ".join(f"{time:%Y-%m-%dT%H:%M}" for time in found) == expected


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../etc", "Europe", "+01:00"])
def test_a_time_zone_that_is_not_known_is_refused_not_ignored(zone: str) -> None:
    with pytest.raises(NotUnderstood, match=f"the time zone {zone!r} is not known".replace("+", r"\+")):
        times(a_schedule("cron(0 2 * * ? *)", ScheduleExpressionTimezone=zone), SUNDAY)
    assert refusal({"ScheduleExpression": "cron(0 2 * * ? *)", "ScheduleExpressionTimezone": zone}, SUNDAY)


def test_the_scheduled_time_is_written_as_the_service_writes_it() -> None:
    assert scheduled('{"t": "<aws.scheduler.scheduled-time>"}', at(1, 4)) == '{"t": "2026-11-01T04:00:00Z"}'


class Functions:
    """Lambda's client, of which a schedule asks one thing; moto's own mappings would eat messages."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def update_event_source_mapping(self, **asked: Any) -> None:
        self.asked.append(asked)


class Cloud:
    """moto's scheduler, with one queue behind all schedules."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.api = boto3.client("scheduler")
        self.functions = Functions()
        self.scheduler = Scheduler(self.api, queue.sqs, self.functions, SUNDAY)

    def put(self, name: str, expression: str, **more: Any) -> None:
        body = {"name": name, "for": "<aws.scheduler.scheduled-time>"}
        self.api.create_schedule(
            Name=name,
            ScheduleExpression=expression,
            FlexibleTimeWindow={"Mode": "OFF"},
            Target={
                "Arn": f"arn:aws:sqs:us-east-1:123456789012:{self.queue.name}",
                "RoleArn": "arn:aws:iam::123456789012:role/any",
                "Input": json.dumps(body),
            },
            **more,
        )

    def set_state(self, name: str, state: str) -> None:
        known = self.api.get_schedule(Name=name)
        kept = {key: known[key] for key in ("ScheduleExpression", "FlexibleTimeWindow", "Target")}  # type: ignore[literal-required]
        self.api.update_schedule(Name=name, State=state, **kept)  # type: ignore[arg-type]

    def tick(self, now: datetime) -> list[tuple[str, str]]:
        """What a tick puts on the queue."""
        self.scheduler.tick(now)
        records = self.queue.receive()["Records"]
        for record in records:
            self.queue.sqs.delete_message(QueueUrl=self.queue.url, ReceiptHandle=record["receiptHandle"])
        return [(body["name"], body["for"]) for body in (json.loads(record["body"]) for record in records)]


@pytest.fixture
def cloud(media_queue: Queue) -> Cloud:
    return Cloud(media_queue)


def test_a_schedule_fires_once_with_its_own_time_not_the_ticks(cloud: Cloud) -> None:
    cloud.put("nightly", "cron(0 2 * * ? *)")
    assert cloud.tick(at(1, 1, 59)) == []
    assert cloud.tick(at(1, 2, 3)) == [("nightly", "2026-11-01T02:00:00Z")]
    assert cloud.tick(at(1, 2, 4)) == []


def test_ticks_that_come_late_fire_each_time_in_order(cloud: Cloud) -> None:
    cloud.put("hourly", "cron(0 * * * ? *)")
    assert cloud.tick(at(1, 3)) == [("hourly", f"2026-11-01T0{hour}:00:00Z") for hour in (1, 2, 3)]


def test_what_a_disabled_schedule_missed_stays_missed(cloud: Cloud) -> None:
    cloud.put("hourly", "cron(0 * * * ? *)")
    assert cloud.tick(at(1, 0, 30)) == []
    cloud.set_state("hourly", "DISABLED")
    assert cloud.tick(at(1, 3, 30)) == []
    cloud.set_state("hourly", "ENABLED")
    assert cloud.tick(at(1, 3, 31)) == []
    assert cloud.tick(at(1, 4)) == [("hourly", "2026-11-01T04:00:00Z")]


def test_a_one_time_schedule_fires_however_late_and_is_gone(cloud: Cloud) -> None:
    cloud.put("once", "at(2026-10-30T12:00:00)", ActionAfterCompletion="DELETE")
    cloud.put("later", "at(2026-11-01T05:00:00)", ActionAfterCompletion="DELETE")
    assert cloud.tick(at(1, 4)) == [("once", "2026-10-30T12:00:00Z")]
    assert [schedule["Name"] for schedule in cloud.api.list_schedules()["Schedules"]] == ["later"]
    assert cloud.tick(at(1, 5)) == [("later", "2026-11-01T05:00:00Z")]
    assert cloud.tick(at(1, 6)) == []


def test_a_one_time_schedule_that_stays_does_not_fire_again_after_a_restart(cloud: Cloud) -> None:
    cloud.put("kept", "at(2026-11-01T04:00:00)", ActionAfterCompletion="NONE")
    assert cloud.tick(at(1, 4)) == [("kept", "2026-11-01T04:00:00Z")]
    cloud.scheduler = Scheduler(cloud.api, cloud.queue.sqs, cloud.functions, at(1, 4, 1))
    assert cloud.tick(at(1, 5)) == []


def test_a_schedule_that_ends_a_pause_enables_the_mapping_at_its_time_and_one_that_was_put_off_only_then(
    cloud: Cloud,
) -> None:
    def end(expression: str) -> dict[str, Any]:
        return {
            "Name": "send_welcome_email",
            "State": "ENABLED",
            "ScheduleExpression": expression,
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "ActionAfterCompletion": "DELETE",
            "Target": {
                "Arn": "arn:aws:scheduler:::aws-sdk:lambda:updateEventSourceMapping",
                "RoleArn": "arn:aws:iam::123456789012:role/resume",
                "Input": '{"Uuid": "the-mapping", "Enabled": true}',
            },
        }

    cloud.api.create_schedule(**end("at(2026-11-01T04:00:00)"))
    cloud.tick(at(1, 3))
    cloud.api.update_schedule(**end("at(2026-11-01T06:00:00)"))
    cloud.tick(at(1, 5))
    assert cloud.functions.asked == []
    cloud.tick(at(1, 6))
    assert cloud.functions.asked == [{"UUID": "the-mapping", "Enabled": True}]
    assert cloud.api.list_schedules()["Schedules"] == []


def test_a_schedule_that_cannot_fire_says_so_once_and_does_not_stop_the_others(
    cloud: Cloud, caplog: pytest.LogCaptureFixture
) -> None:
    cloud.put("broken", "cron(99 * * * ? *)")
    cloud.put("hourly", "cron(0 * * * ? *)")
    cloud.api.create_schedule(
        Name="another",
        ScheduleExpression="cron(0 * * * ? *)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={
            "Arn": "arn:aws:lambda:us-east-1:123456789012:function:f",
            "RoleArn": "arn:aws:iam::123456789012:role/r",
        },
    )
    assert cloud.tick(at(1, 1)) == [("hourly", "2026-11-01T01:00:00Z")]
    assert cloud.tick(at(1, 2)) == [("hourly", "2026-11-01T02:00:00Z")]
    said = [record.getMessage() for record in caplog.records if record.name == "backbeat.scheduler"]
    errors = [line for line in said if "does not fire" in line]
    assert len(errors) == 2
    assert "99" in next(line for line in errors if "default/broken" in line)
    assert "puts its input on a queue" in next(line for line in errors if "default/another" in line)


def test_what_the_queue_did_not_take_is_fired_at_the_next_tick(cloud: Cloud) -> None:
    cloud.put("hourly", "cron(0 * * * ? *)")
    cloud.put("once", "at(2026-11-01T01:00:00)", ActionAfterCompletion="DELETE")
    cloud.queue.sqs.delete_queue(QueueUrl=cloud.queue.url)
    cloud.scheduler.tick(at(1, 1))
    cloud.queue.sqs.create_queue(QueueName=cloud.queue.name)
    assert sorted(cloud.tick(at(1, 1, 1))) == [("hourly", "2026-11-01T01:00:00Z"), ("once", "2026-11-01T01:00:00Z")]


@pytest.mark.parametrize(
    ("schedule", "why"),
    [
        ({"ScheduleExpression": "cron(99 * * * ? *)"}, "Invalid Schedule Expression: 'cron(99 * * * ? *)'"),
        ({"ScheduleExpression": "cron(0 0 31 2 ? *)"}, "'cron(0 0 31 2 ? *)' never fires"),
        ({"ScheduleExpression": "cron(0 0 1 1 ? 2020)"}, "never fires"),
        ({"ScheduleExpression": "cron(0 9 LW * ? *)"}, "Invalid Schedule Expression: 'cron(0 9 LW * ? *)'"),
        ({"ScheduleExpression": "rate(99999999999 days)"}, "longer than a hundred years"),
        ({"ScheduleExpression": "every hour"}, "Invalid Schedule Expression: 'every hour'"),
        ({"ScheduleExpression": "rate(1 hour)", "ClientToken": "20261101T040000.000Z-1"}, "'clientToken' failed"),
        ({"ScheduleExpression": "rate(1 hour)", "ClientToken": "x" * 65}, "'clientToken' failed"),
    ],
)
def test_what_aws_refuses_is_refused_here(schedule: dict[str, Any], why: str) -> None:
    said = refusal(schedule, SUNDAY)
    assert said is not None and why in said


@pytest.mark.parametrize(
    "more", [{}, {"ClientToken": "a-uuid_4"}, {"ScheduleExpressionTimezone": "Europe/Paris"}, {"StartDate": 1.8e9}]
)
def test_what_aws_takes_is_taken_here(more: dict[str, Any]) -> None:
    assert refusal({"ScheduleExpression": "cron(0 9 ? * MON *)", **more}, SUNDAY) is None


def test_what_was_kept_moves_to_another_port_and_data_stays_as_it_is(tmp_path: Path) -> None:
    queue, layer = "http://localhost:4566/000000000000/q", "http://localhost:4566/_ministack/lambda-layers/l"
    application = "http://localhost:4566/about, http://localhost:8000/ and localhost:4566"
    kept = {
        "sqs.json": {f"000000000000\x00us-east-1\x00'{queue}'": {"url": queue, "text": application}},
        "cloudformation.json": {"PhysicalResourceId": queue, "Outputs": [application]},
        "lambda.json": {"Location": layer, "zip": "aGVsbG8="},
        "dynamodb.json": {"S": queue},
        "iam.json": {"role": "arn:aws:iam::000000000000:role/r"},
    }
    for name, content in kept.items():
        (tmp_path / name).write_text(json.dumps(content))
    move(tmp_path, "4621")
    moved = {file.name: file.read_text() for file in tmp_path.iterdir()}
    there = "http://localhost:4621/000000000000/q"
    assert {name: json.loads(text) for name, text in moved.items()} == {
        "sqs.json": {f"000000000000\x00us-east-1\x00'{there}'": {"url": there, "text": application}},
        "cloudformation.json": {"PhysicalResourceId": there, "Outputs": [application]},
        "lambda.json": {"Location": "http://localhost:4621/_ministack/lambda-layers/l", "zip": "aGVsbG8="},
        "dynamodb.json": kept["dynamodb.json"],
        "iam.json": kept["iam.json"],
    }
    before = {file: file.stat().st_ino for file in tmp_path.iterdir()}
    move(tmp_path, "4621")
    assert {file: file.stat().st_ino for file in tmp_path.iterdir()} == before


def test_a_move_that_was_cut_off_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sqs.json", "cloudformation.json"):
        (tmp_path / name).write_text('"http://localhost:4566/000000000000/q"')
    real = Path.replace

    def full(self: Path, target: Path) -> Path:
        if target.name == "sqs.json":
            raise OSError("no space left")
        return real(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", full)
        with pytest.raises(OSError, match="no space"):
            move(tmp_path, "4621")
    move(tmp_path, "4621")
    assert "4566" not in "".join(file.read_text() for file in tmp_path.glob("*.json"))


def test_nothing_was_kept_yet(tmp_path: Path) -> None:
    move(tmp_path / "state", "4621")
    assert not list(tmp_path.iterdir())


def test_a_package_is_unpacked_once_and_is_there_for_as_long_as_others_need_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    processes = [tmp_path / "process-1", tmp_path / "process-2"]
    for process, file in zip(processes, ("layer.zip", "the-same-layer.zip"), strict=True):
        with zipfile.ZipFile(tmp_path / file, "w") as archive:
            archive.writestr(zipfile.ZipInfo("python/pulse.py"), "RATE = 60")
        (process / "layer_0").mkdir(parents=True)
        with KeptZip(tmp_path / file) as archive:
            archive.extractall(process / "layer_0")
    shutil.rmtree(processes[0])
    (kept,) = (tmp_path / "unpacked").iterdir()
    assert (processes[1] / "layer_0").resolve() == kept.resolve()
    assert (processes[1] / "layer_0/python/pulse.py").read_text() == "RATE = 60"


def test_another_package_is_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for number in ("1", "2"):
        with zipfile.ZipFile(tmp_path / "code.zip", "w") as archive:
            archive.writestr("task.py", number)
        (tmp_path / number).mkdir()
        with KeptZip(tmp_path / "code.zip") as archive:
            archive.extractall(tmp_path / number)
    assert [(tmp_path / number / "task.py").read_text() for number in ("1", "2")] == ["1", "2"]


class Process:
    """A function's process, as the emulator has them."""

    def __init__(self, name: str, *, in_use: bool) -> None:
        self.name = name
        self.in_use = in_use
        self.ended = threading.Event()
        self._proc = SimpleNamespace(poll=lambda: None)


def test_a_process_at_work_ends_when_it_has_finished_and_others_at_once() -> None:
    def kill(processes: list[Process]) -> None:
        for process in processes:
            process.ended.set()

    idle, busy = Process("idle", in_use=False), Process("busy", in_use=True)
    retire(kill, [idle, None, busy])
    assert idle.ended.is_set()
    assert not busy.ended.is_set()
    busy.in_use = False
    assert busy.ended.wait(60)


def test_a_process_that_has_crashed_at_work_is_not_waited_for() -> None:
    crashed = Process("crashed", in_use=True)
    crashed._proc.poll = lambda: 1
    retire(lambda processes: [process.ended.set() for process in processes], [crashed])
    assert crashed.ended.wait(60)
