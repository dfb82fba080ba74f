"""What AWS refuses or ends, and neither cfn-lint nor SAM nor the local cloud does. Each rule stands with its source."""

import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

import boto3
import pytest
from chains import LONGEST
from permissions import granted
from pieces import complete, in_parts
from samcli.commands.build.command import cli as sam_build
from samcli.commands.deploy.command import cli as sam_deploy
from samcli.lib.providers.sam_function_provider import SamFunctionProvider
from samcli.lib.providers.sam_stack_provider import SamLocalStackProvider
from support import PSEUDO, ROOT, arn, logical_ids, logical_name, resolve, resources, statements, template

import cleanup_old_posts
import send_content_digest_email
from backbeat import sweeps


def properties(logical_id: str) -> dict[str, Any]:
    found: dict[str, Any] = template()["Resources"][logical_id]["Properties"]
    return found


@pytest.fixture
def longest_names() -> Iterator[None]:
    """The longest stack name that the template takes, and the longest name of a region."""
    pattern = properties("ShortStackName")["AllowedPattern"]
    stack = next("s" * length for length in range(128, 0, -1) if re.fullmatch(pattern, "s" * length))
    session = boto3.Session()
    regions = [r for p in session.get_available_partitions() for r in session.get_available_regions("s3", p)]
    with pytest.MonkeyPatch.context() as meanwhile:
        meanwhile.setitem(PSEUDO, "AWS::StackName", stack)
        meanwhile.setitem(PSEUDO, "AWS::Region", max(regions, key=len))
        arn.cache_clear()  # it knows the names of all other tests
        yield
    arn.cache_clear()


# ---- S3 --------------------------------------------------------------------------------------------------------------

BESIDE_DELETE_MARKERS = {
    "AbortIncompleteMultipartUpload",
    "NoncurrentVersionExpirationInDays",
    "NoncurrentVersionTransition",
    "NoncurrentVersionTransitions",
    "Transition",
    "Transitions",
}


@pytest.mark.parametrize("name", resources("AWS::S3::Bucket"))
def test_a_lifecycle_rule_does_more_than_expire_delete_markers(name: str) -> None:
    """ "You must specify at least one of the following" (CloudFormation, AWS::S3::Bucket Rule; coverage roadmap #1124).

    `ExpirationInDays` and `ExpirationDate` are in that list, and must not stand beside it (the same page).
    """
    for rule in properties(name).get("LifecycleConfiguration", {}).get("Rules", []):
        if rule.get("ExpiredObjectDeleteMarker"):
            assert BESIDE_DELETE_MARKERS & set(rule), rule["Id"]
            assert not {"ExpirationInDays", "ExpirationDate"} & set(rule), rule["Id"]


def test_the_networks_own_pages_may_upload() -> None:
    """A browser asks first, and S3 refuses where no rule names the page's origin (S3, "Using CORS")."""
    (rule,) = properties("UploadsBucket")["CorsConfiguration"]["CorsRules"]
    assert resolve(rule["AllowedOrigins"]) == ["https://example.com"]
    assert "POST" in rule["AllowedMethods"]


# ---- SQS -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", resources("AWS::SQS::QueuePolicy"))
def test_a_statement_of_a_queues_policy_is_about_that_queue(name: str) -> None:
    """ "Don't include statements that cover different queues" (SQS, `AddPermission` and "Overview of managing access").

    `*` is the queue that bears the policy, and so may stand in a policy that several bear (as in SNS, "Using an AWS
    CloudFormation template to create a topic that sends messages to Amazon SQS queues").
    """
    queues = logical_ids(properties(name)["Queues"])
    statements_of_it = properties(name)["PolicyDocument"]["Statement"]
    for statement in statements_of_it:
        assert statement["Resource"] == "*" or {*logical_ids(statement["Resource"])} == queues, statement["Sid"]
        assert statement["Resource"] == "*" or len(queues) == 1, statement["Sid"]
    assert len(statements_of_it) <= 20  # SQS, "Policy quotas", as are 8,192 bytes


# ---- Names and sizes -------------------------------------------------------------------------------------------------

NAMES = {
    ("AWS::S3::Bucket", "BucketName"): r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]",  # S3, "Bucket naming rules"
    ("AWS::SQS::Queue", "QueueName"): r"[a-zA-Z0-9_-]{1,80}",  # SQS, `CreateQueue`
    ("AWS::Lambda::Function", "FunctionName"): r"[a-zA-Z0-9-_]{1,64}",  # Lambda, `CreateFunction`
    ("AWS::Serverless::Function", "FunctionName"): r"[a-zA-Z0-9-_]{1,64}",
    ("AWS::IAM::Role", "RoleName"): r"[\w+=,.@-]{1,64}",  # IAM, `CreateRole`
    ("AWS::Logs::LogGroup", "LogGroupName"): r"[.\-_/#A-Za-z0-9]{1,512}",  # CloudWatch Logs, `CreateLogGroup`
    ("AWS::Events::EventBus", "Name"): r"[.\-_A-Za-z0-9]{1,256}",  # EventBridge, `CreateEventBus`
    ("AWS::Scheduler::ScheduleGroup", "Name"): r"[0-9a-zA-Z-_.]{1,64}",  # EventBridge Scheduler, `CreateScheduleGroup`
    ("AWS::SES::ConfigurationSet", "Name"): r"[A-Za-z0-9_-]{1,64}",  # SES, `CreateConfigurationSet`
}


def test_every_name_fits_at_its_longest(longest_names: None) -> None:
    checked = set()
    for logical_id, resource in template()["Resources"].items():
        for key, value in resource.get("Properties", {}).items():
            if key.endswith("Name") and "AWS::StackName" in json.dumps(value):
                kind = (resource["Type"], key)
                assert kind in NAMES, f"{logical_id}: what may a {kind[0]} be called? It is made of the stack's name"
                assert re.fullmatch(NAMES[kind], resolve(value)), f"{logical_id}: {resolve(value)}"
                checked.add(kind)
    assert len(checked) >= 6


def test_the_origin_access_control_has_a_name_that_fits(longest_names: None) -> None:
    """64 characters (CloudFront, `OriginAccessControlConfig`); it stands one level deeper than other names."""
    for control in resources("AWS::CloudFront::OriginAccessControl").values():
        assert len(resolve(control["Properties"]["OriginAccessControlConfig"]["Name"])) <= 64


@pytest.mark.parametrize("role", resources("AWS::IAM::Role"))
def test_a_roles_policies_fit(longest_names: None, role: str) -> None:
    """10,240 characters in all inline policies together, blanks aside, and 2,048 of trust (IAM, "Quotas")."""
    assert len(json.dumps(resolve(statements(role)), separators=(",", ":"))) < 10_000
    assert len(json.dumps(resolve(properties(role)["AssumeRolePolicyDocument"]), separators=(",", ":"))) <= 2_048


@pytest.mark.parametrize("name", [*resources("AWS::SQS::QueuePolicy"), *resources("AWS::S3::BucketPolicy")])
def test_a_resources_policy_fits(longest_names: None, name: str) -> None:
    """8,192 bytes for a queue's (SQS, "Policy quotas"); 20 KB for a bucket's (S3, "Bucket policies")."""
    assert len(json.dumps(resolve(properties(name)["PolicyDocument"]))) <= 8_192


@pytest.mark.parametrize("name", resources("AWS::Serverless::Function"))
def test_a_functions_variables_fit(longest_names: None, name: str) -> None:
    """4 KB in all (Lambda, "Quotas"). A table's and a bucket's own name is made of the stack's, its own and 13 more."""
    own = properties(name).get("Environment", {}).get("Variables", {})
    variables = {**template()["Globals"]["Function"]["Environment"]["Variables"], **own}
    made = len(PSEUDO["AWS::StackName"]) + 15
    texts = {key: str(resolve(value)) + "x" * made * bool(logical_ids(value)) for key, value in variables.items()}
    assert len(json.dumps(texts)) <= 4_096


def test_the_template_fits_as_it_is_expanded() -> None:
    """500 resources, 200 parameters, 200 attributes of a mapping, 1 MB (CloudFormation, "Quotas").

    SAM makes two resources more of a function that has a URL, and none of a layer.
    """
    assert len(template()["Resources"]) + 20 <= 500
    assert len(template()["Parameters"]) <= 200
    assert max(len(row) for rows in template()["Mappings"].values() for row in [rows, *rows.values()]) <= 200
    assert len(json.dumps(template())) <= 1_000_000


# ---- DynamoDB --------------------------------------------------------------------------------------------------------


def test_a_table_changes_by_one_index_at_a_time() -> None:
    """ "You can only create or delete one global secondary index" in an update (DynamoDB, `UpdateTable`).

    `indexes.json` holds the tables as they are deployed. Add or remove one index of a table, deploy that everywhere,
    write it there, and go on with the next.
    """
    deployed = json.loads((ROOT / "tests/architecture/indexes.json").read_text("utf-8"))
    for name, table in resources("AWS::DynamoDB::Table").items():
        now = {index["IndexName"] for index in table["Properties"].get("GlobalSecondaryIndexes", [])}
        changed = now ^ set(deployed.get(name, now))
        assert len(changed) <= 1, f"{name} changes by {sorted(changed)}: one at a time"


# ---- What would go on for ever, and what would not last --------------------------------------------------------------


def role_of(queue: str) -> str:
    """The role of the function that a queue feeds."""
    return f"{queue.removesuffix('Queue')}Role"


def test_no_function_causes_the_event_that_it_is_called_for() -> None:
    """Lambda finds a loop over S3 and SQS only after 16 turns, and none over EventBridge or SES at all."""
    causes: list[tuple[str, str, str]] = []  # the queue that is told, the action that it is told of, on what
    for name, bucket in resources("AWS::S3::Bucket").items():
        for told in bucket["Properties"].get("NotificationConfiguration", {}).get("QueueConfigurations", []):
            (queue,) = logical_ids(told["Queue"])
            causes += [(queue, action, f"{arn(name)}/posts/1/a") for action in ("s3:PutObject", "s3:DeleteObject")]
    for rule in resources("AWS::Events::Rule").values():
        ((queue,),) = (logical_ids(target["Arn"]) for target in rule["Properties"]["Targets"])
        if rule["Properties"]["EventPattern"]["source"] == ["backbeat"]:  # every function causes it
            assert f"{queue.removesuffix('Queue')}Function" not in template()["Resources"], f"{queue} feeds a function"
        else:
            assert rule["Properties"]["EventPattern"]["source"] == ["aws.ses"], "what causes the events of a source?"
            causes.append((queue, "ses:SendRawEmail", "arn:aws:ses:us-east-1:123456789012:identity/a"))
    assert len(causes) >= 5
    for queue, action, resource in causes:
        found = [g for g in granted(role_of(queue)) if fnmatchcase(action, g[0]) and fnmatchcase(resource, g[1])]
        assert not found, f"{role_of(queue)} may {action}, of which {queue} is told"


def test_a_function_sends_to_no_other_task_and_to_its_own_only_in_parts() -> None:
    """So chains of messages are as long as one task makes them, which `chains` measures in each unit test."""
    to_itself = set()
    for task in complete():
        name = logical_name(task)
        sent_to = {resource for action, resource in granted(f"{name}Role") if action == "sqs:SendMessage"}
        assert sent_to <= {arn(f"{name}Queue"), arn(f"{name}DeadQueue")}, task
        if arn(f"{name}Queue") in sent_to:
            to_itself.add(task)
    in_turns = {name for name, task in complete().items() if in_parts(task)}
    assert to_itself <= in_turns | {"process_media_upload"}  # which splits a notification of several records


def test_the_longest_chains_stay_short_of_what_lambda_ends() -> None:
    """About 16 invocations ("Use Lambda recursive loop detection to prevent infinite loops", Lambda)."""
    planned_and_first = 2
    assert planned_and_first + sweeps.MOST_HOPS <= LONGEST
    assert 2 * (planned_and_first + cleanup_old_posts.HOPS) <= LONGEST, "a survey, and the taking of what it found"
    of_an_unknown_mail = 1
    assert planned_and_first + send_content_digest_email.HOPS + of_an_unknown_mail <= LONGEST
    chosen_listed_twice_and_divided = 1 + 2 + 2
    sent_on = send_content_digest_email.INVOCATIONS_OF_A_PART - 1
    assert chosen_listed_twice_and_divided + sent_on <= send_content_digest_email.HOPS
    timeout = properties("SendContentDigestEmailFunction")["Timeout"]
    assert resolve(timeout) >= send_content_digest_email.SECONDS_OF_AN_INVOCATION + 30


HOLD_DATA = ("AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::SecretsManager::Secret")


def test_in_prod_what_holds_data_outlives_the_stack_unless_its_making_failed() -> None:
    """`RetainExceptOnCreate` leaves no orphan of a failed first deployment (CloudFormation, "DeletionPolicy").

    A replacement knows `Retain` alone. Links in mails work for a year, so their key stays, too. Uploads go after 30
    days all the same; what was made of them is in another bucket.
    """
    for name, resource in template()["Resources"].items():
        kept = resource["Type"] in HOLD_DATA and name != "UploadsBucket"
        expected = {"Fn::If": ["IsProd", "RetainExceptOnCreate", "Delete"]} if kept else "Delete"
        assert resource.get("DeletionPolicy", "Delete") == expected, name
        expected = {"Fn::If": ["IsProd", "Retain", "Delete"]} if kept else "Delete"
        assert resource.get("UpdateReplacePolicy", "Delete") == expected, name


def test_layers_go_with_the_stack() -> None:
    """SAM keeps each version for ever unless it is told not to (SAM, AWS::Serverless::LayerVersion)."""
    for name in resources("AWS::Serverless::LayerVersion"):
        assert properties(name)["RetentionPolicy"] == "Delete", name


# ---- Parameters, and the ways to deploy ------------------------------------------------------------------------------

DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = sorted(
    {
        line.strip().split("  #")[0].strip()
        for page in DOCS
        for block in re.findall(r"```(?:sh)?\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
        for line in block.replace("\\\n", " ").splitlines()
        if re.match(r"\s*sam (build|deploy)\b", line)
    }
)


def parsed(command: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `sam` itself makes of a command line and samconfig.toml."""
    monkeypatch.chdir(ROOT)
    _, name, *arguments = shlex.split(command)
    context = {"build": sam_build, "deploy": sam_deploy}[name].make_context(name, arguments)
    return dict(context.params)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_documented_command_leaves_the_stage_as_it_is_meant(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options on the command line replace samconfig's `parameter_overrides` whole."""
    match = re.search(r"--config-env (\w+)", command)
    assert match, "without an environment there is no stage"
    given = parsed(command, monkeypatch)["parameter_overrides"]
    assert given["Stage"] == match[1]


def test_there_are_documented_commands_to_look_at() -> None:
    assert {command.split()[1] for command in COMMANDS} == {"build", "deploy"}


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_build_and_deploy_are_given_the_same(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A runtime or an architecture that only one of them knew would break every import."""
    build, deploy = (parsed(f"sam {command} --config-env {stage}", monkeypatch) for command in ("build", "deploy"))
    assert build["parameter_overrides"] == deploy["parameter_overrides"]


def test_a_deployment_that_does_not_say_its_stage_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """ "Parameters: [Stage] must have values", says CloudFormation, of a parameter without a default."""
    given = parsed("sam deploy --config-env prod --parameter-overrides Sender=a@example.org", monkeypatch)
    assert "Stage" not in given["parameter_overrides"]
    assert "Default" not in template()["Parameters"]["Stage"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # SAM calls what it has deprecated itself
def test_a_build_and_a_call_here_need_no_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not parsed("sam build", monkeypatch)["parameter_overrides"]
    stacks, _ = SamLocalStackProvider.get_stacks("template.yaml", language_extensions_enabled=True)
    found = {function.name for function in SamFunctionProvider(stacks).get_all()}
    assert found == set(resources("AWS::Serverless::Function"))


def test_prod_is_refused_with_a_sentence_until_it_is_told_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules are looked at before anything is made (CloudFormation, "Rules")."""
    (rule,) = template()["Rules"].values()
    assert rule["RuleCondition"] == {"Fn::Equals": [{"Ref": "Stage"}, "prod"]}
    given = parsed("sam deploy --config-env prod", monkeypatch)["parameter_overrides"]
    refused = set()
    for assertion in rule["Assertions"]:
        assert assertion["AssertDescription"].startswith("prod needs")
        refused |= {name for name in given if holds(assertion["Assert"], given) is False and name in str(assertion)}
    assert refused == {"AlertEmail", "Sender", "BaseUrl"}, "what samconfig.toml holds is there to be replaced"
    mine = {**given, "AlertEmail": "ops@mine.example", "Sender": "hi@mine.example", "BaseUrl": "https://mine.example"}
    assert all(holds(assertion["Assert"], mine) for assertion in rule["Assertions"])
    assert not all(holds(assertion["Assert"], {**mine, "AlertEmail": ""}) for assertion in rule["Assertions"])


def holds(condition: dict[str, Any], given: dict[str, str]) -> bool:
    """A rule's condition, for given parameters."""
    ((function, arguments),) = condition.items()
    match function:
        case "Fn::Not":
            return not holds(arguments[0], given)
        case "Fn::Or":
            return any(holds(argument, given) for argument in arguments)
        case "Fn::Equals":
            return bool(given[arguments[0]["Ref"]] == arguments[1])
    raise AssertionError(f"{function} is not known here")


def test_what_samconfig_gives_is_what_the_template_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    stages = tomllib.loads((ROOT / "samconfig.toml").read_text("utf-8")).keys() - {"version", "default"}
    assert stages == set(template()["Parameters"]["Stage"]["AllowedValues"])
    for stage in stages:
        for name, value in parsed(f"sam deploy --config-env {stage}", monkeypatch)["parameter_overrides"].items():
            parameter = template()["Parameters"][name]
            assert value in parameter.get("AllowedValues", [value]), name
            assert re.fullmatch(parameter.get("AllowedPattern", ".*"), value), name


@pytest.mark.parametrize(
    ("name", "taken", "refused"),
    [
        ("AlertEmail", ["", "a@b.example"], ["a", "a@b c"]),
        ("Sender", ["a@b.example"], ["", "A <a@b.example>"]),
        ("BaseUrl", ["https://a.example", "http://localhost:8000/app"], ["a.example", "https://", "https://a b"]),
        ("UnsubscribeUrl", ["", "https://a.example/bye"], ["http://a.example", "https://a.example/?x=1"]),
    ],
)
def test_a_parameter_takes_what_fits_and_says_what_does(name: str, taken: list[str], refused: list[str]) -> None:
    parameter = template()["Parameters"][name]
    assert all(re.fullmatch(parameter["AllowedPattern"], value) for value in taken)
    assert not any(re.fullmatch(parameter["AllowedPattern"], value) for value in refused)
    assert parameter["ConstraintDescription"].startswith("must ")


@pytest.mark.parametrize("name", ["Backbeat", "a" * 27, "1st", "a.b", ""])
def test_a_stack_name_that_would_fail_later_fails_at_once(name: str) -> None:
    """SSM checks a parameter's value against its own pattern when it is made (`PutParameter`)."""
    assert not re.search(properties("ShortStackName")["AllowedPattern"], name)
    assert properties("ShortStackName")["Value"] == {"Ref": "AWS::StackName"}


# ---- Mail ------------------------------------------------------------------------------------------------------------


def test_the_role_covers_whichever_identity_is_verified_and_the_sandbox_but_one_sender_only() -> None:
    """SES authorises the identity that it finds for the sender: the address, its domain or one above; in the sandbox
    the recipients' as well (SES, "Identity policies" and "Request production access")."""
    for role in ("SendWelcomeEmailRole", "SendContentDigestEmailRole"):
        (sending,) = (s for s in statements(role) if "ses:SendEmail" in s["Action"])
        assert f"arn:aws:ses:{PSEUDO['AWS::Region']}:{PSEUDO['AWS::AccountId']}:identity/*" in resolve(
            sending["Resource"]
        )
        assert sending["Condition"] == {"StringEquals": {"ses:FromAddress": {"Ref": "Sender"}}}


def test_links_can_lead_to_an_address_that_outlives_the_stack() -> None:
    for name in ("SendWelcomeEmailFunction", "SendContentDigestEmailFunction"):
        url = properties(name)["Environment"]["Variables"]["UNSUBSCRIBE_URL"]
        assert url["Fn::If"][:2] == ["HasUnsubscribeUrl", {"Ref": "UnsubscribeUrl"}]


def test_concurrency_is_set_apart_only_where_it_is_asked_for() -> None:
    """An account whose limit is 10 refuses any ("ReservedConcurrentExecutions", Lambda: 100 must stay unreserved)."""
    asked = {"Fn::If": ["HasUnsubscribeConcurrency", {"Ref": "UnsubscribeConcurrency"}, {"Ref": "AWS::NoValue"}]}
    for name in resources("AWS::Serverless::Function"):
        expected = asked if name == "UnsubscribeFunction" else None
        assert properties(name).get("ReservedConcurrentExecutions") == expected, name
    assert template()["Parameters"]["UnsubscribeConcurrency"]["Default"] == 0


def test_unsubscribe_changes_one_attribute_of_a_user() -> None:
    updates = [s for s in statements("UnsubscribeRole") if "UpdateItem" in str(s["Action"])]
    assert [s["Condition"] for s in updates] == [
        {"ForAllValues:StringEquals": {"dynamodb:Attributes": ["user_id", "digest"]}},
        {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["changes#*"]}},
    ]
