"""What to do with a dead letter: decisions without any service."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs import outcomes
from imagen_ops.dead_letters.decision import (
    FAILURE_SCHEMA,
    REPLAYABLE,
    REPLAYS_ATTRIBUTE,
    UNREADABLE,
    Disposition,
    ReplayCounts,
    ReplayForm,
    UnreadableError,
    decide,
    parse,
)

DEFAULT = ReplayForm()


def letter(**changes: Any) -> bytes:
    """Return what a job publishes, with changes."""
    fields: dict[str, Any] = {
        "prompt_id": "p-1",
        "deduplication_key": "0f" * 32,
        "reason": outcomes.Reason.UNAVAILABLE,
        "detail": "HTTP 503",
        "retryable": True,
        "attempts": 4,
        "body": b"A fox",
        "attributes": {"team": "ads"},
    }
    body, _ = outcomes.encode(outcomes.Failure(**{**fields, **changes}))
    return body


def edited(**changes: Any) -> bytes:
    """Return the same with changes that no job would make; "-" removes a field."""
    content = {**json.loads(letter()), **changes}
    return json.dumps({key: value for key, value in content.items() if value != "-"}).encode()


def test_format_names_and_reasons_are_those_of_the_jobs() -> None:
    assert FAILURE_SCHEMA == outcomes.FAILURE_SCHEMA
    assert REPLAYS_ATTRIBUTE == outcomes.REPLAYS_ATTRIBUTE
    assert set(REPLAYABLE) < set(outcomes.Reason)
    assert set(outcomes.Reason) - set(REPLAYABLE) == {"BLOCKED"}
    assert UNREADABLE not in set(outcomes.Reason)


@pytest.mark.parametrize("body", [b"A fox", b"", bytes(range(256)), "雪の中の柴犬".encode()])
def test_a_prompt_is_replayed_byte_for_byte_with_a_new_count(body: bytes) -> None:
    decision = decide(letter(body=body), DEFAULT)
    assert decision.disposition is Disposition.REPLAY
    assert decision.letter
    assert decision.letter.replay_message() == (body, {"team": "ads", "replays": "1"})


@pytest.mark.parametrize(
    ("replays", "max_replays", "disposition"),
    [
        ("1", 3, Disposition.REPLAY),
        ("2", 3, Disposition.REPLAY),
        ("3", 3, Disposition.ARCHIVE),
        ("4", 3, Disposition.ARCHIVE),
        ("3", 4, Disposition.REPLAY),
        ("1", 1, Disposition.ARCHIVE),
    ],
)
def test_a_prompt_is_archived_after_the_maximum_replays_of_the_form(
    replays: str, max_replays: int, disposition: Disposition
) -> None:
    decision = decide(letter(attributes={"replays": replays}), ReplayForm(max_replays=max_replays))
    assert decision.disposition is disposition
    if disposition is Disposition.REPLAY:
        assert decision.letter
        assert decision.letter.replay_message()[1] == {"replays": str(int(replays) + 1)}
    else:
        assert f"max_replays is {max_replays}" in decision.why


@pytest.mark.parametrize("value", ["", "-1", "many", "1.5", " 1", "１", "1_0", "9" * 5000])
def test_an_invalid_replay_count_is_taken_as_zero(value: str) -> None:
    decision = decide(letter(attributes={"replays": value}), DEFAULT)
    assert decision.letter
    assert decision.letter.replay_message()[1] == {"replays": "1"}


@pytest.mark.parametrize("reason", list(outcomes.Reason), ids=str)
def test_a_dead_letter_that_is_not_retryable_is_archived_under_its_reason_whatever_was_chosen(
    reason: outcomes.Reason,
) -> None:
    for form in (DEFAULT, ReplayForm(reasons=("NO_IMAGE",))):
        decision = decide(letter(reason=reason, retryable=False), form)
        assert (decision.disposition, decision.reason) == (Disposition.ARCHIVE, reason.value)


@pytest.mark.parametrize("replays", ["0", "7"])
def test_a_retryable_dead_letter_is_left_if_its_reason_was_not_chosen(replays: str) -> None:
    decision = decide(
        letter(attributes={"replays": replays}), ReplayForm(reasons=("STORAGE_ERROR",))
    )
    assert decision.disposition is Disposition.LEAVE


def test_a_retryable_dead_letter_with_an_unknown_reason_is_left() -> None:
    assert decide(edited(reason="QUOTA"), DEFAULT).disposition is Disposition.LEAVE


def test_with_prompts_named_everything_else_stays_where_it_is() -> None:
    form = ReplayForm.from_fields({"prompt_ids": ["p-1", "p-2"]})
    assert decide(letter(), form).disposition is Disposition.REPLAY
    refused = {"reason": outcomes.Reason.BLOCKED, "retryable": False}
    assert decide(letter(**refused), form).disposition is Disposition.ARCHIVE
    others = (letter(prompt_id="p-10"), letter(prompt_id="p-10", **refused), b"no dead letter")
    counts = ReplayCounts()
    for other in others:
        decision = decide(other, form)
        counts.add(decision)
        assert decision.disposition is Disposition.LEAVE
    assert counts.to_json()["left"] == {"BLOCKED": 1, UNREADABLE: 1, "UNAVAILABLE": 1}
    assert counts.unreadable == 0
    assert ReplayForm.from_fields({"prompt_ids": None}) == DEFAULT


def test_an_incomplete_prompt_is_archived_and_not_published() -> None:
    body = b"x" * (outcomes.MAX_DEAD_LETTER_BODY_BYTES + 1)
    decision = decide(letter(body=body), DEFAULT)
    assert decision.disposition is Disposition.ARCHIVE
    assert "beginning" in decision.why


@pytest.mark.parametrize(
    "attributes",
    [
        {f"key{n}": "" for n in range(100)},
        {"": "x"},
        {"k" * 257: "x"},
        {"ü" * 129: "x"},
        {"k": "x" * 1025},
        {"k": "ü" * 513},
        {"googclient": "x"},
        {"k": "\ud800"},
    ],
    ids=["many", "empty", "long", "long-utf8", "value", "value-utf8", "reserved", "surrogate"],
)
def test_attributes_that_pubsub_does_not_accept_are_archived(
    attributes: dict[str, str],
) -> None:
    decision = decide(edited(attributes=attributes), DEFAULT)
    assert decision.disposition is Disposition.ARCHIVE
    assert decision.reason == "UNAVAILABLE"
    assert "ttribute" in decision.why


def test_attributes_at_pubsubs_limits_are_replayed() -> None:
    attributes = {f"{n:02}" + "k" * 254: "x" * 1024 for n in range(99)}
    assert decide(letter(attributes=attributes), DEFAULT).disposition is Disposition.REPLAY


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"A fox", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (edited(attempts=float("nan")), "NaN is not JSON"),
        (b"[1]", "expected a JSON object, got list"),
        (b"null", "expected a JSON object"),
        (b"{}", "expected the schema imagen.failure/1, got None"),
        (edited(schema="imagen.failure/2"), "got 'imagen.failure/2'"),
        (edited(schema="imagen.prediction/1"), "expected the schema"),
        (edited(reason="-"), "expected a reason"),
        (edited(reason="../../images"), "expected a reason"),
        (edited(reason="unavailable"), "expected a reason"),
        (edited(reason="UNAVAILABLE\n"), "expected a reason"),
        (edited(reason=5), "expected a reason"),
        (edited(retryable="true"), "expected retryable"),
        (edited(retryable="-"), "expected retryable"),
        (edited(attributes=None), "expected attributes"),
        (edited(attributes={"a": 1}), "expected attributes"),
        (edited(body="-"), "expected body"),
        (edited(body=None), "expected body"),
        (edited(body="QQ"), "expected body to be base64"),
        (edited(body="Q Q=="), "expected body to be base64"),
        (edited(body="füx="), "expected body to be base64"),
    ],
    ids=lambda value: value[:40].replace(" ", "-") if isinstance(value, str) else "",
)
def test_a_message_that_is_not_a_dead_letter_is_archived_as_unreadable_with_the_reason(
    data: bytes, problem: str
) -> None:
    decision = decide(data, DEFAULT)
    assert (decision.disposition, decision.reason, decision.letter) == (
        Disposition.ARCHIVE,
        UNREADABLE,
        None,
    )
    assert problem in decision.why
    assert len(decision.why) <= 400
    with pytest.raises(UnreadableError):
        parse(data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.slow
@given(
    st.dictionaries(
        st.sampled_from(["schema", "reason", "retryable", "body", "attributes", "prompt_id"]),
        json_values,
    )
)
def test_every_json_object_gets_a_decision(changes: dict[str, Any]) -> None:
    assert (
        decide(json.dumps({**json.loads(letter()), **changes}).encode(), DEFAULT).disposition
        in Disposition
    )


@given(st.binary(max_size=50))
def test_arbitrary_bytes_are_archived(data: bytes) -> None:
    assert decide(data, DEFAULT).disposition is Disposition.ARCHIVE


@given(st.binary(max_size=200))
def test_every_body_survives_the_round_trip(body: bytes) -> None:
    assert parse(letter(body=body)).replay_message()[0] == body
    assert base64.b64decode(json.loads(letter(body=body))["body"]) == body


def test_a_form_takes_only_its_own_fields_from_the_parameters_of_a_run() -> None:
    form = ReplayForm.from_fields({"dry_run": True, "reasons": ["NO_IMAGE"], "most": 5, "other": 1})
    assert form == ReplayForm(True, ("NO_IMAGE",), 5, 3)
    assert ReplayForm.from_fields({}) == DEFAULT


def test_counts_are_by_reason_and_continue_from_an_earlier_try() -> None:
    counts = ReplayCounts()
    for data in (
        letter(),
        letter(),
        letter(reason=outcomes.Reason.BLOCKED, retryable=False),
        edited(reason="QUOTA"),
        b"garbage",
    ):
        counts.add(decide(data, DEFAULT))
    assert counts.to_json() == {
        "replayed": {"UNAVAILABLE": 2},
        "archived": {"BLOCKED": 1},
        "left": {"QUOTA": 1},
        "unreadable": 1,
    }
    assert str(counts) == (
        "2 replayed (2 UNAVAILABLE), 1 archived (1 BLOCKED), 1 left (1 QUOTA), 1 unreadable"
    )
    again = ReplayCounts.from_record(counts.to_json())
    again.add(decide(letter(), DEFAULT))
    assert again.to_json() == {**counts.to_json(), "replayed": {"UNAVAILABLE": 3}, "left": {}}
