"""What becomes of a dead letter, decided without anything around it."""

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
    read,
)

DEFAULT = ReplayForm()


def letter(**others: Any) -> bytes:
    """What a job publishes, with changes."""
    given: dict[str, Any] = {
        "prompt_id": "p-1",
        "reason": outcomes.Reason.UNAVAILABLE,
        "detail": "HTTP 503",
        "retryable": True,
        "attempts": 4,
        "body": b"A fox",
        "attributes": {"team": "ads"},
    }
    body, _ = outcomes.encode(outcomes.Failure(**{**given, **others}))
    return body


def edited(**others: Any) -> bytes:
    """The same, with what no job would say."""
    content = {**json.loads(letter()), **others}
    return json.dumps({key: value for key, value in content.items() if value != "-"}).encode()


def test_format_names_and_reasons_are_those_of_the_jobs() -> None:
    assert FAILURE_SCHEMA == outcomes.FAILURE_SCHEMA
    assert REPLAYS_ATTRIBUTE == outcomes.REPLAYS_ATTRIBUTE
    assert set(REPLAYABLE) < set(outcomes.Reason)
    assert set(outcomes.Reason) - set(REPLAYABLE) == {"BLOCKED", "INVALID_PROMPT"}
    assert UNREADABLE not in set(outcomes.Reason)


@pytest.mark.parametrize("body", [b"A fox", b"", bytes(range(256)), "雪の中の柴犬".encode()])
def test_a_prompt_goes_back_byte_for_byte_and_counted(body: bytes) -> None:
    decision = decide(letter(body=body), DEFAULT)
    assert decision.disposition is Disposition.REPLAY
    assert decision.letter
    assert decision.letter.again() == (body, {"team": "ads", "replays": "1"})


@pytest.mark.parametrize(
    ("replays", "most", "disposition"),
    [
        ("1", 3, Disposition.REPLAY),
        ("2", 3, Disposition.REPLAY),
        ("3", 3, Disposition.ARCHIVE),
        ("4", 3, Disposition.ARCHIVE),
        ("3", 4, Disposition.REPLAY),
        ("1", 1, Disposition.ARCHIVE),
    ],
)
def test_after_as_many_replays_as_the_form_says_comes_the_archive(
    replays: str, most: int, disposition: Disposition
) -> None:
    decision = decide(letter(attributes={"replays": replays}), ReplayForm(max_replays=most))
    assert decision.disposition is disposition
    if disposition is Disposition.REPLAY:
        assert decision.letter
        assert decision.letter.again()[1] == {"replays": str(int(replays) + 1)}
    else:
        assert f"max_replays is {most}" in decision.why


@pytest.mark.parametrize("value", ["", "-1", "many", "1.5", " 1", "１", "1_0", "9" * 5000])
def test_an_attribute_of_that_name_that_is_no_count_is_none(value: str) -> None:
    decision = decide(letter(attributes={"replays": value}), DEFAULT)
    assert decision.letter
    assert decision.letter.again()[1] == {"replays": "1"}


@pytest.mark.parametrize("reason", list(outcomes.Reason), ids=str)
def test_what_is_not_retryable_is_archived_under_its_reason_whatever_was_chosen(
    reason: outcomes.Reason,
) -> None:
    for form in (DEFAULT, ReplayForm(reasons=("NO_IMAGE",))):
        decision = decide(letter(reason=reason, retryable=False), form)
        assert (decision.disposition, decision.reason) == (Disposition.ARCHIVE, reason.value)


@pytest.mark.parametrize("replays", ["0", "7"])
def test_a_retryable_one_of_a_reason_that_was_not_chosen_is_left(replays: str) -> None:
    decision = decide(
        letter(attributes={"replays": replays}), ReplayForm(reasons=("STORAGE_ERROR",))
    )
    assert decision.disposition is Disposition.LEAVE


def test_a_retryable_one_of_a_reason_that_newer_jobs_give_is_left() -> None:
    assert decide(edited(reason="QUOTA"), DEFAULT).disposition is Disposition.LEAVE


def test_a_prompt_of_which_only_the_beginning_is_there_is_archived_not_sent_mutilated() -> None:
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
def test_attributes_that_would_have_a_whole_request_refused_are_archived(
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
    ("data", "says"),
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
def test_what_is_no_dead_letter_is_archived_as_unreadable_and_says_why(
    data: bytes, says: str
) -> None:
    decision = decide(data, DEFAULT)
    assert (decision.disposition, decision.reason, decision.letter) == (
        Disposition.ARCHIVE,
        UNREADABLE,
        None,
    )
    assert says in decision.why
    assert len(decision.why) <= 400
    with pytest.raises(UnreadableError):
        read(data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.dictionaries(
        st.sampled_from(["schema", "reason", "retryable", "body", "attributes", "prompt_id"]),
        json_values,
    )
)
def test_whatever_comes_something_becomes_of_it(changes: dict[str, Any]) -> None:
    assert (
        decide(json.dumps({**json.loads(letter()), **changes}).encode(), DEFAULT).disposition
        in Disposition
    )


@given(st.binary(max_size=50))
def test_whatever_bytes_come_are_archived(data: bytes) -> None:
    assert decide(data, DEFAULT).disposition is Disposition.ARCHIVE


@given(st.binary(max_size=200))
def test_every_body_survives_the_way_there_and_back(body: bytes) -> None:
    assert read(letter(body=body)).again()[0] == body
    assert base64.b64decode(json.loads(letter(body=body))["body"]) == body


def test_a_form_takes_its_fields_out_of_a_runs_parameters() -> None:
    form = ReplayForm.of({"dry_run": True, "reasons": ["NO_IMAGE"], "most": 5, "other": 1})
    assert form == ReplayForm(True, ("NO_IMAGE",), 5, 3)
    assert ReplayForm.of({}) == DEFAULT


def test_a_tally_counts_by_reason_and_goes_on_from_an_earlier_try() -> None:
    tally = ReplayCounts()
    for data in (
        letter(),
        letter(),
        letter(reason=outcomes.Reason.BLOCKED, retryable=False),
        edited(reason="QUOTA"),
        b"garbage",
    ):
        tally.add(decide(data, DEFAULT))
    assert tally.to_json() == {
        "replayed": {"UNAVAILABLE": 2},
        "archived": {"BLOCKED": 1},
        "left": {"QUOTA": 1},
        "unreadable": 1,
    }
    assert str(tally) == (
        "2 replayed (UNAVAILABLE 2), 1 archived (BLOCKED 1), 1 left (QUOTA 1), 1 unreadable"
    )
    again = ReplayCounts.of(tally.to_json())
    again.add(decide(letter(), DEFAULT))
    assert again.to_json() == {**tally.to_json(), "replayed": {"UNAVAILABLE": 3}, "left": {}}
