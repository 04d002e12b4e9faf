"""The ports: what the system asks of the outside, one role a file, at most four methods each.

Three rules hold for all of them.

* A bulk write answers for each item or leaves it out. Left out means "not yet": throttled,
  * A bulk write answers for each item or leaves it out. Left out means "not yet": throttled,
    unprocessed, a connection that died. The caller offers the rest again after a pause
    (`runtime.backoff`), so no adapter retries or sleeps on its own, and partial success is an
    ordinary answer, not an error.
* `TransientFault` means that nothing is known of the whole call; it may even have acted. Every
  write is
  safe to do twice. Any other exception is a fault that no second try mends.
* An adapter may be called from several threads, one per shard, unless its contract says otherwise.
"""
