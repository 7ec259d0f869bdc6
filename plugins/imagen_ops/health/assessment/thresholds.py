"""The limits that turn signals into a verdict, and the reason for each."""

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """Limits of `assess`. A value *at* its limit is still fine. `_s` means seconds.

    | limit | why this default |
    |---|---|
    | `system_lag_s` | a prompt takes 10 to 30 s, the slowest 120 s and more; 5 min is too long |
    | `watermark_age_s` | the slowest prompt in flight holds it back, with its retries |
    | `backlog_age_degraded_s` | two health checks of 5 min: a peak that does not pass by itself |
    | `backlog_age_down_s` | an hour; DOWN only if the canary is lost too |
    | `backlog_size` | messages; None: no limit, because what is too many depends on the traffic |
    | `failure_ratio_degraded` | 0 to 1, of the prompts in the window; some refusals are normal |
    | `failure_ratio_down` | 0 to 1; almost no prompt succeeds any more |
    | `failure_min_prompts` | so many count at least, however old: no traffic mends nothing |
    | `failure_min_failures` | of fewer prompts in all: so many failures, and most, are DEGRADED |
    | `canary_s` | a canary makes no model call: seconds are normal, two minutes are not |
    | `metric_stale_s` | Monitoring shows one point a minute, 2 to 4 min late |
    | `startup_grace_s` | a flex template's launcher, then its workers: 5 to 10 min, plus a margin |
    | `clock_skew_s` | two healthy clocks differ by less; beyond it, a reading is from the future |

    Raises:
        ValueError: a limit is not a positive number, a ratio is above 1, or a `down` limit is below
            its `degraded` limit. The message lists all of them.
    """

    system_lag_s: float = 300
    watermark_age_s: float = 600
    backlog_age_degraded_s: float = 600
    backlog_age_down_s: float = 3600
    backlog_size: float | None = None
    failure_ratio_degraded: float = 0.1
    failure_ratio_down: float = 0.95
    failure_min_prompts: int = 20
    failure_min_failures: int = 3
    canary_s: float = 120
    metric_stale_s: float = 600
    startup_grace_s: float = 900
    clock_skew_s: float = 60

    def __post_init__(self) -> None:
        problems = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is None and field.name == "backlog_size":
                continue
            maximum = 1 if field.name.startswith("failure_ratio") else math.inf
            if not (math.isfinite(value) and 0 < value <= maximum):
                expected = "above 0, at most 1" if maximum == 1 else "a positive number"
                problems.append(f"{field.name}={value!r}, expected {expected}")
        if self.backlog_age_down_s < self.backlog_age_degraded_s:
            problems.append(
                f"backlog_age_down_s={self.backlog_age_down_s!r}, expected at least "
                f"backlog_age_degraded_s={self.backlog_age_degraded_s!r}"
            )
        if self.failure_ratio_down < self.failure_ratio_degraded:
            problems.append(
                f"failure_ratio_down={self.failure_ratio_down!r}, expected at least "
                f"failure_ratio_degraded={self.failure_ratio_degraded!r}"
            )
        if problems:
            raise ValueError(f"invalid health thresholds: {'; '.join(problems)}")
