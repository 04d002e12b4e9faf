"""Deploy: streams, tables and bucket through CloudFormation,
the warehouse's schema through Alembic.
"""

from collections.abc import Mapping
from pathlib import Path

from pipeline.adapters._aws import translated
from pipeline.adapters.clock import SystemClock
from pipeline.adapters.cloudformation import deploy as deploy_stack
from pipeline.bootstrap import AwsPorts, postgres_server
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
    # Here, and not for every command that only starts: Alembic takes half a second to import.
    from pipeline.adapters.postgres.migrations import migrate

    aws = AwsPorts(settings, clock).aws
    client = aws.cloudformation
    body = resource("infra", "data.yaml").read_text()
    with translated("deploy"):
        outputs = deploy_stack(client, body, f"{settings.prefix}-data", parameters)
    migrate(postgres_server(settings, settings.postgres_dsn, aws))
    return outputs


def resource(*parts: str) -> Path:
    """Find a file of the project: beside the packages in a checkout, inside one in a wheel."""
    here = Path(__file__).resolve().parent
    for root in (here.parent, here / "_resources"):
        if (path := root.joinpath(*parts)).exists():
            return path
    raise FileNotFoundError("/".join(parts))
