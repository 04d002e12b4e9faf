"""The pure core: no I/O, no clock, no chance, no environment, no logging.

Read in this order: positions, records, events, claims, keyed_state, combos, stock, changes, step.
Faults of the data are values (`Rejected`, a `Verdict`); faults of the outside are exceptions
(`errors`).
"""
