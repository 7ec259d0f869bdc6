from typing import Any

import pytest

from imagen_ops.health.assessment.verdict import Reason, ReasonCode, Verdict


def test_a_reason_is_anchored_in_the_runbook_by_its_code() -> None:
    assert Reason.down(ReasonCode.CANARY_LOST, "").anchor == "canary_lost"


def test_a_code_of_another_version_is_read_as_other() -> None:
    record = Verdict.of([Reason.down(ReasonCode.ERRORS, "boom")]).to_json()
    record["reasons"][0]["code"] = "INVENTED_LATER"
    assert Verdict.from_json(record).reasons[0].code is ReasonCode.OTHER


@pytest.mark.parametrize("record", [{}, {"status": "SO_SO"}, {"status": "DOWN", "reasons": 1}])
def test_a_record_that_is_not_a_verdict_is_refused(record: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected a verdict as Verdict\.to_json writes it"):
        Verdict.from_json(record)
