"""Print the template as it is deployed to prod, its loops and SAM's resources written out, for `make checkov`."""

import json
import sys
from copy import deepcopy
from typing import Any

from samtranslator.translator.transform import transform
from support import template


class _NoManagedPolicies:
    """The template names none."""

    def load(self) -> dict[str, str]:
        return {}


def expanded() -> dict[str, Any]:
    """The template as CloudFormation gets it from SAM."""
    source = deepcopy(template())
    for resource in source["Resources"].values():
        for code in ("CodeUri", "ContentUri"):
            if code in resource.get("Properties", {}):
                resource["Properties"][code] = "s3://bucket/key"  # where `sam deploy` puts it
    parameters = {name: parameter.get("Default", "") for name, parameter in source["Parameters"].items()}
    result: dict[str, Any] = transform(source, {**parameters, "Stage": "prod"}, _NoManagedPolicies())
    return result


if __name__ == "__main__":
    json.dump(expanded(), sys.stdout, indent=2)
