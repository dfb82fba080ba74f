"""`backbeat verify`: what it proves, what it names where something is broken, and that it leaves no trace."""

import importlib
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import permissions
import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from support import STACK, Context, Killed, Outbox, Queue, event, function_environment, resolve, resources
from typer.testing import CliRunner

from backbeat import events, models, trials
from backbeat.ledger import Attempt, Outcome
from backbeat.messages import Message
from backbeat.models import TRIALS, DayTotals, Delivery, Notification, Post, Token, User, Watermark
from backbeat.tasks import TASKS
from backbeat_ops import verify
from backbeat_ops.cli import app
from backbeat_ops.stack import NotFound, Stack
from backbeat_ops.verify import CHECKS, Verified
from unsubscribe import lambda_handler as answer_link

NOW = datetime.now(UTC)
"""Verify is about what a stack does now."""
Break = Callable[["Cloud"], Any]


class Cloud:
    """moto's AWS with what it lacks: mappings, S3's notifications, function URLs; and a clock that goes by looks."""

    def __init__(self, outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
        self.outbox, self.monkeypatch = outbox, monkeypatch
        self.stack = Stack(STACK)
        tables_and_buckets = [*resources("AWS::DynamoDB::Table"), *resources("AWS::S3::Bucket"), "UnsubscribeKey"]
        self.stack.__dict__["resources"] = {name: resolve({"Ref": name}) for name in tables_and_buckets}
        self.queues = {name: Queue(task.queue_name(STACK)) for name, task in TASKS.items()}
        self.handlers = {name: importlib.import_module(name).handle for name in TASKS}
        self.seconds = 0.0
        self.off: set[str] = set()
        self.told: set[tuple[str, str]] = self.uploads()
        self.pages = {"GET": "typical", "POST": "one_click"}

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        """Let everything happen that happens by itself."""
        self.seconds += 6
        self.tell_of_uploads()
        for name, queue in self.queues.items():
            while name not in self.off and queue.depth()[0]:
                queue.deliver(self.handlers[name])

    def uploads(self) -> set[tuple[str, str]]:
        found = boto3.client("s3").list_object_versions(Bucket=self.stack.buckets["uploads"]).get("Versions", [])
        return {(item["Key"], item["VersionId"]) for item in found}

    def tell_of_uploads(self) -> None:
        there = self.uploads()
        for name, changed in (("ObjectCreated:Put", there - self.told), ("ObjectRemoved:Delete", self.told - there)):
            for number, (key, version) in enumerate(changed):
                s3_object = {"key": key, "versionId": version, "sequencer": f"{len(self.told)}{number}{name[6]}"}
                bucket = {"name": self.stack.buckets["uploads"]}
                time = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
                record = {"eventName": name, "eventTime": time, "s3": {"bucket": bucket, "object": s3_object}}
                self.queues["process_media_upload"].send({"Records": [record]})
        self.told = there

    def fetch(self, url: str, method: str) -> int:
        if "unsubscribe" in self.off:
            return 502
        request = event("unsubscribe", self.pages[method])
        request["queryStringParameters"] = {"token": url.partition("token=")[2]}
        request["requestContext"]["timeEpoch"] = int(NOW.timestamp() * 1000)
        with permissions.running("UnsubscribeRole"):
            return int(answer_link(request, Context())["statusCode"])

    def verify(self, *tasks: str, **more: Any) -> dict[str, Verified]:
        results = verify.verify(self.stack, tasks, **{"quick": True, "pause": self.sleep, "fetch": self.fetch, **more})
        return {result.task: result for result in results}


@pytest.fixture
def cloud(outbox: Outbox, few_parts: None, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    url = "https://u.example/"
    for logical_id in resources("AWS::Serverless::Function"):
        for name, value in function_environment(logical_id).items():
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("UNSUBSCRIBE_URL", url)
    monkeypatch.setattr(verify, "_unsubscribe_url", lambda stack: url)
    for purpose in ("uploads", "media", "archive", "reports"):
        monkeypatch.setenv(f"{purpose.upper()}_BUCKET", "set by verify")
    made = Cloud(outbox, monkeypatch)
    for purpose, bucket in made.stack.buckets.items():
        monkeypatch.setenv(f"{purpose.upper()}_BUCKET", bucket)
    monkeypatch.setattr(verify, "time", made)
    return made


def network(cloud: Cloud) -> None:
    """Somebody else's data, of every kind that verify makes."""
    User.join("ada", name="Ada", email="ada@example.net", at=NOW)
    User.join("bob", name="Bob", email="bob@example.net", at=NOW)
    User.log_in("ada", at=NOW)
    User.follow("ada", "bob", at=NOW)
    Post.publish("old", author_id="ada", text="old #news", at=NOW - timedelta(days=400))
    Post.publish("new", author_id="bob", text="new #news", at=NOW - timedelta(minutes=90))
    Post.like("new", "ada", at=NOW)
    Post.comment("new", "c", author_id="ada", text="yes", at=NOW)
    Token.new("ada", "t", kind="access", created_at=NOW, expires_at=NOW - timedelta(days=1)).save()
    Notification("ada", "n", kind="like", text="Bob likes it", created_at=NOW).save()
    delivery = Delivery("welcome:ada", email="welcome", user_id="ada", state="sent", run_id="r", shelf="a day's")
    delivery.claimed_at = delivery.logical_time = NOW
    delivery.save()
    Watermark("watermark#cleanup_expired_tokens", "until", until=NOW - timedelta(days=2)).save()
    DayTotals(f"totals#{NOW.date()}", "send_notification", succeeded=5).save()
    for bucket in cloud.stack.buckets.values():
        boto3.client("s3").put_object(Bucket=bucket, Key="posts/new/a.jpg", Body=b"a")
    cloud.told = cloud.uploads()
    cloud.queues["send_notification"].sqs.send_message(
        QueueUrl=cloud.queues["send_notification"].dead_url, MessageBody="somebody's"
    )


def everything(cloud: Cloud) -> dict[str, Any]:
    """All rows, all versions of all objects, and how much lies on each queue."""
    found: dict[str, Any] = {}
    for table in cloud.stack.tables.values():
        found[table] = sorted(json.dumps(row) for row in boto3.client("dynamodb").scan(TableName=table)["Items"])
    for bucket in cloud.stack.buckets.values():
        listed = boto3.client("s3").list_object_versions(Bucket=bucket)
        found[bucket] = [
            (v["Key"], v["VersionId"]) for kind in ("Versions", "DeleteMarkers") for v in listed.get(kind, [])
        ]
    for name, queue in cloud.queues.items():
        found[name] = (queue.depth(), len(queue.dead()))
    return found


READS = ("Get", "List", "Head", "Query", "Scan", "BatchGet", "Describe", "Receive")
BY_RECEIPT = {"DeleteMessage", "DeleteMessageBatch", "ChangeMessageVisibility", "ChangeMessageVisibilityBatch"}
"""What names a message by the receipt of whoever was given it."""


def written(operation: str, asked: dict[str, Any]) -> list[str]:
    """What a call writes: the keys of rows and objects, bodies of messages; or the call as it is."""
    match operation, asked:
        case "PutItem" | "UpdateItem" | "DeleteItem", {"TableName": table}:
            row = asked.get("Key") or asked["Item"]
            keys = resources("AWS::DynamoDB::Table")[table]["Properties"]["KeySchema"]
            return [json.dumps([row[key["AttributeName"]] for key in keys])]
        case "BatchWriteItem", {"RequestItems": tables}:
            rows = [(table, way) for table, requests in tables.items() for way in requests]
            return [
                found
                for table, way in rows
                for found in written("PutItem", {"TableName": table, **(way.get("PutRequest") or way["DeleteRequest"])})
            ]
        case "TransactWriteItems", {"TransactItems": items}:
            changes = [item[name] for item in items for name in item if name != "ConditionCheck"]
            return [found for change in changes for found in written("PutItem", change)]
        case "PutObject" | "DeleteObject" | "CopyObject", {"Key": key}:
            return [key]
        case "DeleteObjects", {"Delete": {"Objects": objects}}:
            return [found["Key"] for found in objects]
        case "SendMessage", {"MessageBody": body}:
            return [body]
        case "SendMessageBatch", {"Entries": entries}:
            return [entry["MessageBody"] for entry in entries]
    return [f"{operation} {json.dumps(asked, default=str)}"]


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What every call that changes something has changed."""
    made: list[str] = []
    real = BaseClient._make_api_call

    def noted(self: BaseClient, operation: str, parameters: dict[str, Any]) -> Any:
        if not operation.startswith(READS) and operation not in BY_RECEIPT:
            made.extend(written(operation, parameters))
        return real(self, operation, parameters)

    monkeypatch.setattr(BaseClient, "_make_api_call", noted)
    return made


def index_keys() -> set[str]:
    """By what the indexes find a trial's rows, beside its own name, and beside the ledger."""
    found: set[str] = set()
    for table, resource in resources("AWS::DynamoDB::Table").items():
        indexes = resource["Properties"].get("GlobalSecondaryIndexes", [])
        if not indexes or table == "RunsTable":
            continue
        keys = {index["KeySchema"][0]["AttributeName"] for index in indexes}
        for row in boto3.client("dynamodb").scan(TableName=table)["Items"]:
            if "backbeat-verify-" in json.dumps(row):
                found |= {f"{table} {key}" for key in keys & row.keys() if "backbeat-verify-" not in row[key]["S"]}
    return found


def failed(results: Mapping[str, Verified]) -> set[str]:
    assert all(bool(result.why) == bool(result.next) == (not result.passed) for result in results.values())
    return {task for task, result in results.items() if not result.passed}


def test_every_task_is_proved_and_no_trace_is_left(cloud: Cloud, writes: list[str]) -> None:
    network(cloud)
    before = everything(cloud)
    writes.clear()
    listed: set[str] = set()

    def pause(seconds: float) -> None:
        cloud.sleep(seconds)
        listed.update(index_keys())

    results = cloud.verify(pause=pause)
    # What the cleaning of old posts writes: sweeps find it, which do no harm to it; reports and rankings do not.
    assert listed <= {"PostsTable hidden_day", "UsersTable touched_day"}
    assert {task: result.why for task, result in results.items()} == dict.fromkeys([*CHECKS, "clean-up"])
    assert set(CHECKS) == {*TASKS, "unsubscribe"}
    assert everything(cloud) == before
    assert len(writes) > 100
    assert [what for what in writes if "backbeat-verify-" not in what and '"digest#19' not in what] == []
    assert {mail.to.partition("+")[0] for mail in cloud.outbox.mails} == {"success"}
    assert all(mail.to.endswith("@simulator.amazonses.com") for mail in cloud.outbox.mails)


def raises(task: str) -> Break:
    def fault(**_: Any) -> Any:
        raise RuntimeError("a fault in its code")

    return lambda cloud: cloud.monkeypatch.setattr(cloud.handlers[task], "function", fault)


def denied(task: str) -> Break:
    def refused(**_: Any) -> Any:
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "not authorized"}}, "Query")

    return lambda cloud: cloud.monkeypatch.setattr(cloud.handlers[task], "function", refused)


def off(task: str) -> Break:
    return lambda cloud: cloud.off.add(task)


def elsewhere(task: str, variable: str, value: str) -> Break:
    """The function has a variable that leads elsewhere."""

    def broken(cloud: Cloud) -> None:
        function = cloud.handlers[task].function

        def misled(**arguments: Any) -> Any:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv(variable, value)
                if variable in models.TABLES:
                    models.bind({**cloud.stack.tables, variable: value})
                try:
                    return function(**arguments)
                finally:
                    models.bind(cloud.stack.tables)

        cloud.monkeypatch.setattr(cloud.handlers[task], "function", misled)

    return broken


BREAKS: dict[str, tuple[Break, str]] = {
    "process_media_upload": (off("process_media_upload"), "no function has taken the message"),
    "send_welcome_email": (elsewhere("send_welcome_email", "SENDER", "nobody"), "SENDER"),
    "send_content_digest_email": (denied("send_content_digest_email"), "AccessDeniedException"),
    "record_email_feedback": (raises("record_email_feedback"), "a fault in its code"),
    "update_user_statistics": (elsewhere("update_user_statistics", "USERS_TABLE", "PostsTable"), "part 0 is dead"),
    "update_trending_hashtags": (denied("update_trending_hashtags"), "AccessDeniedException"),
    "generate_content_analytics": (off("generate_content_analytics"), "no function has taken the message"),
    "update_post_engagement_scores": (raises("update_post_engagement_scores"), "a fault in its code"),
    "cleanup_expired_tokens": (elsewhere("cleanup_expired_tokens", "TOKENS_TABLE", "LikesTable"), "part 0 is dead"),
    "cleanup_old_posts": (denied("cleanup_old_posts"), "AccessDeniedException"),
    "send_notification": (off("send_notification"), "no function has taken the message"),
    "unsubscribe": (off("unsubscribe"), "502"),
}


@pytest.mark.parametrize("half", [0, 1])
def test_exactly_what_is_broken_is_named_and_it_is_cleaned_up_all_the_same(cloud: Cloud, half: int) -> None:
    broken = list(BREAKS)[half::2]
    before = everything(cloud)
    for task in broken:
        BREAKS[task][0](cloud)
    results = cloud.verify()
    assert failed(results) == set(broken)
    for task in broken:
        assert BREAKS[task][1] in str(results[task].why)
        assert "backbeat doctor" in str(results[task].next)
    cloud.off.clear()  # what waited comes at last
    cloud.sleep(0)
    assert everything(cloud) == before


def test_what_a_killed_one_has_left_the_next_removes(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    before = everything(cloud)
    with monkeypatch.context() as patch:
        patch.setattr(verify.Trial, "remove", lambda trial: None)
        with pytest.raises(Killed):
            cloud.verify("send_welcome_email", "cleanup_old_posts", "cleanup_expired_tokens", pause=killed)
    (left,) = models.Trial.query(TRIALS)
    assert User.get(f"{left.trial}-welcome").email.startswith(f"success+{left.trial}@")
    cloud.sleep(0)  # its messages arrive
    left.update(actions=[models.Trial.until.set(datetime.now(UTC) - timedelta(seconds=1))])
    assert failed(cloud.verify("send_notification")) == set()
    assert everything(cloud) == before


def killed(seconds: float) -> None:
    raise Killed


def test_one_that_goes_on_is_left_alone(cloud: Cloud) -> None:
    other = models.Trial(TRIALS, trials.new(), started=NOW, until=datetime.now(UTC) + timedelta(minutes=5))
    other.save()
    assert failed(cloud.verify("send_notification")) == set()
    assert [note.trial for note in models.Trial.query(TRIALS)] == [other.trial]


def test_it_is_cleaned_up_after_an_interruption(cloud: Cloud) -> None:
    before = everything(cloud)

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cloud.verify("send_welcome_email", "cleanup_old_posts", pause=interrupted)
    cloud.sleep(0)
    assert everything(cloud) == before
    assert cloud.outbox.mails == []


def test_an_unknown_task_is_refused_before_anything_is_made(cloud: Cloud) -> None:
    with pytest.raises(NotFound, match="no task 'nobody'"):
        cloud.verify("nobody")
    assert list(models.Trial.query(TRIALS)) == []


def test_a_trials_end_is_no_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUN_EVENTS_BUS", "a-bus")
    monkeypatch.setattr(events, "_noted", [])
    ended = Attempt(outcome=Outcome.SUCCEEDED, started=NOW, duration_ms=1, request_id="r")
    for message_id in (f"{trials.new()}-send_notification", "somebody's"):
        message = Message(task="send_notification", id=message_id, sent_at=NOW)
        events.note(message, "default", ended)
    assert [json.loads(noted["Detail"])["run_id"] for noted in events._noted] == ["somebody's"]


def test_a_trials_message_asks_for_nothing_once_it_is_over(cloud: Cloud) -> None:
    queue = cloud.queues["send_notification"]
    queue.send({"task": "send_notification", "id": f"{trials.new()}-x", "sent_at": f"{NOW:%Y-%m-%dT%H:%M:%SZ}"})
    before = everything(cloud)[cloud.stack.tables["RUNS_TABLE"]]
    queue.drain(cloud.handlers["send_notification"])
    assert everything(cloud)[cloud.stack.tables["RUNS_TABLE"]] == before
    assert queue.dead() == []


@pytest.mark.parametrize(
    ("address", "of"),
    [
        ("bounce+backbeat-verify-0123456789abcdef@simulator.amazonses.com", "backbeat-verify-0123456789abcdef"),
        ("bounce+backbeat-verify-0123456789abcdef@example.com", None),
        ("bounce+backbeat-verify-0123456789ABCDEF@simulator.amazonses.com", None),
        ("bounce@simulator.amazonses.com", None),
    ],
)
def test_whose_an_address_is(address: str, of: str | None) -> None:
    assert trials.of_address(address) == of


def test_the_command_says_what_failed_and_exits_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    results = [
        Verified("send_welcome_email", "SES took a welcome.", True, None, None, 1.26),
        Verified("cleanup_old_posts", "…", False, "it ran, but nothing is hidden", "`backbeat doctor`.", 40.0),
    ]

    def given(stack: Stack, chosen: Any, *, quick: bool, told: Callable[[Verified], None]) -> list[Verified]:
        for result in results[: 1 if quick else 2]:
            told(result)
        return results[: 1 if quick else 2]

    monkeypatch.setattr(verify, "verify", given)
    monkeypatch.setattr("backbeat_ops.commands.verify.the_stack", lambda context: Stack("backbeat-prod"))
    said = CliRunner().invoke(app, ["verify"])
    assert said.exit_code == 1
    assert "passed  send_welcome_email: SES took a welcome. 1.3 s" in said.output
    assert "failed  cleanup_old_posts: it ran, but nothing is hidden. 40.0 s" in said.output
    well = CliRunner().invoke(app, ["verify", "--quick", "--json"])
    assert (well.exit_code, json.loads(well.stdout)["passed"]) == (0, True)
    assert json.loads(well.stdout)["checks"][0]["seconds"] == 1.26
