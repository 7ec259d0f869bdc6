"""What a record keeps of the cost of its images."""

import json

import pytest

from beam_jobs.images.receipt import Receipt, payer_of
from beam_jobs.outcomes import Work

WORK = Work(
    cost_usd=0.0673,
    unpriced_calls=1,
    input_tokens=9,
    text_tokens=60,
    image_tokens=1120,
    tier="flex",
)
RECEIPT = Receipt(payer_of("stream", "message-1"), WORK, "stream")
RECORD = json.loads(json.dumps(RECEIPT.to_json()))


def test_a_receipt_is_read_as_it_was_written():
    assert Receipt.parse(RECORD) == RECEIPT


def test_a_receipt_of_an_earlier_version_does_not_say_whose_run_it_was():
    earlier = {name: value for name, value in RECORD.items() if name != "source"}
    assert Receipt.parse(earlier) == Receipt(RECEIPT.paid_by, WORK)


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"created_at": "2026-11-01"},
        RECORD | {"cost_usd": -1},
        RECORD | {"cost_usd": float("nan")},
        RECORD | {"cost_usd": "much"},
        RECORD | {"tokens": None},
        RECORD | {"tokens": {"input": 1, "text": 1}},
        RECORD | {"tokens": {"input": -1, "text": 1, "image": 1}},
        RECORD | {"unpriced_calls": float("inf")},
    ],
)
def test_a_record_without_a_sound_receipt_says_nothing_of_its_cost(record):
    assert Receipt.parse(record) is None


def test_a_cost_that_is_unknown_stays_unknown():
    receipt = Receipt("ab", Work(unpriced_calls=2))
    assert receipt.to_json()["cost_usd"] is None
    assert Receipt.parse(receipt.to_json()) == receipt


def test_a_payer_is_one_delivery_of_one_run():
    payers = {payer_of(run, origin) for run in ("stream", "backfill:x") for origin in ("1", "2")}
    assert len(payers) == 4
    assert payer_of("stream", "") == "", "nothing tells such deliveries apart"
