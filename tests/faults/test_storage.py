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


IN_FLIGHT = 32


@pytest.mark.parametrize("program", ["stream", pytest.param("backfill", marks=pytest.mark.full)])
@pytest.mark.parametrize(
    "switch",
    [
        pytest.param(switch, marks=pytest.mark.full)
        for switch in ("key_disabled", "policy_violated")
    ],
)
def test_storage_that_refuses_every_write_after_payment_costs_no_prompt_and_no_money(
    program, switch, faults, cloud, lane, start, books, paid, unanswered
):
    refused_s, bodies = faults.many(60, least=8), prompt_bodies("refused", faults.many(2_000))
    cloud.models(hold=True)
    # Prompts wait for longer than what is paid for would.
    options = {"max_in_flight": IN_FLIGHT, "max_retry_seconds": 4 * refused_s + 60}
    if program == "stream":
        job = start("stream", **options)
        lane.publish(*bodies)
    else:
        path = lane.put("refused.jsonl", b"\n".join(bodies))
        job = start("backfill", prompts=path, **options)
    held = min(IN_FLIGHT, len(bodies))
    eventually(lambda: cloud.models()["in_flight"] == held, what="all calls in flight")
    before = cloud.storage(**{switch: True})["failed"]
    cloud.models(hold=False)
    eventually(lambda: cloud.storage()["failed"] > before + held, what="writes in vain")
    books.stays_empty(refused_s)
    in_vain = paid()
    refused = cloud.storage(**{switch: False})["failed"] - before
    books.wait(bodies, within_s=600)
    job.finish()
    books.settle()
    twice = paid() - len(bodies)
    faults.row(
        f"{program}: Cloud Storage refuses every write for {refused_s} s, {switch}",
        f"{len(bodies):,} prompts; {held} calls in flight, {in_vain} images paid for meanwhile; "
        f"{refused:,} writes refused",
        **books.figures(bodies, twice, unanswered()),
    )
    assert in_vain <= held
    assert not books.failures
    assert twice == 0
    assert books.without_image() == []
    log = job.log.read_text(errors="replace")
    assert log.count("storage has refused every write") == 1
    assert log.count("storage accepts writes again") == 1
