"""Whether the stream is HEALTHY, DEGRADED or DOWN, and why.

Pure: no clock, no calls, no Airflow. Whoever gathers signals gives them to `assess`; whoever acts
reads the `Verdict`. The rules are a table in the docstring of `assess`.
"""

from imagen_ops.health.decide import assess
from imagen_ops.health.signals import (
    Canary,
    Counts,
    ErrorMessage,
    Previous,
    Reading,
    Signals,
    Source,
)
from imagen_ops.health.thresholds import Thresholds
from imagen_ops.health.verdict import Reason, ReasonCode, Status, Verdict

__all__ = [
    "Canary",
    "Counts",
    "ErrorMessage",
    "Previous",
    "Reading",
    "Reason",
    "ReasonCode",
    "Signals",
    "Source",
    "Status",
    "Thresholds",
    "Verdict",
    "assess",
]
