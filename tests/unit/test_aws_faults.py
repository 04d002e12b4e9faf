"""Whose fault a failed call is, told from the exceptions of the SDK itself."""

import pytest

from consumers.embedded.servers import free_port
from pipeline.adapters.clock import SystemClock
from pipeline.bootstrap import AwsPorts
from pipeline.core.errors import TransientFault
from pipeline.settings import Settings


def ports_at(endpoint_url: str) -> AwsPorts:
    settings = Settings(endpoint_url=endpoint_url, aws_credentials="test")
    return AwsPorts(settings, SystemClock())


def test_refused_connection_may_work_in_a_moment() -> None:
    nobody = ports_at(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(TransientFault, match="shards"):
        nobody.events.shards()


def test_name_that_nobody_knows_may_be_known_in_a_moment() -> None:
    nowhere = ports_at("http://nowhere.invalid")
    with pytest.raises(TransientFault, match="nowhere"):
        nowhere.events.shards()
