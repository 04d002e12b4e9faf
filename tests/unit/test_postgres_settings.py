"""The settings of the warehouse, as far as they need no server."""

import pytest
from pydantic import ValidationError

from pipeline.adapters._aws import Aws
from pipeline.bootstrap import AwsPorts, postgres_server
from pipeline.settings import Settings
from tests.unit.test_etl import SteppingClock

HOST = "db.example.org"
DSN = f"postgresql://loader@{HOST}:6432/inventory"


def test_a_time_zone_that_is_none_is_refused() -> None:
    with pytest.raises(ValidationError, match="Europe/London"):
        Settings(time_zone="Mars/Olympus")


def test_a_token_for_rds_is_signed_for_one_host_and_user_and_a_quarter_of_an_hour() -> None:
    aws = Aws("eu-west-1", None, 1, 1.0, test_credentials=True)
    token = aws.database_token(HOST, 6432, "loader")
    assert token.startswith(f"{HOST}:6432/?Action=connect&DBUser=loader&")
    assert "X-Amz-Expires=900" in token
    assert "eu-west-1" in token


def test_iam_logs_in_with_a_token() -> None:
    settings = Settings(postgres_login="iam", postgres_tls="require", aws_credentials="test")
    aws = AwsPorts(settings, SteppingClock()).aws
    assert HOST in postgres_server(settings, DSN, aws).parameters()["password"]


def test_a_dsn_logs_in_with_what_it_says() -> None:
    aws = AwsPorts(Settings(), SteppingClock()).aws
    assert "password" not in postgres_server(Settings(), DSN, aws).parameters()
