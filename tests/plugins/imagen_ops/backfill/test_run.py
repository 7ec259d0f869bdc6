"""What a run of the backfill works on."""

import dataclasses
import types
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from imagen_ops.backfill.run import BackfillRun, run_from_context
from imagen_ops.jobs.launch_request import run_label_of
from imagen_ops.settings import Settings
from tests.plugins.imagen_ops.backfill.test_approval import APPROVAL
from tests.plugins.imagen_ops.test_settings import COMPLETE

SETTINGS = Settings.from_environment(COMPLETE)
NIGHT = datetime(2026, 11, 2, tzinfo=UTC)
FILES = "gs://my-project-imagen/prompts/ds={}/*"


def run(
    prompts: str | None = None,
    *,
    day: str | None = None,
    logical_date: datetime | None = NIGHT,
    run_type: str = "scheduled",
    run_id: str | None = None,
    dry_run: bool = False,
    approved: Any = None,
    settings: Settings = SETTINGS,
) -> Any:
    dag_run = types.SimpleNamespace(
        dag_id="imagen_backfill",
        run_id=run_id or f"{run_type}__1",
        run_type=run_type,
        logical_date=logical_date,
    )
    params = {
        "model": "m",
        "max_workers": 3,
        "dry_run": dry_run,
        "prompts": prompts,
        "day": day,
        "max_images": None,
        "max_cost_usd": 7.5,
    }
    ti = types.SimpleNamespace(xcom_pull=lambda task_ids: approved if task_ids == "approve" else 0)
    return run_from_context({"dag_run": dag_run, "params": params, "ti": ti}, settings)


def test_what_a_person_has_approved_is_the_budget_of_every_task() -> None:
    approval = dataclasses.replace(APPROVAL, max_images=3, max_cost_usd=0.5)
    approved = run(approved=approval.to_json())
    assert (approved.max_images, approved.max_cost_usd) == (3, 0.5)
    assert approved.approval == approval
    unpriced = dataclasses.replace(APPROVAL, max_cost_usd=None)
    assert run(approved=unpriced.to_json()).max_cost_usd is None, "not the form's"
    assert run().approval is None


def test_an_approval_that_cannot_be_read_pays_for_nothing() -> None:
    with pytest.raises(AirflowFailException, match=r"nothing is paid for: .*Clear approve"):
        run(approved={"max_images": "all"})


@pytest.mark.parametrize("empty", [None, ""])
def test_without_a_glob_the_run_takes_the_files_of_its_day(empty: str | None) -> None:
    backfill_run: BackfillRun = run(empty)
    assert backfill_run.prompts == "gs://my-project-imagen/prompts/ds=2026-11-02/*"
    assert backfill_run.day == "2026-11-02"
    assert backfill_run.form.max_workers == 3
    assert backfill_run.max_images == SETTINGS.backfill_max_images, (
        "from the settings, because the form has none"
    )
    assert backfill_run.max_cost_usd == 7.5
    assert backfill_run.label == run_label_of("imagen_backfill", "scheduled__1")


@pytest.mark.parametrize("run_type", ["scheduled", "backfill"])
def test_the_day_of_a_night_is_its_logical_date_whatever_the_hour(run_type: str) -> None:
    at_three = NIGHT.replace(hour=3)
    assert run(run_type=run_type, logical_date=at_three).day == "2026-11-02"


def test_a_run_by_hand_works_on_the_files_of_its_logical_date() -> None:
    assert run(run_type="manual").prompts == FILES.format("2026-11-02")


@pytest.mark.parametrize(
    "logical_date",
    [
        NIGHT.replace(hour=12),
        NIGHT.replace(microsecond=1),
        datetime(2026, 11, 2, tzinfo=timezone(timedelta(hours=2))),
    ],
    ids=["noon", "a moment later", "midnight somewhere else"],
)
def test_a_run_by_hand_whose_date_may_mean_two_days_is_refused(logical_date: datetime) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match=r"^which day is meant\?.* field day"):
        run(run_type="manual", logical_date=logical_date)


@pytest.mark.parametrize("logical_date", [None, NIGHT, NIGHT.replace(hour=12)])
@pytest.mark.parametrize("run_type", ["manual", "operator_triggered"])
def test_the_day_of_the_form_counts_in_a_run_by_hand(
    run_type: str, logical_date: datetime | None
) -> None:
    backfill_run = run(day="2026-10-05", run_type=run_type, logical_date=logical_date)
    assert (backfill_run.day, backfill_run.prompts) == ("2026-10-05", FILES.format("2026-10-05"))
    assert backfill_run.job_name.startswith("imagen-backfill-2026-10-05-")


@pytest.mark.parametrize("day", ["2026-02-30", "26-10-05", "20261005", "2026-W01-1", "2199-01-01"])
def test_an_impossible_day_is_refused(day: str) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match=f"^day: expected .* got '{day}'"):
        run(day=day, run_type="manual")


def test_a_day_and_files_together_are_refused() -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match="fill in one of them"):
        run("gs://my-project-imagen/mine/*.csv", day="2026-11-02", run_type="manual")


def test_a_night_with_another_day_in_its_form_is_refused() -> None:
    from airflow.sdk.exceptions import AirflowFailException

    assert run(day="2026-11-02", run_type="backfill").day == "2026-11-02"
    with pytest.raises(AirflowFailException, match=r"the night of 2026-11-02.*'2026-11-03'"):
        run(day="2026-11-03", run_type="backfill")


@pytest.mark.parametrize("run_id", ["manual__2026-11-02T00:00:00+00:00", "my-own-name"])
@pytest.mark.parametrize(
    "form", [{}, {"prompts": "gs://my-project-imagen/mine/*.csv"}, {"day": "2026-10-05"}], ids=str
)
def test_a_run_by_hand_that_a_backfill_has_taken_over_makes_the_night(
    run_id: str, form: dict[str, Any]
) -> None:
    backfill_run = run(**form, run_type="backfill", run_id=run_id)
    assert (backfill_run.day, backfill_run.prompts) == ("2026-11-02", FILES.format("2026-11-02"))


def test_a_dry_run_that_a_backfill_has_taken_over_says_that_no_night_is_made() -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match=r"2026-11-02 is not made.*day = 2026-11-02"):
        run(run_type="backfill", run_id="manual__1", dry_run=True)
    assert run(run_type="backfill", dry_run=True).day, "one that was asked for is none of it"


def test_a_glob_of_its_own_has_no_day() -> None:
    backfill_run = run("gs://my-project-imagen/mine/*.csv", run_type="manual")
    assert backfill_run.prompts == "gs://my-project-imagen/mine/*.csv"
    assert backfill_run.day is None
    assert backfill_run.job_name.startswith("imagen-backfill-by-hand-")


@pytest.mark.parametrize(
    ("prompts", "glob"),
    [
        (" gs://my-project-imagen/mine/*.csv ", "gs://my-project-imagen/mine/*.csv"),
        ("gs://my-project-imagen/mine/", "gs://my-project-imagen/mine/*"),
    ],
)
def test_the_job_gets_the_same_glob_as_the_plan(prompts: str, glob: str) -> None:
    assert run(prompts).prompts == glob


@pytest.mark.parametrize("name", ["mine/..a/x.txt", "mine/a b/*.txt", "mine/ä/*.jsonl.gz"])
def test_unusual_object_names_are_accepted(name: str) -> None:
    assert run(f"gs://my-project-imagen/{name}").prompts.endswith(name)


@pytest.mark.parametrize(
    "prompts",
    [
        "gs://other-bucket/prompts/*",
        "gs://my-project-imagen-2/prompts/*",
        "gs://my-project-imagen.example/prompts/*",
    ],
)
def test_files_in_another_bucket_are_refused_with_the_right_one(prompts: str) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(
        AirflowFailException, match="IMAGEN_ALLOWED_BUCKETS doesn't list"
    ) as refused:
        run(prompts)
    assert f"prompts: {prompts!r} is not in gs://my-project-imagen" in str(refused.value)


@pytest.mark.parametrize(
    "prompts",
    [
        "gs://my-project-imagen/../other/*",
        "gs://my-project-imagen/prompts/../images/*",
        "gs://my-project-imagen/prompts/..",
        "gs://my-project-imagen/..",
        "gs://my-project-imagen/prompts/a\nb",
        "gs://my-project-imagen/prompts/a\x00b",
        "gs://my-project-imagen/prompts/a\x7fb",
        "gs://my-project-imagen/",
        "gs://my-project-imagen",
        "gs://my-project-imagen/*",
        "gs://my-project-imagen/prompts/[b-a]",
        "gs:///prompts/*",
        "/etc/passwd",
        "file:///etc/passwd",
        "s3://my-project-imagen/prompts/*",
    ],
)
def test_an_invalid_glob_is_refused_with_an_explanation(prompts: str) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match=r"^prompts: .*expected .*got '") as refused:
        run(prompts)
    assert "\n" not in str(refused.value)


def test_a_run_with_neither_files_nor_a_day_says_what_to_fill_in() -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match="fill in the field day, or the field"):
        run(run_type="manual", logical_date=None)


def test_a_run_has_the_same_job_name_in_each_try_and_no_other_run_has_it() -> None:
    assert run().job_name == run().job_name
    assert run().job_name != run(run_id="scheduled__2").job_name
