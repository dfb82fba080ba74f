"""What several tests share: the template as data, and a small event source mapping over moto's queues."""

import base64
import email
import email.policy
import io
import itertools
import json
import re
import shutil
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from email.message import EmailMessage
from functools import cache
from pathlib import Path
from typing import Any

import boto3
from botocore.awsrequest import AWSResponse
from cfnlint.decode import cfn_yaml
from cfnlint.template import Template
from cfnlint.template.transforms import Transform
from pynamodb.models import Model

from backbeat import ledger
from backbeat.messages import Message
from backbeat.models import TABLES
from backbeat.runtime import Run
from backbeat_ops.new.task import logical_name as logical_name

Backbeat = Callable[..., Any]
"""Runs the `backbeat` command against the local cloud of the tests; see tests/integration/conftest.py."""

ROOT = Path(__file__).parent.parent
STACK = "backbeat-test"
PSEUDO = {
    "AWS::StackName": STACK,
    "AWS::AccountId": "123456789012",
    "AWS::Region": "us-east-1",
    "AWS::Partition": "aws",
}


@cache
def template() -> dict[str, Any]:
    """template.yaml as it is deployed: cfn-lint has expanded its loops, and written its short forms (`!Ref`) out."""
    path = str(ROOT / "template.yaml")
    content = cfn_yaml.load(path)
    for names in content["Metadata"]["Lists"].values():  # a name without a row, which nothing could be expanded for
        names[:] = [name for name in names if name in content["Mappings"]["Tasks"]]  # `pieces` has it
    expand = Transform().transforms["AWS::LanguageExtensions"]
    matches, expanded = expand(Template(path, content, ["us-east-1"]))
    assert not matches, [str(match) for match in matches]
    return json.loads(json.dumps(expanded))


@cache
def written() -> dict[str, Any]:
    """template.yaml as it is written, its loops among the resources."""
    found: dict[str, Any] = json.loads(json.dumps(cfn_yaml.load(str(ROOT / "template.yaml"))))
    return found


@cache
def resources(kind: str) -> dict[str, dict[str, Any]]:
    """The template's resources of one type, by logical id."""
    return {name: r for name, r in template()["Resources"].items() if r["Type"] == kind}


def resolve(value: Any) -> Any:
    """A template's value with its functions applied to the parameters' defaults; a name not given is the logical id."""
    if isinstance(value, list):
        return [resolve(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        (name, argument), *_ = value.items()
        match name:
            case "Ref":
                return _ref(argument)
            case "Fn::Sub":
                text, own = argument if isinstance(argument, list) else (argument, {})
                known = {name: resolve(value) for name, value in own.items()}

                def named(match: re.Match[str]) -> str:
                    return arn(match[1]) if match[2] else str(known.get(match[1]) or _ref(match[1]))

                return re.sub(r"\$\{([\w:]+)(\.Arn)?\}", named, text)
            case "Fn::Select":
                return resolve(argument[1])[int(argument[0])]
            case "Fn::Split":
                return str(resolve(argument[1])).split(argument[0])
            case "Fn::GetAtt":
                logical_id, attribute = argument if isinstance(argument, list) else argument.split(".", 1)
                return arn(logical_id) if attribute == "Arn" else _ref(logical_id)
            case "Fn::Join":
                return argument[0].join(str(item) for item in resolve(argument[1]))
            case "Fn::FindInMap":
                where, top, second, *default = resolve(argument)
                row = template()["Mappings"][where][top]
                return row[second] if second in row or not default else default[0]["DefaultValue"]
            case "Fn::If":
                return resolve(argument[2])
    return {name: resolve(item) for name, item in value.items()}


ARNS = {
    "AWS::DynamoDB::Table": "dynamodb:{region}:{account}:table/",
    "AWS::Events::EventBus": "events:{region}:{account}:event-bus/",
    "AWS::IAM::Role": "iam::{account}:role/",
    "AWS::Logs::LogGroup": "logs:{region}:{account}:log-group:",
    "AWS::S3::Bucket": "s3:::",
    "AWS::SQS::Queue": "sqs:{region}:{account}:",
}


@cache
def arn(logical_id: str) -> str:
    """The ARN of a resource of the template."""
    form = ARNS.get(template()["Resources"][logical_id]["Type"], "{region}:{account}:")
    where = form.format(region=PSEUDO["AWS::Region"], account=PSEUDO["AWS::AccountId"])
    return f"arn:aws:{where}{_ref(logical_id)}"


def _ref(name: str) -> Any:
    if name in PSEUDO:
        return PSEUDO[name]
    if name in template()["Parameters"]:
        return template()["Parameters"][name].get("Default", "")
    resource = template()["Resources"].get(name, {"Type": ""})  # SAM makes some, such as a function's URL
    properties = resource.get("Properties", {})
    own_name = name.lower() if resource["Type"] == "AWS::S3::Bucket" else name
    names = [properties[key] for key in ("BucketName", "QueueName", "RoleName", "LogGroupName") if key in properties]
    return resolve(names[0]) if names else own_name


def logical_ids(value: Any) -> set[str]:
    """Every resource that a template's value refers to, by logical id."""
    if isinstance(value, str):
        return set()
    if isinstance(value, list):
        return {name for item in value for name in logical_ids(item)}
    if not isinstance(value, dict):
        return set()
    found: set[str] = set()
    for name, argument in value.items():
        match name:
            case "Ref":
                found.add(argument)
            case "Fn::GetAtt":
                found.add(argument[0] if isinstance(argument, list) else argument.split(".")[0])
            case "Fn::Sub":
                text, own = argument if isinstance(argument, list) else (argument, {})
                found.update(re.findall(r"\$\{(\w+)[}.]", text), logical_ids(list(own.values())))
            case _:
                found.update(logical_ids(argument))
    return found & set(template()["Resources"])


@cache
def statements(role: str) -> list[dict[str, Any]]:
    """All that a role allows: in policies of its own, and in those that stand elsewhere and name it.

    What it allows on a condition counts as allowed.
    """
    documents = [policy["PolicyDocument"] for policy in template()["Resources"][role]["Properties"].get("Policies", [])]
    documents += [
        policy["Properties"]["PolicyDocument"]
        for policy in resources("AWS::IAM::Policy").values()
        if role in logical_ids(policy["Properties"]["Roles"])
    ]
    return [s.get("Fn::If", [None, s])[1] for document in documents for s in document["Statement"]]


def function_environment(logical_id: str) -> dict[str, str]:
    """The environment variables that the template gives a function."""
    own = template()["Resources"][logical_id]["Properties"].get("Environment", {}).get("Variables", {})
    everyones = template()["Globals"]["Function"]["Environment"]["Variables"]
    return {name: str(resolve(value)) for name, value in {**everyones, **own}.items()}


@dataclass
class Context:
    """A Lambda context with a settable rest of time."""

    remaining_ms: int = 60_000
    aws_request_id: str = field(default_factory=lambda: f"request-{next(_numbers)}")
    function_name: str = "function"
    memory_limit_in_mb: str = "512"  # so it is in Lambda: awslambdaric takes it from the environment
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:123456789012:function:function"

    def get_remaining_time_in_millis(self) -> int:
        return self.remaining_ms


_numbers = itertools.count()


class Queue:
    """A task's two queues in moto, and the event source mapping that empties the first into a function."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.sqs = boto3.client("sqs")
        self.url = self.sqs.get_queue_url(QueueName=name)["QueueUrl"]
        self.dead_url = self.sqs.get_queue_url(QueueName=f"{name}-dead")["QueueUrl"]

    def send(self, body: Any) -> str:
        text = body if isinstance(body, str) else json.dumps(body)
        return self.sqs.send_message(QueueUrl=self.url, MessageBody=text)["MessageId"]

    def receive(self) -> dict[str, Any]:
        """The event that Lambda would be called with for what is visible now."""
        got = self.sqs.receive_message(
            QueueUrl=self.url, MaxNumberOfMessages=10, AttributeNames=["All"], MessageAttributeNames=["All"]
        )
        return {
            "Records": [
                {
                    "messageId": message["MessageId"],
                    "receiptHandle": message["ReceiptHandle"],
                    "body": message["Body"],
                    "attributes": message["Attributes"],
                    "messageAttributes": {},
                    "eventSource": "aws:sqs",
                    "eventSourceARN": f"arn:aws:sqs:us-east-1:123456789012:{self.name}",
                    "awsRegion": "us-east-1",
                }
                for message in got.get("Messages", [])
            ]
        }

    def deliver(self, implementation: Any, context: Context | None = None) -> list[str]:
        """Deliver what is visible, delete what was done, and return the ids of what was not."""
        event = self.receive()
        assert event["Records"], f"nothing is visible on {self.name}"
        answer = implementation.lambda_handler(event, context or Context())
        failed = [item["itemIdentifier"] for item in answer["batchItemFailures"]]
        for record in event["Records"]:
            if record["messageId"] not in failed:
                self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=record["receiptHandle"])
        return failed

    def drain(self, implementation: Any, context: Context | None = None) -> None:
        """Deliver until nothing is left; what waits for a retry must wait for no time."""
        for _ in range(1_000):
            visible, hidden = self.depth()
            if visible:
                self.deliver(implementation, context)
            elif not hidden:
                return
        raise AssertionError(f"{self.name} does not run empty")

    def dead(self) -> list[dict[str, Any]]:
        """What lies in the dead queue: body, and attributes as plain strings."""
        got = self.sqs.receive_message(
            QueueUrl=self.dead_url, MaxNumberOfMessages=10, MessageAttributeNames=["All"], VisibilityTimeout=0
        )
        return [
            {"body": m["Body"], **{k: v["StringValue"] for k, v in m.get("MessageAttributes", {}).items()}}
            for m in got.get("Messages", [])
        ]

    def depth(self) -> tuple[int, int]:
        """How many messages are visible, and how many are hidden."""
        got = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["All"])["Attributes"]
        return int(got["ApproximateNumberOfMessages"]), int(got["ApproximateNumberOfMessagesNotVisible"])


class Killed(BaseException):
    """The process is gone: nothing of it catches this."""


@dataclass(frozen=True)
class Mail:
    """One mail as it went over the wire to SES."""

    request: dict[str, Any]
    message: EmailMessage

    @property
    def to(self) -> str:
        (address,) = self.request["Destination"]["ToAddresses"]
        return address

    def part(self, kind: str) -> str:
        part = self.message.get_body((kind,))
        assert part is not None
        return part.get_content()


class Outbox:
    """What an SES client sends, seen at the socket; `answer` replaces moto's answer."""

    def __init__(self, client: Any) -> None:
        self.mails: list[Mail] = []
        self.answer: Callable[[Any], Any] = lambda request: None
        self.quota = {"MaxSendRate": 14.0, "Max24HourSend": 50_000.0, "SentLast24Hours": 0.0}
        client.meta.events.register("before-call.sesv2.GetAccount", self._account)  # moto has no such thing
        client.meta.events.register_first("before-send.sesv2.SendEmail", self._send)

    def _send(self, request: Any, **_: Any) -> Any:
        body = json.loads(request.body)
        raw = base64.b64decode(body["Content"]["Raw"]["Data"])
        message = email.message_from_bytes(raw, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        self.mails.append(Mail(body, message))
        return self.answer(request)

    def _account(self, **_: Any) -> Any:
        return AWSResponse("", 200, {}, None), {"SendQuota": self.quota}

    def addresses(self) -> list[str]:
        return [mail.to for mail in self.mails]


def answers(status: int, code: str = "", text: str = "") -> Callable[[Any], Any]:
    """SES answering with an error."""

    def answer(request: Any) -> AWSResponse:
        raw = io.BytesIO(json.dumps({"message": text}).encode())
        return AWSResponse(request.url, status, {"x-amzn-ErrorType": code}, _Raw(raw.getvalue()))

    return answer


class _Raw(io.BytesIO):
    """A response's body as urllib3 hands it over."""

    def stream(self, *_: Any, **__: Any) -> Any:
        yield self.read()


def fails(error: BaseException) -> Callable[[Any], Any]:
    """The connection failing on the way to SES or back."""

    def answer(request: Any) -> Any:
        raise error

    return answer


class Calls:
    """Every call to AWS, with a hook that is called once before one of them."""

    def __init__(self) -> None:
        self.made: list[tuple[str, Any]] = []
        self._hooks: list[tuple[str, str | None, Callable[[], Any]]] = []

    def note(self, operation: str, table: Any) -> None:
        for hook in list(self._hooks):
            if hook[:2] == (operation, table):
                self._hooks.remove(hook)
                hook[2]()
        self.made.append((operation, table))

    def before(self, operation: str, table: str | None, do: Callable[[], Any]) -> None:
        """Call `do` before the next call of an operation on a table, once."""
        self._hooks.append((operation, table, do))

    def number(self, operation: str, table: str) -> int:
        return self.made.count((operation, table))

    def clear(self) -> None:
        self.made.clear()


def event(task: str, name: str) -> dict[str, Any]:
    """An event of events/<task>, as the stack under test would get it."""
    text = (ROOT / "events" / task / f"{name}.json").read_text("utf-8")
    content: dict[str, Any] = json.loads(text.replace("backbeat-local", STACK).replace("000000000000", "123456789012"))
    return content


def run_at(
    implementation: Any, queue: Queue, when: datetime, context: Context | None = None, **kwargs: Any
) -> dict[str, Any]:
    """Make a task's scheduled run, and any that follows from it; return what they came to as one, the last on top.

    Runs that a test makes beside it have ids that begin with `beside`.
    """
    task = implementation.task.name
    queue.send({"task": task, "kwargs": kwargs, "scheduled_time": when.isoformat()})
    queue.drain(implementation, context)
    result: dict[str, Any] = {}
    for run in reversed(ledger.recent(task, when.date(), 10)):
        if run.logical_time == when and not run.run_id.startswith("beside"):
            assert run.outcome == "succeeded", run.error
            result |= run.result
    return result


def run_whole(implementation: Any, message_id: str, when: datetime, **kwargs: Any) -> Any:
    """Make a whole run in parts beside the queue, as from within another one; return its last part's outcome."""
    task = implementation.task
    message = Message(task=task.name, id=message_id, kwargs=kwargs, sent_at=when)
    outcome = implementation(**kwargs, run=Run(task, message, Context()))  # type: ignore[arg-type]
    for part in range(getattr(outcome, "parts", 0)):
        part_of_it = message.for_part(part)
        outcome = implementation(**kwargs, run=Run(task, part_of_it, Context()))  # type: ignore[arg-type]
    return outcome


def empty_tables() -> None:
    """Delete what an application writes, so that no test of the local cloud meets what another left."""
    for variable in ("USERS", "POSTS", "LIKES", "COMMENTS", "FOLLOWS", "TOKENS", "ACTIVITY"):
        model: type[Model] = TABLES[f"{variable}_TABLE"][0]
        rows = list(model.scan())
        with model.batch_write() as batch:
            for row in rows:
                batch.delete(row)


def any_port() -> int:
    """A free port, unlike that of another run of the tests, which may go on beside this one."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def copied(folder: Path) -> Path:
    """A copy of the project, as far as it belongs to it."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder
