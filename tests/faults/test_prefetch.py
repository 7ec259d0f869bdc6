"""A prefetch in a real Airflow: killed in each of its steps, expired, and two runs at once."""

import os
import signal
from typing import Any

import pytest

from localcloud.airflow import RunState
from localcloud.airflow.responses import AirflowApiError
from tests.conftest import BUCKET, eventually
from tests.e2e.conftest import Operated, operated  # noqa: F401 - a fixture
from tests.faults.books import Books, prompt_bodies
from tests.faults.test_airflow import BACKFILL, airflow, kill  # noqa: F401 - a fixture

pytestmark = [pytest.mark.full, pytest.mark.slow, pytest.mark.timeout(3600)]

ROWS = 60
STEPS = ("prepare", "submit", "wait_for_batch", "import")


class Night:
    """A run of its own files, its outcomes, and what was paid meanwhile."""

    def __init__(self, operated: Operated, name: str, rows: int = ROWS) -> None:  # noqa: F811
        self.operated = operated
        self.bodies = prompt_bodies(name, rows)
        self.path = f"prompts/{name}/all.jsonl"
        blob = operated.lane.storage.bucket(BUCKET).blob(self.path)
        blob.upload_from_string(b"\n".join(self.bodies))
        self.books = Books(operated.lane)
        self._images = operated.cloud.models()["images"]
        self._batch = operated.cloud.batches()

    def trigger(self, prefetch: str = "batch") -> str:
        form = {"prompts": f"gs://{BUCKET}/{self.path}", "prefetch": prefetch}
        return self.operated.client.trigger(BACKFILL, form)

    def at_work(self, run_id: str, step: str) -> bool:
        """Whether a task of the run has a process."""
        try:
            return bool(self.operated.task(BACKFILL, run_id, step).state == "running")
        except (AirflowApiError, OSError):
            return False

    def ended(self, run_id: str) -> None:
        """Wait until the run has succeeded, although the API server may be away meanwhile."""

        def over() -> RunState | None:
            try:
                state = self.operated.client.run_state(BACKFILL, run_id)
            except (AirflowApiError, OSError):
                return None
            return state if state.ended else None

        state = eventually(over, within_s=900, what=f"the end of {run_id}")
        assert state is RunState.SUCCESS, self.tasks(run_id)

    def tasks(self, run_id: str) -> dict[str, Any]:
        tasks = self.operated.client.task_instances(BACKFILL, run_id)
        return {task.task_id: (task.state, task.try_number) for task in tasks}

    def record(self, run_id: str) -> dict[str, Any]:
        found = [r for r in self.operated.records("backfills") if r["run_id"] == run_id]
        return found[-1]

    def batch_jobs(self) -> int:
        return int(self.operated.cloud.batches()["created"] - self._batch["created"])

    def paid(self) -> tuple[int, int]:
        """How many images were paid for by batch inference, and online."""
        batch = int(self.operated.cloud.batches()["images"] - self._batch["images"])
        all_images = int(self.operated.cloud.models()["images"] - self._images)
        return batch, all_images - batch


def kill_import(operated: Operated) -> None:  # noqa: F811
    (job,) = operated.active_jobs()
    pid = operated.cloud.state / "dataflow" / "jobs" / job / "pid"

    def has_one() -> bool:
        return pid.exists()

    eventually(has_one, what="the job's process")
    os.kill(int(pid.read_text()), signal.SIGKILL)


@pytest.mark.parametrize("victim", ["task", "scheduler", "everything"])
def test_a_prefetch_that_is_killed_in_each_of_its_steps_orders_once_and_loses_nothing(
    faults,
    operated: Operated,  # noqa: F811
    victim: str,
) -> None:
    night = Night(operated, f"steps-{victim}-{faults.seed}")
    # A call that is under way at the kill may or may not have created the job.
    operated.cloud.batches(latency_s=4.0, kept_in="PENDING")
    run_id = night.trigger()
    for step in STEPS:
        eventually(
            lambda step=step: night.at_work(run_id, step), within_s=600, what=f"{step} at work"
        )
        if step == "import":
            kill(operated, victim)
            eventually(lambda: len(operated.active_jobs()) == 1, within_s=300, what="the import")
            kill_import(operated)
            continue
        kill(operated, victim)
        if step == "wait_for_batch":
            operated.cloud.batches(latency_s=0.0, kept_in="")
    night.ended(run_id)
    night.books.wait(night.bodies)
    night.books.settle()
    night.books.close()
    batch, online = night.paid()
    faults.row(
        f"prefetch: {victim} is SIGKILLed in each step, and the import's job",
        f"{night.batch_jobs()} batch job; {batch} images by batch inference, {online} online",
        **night.books.figures(night.bodies, batch + online - ROWS, 0),
    )
    assert night.batch_jobs() == 1
    assert (batch, online) == (ROWS, 0)
    assert not night.books.failures
    assert night.books.missing(night.bodies) == []
    record = night.record(run_id)
    assert record["counts"]["predictions"] == ROWS
    assert record["prefetch"]["images"] == ROWS


def test_a_batch_job_that_expires_after_half_leaves_the_other_half_to_the_model(
    faults,
    operated: Operated,  # noqa: F811
) -> None:
    night = Night(operated, f"half-{faults.seed}")
    operated.cloud.batches(end_in="EXPIRED", end_after=0.5)
    run_id = night.trigger()
    night.ended(run_id)
    night.books.wait(night.bodies)
    night.books.settle()
    night.books.close()
    record = night.record(run_id)
    engines, (batch, online) = record["engines"], night.paid()
    usd = {name: engines[name]["cost_usd"] for name in ("batch", "online")}
    faults.row(
        "prefetch: the batch job expires after half",
        f"{batch} images for {usd['batch']:.2f} USD by batch inference, {online} for "
        f"{usd['online']:.2f} USD online",
        **night.books.figures(night.bodies, batch + online - ROWS, 0),
    )
    assert (batch, online) == (ROWS // 2, ROWS // 2)
    assert (engines["batch"]["images"], engines["online"]["images"]) == (batch, online)
    assert usd["batch"] <= 0.55 * usd["online"]
    assert record["cost_usd"] == pytest.approx(sum(usd.values()), rel=0.01)
    assert not night.books.failures
    assert night.books.missing(night.bodies) == []


@pytest.mark.parametrize(
    "forms", [("batch", "batch"), ("batch", "none"), ("none", "batch")], ids=" and ".join
)
def test_two_runs_of_the_same_files_at_once_pay_for_each_image_once(
    faults,
    operated: Operated,  # noqa: F811
    forms: tuple[str, str],
) -> None:
    night = Night(operated, f"two-{'-'.join(forms)}-{faults.seed}")
    # Long enough for both to be at work.
    operated.cloud.batches(pending_s=20.0)
    operated.cloud.models(latency_s=2.0)
    runs = [night.trigger(prefetch) for prefetch in forms]
    for run_id in runs:
        night.ended(run_id)
    night.books.wait(night.bodies)
    night.books.settle()
    night.books.close()
    batch, online = night.paid()
    records = [night.record(run_id) for run_id in runs]
    faults.row(
        f"prefetch: two runs of the same files at once, {' and '.join(forms)}",
        f"{night.batch_jobs()} batch jobs; {batch} images by batch inference, {online} online; "
        f"decisions: {[(each.get('prefetch') or {}).get('decision') for each in records]}",
        lost=len(night.books.missing(night.bodies)),
        paid_twice=batch + online - ROWS,
    )
    assert batch + online == ROWS
    assert night.batch_jobs() <= 1
    assert not night.books.failures
    # Each run says all of it once.
    assert set(night.books.predictions.values()) == {2}
    assert len(night.books.predictions) == ROWS
    assert [each["counts"]["predictions"] for each in records] == [ROWS, ROWS]
