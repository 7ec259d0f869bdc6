"""The limits that turn signals into a verdict: every one of them, and why it is what it is."""

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """Limits of `assess`; a value *at* its limit is still fine. `_s` means seconds.

    | limit | why this default |
    |---|---|
    | `system_lag_s` | a prompt takes 10 to 30 s, 120 s and more at the tail: 5 min is no tail |
    | `watermark_age_s` | the slowest prompt in flight holds it back, with its retries |
    | `backlog_age_degraded_s` | two looks of 5 min: a peak that does not go away by itself |
    | `backlog_age_down_s` | an hour; DOWN only if the canary is lost too |
    | `backlog_size` | messages; None, no limit: what is much depends on the traffic |
    | `failure_ratio_degraded` | 0 to 1, of the prompts since the last look; refusals are normal |
    | `failure_ratio_down` | nearly nothing comes out any more |
    | `failure_min_prompts` | with fewer prompts since the last look, a ratio says nothing |
    | `canary_s` | it costs no model call: seconds are normal, two minutes are not |
    | `metric_stale_s` | Monitoring shows points 2 to 4 min late, one a minute |
    | `startup_grace_s` | a flex template's launcher, then its workers: 5 to 10 min, and reserve |
    | `clock_skew_s` | two well-kept clocks differ by less; a newer reading is one of the future |

    Raises:
        ValueError: a limit is no positive number, a ratio above 1, or a `down` below its
            `degraded`; lists all of them.
    """

    system_lag_s: float = 300
    watermark_age_s: float = 600
    backlog_age_degraded_s: float = 600
    backlog_age_down_s: float = 3600
    backlog_size: float | None = None
    failure_ratio_degraded: float = 0.1
    failure_ratio_down: float = 0.95
    failure_min_prompts: int = 20
    canary_s: float = 120
    metric_stale_s: float = 600
    startup_grace_s: float = 900
    clock_skew_s: float = 60

    def __post_init__(self) -> None:
        wrong = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is None and field.name == "backlog_size":
                continue
            most = 1 if field.name.startswith("failure_ratio") else math.inf
            if not (math.isfinite(value) and 0 < value <= most):
                expected = "above 0, at most 1" if most == 1 else "a positive number"
                wrong.append(f"{field.name}={value!r}, expected {expected}")
        if self.backlog_age_down_s < self.backlog_age_degraded_s:
            wrong.append(
                f"backlog_age_down_s={self.backlog_age_down_s!r}, expected at least "
                f"backlog_age_degraded_s={self.backlog_age_degraded_s!r}"
            )
        if self.failure_ratio_down < self.failure_ratio_degraded:
            wrong.append(
                f"failure_ratio_down={self.failure_ratio_down!r}, expected at least "
                f"failure_ratio_degraded={self.failure_ratio_degraded!r}"
            )
        if wrong:
            raise ValueError(f"health thresholds: {'; '.join(wrong)}")
