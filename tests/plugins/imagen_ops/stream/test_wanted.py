"""Whether the stream should run, when starts and drains overlap."""

from datetime import UTC, datetime, timedelta

import pytest

from imagen_ops.records.launches import Drain
from imagen_ops.stream.wanted import WantedState, refuse_if_drained

BEGAN = datetime(2026, 11, 22, 10, tzinfo=UTC)
BEFORE, AFTER, LATER = (BEGAN + timedelta(minutes=minutes) for minutes in (-5, 5, 10))


def wanted(*, at: datetime = BEGAN) -> WantedState:
    return WantedState(wanted=True, by="a start", at=at)


def unwanted(at: datetime) -> WantedState:
    return WantedState(wanted=False, by="the Variable", at=at)


@pytest.mark.parametrize(
    ("state", "noted", "by"),
    [
        (wanted(), None, None),
        (wanted(), Drain(BEFORE, "noted"), None),
        (wanted(), Drain(AFTER, "noted"), "noted"),
        (unwanted(BEFORE), None, None),
        (unwanted(AFTER), None, "the Variable"),
        (unwanted(AFTER), Drain(BEFORE, "noted"), "the Variable"),
        (unwanted(BEFORE), Drain(AFTER, "noted"), "noted"),
        (unwanted(AFTER), Drain(LATER, "noted"), "noted"),
        (unwanted(datetime.fromtimestamp(0, UTC)), None, None),
    ],
)
def test_the_last_drain_since_a_start_began_overrides_it_wherever_it_is_noted(
    state: WantedState, noted: Drain | None, by: str | None
) -> None:
    drain = state.drain_since(BEGAN, noted)
    assert (drain and drain.by) == by


def test_a_start_that_was_overridden_says_by_whom_and_when() -> None:
    from airflow.sdk.exceptions import AirflowFailException

    refuse_if_drained(None)
    with pytest.raises(AirflowFailException, match="drained at 2026-11-22 10:05:00 UTC by ada"):
        refuse_if_drained(Drain(AFTER, "ada"))
