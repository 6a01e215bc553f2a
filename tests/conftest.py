"""What every test shares: Hypothesis profiles.

`HYPOTHESIS_PROFILE=fuzz` (that is what `make fuzz` sets) looks far longer; `FUZZ_EXAMPLES` says how long.
"""

import os

from hypothesis import HealthCheck, settings

from tests.support.fixtures import channel, pytest_runtest_makereport, relay, server, start_server

__all__ = ["channel", "pytest_runtest_makereport", "relay", "server", "start_server"]

# The first example of a property may compile a kernel, and the machine may be busy: no deadline means nothing here.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "fuzz",
    deadline=None,
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "20000")),
    suppress_health_check=list(HealthCheck),
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
