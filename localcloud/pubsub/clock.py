"""The two clocks that Pub/Sub needs, so that tests can turn both by hand."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clock:
    """`wall_ns`: nanoseconds since 1970, for publish times. `steady_s`: seconds, for leases.

    Leases run on a clock of their own because the wall clock of a laptop jumps.
    """

    wall_ns: Callable[[], int] = time.time_ns
    steady_s: Callable[[], float] = time.monotonic
