"""What a run of the backfill works on."""

import types
from datetime import UTC, datetime
from typing import Any

import pytest

from imagen_ops.backfill.run import BackfillRun, run_from_context
from imagen_ops.jobs.launch_request import run_label_of
from imagen_ops.settings import Settings
from tests.plugins.imagen_ops.test_settings import COMPLETE

SETTINGS = Settings.from_environment(COMPLETE)
DAY = datetime(2026, 11, 2, tzinfo=UTC)


def run(prompts: str | None = None, *, day: datetime | None = DAY, run_id: str = "r") -> Any:
    dag_run = types.SimpleNamespace(
        dag_id="imagen_backfill", run_id=run_id, data_interval_start=day
    )
    params = {
        "model": "m",
        "max_workers": 3,
        "dry_run": False,
        "prompts": prompts,
        "max_images": None,
        "max_cost_usd": 7.5,
    }
    return run_from_context({"dag_run": dag_run, "params": params}, SETTINGS)


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
    assert backfill_run.label == run_label_of("imagen_backfill", "r")


def test_a_glob_of_its_own_wins_over_the_day() -> None:
    backfill_run = run("gs://my-project-imagen/mine/*.csv")
    assert backfill_run.prompts == "gs://my-project-imagen/mine/*.csv"
    assert backfill_run.day == "2026-11-02"


def test_a_run_with_files_needs_no_day() -> None:
    backfill_run = run("gs://my-project-imagen/mine/*.csv", day=None)
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

    with pytest.raises(AirflowFailException, match=r"expected gs://my-project-imagen/.*got 'gs"):
        run(prompts)


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

    with pytest.raises(AirflowFailException, match="fill in the field prompts, or the logical"):
        run(None, day=None)


def test_a_run_has_the_same_job_name_in_each_try_and_no_other_run_has_it() -> None:
    assert run().job_name == run().job_name
    assert run().job_name != run(run_id="r2").job_name
