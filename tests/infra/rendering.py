"""CloudFormation templates as they come out: parameters, conditions, functions, imports resolved.

moto and LocalStack deploy streams, tables, roles and little else, so what is claimed of the other
templates is claimed of their rendered form. cfn-lint reads the YAML and knows the schemas; it
resolves functions only to sets of possible values, so the dozen functions that these templates use
are here, and an unknown one is an error. `test_rendering.py` holds this against moto's rendering.
"""

import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from cfnlint.decode import decode  # type: ignore[import-untyped]  # no types

INFRA = Path(__file__).parents[2] / "infra"
ORDER = (
    "data",
    "access",
    "network",
    "warehouse",
    "cache",
    "compute-lambda",
    "compute-kcl",
    "watch",
)
"""As infra/README.md deploys them: a stack imports from earlier ones alone."""
PREFIX, ACCOUNT, REGION = "shop", "account", "region"
PSEUDO = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::URLSuffix": "amazonaws.com",
}
# What AWS makes up, where a template takes it apart or a policy is judged by it.
MADE_UP = {
    "Proxy.DBProxyArn": f"arn:aws:rds:{REGION}:{ACCOUNT}:db-proxy:prx-1",
    "Warehouse.DbiResourceId": "db-1",
}
REQUIRED = {
    "compute-lambda": {"BundleBucket": "bundles"},
    "compute-kcl": {"Image": "registry/shop@sha256:0"},
}
"""Parameters without a default."""

NOTHING = object()
"""AWS::NoValue: whatever has it goes."""


class Rendered(NamedTuple):
    """One stack. What AWS would make up reads `<Logical>` or `<Logical.Attribute>`."""

    resources: Mapping[str, Any]
    exports: Mapping[str, str]
    imports: frozenset[str]

    def of_type(self, kind: str) -> dict[str, Any]:
        """Return the properties of every resource of a type."""
        return {
            name: resource.get("Properties", {})
            for name, resource in self.resources.items()
            if resource["Type"] == kind
        }

    def properties(self, name: str) -> Any:
        """Return the properties of one resource."""
        return self.resources[name]["Properties"]


@cache
def source(name: str) -> str:
    """Read a template's text."""
    return (INFRA / f"{name}.yaml").read_text()


def parsed(name: str) -> Any:
    """Parse a template; short functions come out in their long form."""
    template, problems = decode(str(INFRA / f"{name}.yaml"))
    assert not problems
    return json.loads(json.dumps(template))


def render(
    name: str,
    parameters: Mapping[str, str] | None = None,
    imported: Mapping[str, str] | None = None,
    pseudo: Mapping[str, str] | None = None,
) -> Rendered:
    """Render one template. Raises KeyError for what it refers to and nobody defines."""
    template = parsed(name)
    declared = template.get("Parameters", {})
    given = {"Prefix": PREFIX, **REQUIRED.get(name, {}), **(parameters or {})}
    values = {key: given.get(key, entry.get("Default")) for key, entry in declared.items()}
    assert None not in values.values(), f"{name} needs {values}"
    renderer = _Renderer(template, {**PSEUDO, **(pseudo or {}), **values}, imported or {})
    resources = renderer.present("Resources")
    outputs = renderer.present("Outputs")
    exports = {o["Export"]["Name"]: o["Value"] for o in outputs.values() if "Export" in o}
    return Rendered(resources, exports, frozenset(renderer.imports))


@cache
def installation(**parameters: str) -> dict[str, Rendered]:
    """Render every stack in the order of deployment, each with what the earlier ones export.

    A parameter goes to every template that declares it.
    """
    stacks: dict[str, Rendered] = {}
    exports: dict[str, str] = {}
    for name in ORDER:
        own = {key: v for key, v in parameters.items() if key in parsed(name)["Parameters"]}
        stacks[name] = render(name, own, exports)
        exports |= stacks[name].exports
    return stacks


class _Renderer:
    def __init__(
        self, template: Any, values: Mapping[str, str], imported: Mapping[str, str]
    ) -> None:
        self._template, self._values, self._imported = template, values, imported
        self.imports: set[str] = set()

    def present(self, section: str) -> dict[str, Any]:
        """Resolve the entries of a section that their conditions leave."""
        entries = self._template.get(section, {})
        return {
            name: self.resolve({k: v for k, v in entry.items() if k != "Condition"})
            for name, entry in entries.items()
            if "Condition" not in entry or self._holds(entry["Condition"])
        }

    def resolve(self, node: Any) -> Any:
        """Resolve every function below a node."""
        if isinstance(node, list):
            items = [self.resolve(item) for item in node]
            return [item for item in items if item is not NOTHING]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((function, argument),) = node.items()
            if function == "Ref" or function.startswith("Fn::"):
                return self._call(function.removeprefix("Fn::"), argument)
        resolved = {key: self.resolve(value) for key, value in node.items()}
        return {key: value for key, value in resolved.items() if value is not NOTHING}

    def _call(self, function: str, argument: Any) -> Any:
        known: dict[str, Callable[[Any], Any]] = {
            "Ref": self._ref,
            "GetAtt": lambda a: self._attribute(".".join(a) if isinstance(a, list) else a),
            "If": lambda a: self.resolve(a[1] if self._holds(a[0]) else a[2]),
            "Sub": self._sub,
            "ImportValue": lambda a: self._import(self.resolve(a)),
            "Select": lambda a: self.resolve(a[1])[int(a[0])],
            "Split": lambda a: self.resolve(a[1]).split(a[0]),
            "GetAZs": lambda _: [f"{REGION}{zone}" for zone in "abc"],
            "Cidr": lambda a: [f"<cidr {n}>" for n in range(int(a[1]))],
        }
        return known[function](argument)

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return NOTHING
        return self._values[name] if name in self._values else self._attribute(name)

    def _attribute(self, path: str) -> str:
        resource = self._template["Resources"][path.partition(".")[0]]
        if "Condition" in resource and not self._holds(resource["Condition"]):
            raise KeyError(f"{path} is left out by {resource['Condition']}")
        return MADE_UP.get(path, f"<{path}>")

    def _sub(self, argument: Any) -> str:
        text, extra = argument if isinstance(argument, list) else (argument, {})
        local = {key: self.resolve(value) for key, value in extra.items()}

        def fill(found: re.Match[str]) -> str:
            return str(local[found[1]] if found[1] in local else self._ref(found[1]))

        return re.sub(r"\$\{([\w:.]+)\}", fill, text)

    def _import(self, name: str) -> str:
        self.imports.add(name)
        return self._imported[name]

    def _holds(self, condition: str | Any) -> bool:
        if isinstance(condition, str):
            return self._holds(self._template["Conditions"][condition])
        ((function, argument),) = condition.items()
        if function == "Fn::Not":
            return not self._holds(argument[0])
        assert function == "Fn::Equals", function
        left, right = (str(self.resolve(side)) for side in argument)
        return left == right
