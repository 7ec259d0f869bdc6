from datetime import UTC, datetime
from typing import Any

import pytest

from imagen_ops.jobs.batch_job import RowCounts
from imagen_ops.prefetch.import_report import ImportReport
from imagen_ops.prefetch.share import BatchShare, share_of
from imagen_ops.prefetch.state import Part, Prefetch

ASKED = {"asked_at": datetime(2026, 11, 22, tzinfo=UTC)}
RUNS = {**ASKED, "job": "projects/p/locations/global/batchPredictionJobs/7"}
ENDED = {**RUNS, "ended": True}
REPORT = ImportReport(
    schema="imagen.prefetch_import/1", rows={"stored": 5}, images=5, records=5, cost_usd=0.1
)


def part(number: int = 0, **values: Any) -> Part:
    """Return a part of 10 images that are likely to cost 0.20 USD."""
    fields = {"number": number, "folder": "gs://b/prefetch/1/t/part-00000/", "model": "m"}
    return Part(**fields, location="global", rows=10, likely_micro_usd=200_000, **values)


def share(*parts: Part, **values: Any) -> BatchShare:
    return share_of(Prefetch(run_id="r", parts=parts, **values))


@pytest.mark.parametrize(
    ("values", "images"),
    [
        ({}, 0),
        ({"ended": True, "problem": "it was refused"}, 0),
        (ASKED, 10),  # there may be a job
        ({**ASKED, "ended": True}, 0),  # there was none
        ({**ASKED, "ended": True, "may_go_on": True}, 10),
        (RUNS, 10),
        ({**RUNS, "counts": RowCounts(4, 1, 5)}, 9),
        ({**ENDED, "counts": RowCounts(4, 1, 5)}, 4),
        ({**ENDED, "counts": RowCounts(4, 1, 5), "may_go_on": True}, 9),
        (ENDED, 10),  # nobody knows what it made
        ({**ENDED, "counts": RowCounts(99, 0, 0)}, 10),
    ],
)
def test_what_is_not_known_counts_as_taken(values: dict[str, Any], images: int) -> None:
    assert share(part(**values)) == BatchShare(images, images * 20_000)


def test_the_import_knows_what_was_made_and_what_it_cost() -> None:
    ended = part(**ENDED, counts=RowCounts(6, 4, 0))
    assert share(ended, imported=REPORT) == BatchShare(5, 100_000)
    unpriced = REPORT.model_copy(update={"cost_usd": None})
    assert share(ended, imported=unpriced) == BatchShare(5, 120_000)


def test_a_job_that_may_go_on_takes_what_is_left_beside_the_import() -> None:
    stuck = part(1, **ENDED, counts=RowCounts(3, 0, 7), may_go_on=True)
    ended = part(**ENDED, counts=RowCounts(10, 0, 0))
    assert share(ended, stuck, imported=REPORT) == BatchShare(5 + 7, 100_000 + 140_000)
