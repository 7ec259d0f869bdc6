"""Cloud Storage that refuses, hangs, or fails between an image and its record."""

import pytest

from tests.conftest import eventually
from tests.faults.books import prompt_bodies

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
]


@pytest.mark.parametrize("program", ["stream", "backfill"])
@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param({"error_rate": 0.2, "error_status": 429}, marks=pytest.mark.full),
        pytest.param({"error_rate": 0.2, "error_status": 500}, marks=pytest.mark.full),
        {"error_rate": 0.2, "error_status": 503},
        # A call that hangs takes its time-out, whatever the share.
        pytest.param({"hang_rate": 0.02}, marks=pytest.mark.full),
    ],
    ids=["429", "500", "503", "hangs"],
)
def test_storage_that_fails_costs_no_prompt_and_names_no_image_that_is_not_there(
    program, trouble, faults, cloud, lane, start, books, paid, unanswered
):
    bodies = prompt_bodies("stored", faults.many(2_000, least=200), images=2)
    path = lane.put("stored.jsonl", b"\n".join(bodies))
    cloud.models(hold=True)
    job = start(program, **({} if program == "stream" else {"prompts": path}))
    if program == "stream":
        lane.publish(*bodies)
    eventually(lambda: cloud.models()["in_flight"] > 0, what="a call")
    # From here on any call may be the one that fails: to look, to store, to keep a record.
    failed = cloud.storage(**trouble)
    cloud.models(hold=False)
    books.wait(bodies, within_s=600)
    struck = cloud.storage(error_rate=0.0, hang_rate=0.0)
    job.finish()
    books.settle()
    twice = paid() - 2 * len(bodies)
    faults.row(
        f"{program}: Cloud Storage, "
        + ", ".join(f"{name} {value:g}" for name, value in trouble.items()),
        f"{len(bodies):,} prompts of two images; {struck['failed'] - failed['failed']:,} calls "
        f"failed, {struck['hung'] - failed['hung']:,} hung",
        **books.figures(bodies, twice, unanswered()),
    )
    assert struck["failed"] + struck["hung"] > failed["failed"] + failed["hung"]
    assert not books.failures
    assert twice == 0
    assert books.without_image() == []
