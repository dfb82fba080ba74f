"""What is wrong with a stack, or with the account before its first deployment, and what to do next.

Each check looks at one thing, and yields what is wrong with it or cannot be known; a check that yields nothing has
found all well. What an account or the local cloud does not answer is unknown, and never well.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property, partial
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from backbeat.aws import sqs
from backbeat.messages import iso
from backbeat_ops import age, checkout, deployment, drift, localcloud, pausing, schedules
from backbeat_ops.deployed import Deployed, NotWorkedOut, differing, plain
from backbeat_ops.schedules import Schedule
from backbeat_ops.stack import NotFound, Stack, StackNotFound
from backbeat_ops.status import depth

LEAST_UNRESERVED = 100
"""Invocations that an account must leave unreserved (Lambda, "Reserved concurrency")."""
SETTLED = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE")


class State(StrEnum):
    """How a thing was found."""

    OK = "ok"
    WRONG = "wrong"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a look at one thing came to.

    Attributes:
        checked: What was looked at, such as `mappings`.
        state: How it was found.
        says: A sentence.
        next: What to do about it.
        fix: Puts it right, where that is safe: it only switches on again what the template has on.
    """

    checked: str
    state: State
    says: str
    next: str | None = None
    fix: Callable[[], Any] | None = field(default=None, repr=False)

    def shown(self) -> dict[str, Any]:
        """It as JSON has it."""
        return {
            "checked": self.checked,
            "state": str(self.state),
            "says": self.says,
            "next": self.next,
            "fixable": self.fix is not None,
        }


@dataclass(frozen=True, slots=True)
class Problem:
    """What a check yields: what is wrong, or unknown. Its attributes are those of a finding."""

    says: str
    next: str | None = None
    fix: Callable[[], Any] | None = None
    state: State = State.WRONG


@dataclass(frozen=True)
class Patient:
    """What is looked at.

    Attributes:
        stack: The stack, which may not be there yet.
        before: Whether only what its first deployment needs is looked at.
    """

    stack: Stack
    before: bool

    @cached_property
    def deployed(self) -> Deployed:
        """The template that it was deployed from."""
        return Deployed(self.stack)

    @property
    def local(self) -> bool:
        """Whether it is on the local cloud."""
        return self.stack.name == localcloud.STACK

    @cached_property
    def parameters(self) -> dict[str, str]:
        """The parameters that it was, or will be, deployed with.

        Raises:
            NotFound: It is not deployed yet, and samconfig.toml does not say how it will be.
        """
        if not self.before:
            return self.deployed.parameters
        defaults = {name: str(of.get("Default", "")) for name, of in checkout.template()["Parameters"].items()}
        return defaults | checkout.samconfig(self.stack.name)

    @property
    def restore(self) -> str:
        """How what was changed beside the template is made as it was."""
        if self.local:
            return "`backbeat down` and `backbeat up` make the local cloud anew, without its data."
        return 'Revert the drift, as docs/deploying.md has it under "When something was changed by hand".'


def examine(stack: Stack, *, before: bool = False) -> Iterator[Finding]:
    """Look at a stack and at the account it is in, and say of each thing how it was found.

    Args:
        stack: The stack, which need not be there with `before`.
        before: Look only at what a first deployment needs.
    """
    patient = Patient(stack, before)
    for checked, well, check in BEFORE:
        yield from _looked_at(checked, well, check, patient)
    if before:
        return
    for checked, well, check in AFTER:
        findings = list(_looked_at(checked, well, check, patient))
        yield from findings
        if check is _stack and any(finding.state is not State.OK for finding in findings):
            try:
                stack.resources  # noqa: B018 - read, to see whether there are any
            except StackNotFound:
                return


def fix(findings: list[Finding]) -> list[Finding]:
    """Put right what is safe to; return that."""
    fixed = [finding for finding in findings if finding.fix]
    for finding in fixed:
        assert finding.fix
        finding.fix()
    return fixed


def _looked_at(checked: str, well: str, check: "Check", patient: Patient) -> Iterator[Finding]:
    problems = 0
    try:
        for problem in check(patient):
            problems += 1
            yield Finding(checked, problem.state, problem.says, problem.next, problem.fix)
    except (ClientError, BotoCoreError, NotWorkedOut, NotFound, ImportError) as error:
        problems += 1
        yield Finding(checked, State.UNKNOWN, f"Unknown, because {_said(error)}")
    if not problems:
        yield Finding(checked, State.OK, well)


def _said(error: Exception) -> str:
    text = f"AWS says: {error}" if isinstance(error, ClientError | BotoCoreError) else str(error)
    return text if text.endswith((".", "?", "!")) else f"{text}."


# ---- Before a deployment ---------------------------------------------------------------------------------------------


def _tools(patient: Patient) -> Iterator[Problem]:
    """The build needs `sam`, and the interpreter of the functions by its name (SAM, "Building with Python")."""
    if not (localcloud.ROOT / "template.yaml").exists():
        return  # this machine only operates the stack
    path = deployment.sam_environment()["PATH"] if patient.local else os.environ.get("PATH", "")
    if not shutil.which("sam", path=path):
        yield Problem("There is no `sam` on the PATH.", "`make setup` puts it into .venv/bin: activate that.")
    runtime = patient.parameters["PythonRuntime"]
    if not shutil.which(runtime, path=path):
        yield Problem(
            f"There is no `{runtime}` on the PATH, which `sam build` needs.",
            f"Install it, or set PythonRuntime in samconfig.toml to one that is there, in place of {runtime}.",
        )


def _credentials(patient: Patient) -> Iterator[Problem]:
    session = boto3.Session()
    if session.get_credentials() is None:
        yield Problem("There are no AWS credentials.", "`aws configure sso`, or set AWS_PROFILE.")
    elif session.region_name is None:
        yield Problem("No region is set.", "Set AWS_REGION, or `region` in the profile.")
    else:
        try:
            boto3.client("sts").get_caller_identity()
        except ClientError as error:
            yield Problem(f"The credentials are refused. {_said(error)}", "`aws sso login`, or get new ones.")


def _concurrency(patient: Patient) -> Iterator[Problem]:
    """A queue's share that the account does not have is throttled, and its messages come back until they are dead."""
    capacity = patient.parameters["Capacity"]
    reserved = int(patient.parameters["UnsubscribeConcurrency"])
    tasks = (checkout.template() if patient.before else patient.deployed.template)["Mappings"]["Tasks"].values()
    needed = sum(int(row[capacity]) for row in tasks)
    limit = boto3.client("lambda").get_account_settings()["AccountLimit"]["ConcurrentExecutions"]
    ask = "`aws service-quotas request-service-quota-increase --service-code lambda --quota-code L-B99A9384"
    if limit < needed + max(reserved, 1):
        yield Problem(
            f"The account runs {limit} invocations at once; Capacity={capacity} wants {needed}, and unsubscribe "
            f"{max(reserved, 1)} more.",
            f"{ask} --desired-value 1000` asks for more.",
        )
    elif reserved and limit - reserved < LEAST_UNRESERVED:
        yield Problem(
            f"UnsubscribeConcurrency={reserved} leaves {limit - reserved} of the account's {limit} invocations, and "
            f"AWS refuses to leave under {LEAST_UNRESERVED}.",
            f"Set it to 0, or {ask} --desired-value 1000`.",
        )


def _ses_account(patient: Patient) -> Iterator[Problem]:
    account = boto3.client("sesv2").get_account()
    if "ProductionAccessEnabled" not in account:
        yield Problem("Unknown, because the account does not say whether it is in the sandbox.", state=State.UNKNOWN)
    elif not account["ProductionAccessEnabled"]:
        yield Problem(
            "SES is in its sandbox: mail goes to verified addresses only, 200 a day.",
            'Ask to be let out: docs/deploying.md, "Get out of SES\'s sandbox".',
        )
    if account.get("SendingEnabled") is False:
        yield Problem(
            f"SES does not send for this account ({account.get('EnforcementStatus', 'no status')}).",
            "`aws sesv2 get-account` says why; SES's console has the case to answer.",
        )


def _sender(patient: Patient) -> Iterator[Problem]:
    """A verified domain covers those below it (SES, "Creating and verifying identities")."""
    sender = patient.parameters["Sender"]
    _, _, domain = sender.partition("@")
    labels = domain.split(".")
    above = [".".join(labels[at:]) for at in range(len(labels) - 1)] or [domain]
    ses, known = boto3.client("sesv2"), []
    for identity in [sender, *above]:
        try:
            found = ses.get_email_identity(EmailIdentity=identity)
        except ses.exceptions.NotFoundException:
            continue
        known.append(identity)
        if not found.get("VerifiedForSendingStatus"):
            continue
        dkim = found.get("DkimAttributes", {}).get("Status")
        if identity != sender and dkim != "SUCCESS":
            yield Problem(
                f"{identity} is verified, but its DKIM is {dkim or 'not set up'}: mails go out unsigned.",
                f"Put the CNAMEs of `aws sesv2 get-email-identity --email-identity {identity}` into its DNS.",
            )
        elif identity == sender and dkim != "SUCCESS" and not patient.local:
            yield Problem(
                f"{sender} is verified as an address alone: its mails go out without its domain's DKIM.",
                f"`aws sesv2 create-email-identity --email-identity {domain}`, and put its CNAMEs into the DNS.",
            )
        return
    if known:
        yield Problem(
            f"{known[0]} is not verified yet, so SES refuses every mail from {sender}.",
            f"`aws sesv2 get-email-identity --email-identity {known[0]}` has the CNAMEs that its DNS needs.",
        )
    else:
        yield Problem(
            f"SES knows neither {sender} nor its domain, and refuses every mail from it.",
            f"`aws sesv2 create-email-identity --email-identity {domain}`, and put its CNAMEs into the DNS.",
        )


# ---- After it: what the template has, and what is there --------------------------------------------------------------


def _stack(patient: Patient) -> Iterator[Problem]:
    try:
        patient.stack.resources  # noqa: B018 - read, to see whether there are any
    except StackNotFound as error:
        yield Problem(str(error), "`sam deploy` makes it; `backbeat doctor --before` looks at what that needs.")
        return
    status = patient.deployed.description["StackStatus"]
    if status.endswith("_IN_PROGRESS"):
        yield Problem(f"The stack is changing: {status}.", "Wait until it has settled, and look again.")
    elif status not in SETTLED:
        yield Problem(
            f"The last deployment failed: the stack is {status}.",
            f"`aws cloudformation describe-events --stack-name {patient.stack.name} --filters FailedEvents=true` "
            "says what failed.",
        )


def _functions(patient: Patient) -> Iterator[Problem]:
    functions = boto3.client("lambda")
    for _, properties in patient.deployed.resources("AWS::Lambda::Function"):
        name = patient.deployed.value(properties["FunctionName"])
        try:
            answer: Any = functions.get_function(FunctionName=name)
        except functions.exceptions.ResourceNotFoundException:
            yield Problem(f"Function {name} is gone.", patient.restore)
            continue
        there = answer["Configuration"]
        there["Layers"] = [layer["Arn"] for layer in there.get("Layers", [])]
        # "Throttle" in Lambda's console sets it to 0, and nothing runs.
        there["ReservedConcurrentExecutions"] = answer.get("Concurrency", {}).get("ReservedConcurrentExecutions")
        compared = ("MemorySize", "Timeout", "Runtime", "Handler", "Role", "Layers", "ReservedConcurrentExecutions")
        set_here = patient.deployed.value({key: properties[key] for key in compared if key in properties})
        expected = {"ReservedConcurrentExecutions": None, **set_here}
        differences = differing(expected, there)
        variables: dict[str, Any] = {}
        for variable, value in properties.get("Environment", {}).get("Variables", {}).items():
            try:
                variables[variable] = patient.deployed.value(value)
            except NotWorkedOut as error:
                yield Problem(f"Variable {variable} of {name} is unknown: {error}.", state=State.UNKNOWN)
        has = there.get("Environment", {}).get("Variables", {})
        differences += [f"variable {text}" for text in differing(variables, has)]
        differences += [f"variable {name} is not the template's" for name in has if name not in _names(properties)]
        if differences:
            yield Problem(f"Function {name} is not as the template has it: {'; '.join(differences)}.", patient.restore)


def _names(properties: dict[str, Any]) -> set[str]:
    return set(properties.get("Environment", {}).get("Variables", {}))


def _mappings(patient: Patient) -> Iterator[Problem]:
    functions = boto3.client("lambda")
    paused = {patient.stack.tasks()[task]["queue"]: pause for task, pause in pausing.paused(patient.stack).items()}
    for logical_id, properties in patient.deployed.resources("AWS::Lambda::EventSourceMapping"):
        expected = patient.deployed.value(properties)
        queue = expected["EventSourceArn"].rsplit(":", 1)[-1]
        try:
            there: Any = functions.get_event_source_mapping(UUID=patient.stack.resources.get(logical_id) or logical_id)
        except functions.exceptions.ResourceNotFoundException:
            yield Problem(f"No function takes what is on {queue}: its mapping is gone.", patient.restore)
            continue
        if queue in paused:
            yield Problem(
                f"What is on {queue} waits: it is paused since {iso(paused[queue].since)}, until "
                f"{iso(paused[queue].until)}.",
                "`backbeat resume` ends it sooner.",
                state=State.OK,
            )
        elif there["State"] in pausing.OFF:
            yield Problem(
                f"No function takes what is on {queue}: its mapping is disabled.",
                "`backbeat doctor --fix` enables it.",
                partial(functions.update_event_source_mapping, UUID=there["UUID"], Enabled=True),
            )
        expected = {key: expected[key] for key in ("EventSourceArn", "BatchSize", "FunctionResponseTypes")} | {
            "MaximumConcurrency": expected["ScalingConfig"]["MaximumConcurrency"],
            "FunctionName": expected["FunctionName"],
        }
        there |= {
            "MaximumConcurrency": there.get("ScalingConfig", {}).get("MaximumConcurrency"),
            "FunctionName": there["FunctionArn"].rsplit(":function:", 1)[-1],
        }
        if differences := differing(expected, there):
            yield Problem(
                f"The mapping of {queue} is not as the template has it: {'; '.join(differences)}.", patient.restore
            )


def _queues(patient: Patient) -> Iterator[Problem]:
    attributes: dict[str, Any] = {}
    for _, properties in patient.deployed.resources("AWS::SQS::Queue"):
        expected = patient.deployed.value(properties)
        name = expected["QueueName"]
        try:
            url = sqs().get_queue_url(QueueName=name)["QueueUrl"]
            there: Any = sqs().get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        except sqs().exceptions.QueueDoesNotExist:
            yield Problem(f"Queue {name} is gone.", patient.restore)
            continue
        attributes[name] = there
        there["RedrivePolicy"] = json.loads(there.get("RedrivePolicy", "null"))
        compared = ("VisibilityTimeout", "MessageRetentionPeriod", "RedrivePolicy")
        if differences := differing({key: expected[key] for key in compared if key in expected}, there):
            yield Problem(f"Queue {name} is not as the template has it: {'; '.join(differences)}.", patient.restore)
    for _, properties in patient.deployed.resources("AWS::SQS::QueuePolicy"):
        expected = patient.deployed.value(properties)
        for name in (str(url).rsplit("/", 1)[-1] for url in expected["Queues"]):
            if name not in attributes:
                continue
            there = json.loads(attributes[name].get("Policy") or "{}")
            if not there:
                yield Problem(f"Queue {name} has no policy.", patient.restore)
            elif plain(there.get("Statement")) != plain(expected["PolicyDocument"]["Statement"]):
                yield Problem(f"The policy of queue {name} is not the template's.", patient.restore)


def _triggers(patient: Patient) -> Iterator[Problem]:
    """S3 and EventBridge send by themselves; the schedules are looked at apart."""
    for logical_id, properties in patient.deployed.resources("AWS::S3::Bucket"):
        if "NotificationConfiguration" not in properties:
            continue
        bucket = patient.stack.resources[logical_id]
        wanted = patient.deployed.value(properties["NotificationConfiguration"]["QueueConfigurations"])
        there = boto3.client("s3").get_bucket_notification_configuration(Bucket=bucket)
        has = {(event, to["QueueArn"]) for to in there.get("QueueConfigurations", []) for event in to["Events"]}
        for event, queue in sorted({(to["Event"], to["Queue"]) for to in wanted} - has):
            yield Problem(f"Bucket {bucket} does not tell {queue.rsplit(':', 1)[-1]} of {event}.", patient.restore)
    events = boto3.client("events")
    for logical_id, properties in patient.deployed.resources("AWS::Events::Rule"):
        rule = patient.stack.resources.get(logical_id) or logical_id
        try:
            state = events.describe_rule(Name=rule)["State"]
        except events.exceptions.ResourceNotFoundException:
            yield Problem(f"Rule {rule} is gone.", patient.restore)
            continue
        if state == "DISABLED":
            yield Problem(
                f"Rule {rule} is off.",
                f"`aws events enable-rule --name {rule}`, or `backbeat doctor --fix`, switches it on.",
                partial(events.enable_rule, Name=rule),
            )
        targets = {target["Arn"] for target in events.list_targets_by_rule(Rule=rule)["Targets"]}
        for target in patient.deployed.value(properties["Targets"]):
            if target["Arn"] not in targets:
                yield Problem(f"Rule {rule} does not send to {target['Arn'].rsplit(':', 1)[-1]}.", patient.restore)


def _schedules(patient: Patient) -> Iterator[Problem]:
    now = datetime.now(UTC)
    found = {schedule.name: schedule for schedule in schedules.schedules(patient.stack.name)}
    for name, expected in schedules.of_template(patient.deployed).items():
        if name not in found:
            yield Problem(f"Schedule {name} is gone.", patient.restore)
            continue
        there: Any = found[name].definition
        if expected["State"] == "ENABLED" and not found[name].enabled:
            yield Problem(
                f"Schedule {name} is off.",
                f"`backbeat schedules enable {name}`, or `backbeat doctor --fix`, switches it on.",
                partial(schedules.switch, found[name], "ENABLED"),
            )
        different = schedules.differences(found[name], {**expected, "State": there["State"]})
        if expected["State"] == "DISABLED" and found[name].enabled:
            different.append("State is 'ENABLED' in place of 'DISABLED'")
        if different:
            yield Problem(
                f"Schedule {name} is not as the template has it: {'; '.join(different)}.",
                f"`backbeat schedules reset {name}` makes it so; or change its row in template.yaml, and deploy.",
            )
        sends = ("Arn", "Input", "RoleArn", "RetryPolicy", "DeadLetterConfig")
        if different := differing({key: expected["Target"][key] for key in sends}, there["Target"]):
            yield Problem(f"Schedule {name} is not as the template has it: {'; '.join(different)}.", patient.restore)
    for schedule in found.values():
        yield from _understood(schedule, now)


def _understood(schedule: Schedule, now: datetime) -> Iterator[Problem]:
    if problem := schedules.described(schedule, now)["problem"]:
        yield Problem(problem, f"Mend its input or its times; until then `backbeat schedules disable {schedule.name}`.")


def _alarms(patient: Patient) -> Iterator[Problem]:
    expected = {}
    for logical_id, properties in patient.deployed.resources("AWS::CloudWatch::Alarm"):
        expected[patient.stack.resources.get(logical_id) or logical_id] = patient.deployed.value(properties)
    pages = boto3.client("cloudwatch").get_paginator("describe_alarms").paginate(AlarmNamePrefix=patient.stack.name)
    found: dict[str, Any] = {alarm["AlarmName"]: alarm for page in pages for alarm in page["MetricAlarms"]}
    for name, properties in expected.items():
        if name not in found:
            yield Problem(f"Alarm {name} is gone.", patient.restore)
            continue
        there = found[name]
        if not there.get("ActionsEnabled", True):
            yield Problem(
                f"Alarm {name} tells nobody: its actions are off.",
                f"`aws cloudwatch enable-alarm-actions --alarm-names {name}` switches them on.",
            )
        compared = ("MetricName", "Namespace", "Period", "EvaluationPeriods", "ComparisonOperator", "AlarmActions")
        differences = differing({key: properties[key] for key in compared}, there)
        if float(there["Threshold"]) != float(properties["Threshold"]):
            differences.append(f"Threshold is {there['Threshold']:g} in place of {properties['Threshold']}")
        if differences:
            yield Problem(f"Alarm {name} is not as the template has it: {'; '.join(differences)}.", patient.restore)
        if there.get("StateValue") == "ALARM":
            yield Problem(f"Alarm {name} rings: {properties['AlarmDescription'].strip()}")


def _subscription(patient: Patient) -> Iterator[Problem]:
    """An address gets nothing before its owner has followed the link in a mail (SNS, "Email notifications")."""
    address = patient.parameters["AlertEmail"]
    if not address:
        return  # prod cannot be deployed without one
    topic = patient.stack.resources["AlarmTopic"]
    pages = boto3.client("sns").get_paginator("list_subscriptions_by_topic").paginate(TopicArn=topic)
    found = [item for page in pages for item in page["Subscriptions"] if item["Endpoint"] == address]
    if not found:
        yield Problem(f"{address} is not subscribed to the alarms.", patient.restore)
    elif all(not item["SubscriptionArn"].startswith("arn:") for item in found):
        yield Problem(
            f"{address} has not confirmed that it wants the alarms, and gets none.",
            f"Follow the link in AWS's mail to it; `aws sns subscribe --topic-arn {topic} --protocol email "
            f"--notification-endpoint {address}` sends it again.",
        )


# ---- The work --------------------------------------------------------------------------------------------------------


def _dead(patient: Patient) -> Iterator[Problem]:
    for name, task in patient.stack.tasks().items():
        try:
            dead = sum(depth(task["dead_queue_url"]))
        except sqs().exceptions.QueueDoesNotExist:
            continue  # said of the queues
        if dead:
            yield Problem(
                f"{dead} message{'s' if dead > 1 else ''} of {name} {'are' if dead > 1 else 'is'} dead.",
                f"`backbeat dead --task {name}` says why, and what to do.",
            )


def _late(patient: Patient) -> Iterator[Problem]:
    """What is paused waits because it is meant to."""
    now, paused = datetime.now(UTC), pausing.paused(patient.stack)
    rows = {row["Name"]: row for row in patient.deployed.template["Mappings"]["Tasks"].values()}
    for name, task in patient.stack.tasks().items():
        try:
            waiting, _ = depth(task["queue_url"])
        except sqs().exceptions.QueueDoesNotExist:
            continue
        if not waiting or name in paused:
            continue
        waited = age.oldest(patient.stack.name, task["queue"], now)
        if waited is None:
            yield Problem(
                f"{waiting} wait for {name}; for how long is unknown, because CloudWatch has no age of that queue.",
                "`backbeat status` says whether they become fewer.",
                state=State.UNKNOWN,
            )
            continue
        seconds, allowed = waited.total_seconds(), int(rows[name]["Late"])
        if seconds > allowed:
            yield Problem(
                f"The oldest message of {name} has waited for {seconds:.0f} s; {allowed} s are allowed.",
                f"`backbeat runs --task {name}` says whether they fail.",
            )


def _differs(compare: Callable[[Deployed], Iterator[str]]) -> "Check":
    """A check of what is compared with the template, and made as it was in one way."""
    return lambda patient: (Problem(says, patient.restore) for says in compare(patient.deployed))


def _tables(patient: Patient) -> Iterator[Problem]:
    return (Problem(says, patient.restore) for says in drift.tables(patient.deployed, local=patient.local))


def _buckets(patient: Patient) -> Iterator[Problem]:
    return (Problem(says, patient.restore) for says in drift.buckets(patient.deployed, local=patient.local))


Check = Callable[[Patient], Iterator[Problem]]

BEFORE: tuple[tuple[str, str, Check], ...] = (
    ("tools", "`sam` and the functions' Python are there, or nothing is built here.", _tools),
    ("credentials", "AWS takes the credentials, and a region is set.", _credentials),
    ("concurrency", "The account may run as much at once as the capacity wants.", _concurrency),
    ("ses account", "SES sends to anybody.", _ses_account),
    ("sender", "SES has verified the sender.", _sender),
)
AFTER: tuple[tuple[str, str, Check], ...] = (
    ("stack", "The stack is deployed.", _stack),
    ("functions", "Every function is as the template has it.", _functions),
    ("mappings", "Every queue is taken from as the template has it.", _mappings),
    ("queues", "Every queue and its policy is as the template has it.", _queues),
    ("roles", "Every role may do what the template lets it, and nothing more.", _differs(drift.roles)),
    ("tables", "Every table has its keys and indexes, expiry and backups.", _tables),
    ("buckets", "Every bucket is closed, and keeps what it has as the template says.", _buckets),
    ("logs", "Every log is kept as long as the template says.", _differs(drift.logs)),
    ("links", "The links in mails have their address and their key.", _differs(drift.links)),
    ("mail events", "SES tells of bounces and complaints.", _differs(drift.mail_events)),
    ("triggers", "Uploads and SES's events reach their queues.", _triggers),
    ("schedules", "Every schedule is on, and as the template has it.", _schedules),
    ("alarms", "Every alarm is there, and none rings.", _alarms),
    ("alarm subscription", "Whoever AlertEmail names, if anybody, is told of alarms.", _subscription),
    ("dead letters", "No message is dead.", _dead),
    ("waiting work", "No message has waited for too long.", _late),
)
