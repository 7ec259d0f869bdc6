"""Sums of what was counted are the same in any order, and a report says a few of the problems."""

import random

from beam_jobs.prefetch.output_row import RowEnd
from beam_jobs.prefetch.tally import MAX_PROBLEMS, PROBLEMS_ALIKE, Tally, added, rendered


def test_a_sum_is_the_same_in_any_order_and_grouping():
    chance = random.Random(1)
    tallies = [
        Tally({f"rows.{end}": n, "images": 1}, ((end, f"{end} {n}"),))
        for end in RowEnd
        for n in range(5)
    ]
    whole = added(tallies)
    for _ in range(20):
        chance.shuffle(tallies)
        cut = chance.randint(0, len(tallies))
        assert added([added(tallies[:cut]), added(tallies[cut:])]) == whole
    assert whole.counts["images"] == len(tallies)
    assert all(whole.counts[f"rows.{end}"] == 10 for end in RowEnd)


def test_a_report_says_a_few_problems_of_each_kind_and_not_many_in_all():
    tallies = [Tally.of_row(end, f"{end} {n}") for end in RowEnd for n in range(100)]
    total = added(tallies)
    assert len(total.problems) == len(RowEnd) * PROBLEMS_ALIKE
    report = rendered(total, run="backfill:r", parts=2, ordered=10_000)
    assert len(report["first_problems"]) == MAX_PROBLEMS
    assert {problem.split()[0] for problem in report["first_problems"]} == set(RowEnd)
    few = added([Tally.of_row(RowEnd.UNKNOWN, f"byte {n}") for n in range(9)])
    assert len(few.problems) == PROBLEMS_ALIKE


def test_every_row_is_counted_under_one_word_and_what_never_came_back_is_missing():
    total = Tally(
        {"rows.stored": 3, "rows.failed": 2, "rows.unknown": 7, "failed.429": 2}
        | {"images_answered": 5, "images": 3, "records": 2, "nano_usd": 10**9}
    )
    report = rendered(total, run="backfill:r", parts=1, ordered=9)
    assert report["schema"] == "imagen.prefetch_import/1"
    assert set(report["rows"]) == {*RowEnd, "missing"}
    assert report["rows"] == dict.fromkeys(RowEnd, 0) | {
        "stored": 3,
        "failed": 2,
        "unknown": 7,
        "missing": 4,
    }
    assert report["failed_by_code"] == {"429": 2}
    assert (report["run"], report["parts"], report["ordered"]) == ("backfill:r", 1, 9)
    assert (report["images"], report["records"], report["cost_usd"]) == (3, 2, 1.0)


def test_a_cost_that_no_row_states_is_unknown_and_not_zero():
    assert rendered(added([]), run="r", parts=0, ordered=0)["cost_usd"] == 0
    unpriced = Tally({"unpriced_rows": 3})
    assert rendered(unpriced, run="r", parts=0, ordered=0)["cost_usd"] is None
