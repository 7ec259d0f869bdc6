import math
from typing import Any

import pytest

from imagen_ops.health.assessment.thresholds import Thresholds


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"system_lag_s": 0}, "system_lag_s=0"),
        ({"canary_s": math.nan}, "canary_s=nan"),
        ({"backlog_size": -1}, "backlog_size=-1"),
        ({"failure_ratio_down": 1.5}, "failure_ratio_down=1.5, expected above 0, at most 1"),
        ({"failure_ratio_degraded": 0.99}, "failure_ratio_down=0.95, expected at least"),
        ({"backlog_age_degraded_s": 7200}, "backlog_age_down_s=3600, expected at least"),
    ],
)
def test_invalid_limits_are_refused(limits: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        Thresholds(**limits)
