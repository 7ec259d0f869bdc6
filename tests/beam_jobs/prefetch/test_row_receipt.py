"""What the rows for a prompt come to: each counts once, each is paid for once, one image wins."""

import itertools

import pytest

from beam_jobs.models.bill import FREE, UNKNOWN, Bill
from beam_jobs.prefetch.output_row import RowEnd
from beam_jobs.prefetch.row_receipt import RowReceipt, settled
from tests.beam_jobs.prefetch.outputs import requests_of

PAID = Bill(usd=0.0336, input_tokens=9, image_tokens=1120, tier="batch")


@pytest.fixture
def rows(prompt_of):
    return [row for _, row in requests_of(prompt_of("A fox", images=2, origin="f:1"))]


def stored(row, told_by, end=RowEnd.STORED, path=None):
    path = path or f"gs://b/{row.image}.png"
    return RowReceipt(row, end, told_by, PAID, path=path, bytes=7)


def ends(settlement):
    return {
        name.removeprefix("rows."): count
        for name, count in settlement.tally.counts.items()
        if name.startswith("rows.")
    }


def in_any_order(receipts):
    """Settle receipts in every order, and return what all orders come to."""
    one, *others = map(settled, itertools.permutations(receipts))
    for other in others:
        assert other.images == one.images
        assert other.receipt == one.receipt
        assert other.tally.counts == one.tally.counts
        assert sorted(other.tally.problems) == sorted(one.tally.problems)
    return one


def test_a_prompt_with_all_its_images_is_whole_and_paid_for_by_its_payer(rows):
    settlement = in_any_order([stored(rows[0], 1), stored(rows[1], 2)])
    assert settlement.is_whole
    assert settlement.images == {n: f"gs://b/{row.image}.png" for n, row in enumerate(rows)}
    assert settlement.receipt.paid_by == rows[0].payer
    work = settlement.receipt.work
    assert work.cost_usd == pytest.approx(2 * 0.0336)
    assert (work.input_tokens, work.image_tokens, work.tier) == (18, 2240, "batch")
    assert settlement.tally.counts["images"] == 2
    assert settlement.tally.counts["bytes"] == 14
    assert settlement.tally.problems == ()


@pytest.mark.parametrize(
    "end", [RowEnd.FAILED, RowEnd.REFUSED, RowEnd.NO_IMAGE, RowEnd.NOT_STORED, RowEnd.OTHER_MODEL]
)
def test_a_prompt_that_lacks_an_image_is_not_whole_and_its_rows_are_paid_for(rows, end):
    lacking = RowReceipt(rows[1], end, 2, PAID, code="429", problem="what is wrong")
    settlement = in_any_order([stored(rows[0], 1), lacking])
    assert not settlement.is_whole
    assert ends(settlement) == {"stored": 1, end.value: 1}
    assert settlement.receipt.work.cost_usd == pytest.approx(2 * 0.0336)
    assert settlement.tally.problems == ((end, "what is wrong"),)
    assert settlement.tally.counts.get("failed.429", 0) == (end is RowEnd.FAILED)


def test_a_row_that_was_written_twice_is_paid_for_once(rows):
    settlement = in_any_order([stored(rows[0], 1), stored(rows[0], 1), stored(rows[1], 2)])
    assert ends(settlement) == {"stored": 2, "doubled": 1}
    assert settlement.tally.counts["images"] == 2
    assert settlement.receipt.work.cost_usd == pytest.approx(2 * 0.0336)


def test_of_two_images_for_one_the_stored_one_counts_and_both_are_paid_for(rows):
    late = stored(rows[0], 9, end=RowEnd.ALREADY_THERE)
    settlement = in_any_order([stored(rows[0], 1), late, stored(rows[1], 2)])
    assert ends(settlement) == {"stored": 2, "doubled": 1}
    assert settlement.tally.counts["images"] == 3
    assert settlement.receipt.work.cost_usd == pytest.approx(3 * 0.0336)


def test_of_two_images_in_two_formats_the_same_one_counts_each_time(rows):
    both = [stored(rows[0], 1, path="gs://b/a.jpg"), stored(rows[0], 2, path="gs://b/a.png")]
    assert in_any_order([*both, stored(rows[1], 3)]).images[0] == "gs://b/a.jpg"


def test_an_image_that_was_there_before_completes_a_prompt(rows):
    settlement = in_any_order([stored(rows[0], 1, end=RowEnd.ALREADY_THERE), stored(rows[1], 2)])
    assert settlement.is_whole
    assert ends(settlement) == {"stored": 1, "already_there": 1}


def test_a_failure_beside_an_image_for_the_same_is_counted_as_what_it_is(rows):
    failed = RowReceipt(rows[0], RowEnd.FAILED, 5, FREE, code="UNAVAILABLE")
    settlement = in_any_order([stored(rows[0], 1), failed, stored(rows[1], 2)])
    assert settlement.is_whole
    assert ends(settlement) == {"stored": 2, "failed": 1}
    assert settlement.tally.counts["images_answered"] == 2


def test_a_row_that_states_no_cost_is_counted_as_unpriced(rows):
    unpriced = RowReceipt(rows[1], RowEnd.NO_IMAGE, 2, UNKNOWN)
    settlement = in_any_order([stored(rows[0], 1), unpriced])
    assert settlement.receipt.work.unpriced_calls == 1
    assert settlement.tally.counts["unpriced_rows"] == 1
    assert settlement.tally.counts["nano_usd"] == 33_600_000
