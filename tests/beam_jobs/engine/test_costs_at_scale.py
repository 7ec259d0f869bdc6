"""Over thousands of mixed prompts, what outcomes say of their cost is what the service bills."""

import json
import pickle
import subprocess
import sys

import pytest

from beam_jobs.catalog import CATALOG
from beam_jobs.config.job_config import JobConfig
from beam_jobs.config.serving import Serving
from beam_jobs.engine.image_maker import ROOM_OVER_IN_FLIGHT
from beam_jobs.images.location import Location
from beam_jobs.outcomes import NANO_PER_USD
from beam_jobs.prompts.defaults import PromptDefaults
from beam_jobs.prompts.parse import Prompt
from imagen_ops.backfill.file_count import PriceGroup
from imagen_ops.backfill.plan_totals import GroupCount, model_costs
from tests.conftest import ROOT, eventually

pytestmark = pytest.mark.slow

MODELS = ("gemini-nano-banana-2.1", "gemini-3.1-flash-image", "gemini-3-pro-image")
# By what the number of a prompt leaves when it is divided, the fault that it asks for.
FAULTS = (
    (10, 1, "blocked"),
    (10, 3, "empty-once"),
    (10, 5, "blocked-image"),
    (25, 7, "empty"),
    (50, 9, "unavailable-once"),
    (500, 19, "quota-once"),
)
# A batch's outcomes are published, and so told, once all of it is done, as a bundle's are.
BATCH, BATCHES_AT_ONCE = 50, 4

_WORKER = """
import dataclasses, json, pickle, sys
from concurrent.futures import ThreadPoolExecutor
from beam_jobs.catalog import Tier
from beam_jobs.engine.model_handler import Engine
config, batches, threads = pickle.load(sys.stdin.buffer)
def engine(tier):
    serving = dataclasses.replace(config.serving, tier=tier)
    return Engine(dataclasses.replace(config, serving=serving))
engines = {False: engine(Tier.STANDARD), True: engine(Tier.FLEX)}
def work(batch):
    number, flex, prompts = batch
    told = [
        [outcome.work.nano_usd, outcome.work.unpriced_calls, getattr(outcome, "reason", None)]
        for outcome in engines[flex].run(prompts)
    ]
    sys.stdout.write(json.dumps([number, told]) + "\\n")
    sys.stdout.flush()
with ThreadPoolExecutor(threads) as pool:
    list(pool.map(work, batches))
"""


@pytest.fixture
def config(lane):
    return JobConfig(
        responses_topic=lane.topic("predictions"),
        dead_letter_topic=lane.topic("dead-letters"),
        images_location=Location.parse(lane.images_location),
        defaults=PromptDefaults(model=MODELS[0], allowed_models=frozenset(MODELS)),
        project="demo-project",
        serving=Serving(call_timeout_s=60.0),
        max_in_flight=32,
        requests_per_minute=None,
        max_retry_s=60.0,
    )


@pytest.fixture
def mixed(prompt_of):
    """Return a function that makes prompts of all models, sizes and thinking levels."""

    def mixed(count, *, faults=True, models=MODELS):
        prompts = []
        for number in range(count):
            model = models[number // 2 % len(models)]
            row = CATALOG[model]
            sizes, levels = (None, *row.image_tokens), (None, *row.thinking_levels)
            fault = [
                f" fault:{name}" for by, rest, name in FAULTS if faults and number % by == rest
            ]
            fields = {
                "images": 1 + number % 3,
                "image_size": sizes[number // 7 % len(sizes)],
                "thinking_level": levels[number // 11 % len(levels)],
            }
            given = {name: value for name, value in fields.items() if value is not None}
            text = f"fox number {number}" + " in the snow" * (number % 20) + "".join(fault[:1])
            prompts.append(prompt_of(text, model=model, **given))
        return prompts

    return mixed


def in_batches(prompts):
    """Return numbered batches, every other one for the flex tier."""
    return [
        (start // BATCH, start // BATCH % 2 == 1, prompts[start : start + BATCH])
        for start in range(0, len(prompts), BATCH)
    ]


class Worker:
    """A process with engines, which tells what each batch has cost."""

    def __init__(self, config, batches):
        self.process = subprocess.Popen(
            [sys.executable, "-c", _WORKER], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.process.stdin.write(pickle.dumps((config, batches, BATCHES_AT_ONCE)))
        self.process.stdin.close()
        self.outcomes, self.done = [], set()

    def read(self, batches=None):
        """Read what the next batches, or all that are left, have cost."""
        while (batches is None or batches > 0) and (line := self.process.stdout.readline()):
            if not line.endswith(b"\n"):
                return  # it was killed while it wrote
            number, told = json.loads(line)
            self.outcomes += told
            self.done.add(number)
            batches = None if batches is None else batches - 1


def usd(outcomes):
    assert not any(unpriced for _, unpriced, _ in outcomes)
    return sum(nano for nano, _, _ in outcomes) / NANO_PER_USD


def billed(cloud):
    eventually(lambda: cloud.models()["in_flight"] == 0)
    return cloud.models()["billed_usd"]


@pytest.mark.full
def test_the_sum_over_outcomes_is_the_bill_to_the_cent(cloud, config, mixed):
    count = 5000
    cloud.models(latency_s=0.02, canned_bytes=2000)
    before = billed(cloud)
    worker = Worker(config, in_batches(mixed(count)))
    worker.read()
    assert worker.process.wait(60) == 0
    bill = billed(cloud) - before
    print(f"{count} prompts: told {usd(worker.outcomes):.6f} USD, billed {bill:.6f} USD")
    assert len(worker.outcomes) == count
    assert {"BLOCKED", "NO_IMAGE", None} == {reason for _, _, reason in worker.outcomes}
    assert abs(usd(worker.outcomes) - bill) < 0.005


@pytest.mark.full
def test_of_what_a_killed_process_paid_only_what_had_no_record_is_missing(cloud, config, mixed):
    count = 5000
    cloud.models(latency_s=0.02, canned_bytes=2000)
    before = billed(cloud)
    batches = in_batches(mixed(count))
    dead = Worker(config, batches)
    dead.read(batches=len(batches) // 3)
    dead.process.kill()
    dead.read()
    dead.process.wait()
    again = Worker(config, [batch for batch in batches if batch[0] not in dead.done])
    again.read()
    assert again.process.wait(60) == 0
    bill, told = billed(cloud) - before, usd(dead.outcomes) + usd(again.outcomes)
    print(f"{count} prompts, killed: told {told:.6f} USD, billed {bill:.6f} USD")
    assert len(dead.outcomes) + len(again.outcomes) == count
    # Both engines worked on prompts that had no record yet. A prompt costs 0.13 USD on average.
    most_untold = 2 * int(ROOM_OVER_IN_FLIGHT * config.max_in_flight + 1) * 0.13
    assert 0 <= bill - told + 0.005 <= most_untold


@pytest.mark.parametrize(
    ("count", "tier", "models"),
    [
        (150, "standard", MODELS[:1]),  # of which thinking is the largest share
        pytest.param(3000, "standard", MODELS, marks=pytest.mark.full),
        pytest.param(3000, "flex", MODELS, marks=pytest.mark.full),
    ],
    ids=["standard", "standard-full", "flex-full"],
)
def test_a_plan_is_within_5_percent_of_the_bill_where_all_succeed(
    cloud, config, mixed, count, tier, models
):
    cloud.models(latency_s=0.02, canned_bytes=2000)
    before = billed(cloud)
    prompts: list[Prompt] = mixed(count, faults=False, models=models)
    worker = Worker(config, [(0, tier == "flex", prompts)])
    worker.read()
    assert worker.process.wait(60) == 0
    bill = billed(cloud) - before
    groups: dict[PriceGroup, GroupCount] = {}
    for prompt in prompts:
        groups.setdefault(PriceGroup.of(prompt), GroupCount()).distinct += 1
    planned = sum(cost.usd or 0.0 for cost in model_costs(groups, request_tier=tier))
    print(f"{count} prompts, {tier}: planned {planned:.4f} USD, billed {bill:.4f} USD")
    assert {reason for _, _, reason in worker.outcomes} == {None}
    assert planned == pytest.approx(bill, rel=0.05)
