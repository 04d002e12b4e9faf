"""What holds of every template, and of all of them together."""

import re
from typing import Any

import pytest

from pipeline.settings import Settings
from tests.infra.rendering import INFRA, ORDER, installation, parsed, source

BODY_BYTES_MAX = 51_200
"""Source: CloudFormation quotas, template body in a request."""
README = (INFRA / "README.md").read_text()
KEPT = {"AWS::DynamoDB::Table", "AWS::Kinesis::Stream", "AWS::KMS::Key", "AWS::S3::Bucket"}


def test_every_template_is_in_the_order() -> None:
    assert {path.stem for path in INFRA.glob("*.yaml")} == set(ORDER)


@pytest.mark.parametrize("name", ORDER)
def test_template_fits_into_a_request(name: str) -> None:
    assert len(source(name).encode()) < BODY_BYTES_MAX


@pytest.mark.parametrize("name", ORDER)
def test_template_takes_the_prefixes_that_the_settings_take(name: str) -> None:
    prefix = parsed(name)["Parameters"]["Prefix"]
    (pattern,) = (m.pattern for m in Settings.model_fields["prefix"].metadata)
    assert f"^{prefix['AllowedPattern']}$" == pattern
    assert prefix["Default"] == Settings.model_fields["prefix"].default
    assert parsed(name)["Parameters"]["Environment"]["Default"] == "production"


@pytest.mark.parametrize("name", ORDER)
def test_exports_of_two_installations_never_meet(name: str) -> None:
    assert all(export.startswith("shop-") for export in installation()[name].exports)


def test_nothing_is_exported_in_vain() -> None:
    stacks = installation().values()
    imported = {name for stack in stacks for name in stack.imports}
    assert {name for stack in stacks for name in stack.exports} == imported


def test_readme_deploys_in_an_order_that_works() -> None:
    deployed = re.findall(r"^\| \d \| `([\w-]+)\.yaml`", README, re.MULTILINE)
    assert tuple(deployed) == ORDER  # which `installation` could render


@pytest.mark.parametrize("name", ORDER)
def test_parameters_say_what_they_are_for(name: str) -> None:
    assert all(p.get("Description") for p in parsed(name)["Parameters"].values())


@pytest.mark.parametrize("name", ORDER)
def test_what_holds_data_outlives_its_stack(name: str) -> None:
    for resource in parsed(name)["Resources"].values():
        if resource["Type"] in KEPT:
            assert resource["DeletionPolicy"] == resource["UpdateReplacePolicy"] == "Retain"
        if resource["Type"] == "AWS::RDS::DBInstance" and "Condition" not in resource:
            assert resource["DeletionPolicy"] == resource["UpdateReplacePolicy"] == "Snapshot"


@pytest.mark.parametrize("name", ORDER)
def test_no_template_holds_an_account_or_a_password(name: str) -> None:
    assert not re.search(r"\b\d{12}\b", source(name))
    assert not re.search(r"(?i)password: +(?!true|!)", source(name))


def variables(name: str) -> list[tuple[str, str, Any]]:
    """List every environment variable that a stack sets: where, name, value."""
    stack = installation()[name]
    functions = stack.of_type("AWS::Lambda::Function")
    found = [
        (f, n, v) for f, p in functions.items() for n, v in p["Environment"]["Variables"].items()
    ]
    for task, properties in stack.of_type("AWS::ECS::TaskDefinition").items():
        (container,) = properties["ContainerDefinitions"]
        found += [(task, e["Name"], e["Value"]) for e in container["Environment"]]
        found += [(task, e["Name"], e["ValueFrom"]) for e in container.get("Secrets", ())]
    return found


@pytest.mark.parametrize("name", ["compute-lambda", "compute-kcl"])
def test_consumers_are_given_settings_that_exist_and_are_valid(name: str) -> None:
    given = [
        (n.removeprefix("TILLSTREAM_").lower(), v) for _, n, v in variables(name) if "TILL" in n
    ]
    assert len(given) >= 8
    for setting, value in given:
        assert setting in Settings.model_fields
        Settings.model_validate({setting: value})


@pytest.mark.parametrize("name", ["compute-lambda", "compute-kcl"])
def test_the_only_secret_is_named_and_never_written(name: str) -> None:
    given = {n: v for _, n, v in variables(name)}
    assert "<Address>" in given["TILLSTREAM_REDIS_URL"]
    assert re.fullmatch(r"postgresql://tillstream_etl@<[\w.]+>:5432/tillstream", dsn(given))
    assert "PGPASSWORD" not in given


@pytest.mark.parametrize("name", ["compute-lambda", "compute-kcl"])
def test_the_loader_logs_in_by_token_to_a_server_that_it_has_checked(name: str) -> None:
    given = {n: v for _, n, v in variables(name)}
    assert given["TILLSTREAM_POSTGRES_LOGIN"] == "iam"
    assert given["TILLSTREAM_POSTGRES_TLS"] == "verify-full"
    assert given["TILLSTREAM_POSTGRES_CA_FILE"].startswith("/etc/")


def dsn(given: dict[str, str]) -> str:
    return given["TILLSTREAM_POSTGRES_DSN"]
