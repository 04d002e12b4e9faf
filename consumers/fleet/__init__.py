"""The KCL fleet: daemons in Java that own the leases, and one process of ours for each shard.

`properties` writes what a daemon is told, `java` finds what it is made of, `supervision` keeps
daemons running, `worker` is the process that a daemon starts for each of its shards.
"""
