"""Budgets: never more is paid for than they allow, whatever processes, storage and clocks do."""

import asyncio
import dataclasses
import json
import pickle
import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from gcloud.aio.storage import Storage

from beam_jobs.catalog import DEFAULT_MODEL
from beam_jobs.config.budgets import Amount, Budget, Unit, budgets_of
from beam_jobs.config.job_config import JobConfig
from beam_jobs.config.serving import Serving
from beam_jobs.engine import backoff, lease, spending_log
from beam_jobs.engine.lease import Lease
from beam_jobs.engine.ledger import Ledger
from beam_jobs.engine.purse import Purse
from beam_jobs.images.location import Location
from beam_jobs.images.requests import StoreError
from beam_jobs.models.base import CallError
from beam_jobs.outcomes import Reason
from beam_jobs.prompts.defaults import PromptDefaults
from tests.conftest import BUCKET, ROOT, eventually

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(lease, "WRITE_EVERY_S", 0.02)
    monkeypatch.setattr(lease, "IDLE_S", 0.1)
    monkeypatch.setattr(lease, "GIVE_BACK_WAIT_S", 2.0)
    monkeypatch.setattr(backoff, "BACKOFF_FIRST_S", 0.01)


@pytest.fixture
def worker(lane, session):
    """Return a function that opens the lease of one more worker on the lane's ledger."""

    def worker(images=10, *, name="budget.json", bucket=BUCKET, **changes):
        settings = {"workers": 2, "max_in_flight": 8, "max_retry_s": 60.0, **changes}
        ledger = Ledger(Storage(session=session), bucket, f"{lane.name}/{name}")
        return Lease(ledger, Budget("--max_images", images, "unused"), **settings)

    return worker


def shares(lane):
    """Return what each worker has leased and spent, as the ledger says."""
    # By name: a worker may replace the object between a listing and its download.
    blob = lane.storage.bucket(BUCKET).blob(f"{lane.name}/budget.json")
    content = json.loads(blob.download_as_bytes())
    return [(share["leased"], share["spent"]) for share in content["shares"].values()]


async def spent(lease, count, images=1):
    """Spend as often as possible, at most `count` times; return how many images that were."""
    total = 0
    for _ in range(count):
        try:
            await lease.spend(Amount(images, None) if isinstance(lease, Purse) else images)
        except CallError:
            break
        total += images
    return total


async def test_a_budget_is_spent_to_the_last_image_and_not_beyond(worker):
    lease = worker(10)
    assert await spent(lease, 99) == 10
    with pytest.raises(
        CallError, match=r"--max_images is 10 images, with 0 images left and 1 "
    ) as error:
        await lease.spend(1)
    assert (error.value.reason, error.value.retryable) == (Reason.OVER_BUDGET, True)


async def test_nothing_is_spent_before_the_ledger_says_so(worker, lane):
    await worker(100, workers=1).spend(3)
    ((leased, spent_images),) = shares(lane)
    assert leased >= 3
    assert spent_images == 0, "when it was written; what is not known to be unspent is lost"


async def test_a_lease_is_a_small_part_or_what_all_that_wait_need(worker, lane):
    lease = worker(80, workers=2)
    await lease.spend(1)
    assert shares(lane) == [(10, 0)]
    await asyncio.gather(*(lease.spend(1) for _ in range(40)))
    assert shares(lane)[0][0] == 41
    capped = worker(1_000_000, name="other.json", max_in_flight=2)
    await capped.spend(1)
    assert json.loads(lane.objects()["other.json"])["shares"].popitem()[1]["leased"] == 8


async def test_what_is_not_spent_is_given_back_when_idle(worker, lane):
    lease = worker(80)
    await lease.spend(1)

    await asyncio.to_thread(eventually, lambda: shares(lane) == [(1, 1)], within_s=30)
    assert await spent(lease, 99) == 79


async def test_a_worker_waits_for_what_others_give_back(worker):
    """The first one holds a lease on all of the budget that it doesn't need."""
    first, second = worker(4, workers=1), worker(4)
    await asyncio.gather(*(first.spend(1) for _ in range(3)))
    first.refund(2)
    assert await spent(second, 9) == 3


async def test_what_a_dead_worker_had_leased_and_not_spent_comes_back(worker, lane, monkeypatch):
    monkeypatch.setattr(lease, "GIVE_BACK_WAIT_S", 20.0)
    monkeypatch.setattr(spending_log, "DEAD_AFTER_S", 1.0)
    monkeypatch.setattr(lease, "IDLE_S", 600.0)
    dead = worker(80)
    await dead.spend(1)
    ((leased, _),) = shares(lane)
    assert leased == 10
    assert await spent(worker(80), 999) == 79


async def test_a_worker_that_was_taken_for_dead_wakes_up_and_pays_for_nothing_twice(
    worker, monkeypatch
):
    monkeypatch.setattr(lease, "GIVE_BACK_WAIT_S", 20.0)
    monkeypatch.setattr(lease, "IDLE_S", 600.0)
    sleeper, other = worker(40), worker(40)
    await sleeper.spend(1)
    monkeypatch.setattr(spending_log, "DEAD_AFTER_S", -2.0)
    assert await spent(other, 37) == 37, "more than the sleeper had left over"
    monkeypatch.setattr(spending_log, "DEAD_AFTER_S", 600.0)
    monkeypatch.setattr(lease, "GIVE_BACK_WAIT_S", 0.5)
    assert await spent(sleeper, 99) + await spent(other, 99) == 2


async def test_nothing_is_spent_before_it_is_noted(worker, lane):
    """So that whoever finds the log of a dead worker knows how much it can have paid for."""
    lease = worker(100, workers=1)
    await asyncio.gather(*(lease.spend(2) for _ in range(10)))
    await lease.spend(1)
    await lease.spend(1)
    notes = list(lane.storage.list_blobs(BUCKET, prefix=f"{lane.name}/budget/"))
    assert [int(blob.metadata["spent"]) for blob in notes] == [0, 20, 21, 22]


async def test_old_notes_are_deleted(worker, lane):
    lease = worker(1000, workers=1, max_in_flight=1000)
    assert await spent(lease, 100) == 100

    def notes():
        return list(lane.storage.list_blobs(BUCKET, prefix=f"{lane.name}/budget/"))

    few = 2 * spending_log.DELETE_AT_ONCE + 2
    await asyncio.to_thread(eventually, lambda: len(notes()) <= few, what="few notes")
    assert max(int(blob.metadata["spent"]) for blob in notes()) == 100


async def test_a_note_whose_answer_was_lost_is_found_again(worker, cloud):
    lease = worker(100, workers=1)
    await lease.spend(1)
    create = spending_log.SpendingLogs.create
    lost = 0

    async def lossy(self, name, note):
        nonlocal lost
        done = await create(self, name, note)
        if note.number % 2 and (lost := lost + 1) < 4:
            raise StoreError("the answer was lost", transient=True)
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spending_log.SpendingLogs, "create", lossy)
        assert await spent(lease, 5) == 5
    assert lost >= 2


async def test_a_share_without_a_log_is_left_alone(worker, lane, monkeypatch):
    """Airflow notes there what it has ordered from batch inference."""
    monkeypatch.setattr(lease, "GIVE_BACK_WAIT_S", 0.1)
    monkeypatch.setattr(lease, "IDLE_S", 600.0)
    monkeypatch.setattr(spending_log, "DEAD_AFTER_S", -2.0)
    await worker(10, workers=1).spend(1)
    blob = lane.storage.bucket(BUCKET).blob(f"{lane.name}/budget.json")
    content = json.loads(blob.download_as_bytes())
    content["shares"] = {"batch": {"leased": 8, "spent": 0}}
    blob.upload_from_string(json.dumps(content))
    assert await spent(worker(10), 9) == 2


async def test_a_restart_begins_where_the_process_before_it_stopped(worker):
    first = worker(10)
    await spent(first, 6)
    await first.give_back()
    assert await spent(worker(10), 99) == 4


async def test_a_raised_budget_holds_for_what_was_spent_before(worker):
    first = worker(3)
    assert await spent(first, 99) == 3
    assert await spent(worker(5), 99) == 2


async def test_images_that_were_not_made_can_be_spent_again(worker):
    lease = worker(4)
    await lease.spend(4)
    lease.refund(3)
    assert await spent(lease, 9) == 3


async def test_images_beyond_those_asked_for_count_too(worker):
    """A container may make four where one was asked for."""
    lease = worker(10)
    await lease.spend(1)
    lease.refund(1 - 4)
    assert await spent(lease, 99) == 6


async def test_a_call_for_four_fails_where_three_are_left_and_three_others_do_not(worker):
    lease = worker(3)
    with pytest.raises(CallError, match=r"with 3 images left and 4 images needed"):
        await lease.spend(4)
    assert await spent(lease, 9) == 3


async def test_while_the_ledger_cannot_be_reached_nothing_is_paid_for(worker, cloud):
    lease = worker(10, max_retry_s=0.3)
    cloud.storage(down=True)
    with pytest.raises(StoreError, match=r"nothing is paid for while the budget of --max_images"):
        await lease.spend(1)
    waiting = asyncio.create_task(worker(10).spend(1))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    cloud.storage(down=False)
    await asyncio.wait_for(waiting, 30)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"schema": "imagen.budget/1"}', b"[]", b"1e999"])
async def test_what_is_no_ledger_is_not_replaced(worker, lane, content):
    lane.put("budget.json", content)
    with pytest.raises(StoreError, match=r"is not the ledger of a budget .* delete it"):
        await worker(10).spend(1)
    assert lane.objects()["budget.json"] == content


async def test_many_workers_with_faults_and_deaths_never_exceed_the_budget(
    worker, cloud, monkeypatch
):
    monkeypatch.setattr(lease, "GIVE_BACK_WAIT_S", 0.5)
    chance = random.Random(7)
    images, paid, accounted = 60, 0, 0

    async def work(lease):
        nonlocal paid, accounted
        for _ in range(30):
            count = chance.randint(1, 4)
            try:
                await lease.spend(count)
            except CallError:
                accounted += 1
                continue
            await asyncio.sleep(chance.uniform(0, 0.01))
            made = chance.randint(0, count)
            paid += made
            accounted += 1
            lease.refund(count - made)

    cloud.storage(error_rate=0.2)
    tasks = [asyncio.create_task(work(worker(images, workers=6))) for _ in range(6)]
    await asyncio.sleep(0.3)
    for dead in tasks[:2]:
        dead.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    cloud.storage(error_rate=0.0)
    assert 20 <= paid <= images
    assert accounted >= 4 * 30


_PROCESS = """
import asyncio, sys
import aiohttp
from gcloud.aio.storage import Storage
from beam_jobs.config.budgets import Budget
from beam_jobs.engine import lease
from beam_jobs.engine.lease import Lease
from beam_jobs.engine.ledger import Ledger
from beam_jobs.models.base import CallError
lease.WRITE_EVERY_S, lease.IDLE_S, lease.GIVE_BACK_WAIT_S = 0.05, 0.2, 10.0
async def main():
    async with aiohttp.ClientSession() as session:
        ledger = Ledger(Storage(session=session), sys.argv[1], sys.argv[2])
        lease = Lease(ledger, Budget("--max_images", 120, ""), workers=4, max_in_flight=8,
                      max_retry_s=60.0)
        while True:
            try:
                await lease.spend(1)
            except CallError:
                break
            print("paid", flush=True)
            await asyncio.sleep(0.01)
asyncio.run(main())
"""


async def test_a_budget_is_exact_though_processes_are_killed_and_restarted(lane):
    def start():
        command = [sys.executable, "-c", _PROCESS, BUCKET, f"{lane.name}/budget.json"]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)

    running = [start() for _ in range(3)]
    paid = 0
    for process in running[:2]:  # each is killed after its tenth image
        for _ in range(10):
            assert process.stdout.readline() == "paid\n"
        process.kill()
        paid += 10 + process.stdout.read().count("paid")
        process.wait()
        running.append(start())
    for process in running[2:]:
        paid += process.communicate(timeout=120)[0].count("paid")
        assert process.returncode == 0
    # Each of the two that have died may have been about to say that it has paid.
    assert 120 - 2 <= paid <= 120


# Periods


async def test_an_hour_and_a_day_start_anew_and_both_hold(worker):
    now = datetime(2026, 11, 1, 13, 59, tzinfo=UTC)
    budgets = budgets_of(
        max_images=None,
        max_images_per_hour=3,
        max_images_per_day=5,
        run=None,
        location=Location.parse(f"gs://{BUCKET}/images"),
    )

    names = []

    def lease_of(budget, name):
        names.append(name.removeprefix("jobs/budgets/stream/2026-11-"))
        lease = worker(budget.amount, name=name)
        lease.budget = budget
        return lease

    purse = Purse(budgets, lease_of, lambda: now)
    assert await spent(purse, 9) == 3
    now += timedelta(minutes=1)
    assert await spent(purse, 9) == 2
    with pytest.raises(CallError, match=r"--max_images_per_day is 5 images"):
        await purse.spend(Amount(1, None))
    now += timedelta(hours=10)
    assert await spent(purse, 2) == 2
    assert names == [f"{name}.json" for name in ("01T13", "01", "01T14", "02T00", "02")]


async def test_a_prompt_beyond_an_hour_is_told_when_the_next_one_begins(worker):
    lease = worker(1)
    (lease.budget,) = budgets_of(
        max_images=None,
        max_images_per_hour=1,
        max_images_per_day=None,
        run=None,
        location=Location.parse("gs://bucket-1/images"),
    )
    await lease.spend(1)
    with pytest.raises(CallError, match=r"starts anew at \d{4}-\d\d-\d\d \d\d:00 UTC: replay"):
        await lease.spend(1)


async def test_a_charge_is_taken_from_all_budgets_or_from_none(worker):
    leases = {"--max_images": worker(5), "--max_images_per_hour": worker(2, name="hour.json")}
    purse = Purse(
        [Budget(option, 0, option) for option in leases], lambda each, _: leases[each.option]
    )
    assert await spent(purse, 9) == 2
    assert await spent(leases["--max_images"], 9) == 3


def ledger_of(run, folder="images"):
    (only,) = budgets_of(
        max_images=1,
        max_images_per_hour=None,
        max_images_per_day=None,
        run=run,
        location=Location.parse(f"gs://bucket-1/{folder}"),
    )
    return only.ledger


async def test_a_run_has_one_ledger_and_no_other_run_has_it():
    name = ledger_of("backfill:scheduled__2026-11-01T00:00:00+00:00")
    assert name == ledger_of("backfill:scheduled__2026-11-01T00:00:00+00:00")
    assert name.startswith("jobs/budgets/backfill-scheduled__2026-11-01T00-00-00-00-00-")
    assert name != ledger_of("backfill:scheduled__2026-11-01T00:00:00-00:00")
    assert name != ledger_of("backfill:scheduled__2026-11-01T00:00:00+00:00", "other")
    assert ledger_of(None) != ledger_of(None), "a job without a name is a run of its own"
    assert "%" not in ledger_of("backfill:100%"), "of a budget without a period"


# Money


@pytest.fixture
def dollars(worker):
    """Return a function that opens a purse with a budget of so many US dollars."""

    def dollars(usd, *, images=None, **changes):
        budgets = [Budget("--max_cost_usd", round(usd * 1e6), "cost.json", unit=Unit.MICRO_USD)]
        if images is not None:
            budgets.append(Budget("--max_images", images, "images.json"))

        def lease_of(budget, name):
            lease = worker(name=name, **changes)
            return Lease(lease._ledger, budget, workers=2, max_in_flight=8, max_retry_s=60.0)

        return Purse(budgets, lease_of)

    return dollars


async def test_money_is_taken_before_a_call_and_settled_by_what_it_cost(dollars, lane):
    purse = dollars(1.0)
    for paid in (100_000, 700_000, 0):  # as likely, dearer, and free
        charge = await purse.spend(Amount(1, 100_000))
        charge.settle(Amount(1, paid))
    await purse.give_back()
    ledger = json.loads(lane.objects()["cost.json"])
    assert (ledger["option"], ledger["micro_usd"]) == ("--max_cost_usd", 1_000_000)
    assert [share["spent"] for share in ledger["shares"].values()] == [800_000]
    with pytest.raises(
        CallError, match=r"--max_cost_usd is 1.0000 USD, with 0.2000 USD left and 0.2001 USD needed"
    ):
        await purse.spend(Amount(1, 200_100))
    await purse.spend(Amount(1, 200_000))


async def test_a_call_that_cost_more_than_is_left_is_held_against_later_ones(dollars, lane):
    purse = dollars(1.0)
    charge = await purse.spend(Amount(1, 900_000))
    charge.settle(Amount(1, 1_100_000))
    await purse.give_back()
    assert [share["spent"] for share in lane_shares(lane)] == [1_100_000]
    for another in (purse, dollars(1.0)):
        with pytest.raises(CallError, match=r"with 0.0000 USD left"):
            await another.spend(Amount(1, 1))


def lane_shares(lane):
    return json.loads(lane.objects()["cost.json"])["shares"].values()


async def test_a_call_whose_price_is_unknown_is_not_made_under_a_budget_of_money(dollars):
    purse = dollars(1.0, images=5)
    with pytest.raises(CallError, match=r"--max_cost_usd cannot be checked.*--max_images") as error:
        await purse.spend(Amount(1, None))
    assert (error.value.reason, error.value.retryable) == (Reason.OVER_BUDGET, True)


async def test_budgets_of_images_and_of_money_both_hold(dollars):
    purse = dollars(1.0, images=3)
    for _ in range(3):
        await purse.spend(Amount(1, 100_000))
    with pytest.raises(CallError, match=r"--max_images is 3 images"):
        await purse.spend(Amount(1, 100_000))
    await purse.spend(Amount(0, 700_000))  # what the refused call took of the other was put back


_ENGINE = """
import dataclasses, json, pickle, sys
from concurrent.futures import ThreadPoolExecutor
from beam_jobs.engine import lease
from beam_jobs.engine.model_handler import Engine
lease.WRITE_EVERY_S, lease.IDLE_S, lease.GIVE_BACK_WAIT_S = 0.05, 0.2, 2.0
config, prompts = pickle.load(sys.stdin.buffer)
engine = Engine(config)
sys.stdout.write("ready\\n")
sys.stdout.flush()
sys.stdin.buffer.readline()
def run(prompt):
    (outcome,) = engine.run([prompt])
    sys.stdout.write(getattr(outcome, "reason", "done") + "\\n")
    sys.stdout.flush()
with ThreadPoolExecutor(len(prompts)) as pool:
    list(pool.map(run, prompts))
engine.give_back()
"""


@pytest.mark.full
async def test_four_processes_of_which_one_is_killed_spend_no_more_than_the_budget(
    cloud, lane, prompt_of, record_property
):
    """5 US dollars for prompts of about 17. Thinking costs more or less than was taken for it."""
    cloud.models(latency_s=0.3, canned_bytes=2000)
    (budget_of_money,) = budgets_of(
        max_images=None,
        max_images_per_hour=None,
        max_images_per_day=None,
        max_cost_usd=5.0,
        run="backfill:run-1",
        location=Location.parse(lane.images_location),
    )
    config = JobConfig(
        responses_topic=lane.topic("predictions"),
        dead_letter_topic=lane.topic("dead-letters"),
        images_location=Location.parse(lane.images_location),
        defaults=PromptDefaults(model=DEFAULT_MODEL, allowed_models=frozenset({DEFAULT_MODEL})),
        project="demo-project",
        serving=Serving(call_timeout_s=60.0),
        max_in_flight=4,
        requests_per_minute=None,
        max_retry_s=60.0,
        budgets=(dataclasses.replace(budget_of_money, ledger=f"{lane.name}/cost.json"),),
        workers=4,
    )
    before = cloud.models()["billed_usd"]

    def start(number):
        prompts = [
            prompt_of(
                f"fox {number}-{index}",
                model=DEFAULT_MODEL,
                image_size=("1K", "2K", "4K")[index % 3],
                thinking_level="high",
            )
            for index in range(60)
        ]
        process = subprocess.Popen(
            [sys.executable, "-c", _ENGINE],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        process.stdin.write(pickle.dumps((config, prompts)))
        process.stdin.flush()
        return process

    def let_go(process):
        process.stdin.write(b"\n")
        process.stdin.close()

    running = [start(number) for number in range(4)]
    for process in running:
        assert process.stdout.readline() == b"ready\n"
    # Together, in a second they spend more than there is. So the first one is a moment ahead.
    let_go(running[0])
    assert running[0].stdout.readline() == b"done\n"
    for process in running[1:]:
        let_go(process)
    running[0].kill()
    lines = running[0].stdout.read().splitlines()
    for process in running[1:]:
        lines += process.stdout.read().splitlines()
        assert process.wait(timeout=60) == 0
    running[0].wait()
    await asyncio.to_thread(eventually, lambda: cloud.models()["in_flight"] == 0, within_s=30)
    billed = cloud.models()["billed_usd"] - before
    record_property("billed_usd", billed)
    print(f"billed {billed:.4f} USD of 5")
    assert set(lines) == {b"done", b"OVER_BUDGET"}
    # What thinking cost beyond the allowance, for what was in flight at the end.
    most_beyond = 4 * 4 * 600 * 7.5 / 1e6
    # The dead process has lost what it had leased: at first 5 / 16, then less.
    assert 5 - 2 * 5 / 16 - 0.13 <= billed <= 5 + most_beyond
