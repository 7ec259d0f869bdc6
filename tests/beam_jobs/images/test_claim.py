"""What a claim says, whoever wrote it."""

import datetime

import pytest

from beam_jobs.images.claim import MAX_BYTES, UNKNOWN, Claimant, ClaimListing, age_s

CREATED = datetime.datetime(2026, 11, 30, 6, 0, 0, 250_000, tzinfo=datetime.UTC)


def test_a_claimant_is_read_as_it_was_written():
    me = Claimant("ab" * 16, "machine/1/2/x")
    assert Claimant.parse(me.to_json()) == me
    assert len(me.to_json()) < MAX_BYTES


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no JSON",
        b"[1]",
        b"{}",
        b'{"schema": "imagen.claim/2", "payer": "a", "process": "b"}',
        b'{"schema": "imagen.claim/1", "payer": 1, "process": "b"}',
        b'{"schema": "imagen.claim/1", "payer": "a", "process": "' + b"x" * 300 + b'"}',
        b'{"schema": "imagen.claim/1", "payer": "a"}',
    ],
)
def test_anything_else_is_of_somebody_unknown(content):
    assert Claimant.parse(content) == UNKNOWN


def test_an_age_is_the_difference_of_two_times_of_storages_clock():
    assert age_s(CREATED, "Mon, 30 Nov 2026 06:01:00 GMT") == 59.75
    assert age_s(CREATED, "Mon, 30 Nov 2026 06:00:00 GMT") == -0.25


@pytest.mark.parametrize("date", [None, "", "tomorrow", "Mon, 30 Nov 2026 06:01:00", "Mon, 99"])
def test_without_a_date_there_is_no_age(date):
    assert age_s(CREATED, date) is None
    assert age_s(None, "Mon, 30 Nov 2026 06:01:00 GMT") is None


def test_a_listing_says_when_a_claim_was_created_and_how_large_it_is():
    listed = {"generation": "17", "timeCreated": "2026-11-30T06:00:00.250Z", "size": "99"}
    assert ClaimListing.parse(listed) == ClaimListing("17", CREATED, 99)
    assert ClaimListing.parse({"generation": "17", "timeCreated": 3}) == ClaimListing(
        "17", None, MAX_BYTES + 1
    )


@pytest.mark.parametrize("generation", [None, "", "x", "-1", "\u0661"])
def test_a_listed_claim_without_a_generation_is_no_answer_of_storage(generation):
    with pytest.raises(ValueError, match="no generation"):
        ClaimListing.parse({"generation": generation})
