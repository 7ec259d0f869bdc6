"""The two clocks that Pub/Sub needs, which tests can replace."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clock:
    """The wall clock for publish times, and a steady clock for leases.

    Leases use a steady clock because the wall clock of a laptop jumps.

    Attributes:
        wall_ns: returns nanoseconds since 1970.
        steady_s: returns seconds since an arbitrary moment.
    """

    wall_ns: Callable[[], int] = time.time_ns
    steady_s: Callable[[], float] = time.monotonic
