"""A stack as its template has it: what each of its resources should be, with the parameters it was deployed with."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import boto3

from backbeat_ops.stack import Stack

_GONE: Any = object()
"""What `AWS::NoValue` leaves."""
_ARNS = {
    "AWS::DynamoDB::Table": "dynamodb:{region}:{account}:table/{id}",
    "AWS::Events::Rule": "events:{region}:{account}:rule/{id}",
    "AWS::IAM::Role": "iam::{account}:role/{id}",
    "AWS::Lambda::Function": "lambda:{region}:{account}:function:{id}",
    "AWS::Logs::LogGroup": "logs:{region}:{account}:log-group:{id}:*",
    "AWS::S3::Bucket": "s3:::{id}",
    "AWS::Scheduler::ScheduleGroup": "scheduler:{region}:{account}:schedule-group/{id}",
    "AWS::SQS::Queue": "sqs:{region}:{account}:{id}",
}


class NotWorkedOut(LookupError):
    """What a value of the template comes to is not known here."""


@dataclass(frozen=True)
class Deployed:
    """The template that a stack was deployed from, as CloudFormation keeps it.

    Attributes:
        stack: The stack.
    """

    stack: Stack

    @cached_property
    def description(self) -> Any:
        """The stack, as DescribeStacks answers."""
        return boto3.client("cloudformation").describe_stacks(StackName=self.stack.name)["Stacks"][0]

    @cached_property
    def template(self) -> Any:
        """The template with its loops and SAM's resources written out."""
        client = boto3.client("cloudformation")
        return client.get_template(StackName=self.stack.name, TemplateStage="Processed")["TemplateBody"]

    @cached_property
    def parameters(self) -> dict[str, str]:
        """The template's parameters and what they were given."""
        defaults = {name: str(of.get("Default", "")) for name, of in self.template.get("Parameters", {}).items()}
        given = {of["ParameterKey"]: of["ParameterValue"] for of in self.description.get("Parameters", [])}
        return defaults | given

    def resources(self, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """The resources of one type that the template makes: logical id, and properties as they are written."""
        for logical_id, resource in self.template["Resources"].items():
            if resource["Type"] == kind and self._holds(resource.get("Condition")):
                yield logical_id, resource.get("Properties", {})

    def value(self, value: Any) -> Any:
        """What a value of the template comes to.

        Raises:
            NotWorkedOut: It is made of what is not known here.
        """
        if isinstance(value, list):
            return [item for item in map(self.value, value) if item is not _GONE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            (name, argument), *_ = value.items()
            if name in ("Ref", "Condition") or name.startswith("Fn::"):
                return self._applied(name, argument)
        worked_out = {name: self.value(item) for name, item in value.items()}
        return {name: item for name, item in worked_out.items() if item is not _GONE}

    def _applied(self, name: str, argument: Any) -> Any:
        match name:
            case "Ref":
                return self._ref(argument)
            case "Condition":
                return self._holds(argument)
            case "Fn::GetAtt":
                return self._attribute(*(argument if isinstance(argument, list) else argument.split(".", 1)))
            case "Fn::Sub":
                text, own = argument if isinstance(argument, list) else (argument, {})
                own = self.value(own)
                return re.sub(r"\$\{([^!}]+)\}", lambda match: str(self._named(match[1], own)), text)
            case "Fn::If":
                return self.value(argument[1 if self._holds(argument[0]) else 2])
        argument = self.value(argument)
        match name:
            case "Fn::Join":
                return argument[0].join(str(item) for item in argument[1])
            case "Fn::Split":
                return argument[1].split(argument[0])
            case "Fn::Select":
                return argument[1][int(argument[0])]
            case "Fn::FindInMap":
                where, row, column, *default = argument
                try:
                    return self.template["Mappings"][where][row][column]
                except KeyError:
                    if default:
                        return self.value(default[0]["DefaultValue"])
                    raise NotWorkedOut(f"there is no {where}.{row}.{column} in the template") from None
            case "Fn::Equals":
                return str(argument[0]) == str(argument[1])
            case "Fn::Not":
                return not argument[0]
            case "Fn::Or":
                return any(argument)
            case "Fn::And":
                return all(argument)
        raise NotWorkedOut(f"{name} is not understood")

    def _holds(self, condition: str | None) -> bool:
        return condition is None or bool(self.value(self.template["Conditions"][condition]))

    def _named(self, name: str, own: dict[str, Any]) -> Any:
        if name in own:
            return own[name]
        return self._attribute(*name.split(".", 1)) if "." in name else self._ref(name)

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return _GONE
        if name == "AWS::StackId":
            return self.description["StackId"]
        if name.startswith("AWS::"):
            _, partition, _, region, account, *_ = self.description["StackId"].split(":")
            known = {"StackName": self.stack.name, "Region": region, "AccountId": account, "Partition": partition}
            if name.removeprefix("AWS::") not in known:
                raise NotWorkedOut(f"{name} is not known")
            return known[name.removeprefix("AWS::")]
        if name in self.parameters:
            return self.parameters[name]
        if not self.stack.resources.get(name):
            raise NotWorkedOut(f"{name} is not in the stack")
        return self.stack.resources[name]

    def _attribute(self, logical_id: str, attribute: str) -> str:
        physical = self._ref(logical_id)
        kind = self.template["Resources"][logical_id]["Type"]
        if kind == "AWS::SQS::Queue":
            physical = physical.rsplit("/", 1)[-1]
        if attribute == "QueueName":
            return str(physical)
        if attribute == "Arn" and kind in _ARNS:
            form = f"arn:{self._ref('AWS::Partition')}:{_ARNS[kind]}"
            return form.format(region=self._ref("AWS::Region"), account=self._ref("AWS::AccountId"), id=physical)
        if attribute == "FunctionUrl":
            function = self.value(self.template["Resources"][logical_id]["Properties"]["TargetFunctionArn"])
            return boto3.client("lambda").get_function_url_config(FunctionName=function)["FunctionUrl"]
        raise NotWorkedOut(f"{logical_id}.{attribute} is not known")


def differing(expected: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    """What differs, a phrase each. Values are compared as text: AWS turns some numbers into it."""
    return [
        f"{name} is {_short(there.get(name))} in place of {_short(value)}"
        for name, value in expected.items()
        if plain(there.get(name)) != plain(value)
    ]


def plain(value: Any) -> Any:
    """A value in the one form in which two are compared."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list):  # AWS makes of a list of one what is in it
        return plain(value[0]) if len(value) == 1 else [plain(item) for item in value]
    if isinstance(value, bool):
        return str(value).lower()
    return None if value is None else str(value)


def _short(value: Any) -> str:
    if value is None:
        return "missing"
    text = value if isinstance(value, str) else json.dumps(value)
    return repr(text) if len(text) <= 60 else repr(text[:57] + "...")
