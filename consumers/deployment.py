"""Deploy: streams, tables and bucket through CloudFormation,
the warehouse's schema through Alembic.
"""

from collections.abc import Mapping
from pathlib import Path

from pipeline.adapters._aws import translated
from pipeline.adapters.clock import SystemClock
from pipeline.adapters.cloudformation import deploy as deploy_stack
from pipeline.adapters.postgres_migrations import migrate
from pipeline.bootstrap import AwsPorts
from pipeline.settings import STREAM_RETENTION_HOURS, Settings


def deploy(
    settings: Settings, clock: SystemClock, shard_count: int, *, protect: bool
) -> Mapping[str, str]:
    """Bring the data stack and the warehouse up to date; return the stack's outputs.

    Idempotent. `protect` keeps tables from being deleted, as anything but a throw-away stack wants.
    """
    parameters = {
        "Prefix": settings.prefix,
        "ShardCount": str(shard_count),
        "RetentionHours": str(STREAM_RETENTION_HOURS),
        "DeletionProtection": "true" if protect else "false",
    }
    client = AwsPorts(settings, clock).aws.cloudformation
    body = resource("infra", "data.yaml").read_text()
    with translated("deploy"):
        outputs = deploy_stack(client, body, f"{settings.prefix}-data", parameters)
    migrate(settings.postgres_dsn)
    return outputs


def resource(*parts: str) -> Path:
    """Find a file of the project: beside the packages in a checkout, inside one in a wheel."""
    here = Path(__file__).resolve().parent
    for root in (here.parent, here / "_resources"):
        if (path := root.joinpath(*parts)).exists():
            return path
    raise FileNotFoundError("/".join(parts))
