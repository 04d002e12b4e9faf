"""How hard the property tests look.

By default they run the same few examples every time, so that a change is judged by itself; with
TILLSTREAM_HYPOTHESIS=thorough they look for new ones, and keep what they find in `.hypothesis`.
"""

import os

from hypothesis import HealthCheck, settings

_QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]

settings.register_profile(
    "quick",
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=_QUIET,
)
settings.register_profile(
    "thorough", max_examples=3_000, deadline=None, suppress_health_check=_QUIET
)
settings.load_profile(
    os.environ.get("TILLSTREAM_HYPOTHESIS", "quick")  # noqa: TID251 - the runner's, not the system's
)
