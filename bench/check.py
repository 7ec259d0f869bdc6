"""One target, and what figures it is checked with."""

import dataclasses
import statistics
from typing import Any

Figures = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Check:
    """One target: what is measured, the target, the measured value, and whether it was met."""

    figure: str
    target: str
    measured: str
    met: bool


def median(runs: list[Figures], name: str) -> float:
    """Return the median of a figure over runs."""
    return statistics.median(run[name] for run in runs)


def runs_of(runs: list[Figures], contender: str, **fields: Any) -> list[Figures]:
    """Return the runs of one contender that have these values in their fields."""
    return [
        run
        for run in runs
        if run["contender"] == contender
        and all(run[name] == value for name, value in fields.items())
    ]
