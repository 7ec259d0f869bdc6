"""Processes that end when nobody expects it, and when somebody asks them to."""

import signal

import pytest

from beam_jobs.engine.image_maker import ROOM_OVER_IN_FLIGHT
from tests.conftest import eventually
from tests.faults.books import prompt_bodies

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
]

IN_FLIGHT = 32
# With those whose images are on their way to storage.
UNDER_WAY = int(IN_FLIGHT * ROOM_OVER_IN_FLIGHT) + 1


@pytest.mark.parametrize("program", [pytest.param("stream", marks=pytest.mark.full), "backfill"])
def test_a_job_that_is_killed_again_and_again_loses_nothing_and_pays_only_for_what_was_in_flight(
    program, faults, cloud, lane, start, books, paid, unanswered
):
    kills = faults.many(10, least=2)
    bodies = prompt_bodies("killed", 400 * kills)
    cloud.models(latency_s=0.2)
    options: dict[str, object] = {"max_in_flight": IN_FLIGHT}
    if program == "stream":
        # What a dead process held comes back when its leases are over: not all of it at once.
        options["max_outstanding"] = 4 * IN_FLIGHT
        lane.publish(*bodies)
    else:
        options["prompts"] = lane.put("killed.jsonl", b"\n".join(bodies))
    in_flight = []
    for _ in range(kills):
        job = start(program, **options)
        enough = paid() + faults.chance.randrange(100, 300)
        eventually(lambda enough=enough: paid() >= enough, what="images")
        in_flight.append(cloud.models()["in_flight"])
        job.kill()
    job = start(program, **options)
    books.wait(bodies)
    job.finish()
    books.settle()
    twice = paid() - len(bodies)
    faults.row(
        f"{program}: its process is killed {kills} times",
        f"{len(bodies):,} prompts; in flight at the kills: {in_flight}",
        **books.figures(bodies, twice, unanswered()),
    )
    assert not books.failures
    assert 0 <= twice + unanswered() <= kills * UNDER_WAY
    assert books.without_image() == []


@pytest.mark.parametrize("how", ["drain", pytest.param("twice", marks=pytest.mark.full)])
def test_a_stream_that_is_told_to_end_finishes_or_gives_back_what_it_has(
    how, faults, cloud, lane, start, books, paid, unanswered
):
    """A drain is a SIGTERM; a second one forces."""
    opening, bodies = prompt_bodies(f"{how}-first", 1_500), prompt_bodies(how, 500)
    job = start("stream", max_in_flight=500)
    # The window opens with calls that are answered, while enough others wait.
    cloud.models(latency_s=2.0)
    lane.publish(*opening)
    books.wait(opening)
    cloud.models(hold=True)
    lane.publish(*bodies)
    eventually(lambda: cloud.models()["in_flight"] >= 400, what="calls in flight")
    held = cloud.models()["in_flight"]
    job.process.send_signal(signal.SIGTERM)
    if how == "twice":
        eventually(lambda: "drain" in job.last_words().lower(), what="a drain that has begun")
        held = cloud.models()["in_flight"]
        job.process.send_signal(signal.SIGTERM)
        job.ended()
        ended = "the end of the dead process's calls"
        eventually(lambda: cloud.models()["in_flight"] == 0, what=ended)
        cloud.models(hold=False)
    else:
        cloud.models(hold=False)
        assert job.ended() == 0, job.last_words()
        books.settle()
        assert len(books.predictions) >= len(opening) + held, "what was under way is finished"
    if books.missing(bodies):
        # What it had not taken is there for the next; what it held, when its leases are over.
        job = start("stream", max_in_flight=500)
        books.wait(bodies)
        job.finish()
        books.settle()
    twice = paid() - len(opening) - len(bodies)
    faults.row(
        "stream: SIGTERM" + (", and a second one" if how == "twice" else ""),
        f"{held} calls in flight",
        **books.figures(bodies, twice, unanswered()),
    )
    assert not books.failures
    assert twice == 0
    # Whatever the window has let in since it was looked at.
    assert unanswered() <= (len(bodies) if how == "twice" else 0)
