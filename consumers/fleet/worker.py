"""The process that a daemon starts for each shard: `python -m consumers.fleet.worker CONSUMER`.

It is told everything else by the environment, as every command is, and ends with 0 when the daemon
closes its standard input, with 1 when it could not finish a batch, with 2 when it was called
wrongly. Nobody but a daemon has a use for it.
"""

import logging
import sys

from consumers.engines import kcl
from consumers.handlers import Consumer, build_handler
from pipeline.adapters.clock import SystemClock
from pipeline.bootstrap import AwsPorts, backoff, stream_names
from pipeline.ports.streams import TRIM_HORIZON
from pipeline.runtime.handler import Handler
from pipeline.settings import Settings


def main() -> None:
    """Serve one shard of a consumer."""
    names, flags = sys.argv[1:2], sys.argv[2:]
    if not names or names[0] not in list(Consumer) or flags not in ([], ["--verbose"]):
        sys.exit(2)
    logging.basicConfig(
        level=logging.INFO if flags else logging.WARNING,
        format="%(levelname)s %(name)s %(message)s",
    )
    kcl.run(site(Consumer(names[0]), Settings()))


def site(consumer: Consumer, settings: Settings) -> kcl.KclSite:
    """Wire what the engine works with; nothing connects before the daemon speaks."""
    clock = SystemClock()
    ports = AwsPorts(settings, clock)
    events, changes = stream_names(settings)
    first = consumer is Consumer.INVENTORY

    def build() -> Handler:
        # Where shards begin is the daemon's business, which `daemon_properties` holds to P1.
        return build_handler(consumer, settings, ports, clock, TRIM_HORIZON)

    return kcl.KclSite(
        build,
        ports.events if first else ports.changes,
        events if first else changes,
        backoff(settings, clock),
        settings.batch_records_max,
    )


if __name__ == "__main__":
    main()
