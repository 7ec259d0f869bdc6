"""A value from Cloud Monitoring. Imports nothing heavy, because the health decision needs it."""

import dataclasses
from datetime import datetime


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """The newest point of a metric.

    Args:
        value: in the metric's unit, seconds or messages.
        at: when it was measured, in UTC.
    """

    value: float
    at: datetime
