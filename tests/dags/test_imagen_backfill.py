"""The backfill's trigger form: what it offers, and what it refuses before a run starts."""

import itertools
from typing import Any

import pytest

from localcloud.resources import template_metadata
from tests.dags.test_imagen_stream import validated

FORM = {
    "day": "2026-11-02",
    "prompts": "gs://my-project-imagen/prompts/mine/*.csv",
    "dry_run": True,
    "max_images": 1,
    "max_cost_usd": 0.5,
    "prefetch": "batch",
    "prefetch_deadline_hours": 6.5,
    "approval": "always",
    "model": "gemini-3-pro-image",
    "request_tier": "flex",
    "max_requests_per_minute": 90.5,
    "max_workers": 10,
}
# Fields that are not parameters of the template: the DAG or Dataflow uses them.
NOT_FOR_THE_JOB = {
    *("day", "dry_run", "max_images", "max_cost_usd", "approval", "max_workers"),
    *("prefetch", "prefetch_deadline_hours"),
}


@pytest.mark.parametrize("form", [{}, FORM], ids=["as it is", "filled in"])
def test_a_valid_form_is_accepted(dags: dict[str, Any], form: dict[str, Any]) -> None:
    params = validated(dags["imagen_backfill"], form)
    assert {name: params[name] for name in form} == form


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("day", ""),
        ("day", "yesterday"),
        ("day", "2026-02-30"),
        ("day", "2026-11-2"),
        ("day", "20261102"),
        ("day", "2026-11-02T00:00:00Z"),
        ("day", 20261102),
        ("prompts", ""),
        ("prompts", "prompts/mine/*.csv"),
        ("prompts", "gs://my-project-imagen"),
        ("prompts", "gs://my-project-imagen/"),
        ("prompts", "gs:///prompts/*"),
        ("prompts", "s3://my-project-imagen/prompts/*"),
        ("prompts", ["gs://my-project-imagen/prompts/*"]),
        ("dry_run", "yes"),
        ("dry_run", None),
        ("max_images", 0),
        ("max_images", -1),
        ("max_images", 1.5),
        ("max_images", "10"),
        ("max_cost_usd", 0),
        ("max_cost_usd", -1),
        ("max_cost_usd", "10"),
        ("approval", ""),
        ("approval", None),
        ("approval", "sometimes"),
        ("prefetch", "yes"),
        ("prefetch", None),
        ("prefetch_deadline_hours", 0),
        ("prefetch_deadline_hours", 73),
        ("model", ""),
        ("model", "no spaces allowed"),
        ("model_endpoint", "endpoint-7"),
        ("model_endpoint", "projects/p/locations/a.example#/endpoints/1"),
        ("request_tier", "cheap"),
        ("max_in_flight", 0),
        ("max_requests_per_minute", 0),
        ("max_retry_seconds", 0),
        ("max_workers", 1000),
    ],
)
def test_an_impossible_value_is_refused_before_a_run_starts(
    dags: dict[str, Any], field: str, value: Any
) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    with pytest.raises(ParamValidationError):
        validated(dags["imagen_backfill"], {field: value})


def test_the_form_offers_what_the_template_takes(dags: dict[str, Any]) -> None:
    template = template_metadata("backfill")
    parameters = {each["name"]: each for each in template["parameters"]}
    form = dags["imagen_backfill"].params
    for name in set(form) - NOT_FOR_THE_JOB:
        default = parameters[name].get("defaultValue")
        assert default is None or str(form[name]) == str(default), name


def test_the_form_has_every_field_that_a_launch_reads(dags: dict[str, Any]) -> None:
    from imagen_ops.jobs.params import STREAM_FIELDS, JobForm

    form = dags["imagen_backfill"].params
    assert set(JobForm("m").to_json()) - set(STREAM_FIELDS) <= set(form)
    untouched = JobForm.from_fields(validated(dags["imagen_backfill"], {}))
    assert untouched == JobForm(form["model"]), "the form's defaults are the launch's"


def test_what_a_person_approves_is_looked_for_where_it_is(dags: dict[str, Any]) -> None:
    from imagen_ops.backfill.approve import ApproveBackfill
    from imagen_ops.backfill.run import APPROVE_TASK

    dag = dags["imagen_backfill"]
    approve = dag.get_task(APPROVE_TASK)
    assert isinstance(approve, ApproveBackfill)
    assert set(approve.params) == {"max_images", "max_cost_usd"}, "the answer's fields alone"
    assert "launch" in approve.downstream_task_ids


def test_the_job_is_launched_whether_or_not_there_is_a_prefetch_and_only_if_it_may_pay(
    dags: dict[str, Any],
) -> None:
    """All that is upstream of `launch` counts: `plan` would, if it were."""
    dag = dags["imagen_backfill"]
    launch = dag.get_task("launch")
    assert launch.upstream_task_ids == {"approve", "import"}
    assert launch.trigger_rule == "none_failed_min_one_success"
    chain = ["approve", "prepare", "submit", "wait_for_batch", "import"]
    for before, after in itertools.pairwise(chain):
        assert before in dag.get_task(after).upstream_task_ids
        assert dag.get_task(after).trigger_rule == "all_success"


def test_the_run_of_a_day_starts_after_its_end(dags: dict[str, Any]) -> None:
    timetable = dags["imagen_backfill"].timetable
    assert type(timetable).__name__ == "CronDataIntervalTimetable"
