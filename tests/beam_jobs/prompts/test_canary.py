"""What counts as a canary: its name, its key and its signature."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from beam_jobs.outcomes import CANARY_ATTRIBUTE
from beam_jobs.prompts.body import InvalidPromptError
from beam_jobs.prompts.canary import (
    ACCEPTED_AFTER_REPLACED,
    SIGNATURE_ATTRIBUTE,
    CanaryKey,
    check_signature,
    keys_from_json,
    keys_to_json,
    with_current,
)
from tests.canaries import OURS, THEIRS, canary, public

NOW = datetime(2026, 11, 28, tzinfo=UTC)
NAME = "0a" * 16


def check(attributes, *keys: CanaryKey, at=NOW) -> list[str]:
    """Check a canary, and return the ids of keys that were asked for."""
    asked = []

    def find(key_id):
        asked.append(key_id)
        return next((key for key in keys if key.id == key_id), None)

    signature = attributes.get(SIGNATURE_ATTRIBUTE, "")
    check_signature(attributes[CANARY_ATTRIBUTE], signature, find=find, at=at)
    return asked


def test_a_canary_that_airflow_has_signed_is_one():
    assert check(canary(), public()) == [public().id]


@pytest.mark.parametrize(
    "change",
    [
        {SIGNATURE_ATTRIBUTE: ""},
        {SIGNATURE_ATTRIBUTE: "0" * 16},
        {SIGNATURE_ATTRIBUTE: f"{'0' * 16}.{'A' * 85}"},
        {SIGNATURE_ATTRIBUTE: f"{'0' * 16}.{'A' * 86}\n"},
        {CANARY_ATTRIBUTE: ""},
        {CANARY_ATTRIBUTE: "probe-1"},
        {CANARY_ATTRIBUTE: NAME.upper()},
    ],
)
def test_without_the_form_of_a_canary_no_key_is_looked_for(change):
    def find(key_id):
        pytest.fail(f"asked for {key_id}")

    attributes = {**canary(NAME), **change}
    with pytest.raises(InvalidPromptError, match="without a valid name and signature"):
        check_signature(
            attributes[CANARY_ATTRIBUTE], attributes[SIGNATURE_ATTRIBUTE], find=find, at=NOW
        )


def test_a_canary_of_another_key_is_refused():
    with pytest.raises(InvalidPromptError, match="not among the public keys"):
        check(canary(key=THEIRS), public())


def test_the_signature_of_another_name_is_refused():
    with pytest.raises(InvalidPromptError, match="wrong signature"):
        check({**canary(NAME), CANARY_ATTRIBUTE: "0b" * 16}, public())


def test_a_signature_of_another_key_under_our_keys_id_is_refused():
    theirs = canary(NAME, THEIRS)[SIGNATURE_ATTRIBUTE].partition(".")[2]
    with pytest.raises(InvalidPromptError, match="wrong signature"):
        check({CANARY_ATTRIBUTE: NAME, SIGNATURE_ATTRIBUTE: f"{public().id}.{theirs}"}, public())


def test_a_key_that_was_replaced_counts_for_another_day():
    replaced = public(replaced_at=NOW)
    almost = NOW + ACCEPTED_AFTER_REPLACED - timedelta(seconds=1)
    assert check(canary(), replaced, at=almost)
    with pytest.raises(InvalidPromptError, match="not among the public keys"):
        check(canary(), replaced, at=NOW + ACCEPTED_AFTER_REPLACED)


def test_a_new_key_takes_the_place_of_the_current_one_which_stays_for_a_day():
    first, second = public(OURS), public(THEIRS)
    both = with_current([first], second.raw, NOW)
    assert both == [CanaryKey(second.raw, NOW), CanaryKey(first.raw, first.since, NOW)]
    assert with_current(both, second.raw, NOW + timedelta(hours=1)) == both
    assert with_current(both, second.raw, NOW + ACCEPTED_AFTER_REPLACED) == both[:1]


def test_of_two_keys_that_are_made_at_once_both_count_whichever_stays():
    first, second = public(OURS), public(THEIRS)
    keys = with_current(with_current([], first.raw, NOW), second.raw, NOW)
    back = with_current(keys, first.raw, NOW + timedelta(minutes=5))
    for these in (keys, back):
        for key in (OURS, THEIRS):
            assert check(canary(key=key), *these, at=NOW + timedelta(minutes=10))
    assert back[0] == CanaryKey(first.raw, NOW), "as public as before"


def test_the_object_has_ids_times_and_nothing_private():
    keys = [public(), public(THEIRS, replaced_at=NOW)]
    content = keys_to_json(keys)
    assert keys_from_json(content) == keys
    assert [set(entry) for entry in json.loads(content)] == [
        {"id", "public_key", "since", "replaced_at"}
    ] * 2


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}x",
        b"3",
        b'["a"]',
        b"[" * 100_000,
        b"[{}]",
        keys_to_json([public()]).replace(b"2026", b"the"),
        keys_to_json([public()]).replace(public().id.encode(), public(THEIRS).id.encode()),
        keys_to_json([CanaryKey(b"short", NOW)]),
    ],
)
def test_an_object_that_is_no_list_of_keys_is_refused_in_a_sentence(content):
    with pytest.raises(ValueError, match="expected a JSON list of public keys"):
        keys_from_json(content)
