"""Which prompts of a plan already have their images in the local cloud's storage."""

import json

import pytest

from beam_jobs.prompts.parse import Prompt
from imagen_ops.backfill import stored_records
from tests.conftest import Lane
from tests.plugins.imagen_ops.backfill.conftest import Planned, prompt, store


def test_a_prompt_with_a_stored_record_is_not_paid_for_again(lane: Lane, planned: Planned) -> None:
    lane.put("prompts/a.jsonl", b'{"prompt": "a fox", "images": 3}\n{"prompt": "an owl"}\n')
    lane.put("prompts/b.txt", b"a hen\na cow\n")
    store(lane, prompt({"prompt": "a fox", "images": 3}), prompt("a hen"))
    half = prompt("an owl").digest
    lane.put(f"images/{half[:2]}/{half}-0.png", b"no record beside it")
    result = planned()
    stored = result.already_stored
    assert (stored.distinct, stored.images, stored.exact) == (2, 4, True)
    assert (result.images, result.images_to_pay) == (6, 2)
    assert result.cost_usd == pytest.approx(2 * (0.0672 + 60 * 3 / 1e6), abs=1e-4)
    assert not result.nothing_to_do


def test_with_all_images_stored_nothing_is_paid_for_but_predictions_are_published(
    lane: Lane, planned: Planned
) -> None:
    lane.put("prompts/a.txt", b"a fox\n")
    store(lane, prompt("a fox"))
    result = planned()
    assert (result.images_to_pay, result.cost_usd, result.unpriced) == (0, 0.0, ())
    assert not result.nothing_to_do


def test_fresh_images_are_paid_for_again_unless_this_very_row_is_stored(
    lane: Lane, planned: Planned
) -> None:
    row = {"prompt": "a fox", "reuse": False}
    body = json.dumps(row).encode() + b"\n"
    path = lane.put("prompts/a.jsonl", body * 2)
    store(lane, prompt("a fox"))
    assert (planned().distinct, planned().images_to_pay) == (2, 2)
    # As a job over the same file leaves it: the next job finds what is already paid for.
    store(lane, prompt(row, origin=f"{path}:1"))
    assert planned().images_to_pay == 1


def numbered(count: int) -> list[Prompt]:
    return [prompt(f"number {number}") for number in range(count)]


def fill(lane: Lane, count: int) -> list[Prompt]:
    lane.put("prompts/a.txt", "".join(f"number {number}\n" for number in range(count)))
    every = numbered(count)
    store(lane, *every[::3])
    return every


@pytest.mark.slow
@pytest.mark.parametrize("names", [1, 2, 1000])
def test_listing_and_single_lookups_find_the_same(
    lane: Lane, planned: Planned, monkeypatch: pytest.MonkeyPatch, names: int
) -> None:
    monkeypatch.setattr(stored_records, "PAGE_NAMES", names)
    monkeypatch.setattr(stored_records, "LOOKUPS_PER_PAGE", min(names, 12))
    every = fill(lane, 900)
    for one in every[:300]:
        lane.put(f"images/{one.digest[:2]}/{one.digest}-0.png", b"")
    result = planned()
    stored = result.already_stored
    assert (stored.distinct, stored.looked_up, stored.exact) == (300, 900, True)


@pytest.mark.slow
def test_beyond_its_lookups_a_plan_estimates_and_says_so(
    lane: Lane, planned: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_records, "PAGE_NAMES", 1)
    fill(lane, 1500)
    result = planned(max_lookups=600)
    assert not result.already_stored.exact
    # A page that ends at one name also covers the digests before it.
    assert 200 < result.already_stored.looked_up < 1500
    assert result.already_stored.distinct == pytest.approx(500, abs=150)
    assert result.images_to_pay == 1500 - result.already_stored.distinct
    assert planned(max_lookups=0).already_stored.looked_up <= 1
    assert planned(max_lookups=3000).already_stored.distinct == 500


def test_one_request_covers_many_prompts_if_few_images_are_stored(
    lane: Lane, planned: Planned
) -> None:
    lane.put("prompts/a.txt", "".join(f"number {number}\n" for number in range(3000)))
    result = planned(max_lookups=256)
    assert (result.already_stored.looked_up, result.already_stored.exact) == (3000, True)
