"""Runs over the same files: which of them orders, which launches, and which waits."""

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from imagen_ops.backfill.run import BackfillRun
from imagen_ops.backfill.taking_turns import run_at_work
from imagen_ops.jobs.launch_request import plan_path, run_label_of
from imagen_ops.jobs.params import JobForm
from tests.plugins.conftest import Deployment

BEGAN = datetime(2026, 11, 23, tzinfo=UTC)
Look = Callable[..., str | None]


class Airflow:
    """What Airflow says of runs and their imports."""

    def __init__(self) -> None:
        self.at_work: set[str] = set()
        self.imported: set[str] = set()

    def get_dr_count(self, dag_id: str, run_ids: list[str], states: list[str]) -> int:
        return len(self.at_work & set(run_ids))

    def get_ti_count(
        self, dag_id: str, task_ids: list[str], run_ids: list[str], states: list[str]
    ) -> int:
        return len(self.imported & set(run_ids))


@pytest.fixture
def airflow() -> Airflow:
    return Airflow()


@pytest.fixture
def look(deployment: Deployment, airflow: Airflow) -> Look:
    """Have a run take a number, and return which one it finds at work."""
    settings, clients = deployment.settings, deployment.clients
    bucket = deployment.lane.storage.bucket(settings.bucket)

    def look(
        name: str,
        *files: str,
        orders: bool,
        began: datetime = BEGAN,
        of: str = "",
        template: bool = True,
    ) -> str | None:
        run = BackfillRun(
            run_id=name,
            label=run_label_of("imagen_backfill", f"{deployment.lane.name} {name}"),
            day=None,
            prompts=f"gs://{of or settings.bucket}/prompts/*",
            form=JobForm("m"),
            max_images=1,
        )
        lines = [json.dumps({"name": file, "generation": "1", "size": 1}) for file in sorted(files)]
        path = plan_path(settings, run.label).split("/", 3)[3]
        bucket.blob(path).upload_from_string("\n".join(lines))
        airflow.at_work.add(name)
        dag_run = type("DagRun", (), {"dag_id": "imagen_backfill", "start_date": began})
        changed = settings if template else settings.model_copy(update={"prefetch_template": None})
        return run_at_work(
            {"dag_run": dag_run, "ti": airflow}, run, changed, clients, orders=orders
        )

    return look


def test_of_two_runs_over_the_same_files_the_first_orders_and_the_second_waits_for_the_images(
    look: Look, airflow: Airflow
) -> None:
    assert look("first", "a", "b", orders=True) is None
    assert look("second", "b", "c", orders=True) == "first"
    assert look("second", "b", "c", orders=False) == "first", "its images are still to come"
    assert look("first", "a", "b", orders=False) is None, "the first one waits for nobody"
    airflow.imported.add("first")
    assert look("second", "b", "c", orders=False) is None
    assert look("third", "c", orders=True) == "second", "whose job may be making them"


def test_a_run_that_orders_nothing_is_waited_for_by_no_job_because_jobs_see_claims(
    look: Look,
) -> None:
    assert look("online", "a", orders=False) is None
    assert look("another", "a", orders=False) is None
    assert look("batch", "a", orders=True) == "online"


def test_runs_that_have_ended_and_runs_over_other_files_are_in_nobodys_way(
    look: Look, airflow: Airflow
) -> None:
    look("ended", "a", orders=True)
    airflow.at_work.clear()
    look("elsewhere", "a", orders=True, of="another-bucket")
    look("other", "b", orders=True)
    assert look("mine", "a", orders=True) is None
    assert look("mine", "a", orders=False) is None


def test_a_run_that_is_cleared_after_its_end_takes_a_new_number(look: Look) -> None:
    look("cleared", "a", orders=True)
    assert look("second", "a", orders=True) == "cleared"
    again = BEGAN.replace(hour=5)
    assert look("cleared", "a", orders=True, began=again) == "second"
    assert look("second", "a", orders=True) is None


def test_without_batch_inference_no_run_takes_a_number(look: Look, deployment: Deployment) -> None:
    assert look("first", "a", orders=True, template=False) is None
    assert look("second", "a", orders=True, template=False) is None
    bucket = deployment.settings.bucket
    assert not list(deployment.lane.storage.list_blobs(bucket, prefix="prefetch/turns/"))


def test_a_number_that_cannot_be_read_is_nobodys(look: Look, deployment: Deployment) -> None:
    bucket = deployment.lane.storage.bucket(deployment.settings.bucket)
    bucket.blob("prefetch/turns/odd.json").upload_from_string("{}")
    assert look("first", "a", orders=True) is None
