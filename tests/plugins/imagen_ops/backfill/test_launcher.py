"""Launching the jobs of backfills, against the local Dataflow. Jobs stay queued: none starts."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from imagen_ops.jobs.launch_request import TRY_LABEL, run_label_of
from tests.conftest import Cloud
from tests.plugins.conftest import Deployment
from tests.plugins.imagen_ops.backfill.conftest import (
    active_jobs,
    cancel,
    defaults_of,
    launch_task,
)
from tests.plugins.imagen_ops.backfill.test_approval import APPROVAL

Run = Callable[..., Any]
pytestmark = pytest.mark.usefixtures("_queued_jobs")


def test_a_retried_launch_finds_its_own_job(deployment: Deployment, poke: Run) -> None:
    task = launch_task()
    first = poke(task).xcom_value
    assert task.linked_job.job_id == first
    assert poke(launch_task(), try_number=2).xcom_value == first
    assert active_jobs(deployment) == [first]
    assert deployment.clients.dataflow.get(first).labels[TRY_LABEL] == "1"


def test_only_so_many_jobs_are_active_at_a_time(
    deployment: Deployment, poke: Run, monkeypatch: pytest.MonkeyPatch, eventually: Run
) -> None:
    monkeypatch.setenv("IMAGEN_BACKFILLS_AT_ONCE", "2")
    first, second = (poke(launch_task(), run).xcom_value for run in ("one", "two"))
    assert first != second
    assert not poke(launch_task(), "three")
    with monkeypatch.context() as lowered:
        lowered.setenv("IMAGEN_BACKFILLS_AT_ONCE", "1")
        assert poke(launch_task(), "two").xcom_value == second, "a run keeps its active job"
    assert sorted(active_jobs(deployment)) == sorted([first, second])
    cancel(deployment, first, eventually)
    third = poke(launch_task(), "three")
    assert third
    assert sorted(active_jobs(deployment)) == sorted([second, third.xcom_value])


def test_a_job_that_no_listing_shows_yet_is_adopted_and_counted(
    deployment: Deployment, poke: Run, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.dataflow(unlisted_s=600.0)
    first = poke(launch_task()).xcom_value
    assert poke(launch_task()).xcom_value == first
    monkeypatch.setenv("IMAGEN_BACKFILLS_AT_ONCE", "1")
    assert not poke(launch_task(), "two"), "it takes a place, listed or not"


def test_a_job_whose_id_was_never_noted_is_found_by_its_name_in_use(
    deployment: Deployment, poke: Run, cloud: Cloud
) -> None:
    """As when the task dies between Dataflow's answer and the note."""
    cloud.dataflow(unlisted_s=600.0)
    first = poke(launch_task()).xcom_value
    bucket = deployment.lane.storage.bucket(deployment.settings.bucket)
    for blob in bucket.list_blobs(prefix="records/launches/"):
        blob.delete()
    assert poke(launch_task()).xcom_value == first


def test_a_job_that_ended_before_its_launch_was_retried_is_not_launched_again(
    deployment: Deployment, poke: Run, eventually: Run
) -> None:
    state: dict[str, Any] = {}
    first = poke(launch_task(), state=state).xcom_value
    cancel(deployment, first, eventually)
    assert poke(launch_task(), try_number=2, state=state).xcom_value == first
    assert active_jobs(deployment) == []


def test_files_that_changed_since_the_plan_are_checked_against_the_budget_before_the_launch(
    deployment: Deployment, poke: Run
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    bucket = deployment.lane.storage.bucket(deployment.settings.bucket)
    bucket.blob("prompts/ds=2026-11-22/late.txt").upload_from_string("a\nb\nc\n")
    with pytest.raises(
        AirflowFailException, match=r"have changed .* over budget: 3 images to generate"
    ):
        poke(launch_task())
    assert active_jobs(deployment) == []
    bucket.blob("prompts/ds=2026-11-22/late.txt").upload_from_string("a\nb\n")
    assert poke(launch_task()), "within the budget"


def test_files_that_changed_since_the_approval_are_launched_only_within_what_was_approved(
    deployment: Deployment, poke: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    from imagen_ops.backfill import launcher

    launched: list[Any] = []
    build = launcher.backfill_launch_request

    def noted(*args: Any, **options: Any) -> Any:
        launched.append(options)
        return build(*args, **options)

    monkeypatch.setattr(launcher, "backfill_launch_request", noted)
    bucket = deployment.lane.storage.bucket(deployment.settings.bucket)
    # Less was approved than planned: three images, of a plan of four.
    prompts = f"gs://{bucket.name}/prompts/ds=2026-11-22/*"
    approved = dataclasses.replace(
        APPROVAL, prompts=prompts, max_images=3, planned_images=4
    ).to_json()
    bucket.blob("prompts/ds=2026-11-22/late.txt").upload_from_string("a\nb\nc\nd\ne\n")
    with pytest.raises(AirflowFailException, match=r"5 images to generate, 2 more than"):
        poke(launch_task(), approved=approved)
    assert active_jobs(deployment) == []
    bucket.blob("prompts/ds=2026-11-22/late.txt").upload_from_string("a\nb\nc\nd\n")
    assert poke(launch_task(), approved=approved)
    (options,) = launched
    assert (options["max_images"], options["max_cost_usd"]) == (3, 147.4)


def test_the_job_gets_its_runs_budget_and_the_plan_of_the_files_as_they_are_now(
    deployment: Deployment, poke: Run
) -> None:
    bucket = deployment.lane.storage.bucket(deployment.settings.bucket)
    late = bucket.blob("prompts/ds=2026-11-22/late.txt")
    late.upload_from_string("a\n")
    poke(launch_task())
    label = run_label_of("imagen_backfill", f"scheduled__{deployment.lane.name}__one")
    (line,) = bucket.blob(f"jobs/{label}/plan.jsonl").download_as_bytes().splitlines()
    assert json.loads(line)["generation"] == str(late.generation)


def test_unchanged_files_are_not_planned_again(
    deployment: Deployment, poke: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imagen_ops.backfill import planning

    bucket = deployment.lane.storage.bucket(deployment.settings.bucket)
    bucket.blob("prompts/ds=2026-11-22/a.txt").upload_from_string("a\nb\nc\n")
    plan = planning.plan_backfill(
        deployment.lane.storage,
        f"gs://{deployment.settings.bucket}/prompts/ds=2026-11-22/*",
        defaults=defaults_of(model=deployment.settings.model),
        images_location=deployment.settings.images_location,
    )
    label = run_label_of("imagen_backfill", f"scheduled__{deployment.lane.name}__one")
    bucket.blob(f"jobs/{label}/plan.jsonl").upload_from_string("")
    monkeypatch.setattr(planning, "plan_backfill", None)
    assert poke(launch_task(plan.to_json())), "it was checked against the budget before"


def test_a_launch_is_refused_if_the_limits_have_become_narrower_since_the_plan(
    deployment: Deployment, poke: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    monkeypatch.setenv("IMAGEN_BACKFILL_TEMPLATE", "gs://no-longer-allowed/backfill.json")
    with pytest.raises(AirflowFailException, match="IMAGEN_ALLOWED_BUCKETS"):
        poke(launch_task())
    assert active_jobs(deployment) == []
