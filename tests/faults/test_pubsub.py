"""Pub/Sub that delivers again, in any order, and takes nothing for a while."""

import pytest

from tests.conftest import eventually
from tests.faults.books import prompt_bodies

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def test_everything_delivered_twice_and_in_any_order_is_paid_for_once(
    faults, cloud, lane, start, books, paid, unanswered
):
    bodies = prompt_bodies("again", faults.many(5_000))
    cloud.pubsub(lost_ack_rate=1.0, shuffled=True)

    def lost_acks() -> int:
        return int(cloud.pubsub()["acks_lost"].get(lane.subscription("prompts"), 0))

    job = start("stream")
    lane.publish(*bodies)
    books.wait(bodies)
    eventually(lambda: lost_acks() == len(bodies), within_s=300, what="a lost ack of each prompt")
    # Messages under lease are not to be seen in the subscription: their second outcomes are.
    eventually(
        lambda: books.repeated() >= len(bodies), within_s=300, what="a second outcome of each"
    )
    eventually(lambda: lane.nothing_left("prompts"), what="the end of what came again")
    job.finish()
    books.settle()
    twice = paid() - len(bodies)
    faults.row(
        "stream: Pub/Sub delivers everything again, in any order",
        f"{len(bodies):,} prompts, {lost_acks():,} acknowledgements lost",
        **books.figures(bodies, twice, unanswered()),
    )
    assert books.repeated() >= len(bodies), "each was worked on twice"
    assert not books.failures
    assert twice == 0


@pytest.mark.full
@pytest.mark.parametrize("program", ["stream", "backfill"])
def test_publishes_that_are_refused_for_a_minute_lose_nothing(
    program, faults, cloud, lane, start, books, paid, unanswered
):
    bodies = prompt_bodies("refused", faults.many(2_000))
    path = lane.put("refused.jsonl", b"\n".join(bodies))
    if program == "stream":
        lane.publish(*bodies)
    refused_s = faults.many(60, least=5)
    before = cloud.pubsub(publish_down=True)["publishes_refused"]
    job = start("stream") if program == "stream" else start("backfill", prompts=path)
    eventually(lambda: cloud.pubsub()["publishes_refused"] > before, what="a refused publish")
    books.stays_empty(refused_s)
    refused = cloud.pubsub(publish_down=False)["publishes_refused"] - before
    books.wait(bodies)
    job.finish()
    books.settle()
    twice = paid() - len(bodies)
    faults.row(
        f"{program}: Pub/Sub refuses publishes for {refused_s} s",
        f"{len(bodies):,} prompts, {refused:,} publishes refused",
        **books.figures(bodies, twice, unanswered()),
    )
    assert not books.failures
    assert twice == 0
