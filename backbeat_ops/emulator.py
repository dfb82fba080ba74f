"""What the local cloud's process runs: the emulator, and what it does otherwise than AWS put right.

**Schedules.** The emulator keeps them as the Scheduler API asks, but fires them differently: it leaves the keyword
`<aws.scheduler.scheduled-time>` in messages as it stands, makes up for what a disabled schedule missed, and fires a
one-time schedule again after a restart. So its own firing is left out, and what is due is fired from here. And
it takes schedules that AWS refuses, which are refused here.

**Its port.** The emulator keeps queues by their URLs, and finds none of them on another port. So they are moved there.

**Functions.** The emulator unpacks a function's layers for each of its processes, and kills those at work when the code
is changed. So what was unpacked is kept, and who is at work may finish.

The emulator's interpreter runs this file, in an environment that knows nothing of this project.
"""

import hashlib
import json
import logging
import os
import re
import shutil
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from itertools import dropwhile, takewhile
from pathlib import Path
from time import sleep
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import boto3
from aws_croniter import AwsCroniter
from botocore.exceptions import BotoCoreError, ClientError

SCHEDULED_TIME = "<aws.scheduler.scheduled-time>"
"""What EventBridge Scheduler replaces by the time that a schedule was meant to fire."""
UPDATE_MAPPING = "aws-sdk:lambda:updateEventSourceMapping"
"""The end of the ARN of the universal target by which a schedule switches an event source mapping on or off. Its input
has the request's members as the AWS SDK for Java spells them, `Uuid` ("Using universal targets")."""
SECONDS_BETWEEN_TICKS = 5
REGION = "us-east-1"
URL = re.compile(rb"(?<=http://localhost:)\d+(?=/(?:\d{12}|_ministack)/)")
"""The port in what the emulator keeps as a queue's URL, or as a layer's."""
LONGEST_RATE = timedelta(days=36_500)
FIELDS = 6
"""Of a cron expression."""

logger = logging.getLogger("backbeat.scheduler")


class NotUnderstood(ValueError):
    """The times of this schedule are not known here; the text says why."""


def times(schedule: Mapping[str, Any], after: datetime) -> Iterator[datetime]:
    """When a schedule fires, after `after` and in order; there may be no end to it.

    Cron expressions are EventBridge's, of six fields ("Schedule types on EventBridge Scheduler").

    Args:
        schedule: The schedule, as GetSchedule answers.
        after: A time with its time zone.

    Raises:
        NotUnderstood: Its expression is wrong, or its time zone is not known.
    """
    zone = _zone(schedule.get("ScheduleExpressionTimezone") or "UTC")
    expression = schedule["ScheduleExpression"]
    match = re.fullmatch(r"(cron|rate|at)\((.*)\)", expression)
    if match is None:
        raise NotUnderstood(f"{expression!r} is neither cron(...), rate(...) nor at(...)")
    kind, argument = match.groups()
    start, end = schedule.get("StartDate"), schedule.get("EndDate")
    found: Iterator[datetime]
    try:
        if kind == "cron":
            # Whole seconds: within the last millisecond of a minute the library skips the next one.
            wall = after.astimezone(zone).replace(microsecond=0, tzinfo=UTC)
            found = dropwhile(lambda time: time <= after, _at_the_wall(_cron(argument, wall), zone))
        elif kind == "rate":
            found = _rate(argument, (start or schedule["CreationDate"]).astimezone(UTC), after)
        else:
            at = datetime.strptime(argument, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=zone).astimezone(UTC)
            found = iter([at] if at > after else [])
    except ValueError as error:
        raise NotUnderstood(f"{expression!r}: {error}") from error
    if start is not None:
        found = dropwhile(lambda time: time < start, found)
    if end is not None:
        found = takewhile(lambda time: time <= end, found)
    return found


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise NotUnderstood(f"the time zone {name!r} is not known") from error


def _at_the_wall(times: Iterator[datetime], zone: tzinfo) -> Iterator[datetime]:
    """When clocks in a zone show these times.

    Those that they leave out in spring never come, and those that they show twice in autumn count once ("Schedule types
    on EventBridge Scheduler", "Daylight saving time").
    """
    for shown in times:
        time = shown.replace(tzinfo=zone).astimezone(UTC)
        if time.astimezone(zone).replace(tzinfo=None) == shown.replace(tzinfo=None):
            yield time


def _cron(argument: str, after: datetime) -> Iterator[datetime]:
    fields = argument.split()
    if len(fields) == FIELDS and fields[4].upper() == "L":
        fields[4] = "SAT"  # the last day of the week, which begins with SUN; the library would never fire
    cron = AwsCroniter(" ".join(fields))
    # The first at once, as there are expressions that the library stumbles over only now.
    return _following(cron, cron.get_next(after)[0])


def _following(cron: AwsCroniter, time: datetime | None) -> Iterator[datetime]:
    while time is not None:
        yield time
        time = cron.get_next(time)[0]


def _rate(argument: str, first: datetime, after: datetime) -> Iterator[datetime]:
    match = re.fullmatch(r"([1-9]\d*) (minute|hour|day)s?", argument)
    if match is None:
        raise ValueError("rate takes a number from 1 up and minutes, hours or days")
    try:
        interval = timedelta(**{f"{match[2]}s": int(match[1])})
    except OverflowError:
        interval = timedelta.max
    if interval > LONGEST_RATE:
        raise ValueError("rate is longer than a hundred years")
    return _every(interval, first.replace(microsecond=0), after)


def _every(interval: timedelta, first: datetime, after: datetime) -> Iterator[datetime]:
    time = first + interval * max(0, (after - first) // interval + 1)
    while True:
        yield time
        time += interval


def scheduled(target_input: str, time: datetime) -> str:
    """A schedule's input as its target receives it, for the time that the schedule was meant to fire."""
    return target_input.replace(SCHEDULED_TIME, f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}")


def refusal(schedule: Mapping[str, Any], now: datetime) -> str | None:
    """Why a schedule that the emulator takes is refused: EventBridge Scheduler would not take it, or it never fires.

    Args:
        schedule: The body of a CreateSchedule or an UpdateSchedule.
        now: A time with its time zone.
    """
    token = schedule.get("ClientToken", "-")
    if not re.fullmatch(r"[a-zA-Z0-9-_]{1,64}", token):
        return f"Value {token!r} at 'clientToken' failed to satisfy constraint: up to 64 letters, digits, - and _."
    expression, zone = schedule["ScheduleExpression"], schedule.get("ScheduleExpressionTimezone")
    asked = {"ScheduleExpression": expression, "ScheduleExpressionTimezone": zone, "CreationDate": now}
    try:
        first = next(times(asked, now), None)
    except NotUnderstood as error:
        return f"Invalid Schedule Expression: {error}"
    if first is None and expression.startswith("cron("):  # AWS may take it; nobody means it
        return f"Invalid Schedule Expression: {expression!r} never fires"
    return None


class Scheduler:
    """Fires the schedules that the Scheduler API holds, in the emulator or wherever the clients lead."""

    def __init__(self, scheduler: Any, sqs: Any, functions: Any, now: datetime) -> None:
        self._scheduler = scheduler
        self._sqs = sqs
        self._functions = functions
        self._ticked = now
        self._fired: dict[str, datetime] = {}  # up to when each enabled schedule has fired, by ARN
        self._once: dict[str, dict[str, Any]] = {}  # the one-time schedules, of which there may be many, by ARN
        self._said: dict[str, str] = {}  # why a schedule did not fire, by ARN

    def tick(self, now: datetime) -> None:
        """Fire what has come due since the last tick.

        What a recurring schedule missed while it was disabled, or while nothing ran here, stays missed. A one-time
        schedule that is deleted once it has fired is fired for as long as it is there. What could not be sent is
        tried again at the next tick.
        """
        enabled = self._enabled()
        self._fired = {arn: self._fired.get(arn, self._ticked) for arn in enabled}
        self._ticked = now
        for arn, schedule in enabled.items():
            try:
                self._fire(arn, schedule, now)
            except (NotUnderstood, ClientError) as error:
                if self._said.get(arn) != str(error):  # once, not at each tick
                    logger.error("%s does not fire: %s", arn, error)  # noqa: TRY400 - the sentence says it all
                    self._said[arn] = str(error)

    def _enabled(self) -> dict[str, dict[str, Any]]:
        # The emulator answers in one page, which it cuts off at as many as are asked for.
        listed = self._scheduler.list_schedules(State="ENABLED", MaxResults=1_000_000)["Schedules"]
        found: dict[str, dict[str, Any]] = {}
        for item in listed:
            arn = item["Arn"]
            known = self._once.get(arn)
            if known and known["LastModificationDate"] == item["LastModificationDate"]:
                found[arn] = known
                continue
            try:
                found[arn] = self._scheduler.get_schedule(GroupName=item["GroupName"], Name=item["Name"])
            except self._scheduler.exceptions.ResourceNotFoundException:
                continue  # deleted since
        self._once = {arn: schedule for arn, schedule in found.items() if _is_once(schedule)}
        return found

    def _fire(self, arn: str, schedule: Mapping[str, Any], now: datetime) -> None:
        since = datetime.min.replace(tzinfo=UTC) if _is_once(schedule) else self._fired[arn]
        for time in takewhile(lambda time: time <= now, times(schedule, since)):
            self._reach(schedule["Target"], time)
            logger.info("%s fired for %s", arn, time)
            self._fired[arn] = time
            if _is_once(schedule):
                self._scheduler.delete_schedule(GroupName=schedule["GroupName"], Name=schedule["Name"])

    def _reach(self, target: Mapping[str, Any], time: datetime) -> None:
        arn, given = target["Arn"], target.get("Input", "")
        if ":sqs:" in arn and given:
            queue = self._sqs.get_queue_url(QueueName=arn.rsplit(":", 1)[-1])["QueueUrl"]
            self._sqs.send_message(QueueUrl=queue, MessageBody=scheduled(given, time))
        elif arn.endswith(f":{UPDATE_MAPPING}") and given:
            asked = json.loads(given)
            self._functions.update_event_source_mapping(UUID=asked.pop("Uuid"), **asked)
        else:
            raise NotUnderstood(
                "here a schedule puts its input on a queue or switches a mapping, and does nothing else"
            )


def _is_once(schedule: Mapping[str, Any]) -> bool:
    """Whether a schedule fires once, and is then deleted."""
    return schedule["ScheduleExpression"].startswith("at(") and schedule.get("ActionAfterCompletion") == "DELETE"


def keep_firing() -> None:
    """Fire the emulator's schedules for as long as it runs."""
    endpoint = f"http://127.0.0.1:{os.environ['GATEWAY_PORT']}"
    session = boto3.Session("test", "test", region_name=os.environ["AWS_DEFAULT_REGION"])
    api, sqs, functions = (session.client(name, endpoint_url=endpoint) for name in ("scheduler", "sqs", "lambda"))
    scheduler = Scheduler(api, sqs, functions, datetime.now(UTC))
    pause = threading.Event()
    while not pause.wait(SECONDS_BETWEEN_TICKS):
        try:
            scheduler.tick(datetime.now(UTC))
        except (BotoCoreError, ClientError) as error:  # it is starting, or stopping
            logger.warning("the emulator does not answer: %s", error)


def settings(home: Path, port: str) -> dict[str, str]:
    """What makes the emulator a part of this project: its environment, which its functions inherit."""
    return {
        "GATEWAY_PORT": port,
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "PERSIST_STATE": "1",
        "STATE_DIR": str(home / "data/state"),
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(home / "data/s3"),
        "TMPDIR": str(home / "tmp"),
    }


def move(state: Path, port: str) -> None:
    """Let what was kept answer at this port, whichever it had before.

    The emulator knows a queue by its URL, which holds the port; so does the stack, and whatever a function is told.
    Rows of tables are data, and stay as they are.
    """
    queues = state / "sqs.json"
    if not queues.exists() or set(URL.findall(queues.read_bytes())) <= {port.encode()}:
        return
    others = [file for file in state.glob("*.json") if file.name not in ("sqs.json", "dynamodb.json")]
    for file in (*others, queues):  # the queues last: where this is cut off, it is done again
        kept = file.read_bytes()
        moved = URL.sub(port.encode(), kept)
        if moved != kept:
            new = file.with_suffix(".moved")
            new.write_bytes(moved)
            new.replace(file)


class KeptZip(zipfile.ZipFile):
    """A package that is unpacked once, and of which every process of a function then gets a link.

    The emulator unpacks all of a function's layers for each process anew, and Python compiles them anew: 1.8 s of the
    processor's time or more, where 0.4 s are left with this.
    """

    def extractall(self, path: Any = None, members: Any = None, pwd: Any = None) -> None:
        """Put a link to the unpacked files in the place of an empty folder."""
        with Path(str(self.filename)).open("rb") as file:
            kept = Path(tempfile.gettempdir(), "unpacked", hashlib.file_digest(file, "sha256").hexdigest())
        if not kept.exists():
            kept.parent.mkdir(exist_ok=True)
            fresh = Path(tempfile.mkdtemp(dir=kept.parent))
            super().extractall(fresh, members, pwd)
            try:
                fresh.rename(kept)
            except OSError:  # another process of the same function was quicker
                shutil.rmtree(fresh)
        Path(path).rmdir()
        Path(path).symlink_to(kept)


def retire(kill: Callable[[list[Any]], None], processes: Iterable[Any]) -> None:
    """End processes of functions, those at work once they have finished: so Lambda does when it gives new code out."""
    found = [process for process in processes if process is not None]
    kill([process for process in found if not process.in_use])
    for process in found:
        if process.in_use:
            threading.Thread(target=_retire, args=(kill, process), daemon=True).start()


def _retire(kill: Callable[[list[Any]], None], process: Any) -> None:
    while process.in_use and (process._proc is None or process._proc.poll() is None):  # starting, or running
        sleep(0.05)
    kill([process])


def main(home: Path, port: str) -> None:
    """Run the emulator, until it is told to stop.

    Args:
        home: The folder of its data.
        port: Where it answers, on 127.0.0.1.
    """
    shutil.rmtree(home / "tmp", ignore_errors=True)  # layers that the last one unpacked
    (home / "tmp").mkdir(parents=True)
    os.environ.update(settings(home, port))
    move(Path(os.environ["STATE_DIR"]), port)
    from ministack import app
    from ministack.core import lambda_runtime
    from ministack.services import scheduler

    lambda_runtime.zipfile = SimpleNamespace(**{**vars(zipfile), "ZipFile": KeptZip})
    lambda_runtime.kill_workers = partial(retire, lambda_runtime.kill_workers)

    if not hasattr(scheduler, "start_scheduler"):
        raise SystemExit("This version of the emulator starts its scheduler in another way, and would fire twice.")

    def refusing(take: Callable[[str, dict[str, Any]], Any]) -> Callable[[str, dict[str, Any]], Any]:
        def taken(name: str, body: dict[str, Any]) -> Any:
            why = refusal(body, datetime.now(UTC)) if body.get("ScheduleExpression") else None
            return scheduler._error(400, "ValidationException", why) if why else take(name, body)

        return taken

    scheduler._create_schedule = refusing(scheduler._create_schedule)
    scheduler._update_schedule = refusing(scheduler._update_schedule)
    scheduler.start_scheduler = threading.Thread(target=keep_firing, name="schedules", daemon=True).start
    app.main()


if __name__ == "__main__":
    this, folder, gateway = sys.argv
    sys.argv = [this]  # the emulator reads arguments of its own
    main(Path(folder), gateway)
