"""A model that fails: in every way at once, and for as long as anybody waits."""

import pytest

from tests.conftest import eventually
from tests.faults.books import prompt_bodies

pytestmark = [
    pytest.mark.full,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
]

# Of all calls; of the prompts as many again as are refused are malformed.
RATES = {
    "unavailable_rate": 0.05,
    "quota_rate": 0.02,
    "hang_rate": 0.01,
    "cut_rate": 0.005,
    "blocked_rate": 0.01,
}


@pytest.mark.parametrize("program", ["stream", pytest.param("backfill", marks=pytest.mark.full)])
def test_a_model_that_fails_in_every_way_costs_no_prompt_and_no_money(
    program, faults, cloud, lane, start, books, paid, unanswered
):
    count = faults.many(20_000)
    good = prompt_bodies("mixed", count)
    malformed = [f'{{"prompt": "{n}", "imges": 1}}'.encode() for n in range(count // 100)]
    everything = good + malformed
    faults.chance.shuffle(everything)
    cloud.models(**RATES)
    # An answer that comes later is paid for twice. The more there is to do, the later one may come.
    patience_s = faults.many(30, least=10)
    if program == "stream":
        job = start("stream", call_timeout_seconds=patience_s)
        lane.publish(*everything)
    else:
        path = lane.put("mixed.jsonl", b"\n".join(everything))
        job = start("backfill", call_timeout_seconds=patience_s, prompts=path)
    books.wait(everything, within_s=1200)
    job.finish()
    books.settle()
    assert books.both() == []
    twice = paid() - len(books.predictions)
    faults.row(
        f"{program}: 5 % 503, 2 % 429, 1 % time-outs, 0.5 % cut, 1 % refused, 1 % malformed",
        f"{len(everything):,} prompts: {len(books.predictions):,} predictions, "
        f"{len(books.failures):,} failures",
        **books.figures(everything, twice, unanswered()),
    )
    assert twice == 0
    assert set(books.reasons) <= {"BLOCKED", "INVALID_PROMPT"}
    assert books.reasons["INVALID_PROMPT"] == len(malformed)


@pytest.mark.full
def test_a_model_that_is_down_holds_prompts_back_and_loses_none(
    faults, cloud, lane, start, books, paid, unanswered
):
    down_s, bodies = faults.many(600, least=15), prompt_bodies("down", faults.many(2_000))
    cloud.models(down=True)
    before = cloud.models()["calls"]
    job = start("stream", max_retry_seconds=2 * down_s + 120)
    lane.publish(*bodies)
    eventually(lambda: cloud.models()["calls"] - before >= 64, what="calls in vain")
    books.stays_empty(down_s)
    cloud.models(down=False)
    books.wait(bodies)
    job.finish()
    books.settle()
    twice = paid() - len(bodies)
    faults.row(
        f"stream: the model is down for {down_s} s",
        f"{len(bodies):,} prompts, {cloud.models()['calls'] - before:,} calls",
        **books.figures(bodies, twice, unanswered()),
    )
    assert not books.failures
    assert twice == 0


# Of all calls. Those that are cancelled or aborted are free, and the others are one image each.
ODD_RATES = {
    "drafts_rate": 0.2,
    "thought_image_rate": 0.1,
    "cancelled_rate": 0.1,
    "aborted_rate": 0.1,
    "quota_rate": 0.02,
}


@pytest.mark.parametrize(
    ("program", "container"),
    [
        ("stream", {}),
        pytest.param("backfill", {}, marks=pytest.mark.full),
        # One picture for each call, whatever it asks for.
        pytest.param("stream", {"flux": True, "dedicated": True}, marks=pytest.mark.full),
    ],
    ids=["stream", "backfill", "flux"],
)
def test_a_model_that_answers_oddly_costs_no_prompt_and_no_money(
    program, container, faults, cloud, lane, start, books, paid, unanswered
):
    count = 4 if container else 2
    bodies = prompt_bodies("odd", faults.many(2_000), images=count)
    rates = {"cancelled_rate": 0.1, "aborted_rate": 0.1} if container else ODD_RATES
    cloud.models(**rates, **container)
    before = cloud.models()["calls"]
    options = {}
    if container:
        endpoint = "projects/demo-project/locations/us-central1/endpoints/1234"
        options = {"model": "flux-1", "model_endpoint": endpoint, "prompt_field": "text"}
    if program == "stream":
        job = start("stream", **options)
        lane.publish(*bodies)
    else:
        job = start("backfill", prompts=lane.put("odd.jsonl", b"\n".join(bodies)), **options)
    books.wait(bodies, within_s=1200)
    job.finish()
    books.settle()
    twice = paid() - count * len(bodies)
    told = ", ".join(f"{rate * 100:g} % {name[:-5]}" for name, rate in rates.items())
    faults.row(
        f"{program}: models answer oddly: {'one picture a call, ' if container else ''}{told}",
        f"{len(bodies):,} prompts of {count} images, {cloud.models()['calls'] - before:,} calls",
        **books.figures(bodies, twice, unanswered()),
    )
    assert not books.failures
    assert twice == 0
    assert {len(images) for images in books.images.values()} == {count}
    assert books.without_image() == []
