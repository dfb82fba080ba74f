"""Where rights, tables, buckets and what the mails need are not as the template has them: a sentence for each."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import boto3
from botocore.exceptions import ClientError

from backbeat_ops.deployed import Deployed, differing, plain

NOT_SET = (
    "NoSuchBucketPolicy",
    "NoSuchCORSConfiguration",
    "NoSuchLifecycleConfiguration",
    "NoSuchPublicAccessBlockConfiguration",
    "OwnershipControlsNotFoundError",
    "ServerSideEncryptionConfigurationNotFoundError",
)
"""What S3 answers where a bucket has none of what is asked for."""


def roles(deployed: Deployed) -> Iterator[str]:
    """The roles and the policy for applications: who may take them, and what they allow."""
    iam = boto3.client("iam")
    policies: dict[str, dict[str, Any]] = defaultdict(dict)
    for _, properties in deployed.resources("AWS::IAM::Policy"):
        expected = deployed.value(properties)
        for role in expected["Roles"]:
            policies[role][expected["PolicyName"]] = expected["PolicyDocument"]
    for logical_id, properties in deployed.resources("AWS::IAM::Role"):
        name, expected = deployed.stack.resources[logical_id], deployed.value(properties)
        try:
            there: Any = iam.get_role(RoleName=name)["Role"]
        except iam.exceptions.NoSuchEntityException:
            yield f"Role {name} is gone."
            continue
        if said := _statements(expected["AssumeRolePolicyDocument"], there["AssumeRolePolicyDocument"]):
            yield f"Who may take role {name} is not as the template has it: {said}."
        own = {policy["PolicyName"]: policy["PolicyDocument"] for policy in expected.get("Policies", [])}
        own |= policies[name]
        listed = iam.get_paginator("list_role_policies").paginate(RoleName=name)
        has = {policy for page in listed for policy in page["PolicyNames"]}
        yield from _missing_and_more(f"Role {name}", "policy", set(own), has)
        for policy in sorted(own.keys() & has):
            document = iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
            if said := _statements(own[policy], document):
                yield f"Policy {policy} of role {name} is not as the template has it: {said}."
        attached = iam.get_paginator("list_attached_role_policies").paginate(RoleName=name)
        has = {policy["PolicyArn"] for page in attached for policy in page["AttachedPolicies"]}
        yield from _missing_and_more(f"Role {name}", "attached policy", set(expected.get("ManagedPolicyArns", [])), has)
    for logical_id, properties in deployed.resources("AWS::IAM::ManagedPolicy"):
        arn = deployed.stack.resources[logical_id]
        try:
            version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
        except iam.exceptions.NoSuchEntityException:
            yield f"Policy {arn} is gone."
            continue
        document = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
        if said := _statements(deployed.value(properties["PolicyDocument"]), document):
            yield f"Policy {arn} is not as the template has it: {said}."


def _missing_and_more(whose: str, what: str, expected: set[str], has: set[str]) -> Iterator[str]:
    for name in sorted(expected - has):
        yield f"{whose} has no {what} {name}."
    for name in sorted(has - expected):
        yield f"{whose} has the {what} {name}, which is not the template's."


def _statements(expected: Any, there: Any) -> str:
    """Which statements of a policy differ, by their Sid or, where they have none, by their place."""
    wanted, has = _by_sid(expected), _by_sid(there)
    return "; ".join(
        f"statement {sid} {'is missing' if sid not in has else 'is more' if sid not in wanted else 'differs'}"
        for sid in sorted(wanted.keys() | has.keys())
        if wanted.get(sid) != has.get(sid)
    )


def _by_sid(document: Any) -> dict[str, Any]:
    statements = document["Statement"]
    listed = statements if isinstance(statements, list) else [statements]
    return {str(statement.get("Sid", number)): _unordered(statement) for number, statement in enumerate(listed, 1)}


def _unordered(value: Any) -> Any:
    """A statement in one form: the order of its actions and resources says nothing."""
    if isinstance(value, dict):
        return {name: _unordered(item) for name, item in value.items()}
    return sorted(map(str, value)) if isinstance(value, list) and len(value) > 1 else plain(value)


def tables(deployed: Deployed, *, local: bool) -> Iterator[str]:
    """The tables' keys, indexes and streams and, but on the local cloud, which sets neither, expiry and backups."""
    dynamodb = boto3.client("dynamodb")
    for logical_id, properties in deployed.resources("AWS::DynamoDB::Table"):
        name, expected = deployed.stack.resources[logical_id], deployed.value(properties)
        try:
            there: Any = dynamodb.describe_table(TableName=name)["Table"]
        except dynamodb.exceptions.ResourceNotFoundException:
            yield f"Table {name} is gone."
            continue
        differences = differing(_table(expected), _table(there))
        if not local:
            spec = expected.get("TimeToLiveSpecification", {})
            ttl: Any = dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
            has = ttl.get("AttributeName") if ttl["TimeToLiveStatus"] in ("ENABLED", "ENABLING") else None
            differences += differing({"expiry": spec.get("AttributeName")}, {"expiry": has})
            backups = dynamodb.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
            on = backups.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus") == "ENABLED"
            wanted = expected.get("PointInTimeRecoverySpecification", {}).get("PointInTimeRecoveryEnabled", False)
            differences += differing({"point-in-time recovery": wanted}, {"point-in-time recovery": on})
        if differences:
            yield f"Table {name} is not as the template has it: {'; '.join(differences)}."
        indexes = {index["IndexName"]: index for index in expected.get("GlobalSecondaryIndexes", [])}
        found = {index["IndexName"]: index for index in there.get("GlobalSecondaryIndexes", [])}
        yield from _missing_and_more(f"Table {name}", "index", set(indexes), set(found))
        for index in sorted(indexes.keys() & found.keys()):
            if differences := differing(_index(indexes[index]), _index(found[index])):
                yield f"Index {index} of table {name} is not as the template has it: {'; '.join(differences)}."
            if (status := found[index].get("IndexStatus", "ACTIVE")) != "ACTIVE":
                yield f"Index {index} of table {name} is {status}, and finds nothing yet."


def _table(table: Any) -> dict[str, Any]:
    billing = table.get("BillingModeSummary", table).get("BillingMode", "PROVISIONED")
    stream = table.get("StreamSpecification", {}).get("StreamViewType")
    types = {key["AttributeName"]: key["AttributeType"] for key in table["AttributeDefinitions"]}
    keys = {key["AttributeName"]: types[key["AttributeName"]] for key in table["KeySchema"]}
    return {"key": keys, "billing": billing, "stream": stream}


def _index(index: Any) -> dict[str, Any]:
    projection = index["Projection"]
    shows = [projection["ProjectionType"], *sorted(projection.get("NonKeyAttributes", []))]
    return {"key": [key["AttributeName"] for key in index["KeySchema"]], "projection": shows}


def buckets(deployed: Deployed, *, local: bool) -> Iterator[str]:
    """Who may reach the buckets, and how long they keep what; the local cloud sets no lifecycle rules."""
    s3, gone = boto3.client("s3"), set()
    for logical_id, properties in deployed.resources("AWS::S3::Bucket"):
        name, expected = deployed.stack.resources[logical_id], deployed.value(properties)
        try:
            versioning = s3.get_bucket_versioning(Bucket=name).get("Status")
        except s3.exceptions.NoSuchBucket:
            yield f"Bucket {name} is gone."
            gone.add(name)
            continue
        block = _asked(s3.get_public_access_block, name).get("PublicAccessBlockConfiguration", {})
        owners = _asked(s3.get_bucket_ownership_controls, name).get("OwnershipControls", {}).get("Rules")
        encryption: Any = _asked(s3.get_bucket_encryption, name).get(
            "ServerSideEncryptionConfiguration", {"Rules": [{}]}
        )
        algorithm = encryption["Rules"][0].get("ApplyServerSideEncryptionByDefault", {}).get("SSEAlgorithm")
        (written,) = expected["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        wanted = {
            **expected["PublicAccessBlockConfiguration"],
            "ownership": expected["OwnershipControls"]["Rules"],
            "encryption": written["ServerSideEncryptionByDefault"]["SSEAlgorithm"],
            "versioning": expected.get("VersioningConfiguration", {}).get("Status"),
            "CORS": [_cors(rule) for rule in expected.get("CorsConfiguration", {}).get("CorsRules", [])],
        }
        has = {
            **block,
            "ownership": owners,
            "encryption": algorithm,
            "versioning": versioning,
            "CORS": [_cors(rule) for rule in _asked(s3.get_bucket_cors, name).get("CORSRules", [])],
        }
        if not local:
            rules = expected.get("LifecycleConfiguration", {}).get("Rules", [])
            wanted |= {f"rule {rule['Id']}": _written_rule(rule) for rule in rules}
            kept = _asked(s3.get_bucket_lifecycle_configuration, name).get("Rules", [])
            has |= {f"rule {rule['ID']}": _rule(rule) for rule in kept}
            wanted |= dict.fromkeys(key for key in has if key not in wanted and key.startswith("rule "))
        if differences := differing(wanted, has):
            yield f"Bucket {name} is not as the template has it: {'; '.join(differences)}."
    for _, properties in deployed.resources("AWS::S3::BucketPolicy"):
        policy = deployed.value(properties)
        if policy["Bucket"] in gone:
            continue
        text = _asked(s3.get_bucket_policy, policy["Bucket"]).get("Policy", '{"Statement": []}')
        if said := _statements(policy["PolicyDocument"], json.loads(text)):
            yield f"The policy of bucket {policy['Bucket']} is not as the template has it: {said}."


def _asked(call: Callable[..., Any], bucket: str) -> Any:
    try:
        return call(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] in NOT_SET:
            return {}
        raise


def _cors(rule: Any) -> dict[str, Any]:
    """A rule as CloudFormation and as S3 has it, in one form."""
    names = {"ExposedHeaders": "ExposeHeaders", "MaxAge": "MaxAgeSeconds", "Id": "ID"}
    return {names.get(name, name): value for name, value in sorted(rule.items())}


def _written_rule(rule: Any) -> dict[str, Any]:
    """A lifecycle rule of the template in S3's words."""
    expiration = {
        "Days": rule.get("ExpirationInDays"),
        "ExpiredObjectDeleteMarker": rule.get("ExpiredObjectDeleteMarker"),
    }
    return _rule({**rule, "Expiration": {name: value for name, value in expiration.items() if value is not None}})


def _rule(rule: Any) -> dict[str, Any]:
    return {
        "Status": rule["Status"],
        "Prefix": rule.get("Filter", {}).get("Prefix") or rule.get("Prefix") or "",
        **{
            name: rule[name]
            for name in ("Expiration", "NoncurrentVersionExpiration", "AbortIncompleteMultipartUpload")
            if rule.get(name)
        },
    }


def mail_events(deployed: Deployed) -> Iterator[str]:
    """What SES tells of mails it took: without it, no bounce and no complaint is known."""
    ses = boto3.client("sesv2")
    for _, properties in deployed.resources("AWS::SES::ConfigurationSetEventDestination"):
        expected = deployed.value(properties)
        name, wanted = expected["ConfigurationSetName"], expected["EventDestination"]
        try:
            answer: Any = ses.get_configuration_set_event_destinations(ConfigurationSetName=name)
        except ses.exceptions.NotFoundException:
            yield f"Configuration set {name} is gone, and SES refuses mails that name it."
            continue
        found = [there for there in answer.get("EventDestinations", []) if there["Name"] == wanted["Name"]]
        if not found:
            yield f"Configuration set {name} tells nobody of bounces and complaints."
        for there in found:
            sorted_ = ({**item, "MatchingEventTypes": sorted(item["MatchingEventTypes"])} for item in (wanted, there))
            if differences := differing(*sorted_):
                yield f"What configuration set {name} tells is not as the template has it: {'; '.join(differences)}."


def links(deployed: Deployed) -> Iterator[str]:
    """What the links in mails need: the function's address, that everybody may open it, and the key."""
    functions, secrets = boto3.client("lambda"), boto3.client("secretsmanager")
    for _, properties in deployed.resources("AWS::Lambda::Url"):
        name = deployed.value(properties["TargetFunctionArn"])
        try:
            there: Any = functions.get_function_url_config(FunctionName=name)
        except functions.exceptions.ResourceNotFoundException:
            yield f"Function {name} has no address any more: every link in a mail leads nowhere."
            continue
        if differences := differing({"AuthType": deployed.value(properties["AuthType"])}, there):
            yield f"The address of {name} is not as the template has it: {'; '.join(differences)}."
    allowed: dict[str, set[str]] = {}
    for _, properties in deployed.resources("AWS::Lambda::Permission"):
        expected = deployed.value(properties)
        name, action = expected["FunctionName"].rsplit(":", 1)[-1], expected["Action"]
        if name not in allowed:
            try:
                policy = json.loads(functions.get_policy(FunctionName=name)["Policy"])
            except functions.exceptions.ResourceNotFoundException:
                policy = {"Statement": []}
            allowed[name] = {statement["Action"] for statement in policy["Statement"]}
        if action not in allowed[name]:
            yield f"Function {name} does not allow {action} to whoever opens a link: AWS refuses it."
    for logical_id, _ in deployed.resources("AWS::SecretsManager::Secret"):
        key = deployed.stack.resources[logical_id]
        try:
            deleted = secrets.describe_secret(SecretId=key).get("DeletedDate")
        except secrets.exceptions.ResourceNotFoundException:
            yield f"Secret {key} is gone: no link in a mail works any more."
            continue
        if deleted:
            yield f"Secret {key} is being deleted: `aws secretsmanager restore-secret` keeps it, and the links."


def logs(deployed: Deployed) -> Iterator[str]:
    """How long logs are kept."""
    client = boto3.client("logs")
    for _, properties in deployed.resources("AWS::Logs::LogGroup"):
        expected = deployed.value(properties)
        name = expected["LogGroupName"]
        found: Any = client.describe_log_groups(logGroupNamePrefix=name)["logGroups"]
        there = next((group for group in found if group["logGroupName"] == name), None)
        if there is None:
            yield f"Log group {name} is gone: without it the function's role may write no log."
        elif differences := differing({"retentionInDays": expected["RetentionInDays"]}, there):
            yield f"Log group {name} is not as the template has it: {'; '.join(differences)}."
