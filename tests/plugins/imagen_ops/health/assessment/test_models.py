"""What health says of a model that refuses every prompt, and of one that ends soon."""

import dataclasses
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from beam_jobs.catalog import CATALOG
from beam_jobs.names import HOLD_SCHEMA
from imagen_ops.health.assessment.decide import assess
from imagen_ops.health.assessment.models import ending_model
from imagen_ops.health.assessment.signals import Counts, ModelHold
from imagen_ops.health.assessment.verdict import ReasonCode, Status
from imagen_ops.health.holds import read_holds
from tests.plugins.imagen_ops.health.assessment.samples import LIMITS, LOST, ago, reading, with_

OLD = "gemini-3.1-flash-image"
HOLD = ModelHold(OLD, ago(600), "model answered 404: NOT_FOUND: It is gone.")


def test_a_model_that_refuses_every_prompt_is_the_one_reason_for_all_that_waits() -> None:
    waiting = with_(
        holds=(HOLD,),
        counts=Counts(0, 0),
        backlog_age=reading(9000),
        system_lag=reading(9000),
        canary=LOST,
    )
    verdict = assess(waiting, LIMITS)
    assert [reason.code for reason in verdict.reasons] == [ReasonCode.MODEL_REFUSES]
    assert verdict.status is Status.DOWN
    assert not verdict.restart
    assert "“model answered 404: NOT_FOUND: It is gone”. Its prompts" in verdict.reasons[0].text


def test_while_other_models_or_fallbacks_work_it_is_degraded() -> None:
    assert assess(with_(holds=(HOLD,), counts=Counts(9, 1)), LIMITS).status is Status.DEGRADED


def test_another_model_than_the_streams_stops_nothing_and_hides_nothing() -> None:
    other = with_(holds=(HOLD,), counts=Counts(0, 0), model="gemini-nano-banana-2.1")
    verdict = assess(other, LIMITS)
    assert verdict.status is Status.DEGRADED
    assert [reason.code for reason in verdict.reasons] == [ReasonCode.MODEL_REFUSES]
    verdict = assess(dataclasses.replace(other, canary=LOST), LIMITS)
    assert {ReasonCode.CANARY_LOST, ReasonCode.MODEL_REFUSES} == {r.code for r in verdict.reasons}


def test_once_it_takes_prompts_again_the_stream_is_healthy() -> None:
    assert assess(with_(holds=()), LIMITS).status is Status.HEALTHY


@pytest.mark.parametrize(
    ("days", "status"),
    [
        (91, None),
        (90, Status.HEALTHY),
        (15, Status.HEALTHY),
        (14, Status.DEGRADED),
        (-3, Status.DEGRADED),
    ],
)
def test_the_end_of_the_streams_model_is_said_90_days_before_and_degraded_14_days_before(
    days: int, status: Status | None
) -> None:
    end = CATALOG[OLD].end_on()
    assert end is not None
    at = datetime.combine(end.on, datetime.min.time(), UTC) - timedelta(days=days)
    reasons = ending_model(dataclasses.replace(with_(model=OLD), at=at))
    assert [reason.status for reason in reasons] == ([] if status is None else [status])
    assert all("gemini-nano-banana-2.1" in reason.text for reason in reasons)


@pytest.mark.parametrize("model", ["gemini-nano-banana-2.1", "gemini-4-image", ""])
def test_a_model_without_a_known_end_is_not_mentioned(model: str) -> None:
    assert ending_model(with_(model=model)) == []


class Folder:
    """A folder with these objects."""

    def __init__(self, *contents: Any) -> None:
        self._contents = contents

    def read_folder(self, path: str, *, most: int) -> list[bytes]:
        assert path == "gs://b/jobs/holds/"
        return [
            content if isinstance(content, bytes) else json.dumps(content).encode()
            for content in self._contents[:most]
        ]


def test_only_what_the_streams_workers_say_now_counts() -> None:
    now = datetime.now(UTC)

    def hold(model: str, *, age_s: float = 5, **changes: Any) -> dict[str, Any]:
        return {
            "schema": HOLD_SCHEMA,
            "model": model,
            "since": (now - timedelta(hours=1)).isoformat(),
            "at": (now - timedelta(seconds=age_s)).isoformat(),
            "detail": "gone",
            "source": "stream",
            **changes,
        }

    folder: Any = Folder(
        hold("current"),
        hold("of-a-worker-that-died", age_s=3600),
        hold("of-a-backfill", source="backfill:x"),
        hold("of-another-version", schema="imagen.hold/9"),
        hold("broken", since="yesterday"),
        b"{",
        b"[]",
        {},
    )
    assert [hold.model for hold in read_holds(folder, "b", at=now)] == ["current"]
