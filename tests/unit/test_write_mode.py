"""Which way DynamoDB is written follows from where it is, unless it is set."""

from typing import Literal

import pytest
from pydantic import ValidationError

from pipeline.adapters.clock import SystemClock
from pipeline.adapters.dynamodb import BatchWrites, SingleWrites
from pipeline.bootstrap import AwsPorts
from pipeline.settings import LOCALSTACK, Settings, WriteMode


@pytest.mark.parametrize(
    ("target", "mode"), [("aws", "batch"), ("localstack", "batch"), ("embedded", "single")]
)
def test_unset_mode_follows_the_target(target: str, mode: WriteMode) -> None:
    assert Settings.model_validate({**LOCALSTACK, "target": target}).write_mode() == mode


@pytest.mark.parametrize("target", ["aws", "localstack"])
@pytest.mark.parametrize("mode", ["batch", "single"])
def test_mode_that_is_set_stands(target: str, mode: WriteMode) -> None:
    settings = Settings.model_validate({"target": target, "conditional_writes": mode})
    assert settings.write_mode() == mode


def test_batches_are_refused_on_the_embedded_stack() -> None:
    given = {**LOCALSTACK, "target": "embedded", "conditional_writes": "batch"}
    with pytest.raises(ValidationError, match="takes single alone"):
        Settings.model_validate(given)


@pytest.mark.parametrize(("mode", "writer"), [("batch", BatchWrites), ("single", SingleWrites)])
def test_mode_chooses_the_writer(mode: Literal["batch", "single"], writer: type) -> None:
    ports = AwsPorts(Settings(conditional_writes=mode), SystemClock())
    assert type(ports.writer) is writer
