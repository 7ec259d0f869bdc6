"""A value that Cloud Monitoring measured. Light: the health decision imports it, too."""

import dataclasses
from datetime import datetime


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """The newest point of a metric, in seconds or messages, and when it was measured."""

    value: float
    at: datetime
