"""The tasks of a prefetch, one after the other, against the stand-ins over HTTP."""

import dataclasses
import json
import types
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Any

import pytest

from imagen_ops.jobs.job import Job, JobState
from imagen_ops.jobs.launch_request import TRY_LABEL, plan_path, run_label_of
from imagen_ops.prefetch.run_prefetch import RunPrefetch
from imagen_ops.prefetch.turns import Turn, Turns
from tests.conftest import Cloud, eventually
from tests.plugins.conftest import Deployment
from tests.plugins.imagen_ops.backfill.conftest import (
    EMPTY_PLAN,
    active_jobs,
    cancel,
    launch_task,
)
from tests.plugins.imagen_ops.backfill.test_plan import PLAN

Run = Callable[..., Any]
Task = Callable[..., Any]
ONE_K = 6
ROWS = [{"prompt": f"a fox {number}"} for number in range(ONE_K)]
OTHERS: list[Any] = [{"prompt": "an owl", "image_size": "2K"}, "no prompt"]


@pytest.fixture
def run_id(deployment: Deployment) -> str:
    return f"manual__{deployment.lane.name}"


@pytest.fixture
def prefetch(deployment: Deployment, run_id: str) -> RunPrefetch:
    label = run_label_of("imagen_backfill", run_id)
    settings, clients = deployment.settings, deployment.clients
    return RunPrefetch(settings, clients, run_id=run_id, run_label=label)


@pytest.fixture
def task(deployment: Deployment, run_task: Run, run_id: str) -> Task:
    """Run a task of a backfill of a file of the deployment's own."""

    def run(
        made: Any,
        *,
        try_number: int = 1,
        start: datetime | None = None,
        at_work: Collection[str] = (),
        importing: Collection[str] = (),
        **form: Any,
    ) -> Any:
        params = {
            "model": deployment.settings.model,
            "prompts": f"gs://{deployment.settings.bucket}/prompts/mine/*",
            "day": None,
            "dry_run": False,
            "max_images": 100,
            "max_cost_usd": None,
            "approval": "never",
            "prefetch": "batch",
            "prefetch_deadline_hours": None,
            **form,
        }
        return run_task(
            made,
            dag_id="imagen_backfill",
            run_id=run_id,
            params=params,
            try_number=try_number,
            run_start=start,
            at_work=at_work,
            importing=importing,
        )

    return run


def tasks(plan: Any = EMPTY_PLAN) -> dict[str, Any]:
    from imagen_ops.backfill.prefetch_operators import PreparePrefetch
    from imagen_ops.backfill.prefetch_sensors import (
        ImportBatchesSensor,
        SubmitBatchesSensor,
        WaitForBatchesSensor,
    )

    return {
        "prepare": PreparePrefetch(task_id="prepare", plan=plan),
        "submit": SubmitBatchesSensor(task_id="submit"),
        "wait_for_batch": WaitForBatchesSensor(task_id="wait_for_batch"),
        "import": ImportBatchesSensor(task_id="import"),
    }


@pytest.fixture
def planned(deployment: Deployment, prefetch: RunPrefetch) -> None:
    """A prompt file, and the plan of it."""
    bucket = deployment.lane.storage.bucket(deployment.settings.bucket)
    blob = bucket.blob("prompts/mine/a.jsonl")
    lines = [row if isinstance(row, str) else json.dumps(row) for row in [*ROWS, *OTHERS]]
    blob.upload_from_string("\n".join(lines))
    line = {"name": blob.name, "generation": str(blob.generation), "size": blob.size}
    path = plan_path(deployment.settings, prefetch.run_label)
    bucket.blob(path.split("/", 3)[3]).upload_from_string(json.dumps(line) + "\n")


def done(task: Task, name: str, **form: Any) -> Any:
    """Check with a sensor until it is done, each time with a task of its own."""
    return eventually(lambda: task(tasks()[name], **form), what=name).xcom_value


def stored(deployment: Deployment) -> list[str]:
    blobs = deployment.lane.storage.list_blobs(deployment.settings.bucket, prefix="images/")
    return [blob.name for blob in blobs if blob.name.endswith((".png", ".jpg", ".jpeg"))]


@pytest.mark.usefixtures("planned")
def test_what_batch_inference_makes_is_stored_and_taken_from_the_budget(
    deployment: Deployment, prefetch: RunPrefetch, task: Task, cloud: Cloud
) -> None:
    before = cloud.batches()
    said = task(tasks()["prepare"])
    assert f"{ONE_K} images" in said
    assert "1 invalid" in said
    assert "1 size" in said
    (name,) = done(task, "submit")
    assert done(task, "wait_for_batch") == {name: "SUCCEEDED"}
    assert done(task, "import") == ONE_K
    state = prefetch.known()
    assert state.imported
    assert state.imported.rows["stored"] == ONE_K
    assert len([each for each in stored(deployment) if "/thumb" not in each]) >= ONE_K
    made = cloud.batches()
    assert made["created"] - before["created"] == 1
    assert made["images"] - before["images"] == ONE_K
    billed = made["billed_usd"] - before["billed_usd"]
    assert prefetch.settle(state).usd == pytest.approx(billed, rel=0.01)
    assert not state.output_kept
    bucket = deployment.lane.storage.list_blobs(
        deployment.settings.bucket, prefix=prefetch.folder.prefix
    )
    assert not [blob.name for blob in bucket if "/output/" in blob.name]
    # All of it again, as when the tasks are cleared: nothing is ordered or stored again.
    names = stored(deployment)
    task(tasks()["prepare"])
    assert done(task, "submit") == [name]
    done(task, "wait_for_batch")
    assert done(task, "import") == ONE_K
    assert cloud.batches()["created"] == made["created"]
    assert stored(deployment) == names


@pytest.mark.usefixtures("planned")
def test_what_is_refused_leaves_everything_to_the_job(
    prefetch: RunPrefetch, task: Task, cloud: Cloud
) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    cloud.batches(forbidden=True)
    task(tasks()["prepare"])
    with pytest.raises(AirflowSkipException, match="the run's own job makes all images"):
        done(task, "submit")
    state = prefetch.known()
    assert "it was refused" in state.parts[0].problem
    assert prefetch.settle(state).images == 0


@pytest.mark.usefixtures("planned")
@pytest.mark.parametrize("saves_usd", [4.0, 6.0])
def test_a_run_that_decides_for_itself_orders_what_saves_enough(
    prefetch: RunPrefetch, task: Task, saves_usd: float
) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    (model,) = PLAN.models[:1]
    saves = dataclasses.replace(model, batch_images=99, batch_saves_usd=saves_usd)
    plan = dataclasses.replace(PLAN, models=(saves,)).to_json()
    if saves_usd > 5:
        assert f"{ONE_K} images" in task(tasks(plan)["prepare"], prefetch="auto")
    else:
        with pytest.raises(AirflowSkipException, match=r"no prefetch: it would save 4\.00 USD"):
            task(tasks(plan)["prepare"], prefetch="auto")
        assert prefetch.known().parts == ()


@pytest.mark.usefixtures("planned")
@pytest.mark.parametrize("setting", ["PREPROCESS", "POSTPROCESS"])
def test_nothing_is_ordered_that_a_custom_function_would_change(
    prefetch: RunPrefetch, task: Task, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    monkeypatch.setenv(f"IMAGEN_{setting}", "custom.example:function")
    with pytest.raises(AirflowSkipException, match="custom functions change prompts or images"):
        task(tasks()["prepare"])
    assert prefetch.known().parts == ()


@pytest.mark.usefixtures("planned", "_queued_jobs")
def test_while_another_run_is_at_work_on_the_files_nothing_is_ordered_and_the_job_waits(
    deployment: Deployment, prefetch: RunPrefetch, task: Task
) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    settings, other = deployment.settings, "manual__other"
    turn = Turn(
        run_id=other,
        run_label=run_label_of("imagen_backfill", other),
        bucket=settings.bucket,
        orders=True,
        began=datetime.now(UTC),
    )
    Turns(settings, deployment.clients).ahead_of(turn)
    plans = [plan_path(settings, label) for label in (prefetch.run_label, turn.run_label)]
    bucket = deployment.lane.storage.bucket(settings.bucket)
    mine, theirs = (bucket.blob(plan.split("/", 3)[3]) for plan in plans)
    theirs.upload_from_string(mine.download_as_bytes())
    with pytest.raises(AirflowSkipException, match=f"no prefetch: run {other} is at work"):
        task(tasks()["prepare"], at_work=[other], importing=[other])
    assert prefetch.known().parts == ()
    assert not task(launch_task(), at_work=[other], importing=[other])
    assert active_jobs(deployment) == []
    assert task(launch_task(), at_work=[other]), "what it has ordered is stored"


@pytest.mark.usefixtures("planned")
def test_a_batch_job_that_has_made_nothing_has_nothing_to_import(task: Task, cloud: Cloud) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    cloud.batches(end_in="EXPIRED", end_after=0.0)
    task(tasks()["prepare"])
    done(task, "submit")
    with pytest.raises(AirflowSkipException, match="made nothing"):
        done(task, "wait_for_batch")


@pytest.mark.usefixtures("planned")
@pytest.mark.parametrize("form", [{"dry_run": True}, {"prefetch": "none"}], ids=["dry", "none"])
def test_without_a_prefetch_nothing_is_written(
    prefetch: RunPrefetch, task: Task, form: dict[str, Any]
) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    with pytest.raises(AirflowSkipException):
        task(tasks()["prepare"], **form)
    assert prefetch.read() is None


@pytest.fixture
def made(planned: None, task: Task) -> None:
    """Batch jobs that have ended, with output."""
    task(tasks()["prepare"])
    done(task, "submit")
    done(task, "wait_for_batch")


@pytest.mark.usefixtures("made")
def test_an_import_that_fails_in_every_try_lets_the_night_go_on_and_says_so(
    prefetch: RunPrefetch, task: Task, caplog: pytest.LogCaptureFixture
) -> None:
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    def failed() -> Any:
        sensor = tasks()["import"]
        job = Job("1", "imagen-import", JobState.FAILED, labels={TRY_LABEL: "9"})
        seen = {"newest": lambda _: job, "errors": lambda _: [types.SimpleNamespace(text="why")]}
        sensor.clients.__dict__["dataflow"] = types.SimpleNamespace(**seen)
        return sensor

    for number in range(1, failed().retries + 1):
        with pytest.raises(AirflowException, match=r"1 is FAILED: why\nThe next try") as error:
            task(failed(), try_number=number)
        assert not isinstance(error.value, AirflowFailException)
    result = task(failed(), try_number=failed().retries + 1)
    assert (bool(result), result.xcom_value) == (True, 0)
    state = prefetch.known()
    assert state.output_kept
    assert "is not stored, and kept at" in state.problems[0]
    assert "imagen.alert/1:backfill_prefetch_unfinished" in caplog.text
    assert prefetch.settle(state).images == ONE_K, "they are paid for all the same"


@pytest.mark.usefixtures("made", "_queued_jobs")
def test_an_import_is_launched_once_and_not_again_if_somebody_cancels_it(
    deployment: Deployment, prefetch: RunPrefetch, task: Task
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    began = datetime.now(UTC)
    for number in (1, 1, 2):
        assert not task(tasks()["import"], try_number=number, start=began)
    dataflow = deployment.clients.dataflow
    (job,) = dataflow.active_like("imagen-import-by-hand-" + prefetch.run_label[:12])
    assert prefetch.known().import_job == job.id
    cancel(deployment, job.id, eventually)
    for number in (2, 3):
        with pytest.raises(AirflowFailException, match=r"CANCELLED: .* mark this task skipped"):
            task(tasks()["import"], try_number=number, start=began)
    # Clearing the task of a run that has ended is a new beginning.
    assert not task(tasks()["import"], try_number=4, start=datetime.now(UTC))
    (again,) = dataflow.active_like("imagen-import-by-hand-" + prefetch.run_label[:12])
    assert again.id != job.id
