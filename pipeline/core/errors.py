"""The exceptions, split by whose fault it is. Faults of the data are never exceptions: see
`events.Rejected`.

TillstreamError
+-- SystemFault              the outside failed; the batch was not finished and comes again
|   +-- TransientFault       worth another try: throttled, timed out, connection lost
|   +-- BudgetExhausted      tried for as long as the budget allows
|   `-- ValueRefused         a store takes a value for impossible; without it the rest would do
+-- Stopping                 asked to stop while waiting; the batch was not finished
+-- FellBehind               a sink was set back under its consumer; starting again mends it
+-- LeaseLost                another worker owns the shard now: an ordinary outcome for a fleet
+-- RefusedToStart           a precondition does not hold; says which, and what to do
`-- UsageError               the person at the command line can mend it
"""


class TillstreamError(Exception):
    """The root: every exception that this project raises on purpose."""


class SystemFault(TillstreamError):
    """Something outside failed. Whoever catches it must not checkpoint."""


class TransientFault(SystemFault):
    """The same call may work in a moment.

    It may also have acted already: every write survives twice.
    """


class BudgetExhausted(SystemFault):
    """A call kept failing for its whole retry budget."""


class ValueRefused(SystemFault):
    """A store refuses a value, and would again. Nothing was written.

    Whoever can leave the value out, and keep it elsewhere, goes on; for others it is a fault.
    """


class Stopping(TillstreamError):
    """A stop was asked for while waiting. Nothing of the batch may be taken as done."""


class FellBehind(TillstreamError):
    """A sink lacks what its consumer has loaded: it was restored from a backup meanwhile.

    Nothing of the batch was written. A consumer that starts again goes back to where the sink is.
    """

    def __init__(self, shard_id: str) -> None:
        super().__init__(
            f"{shard_id}: the warehouse no longer holds all that was loaded from this shard (was it"
            " restored?); a start goes back to where it is"
        )


class LeaseLost(TillstreamError):
    """The shard has another owner; this worker's checkpoint was refused and changed nothing."""


class RefusedToStart(TillstreamError):
    """A start-up check failed; running on would break a guarantee."""


class UsageError(TillstreamError):
    """The command, its arguments or its settings are wrong; one clear line says how."""
