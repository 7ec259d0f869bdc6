"""Planning, budget and reconciliation of a backfill against the local storage, without a job."""

import collections
import gzip
import json
import types
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from beam_jobs.prompts.parse import Prompt, parse
from imagen_ops.backfill.plan import ModelCost
from imagen_ops.jobs.launch_request import report_path, run_label_of
from tests.conftest import PROJECT
from tests.plugins.conftest import Deployment
from tests.plugins.imagen_ops.backfill.conftest import RUN_ID, check_task, defaults_of
from tests.plugins.imagen_ops.backfill.test_plan import PLAN
from tests.plugins.imagen_ops.backfill.test_reconciliation import REPORT

Run = Callable[..., Any]


def put(deployment: Deployment, name: str, content: str) -> None:
    bucket = deployment.lane.storage.bucket(deployment.settings.bucket)
    bucket.blob(name).upload_from_string(content)


def report(deployment: Deployment, content: str) -> None:
    path = report_path(deployment.settings, run_label_of("imagen_backfill", RUN_ID))
    put(deployment, path.removeprefix(f"gs://{deployment.settings.bucket}/"), content)


def records(deployment: Deployment) -> list[dict[str, Any]]:
    return list(
        deployment.clients.history("records/backfills").since(datetime(2026, 1, 1, tzinfo=UTC))
    )


def plan_task() -> Any:
    from imagen_ops.backfill.operators import PlanBackfill

    return PlanBackfill(task_id="plan")


def reconcile_task() -> Any:
    from airflow.sdk import Asset

    from imagen_ops.backfill.operators import ReconcileBackfill

    return ReconcileBackfill(
        task_id="reconcile", plan=PLAN.to_json(), job_id="job-1", images=Asset("imagen_images")
    )


def events() -> Any:
    return collections.defaultdict(lambda: types.SimpleNamespace(extra={}))


def test_a_plan_counts_the_files_of_the_day(deployment: Deployment, backfill: Run) -> None:
    put(deployment, "prompts/ds=2026-11-22/a.txt", "a fox\nan owl\na fox\n")
    put(deployment, "prompts/ds=2026-11-21/a.txt", "of the day before\n")
    plan = backfill(plan_task())
    assert plan["glob"] == f"gs://{deployment.settings.bucket}/prompts/ds=2026-11-22/*"
    assert (plan["prompts"], plan["distinct"], plan["images_to_pay"]) == (3, 2, 2)
    assert json.loads(json.dumps(plan)) == plan, "it fits into XCom"
    assert records(deployment) == []


def test_a_run_without_prompts_is_skipped_and_leaves_a_record(
    deployment: Deployment, backfill: Run
) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    put(deployment, "prompts/ds=2026-11-22/empty.txt", "")
    for _ in range(2):
        with pytest.raises(AirflowSkipException, match=r"no prompts at gs://.*ds=2026-11-22/\*"):
            backfill(plan_task())
    (record,) = records(deployment)
    assert (record["state"], record["day"], record["job_id"]) == ("skipped", "2026-11-22", None)
    assert record["run_id"] == RUN_ID
    assert record["counts"] == {}
    assert "empty.txt" in record["plan"]["first_problems"][0]


def test_prompt_files_that_are_not_allowed_fail_the_plan_at_once(backfill: Run) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    for prompts in ("gs://other-bucket/prompts/*", "not even a path"):
        with pytest.raises(AirflowFailException, match="prompts: "):
            backfill(plan_task(), prompts=prompts)


OTHERS = "projects/other/locations/us-central1/endpoints/1"


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"model": "flux-1", "model_endpoint": OTHERS}, "IMAGEN_ALLOWED_PROJECTS"),
        ({"max_images_per_prompt": 4}, "IMAGEN_MAX_IMAGES_PER_PROMPT"),
    ],
)
def test_what_the_deployment_does_not_allow_fails_the_plan_before_a_file_is_read(
    deployment: Deployment,
    backfill: Run,
    monkeypatch: pytest.MonkeyPatch,
    form: dict[str, Any],
    expected: str,
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    from imagen_ops.backfill import planning

    monkeypatch.setattr(planning, "plan_backfill", None)
    monkeypatch.setenv("IMAGEN_MAX_IMAGES_PER_PROMPT", "2")
    with pytest.raises(AirflowFailException, match=expected):
        backfill(plan_task(), **form)


def test_the_plan_finds_the_images_of_the_endpoint_and_no_others(
    deployment: Deployment, backfill: Run
) -> None:
    endpoint = f"projects/{PROJECT}/locations/us-central1/endpoints/1"
    form = {"model": "flux-1", "model_endpoint": endpoint}
    put(deployment, "prompts/ds=2026-11-22/a.txt", "a fox")
    stored = parse(b"a fox", {}, origin="", defaults=defaults_of(**form))
    assert isinstance(stored, Prompt)
    put(deployment, f"images/{stored.digest[:2]}/{stored.digest}.json", "{}")
    assert backfill(plan_task(), **form)["already_stored"]["images"] == 1
    form["model_endpoint"] = f"{endpoint}2"
    assert backfill(plan_task(), **form)["already_stored"]["images"] == 0


def test_the_plan_counts_what_the_job_will_take_within_the_settings_limits(
    deployment: Deployment, backfill: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = ['{"prompt": "a fox", "images": 3}', '{"prompt": "a fox", "image_size": "4K"}', "a hen"]
    put(deployment, "prompts/ds=2026-11-22/a.txt", "\n".join(rows))
    assert backfill(plan_task())["prompts"] == 3
    monkeypatch.setenv("IMAGEN_MAX_IMAGES_PER_PROMPT", "2")
    monkeypatch.setenv("IMAGEN_ALLOWED_IMAGE_SIZES", "1K,2K")
    plan = backfill(plan_task())
    assert (plan["prompts"], plan["invalid"]) == (1, 2)
    assert any("--max_images_per_prompt" in line for line in plan["first_invalid"])


def test_a_glob_that_passes_over_the_file_of_its_own_name_fails_the_plan_at_once(
    deployment: Deployment, backfill: Run
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    put(deployment, "prompts/mine/x[1].txt", "a fox\n")
    prompts = f"gs://{deployment.settings.bucket}/prompts/mine/x[1].txt"
    with pytest.raises(AirflowFailException, match=r"write gs://.*/x\[\[\]1\]\.txt"):
        backfill(plan_task(), prompts=prompts)


def test_a_run_within_its_budget_goes_on_and_returns_the_plan_as_text(backfill: Run) -> None:
    assert "estimated cost: 134.00 USD" in backfill(check_task())


def test_a_cost_limit_is_refused_for_a_model_without_a_known_price(backfill: Run) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    models = (ModelCost("my-flux", images=1000, to_pay=1000, usd=None),)
    with pytest.raises(
        AirflowFailException, match=r"no known price for my-flux\. .* set max_images"
    ):
        backfill(check_task(models=models), max_cost_usd=10.0)
    assert "no known price" in backfill(check_task(models=models), max_images=1000)
    # The job, which is told the form's model, would refuse the limit.
    with pytest.raises(AirflowFailException, match=r"no known price for gemini-4-image\."):
        backfill(check_task(), model="gemini-4-image", max_cost_usd=500.0)


def test_a_form_that_contradicts_itself_fails_before_the_launch(backfill: Run) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match="set model_endpoint to the endpoint it is"):
        backfill(check_task(), model="my-flux")


def test_a_run_that_adds_up_leaves_a_record_and_an_event(
    deployment: Deployment, backfill: Run
) -> None:
    report(deployment, json.dumps(REPORT))
    outlet_events, task = events(), reconcile_task()
    record = backfill(task, outlet_events=outlet_events)
    assert records(deployment) == [record]
    assert (record["state"], record["job_id"]) == ("done", "job-1")
    assert record["counts"]["predictions"] == 1199
    assert record["noted"] == list(PLAN.first_problems), "the problems of files"
    (extra,) = (event.extra for event in outlet_events.values())
    assert (extra["run_id"], extra["predictions"]) == (RUN_ID, 1199)
    assert list(outlet_events) == task.outlets


def test_a_run_that_paid_for_more_than_its_budget_is_red_with_figures(
    deployment: Deployment, backfill: Run, caplog: pytest.LogCaptureFixture
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    report(deployment, json.dumps(REPORT))
    outlet_events = events()
    with pytest.raises(AirflowFailException, match="paid for 1,099 images, 1,098 more than"):
        backfill(reconcile_task(), outlet_events=outlet_events, max_images=1)
    assert [record["state"] for record in records(deployment)] == ["over_budget"]
    assert not outlet_events
    assert '"event": "backfill_over_budget"' in caplog.text


def test_the_plan_leaves_the_files_and_generations_that_the_job_reads(
    deployment: Deployment, backfill: Run
) -> None:
    from imagen_ops.backfill.operators import PlanBackfill
    from imagen_ops.jobs.launch_request import plan_path

    bucket = deployment.lane.storage.bucket(deployment.settings.bucket)
    blobs = [bucket.blob(f"prompts/ds=2026-11-22/{name}.txt") for name in ("b", "a", "ü x")]
    for blob in blobs:
        blob.upload_from_string("a fox\n")
    backfill(PlanBackfill(task_id="plan"))
    path = plan_path(deployment.settings, run_label_of("imagen_backfill", RUN_ID))
    lines = (deployment.clients.storage.read(path) or b"").splitlines()
    assert [json.loads(line) for line in lines] == [
        {"name": blob.name, "generation": str(blob.generation), "size": 6}
        for blob in sorted(blobs, key=lambda blob: blob.name)
    ]


@pytest.mark.parametrize(
    ("setting", "value", "place"),
    [
        ("MAX_ROWS", "999", r"bomb\.txt\.gz:1000"),
        ("MAX_UNPACKED_BYTES", "1000000", r"bomb\.txt\.gz:\d+"),
        ("MAX_PLAN_SECONDS", "0.000001", r"bomb\.txt\.gz"),
    ],
)
def test_a_plan_of_too_much_is_refused_and_says_where_it_stopped(
    deployment: Deployment,
    backfill: Run,
    monkeypatch: pytest.MonkeyPatch,
    setting: str,
    value: str,
    place: str,
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    from imagen_ops.backfill.operators import PlanBackfill

    monkeypatch.setenv(f"IMAGEN_BACKFILL_{setting}", value)
    bucket = deployment.lane.storage.bucket(deployment.settings.bucket)
    row = b"\n\n" if setting == "MAX_UNPACKED_BYTES" else b"x\n"
    rows = gzip.compress(b"a fox\n" + row * 1_000_000)
    assert len(rows) < 3000
    bucket.blob("prompts/ds=2026-11-22/bomb.txt.gz").upload_from_string(rows)
    with pytest.raises(AirflowFailException, match=rf"IMAGEN_BACKFILL_{setting}\): .*{place}"):
        backfill(PlanBackfill(task_id="plan"))


def test_a_retried_reconcile_leaves_one_record(deployment: Deployment, backfill: Run) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match="left no report"):
        backfill(reconcile_task(), outlet_events=events())
    assert [record["state"] for record in records(deployment)] == ["unaccounted"]
    report(deployment, json.dumps(REPORT))
    for _ in range(2):
        backfill(reconcile_task(), outlet_events=events())
    assert [record["state"] for record in records(deployment)] == ["done"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            json.dumps({**REPORT, "predictions": 1}),
            "the job read 1,202 prompts but reports 4 outcomes",
        ),
        ("", "not a valid imagen.report/1"),
        ("{half a rep", "not a valid imagen.report/1"),
        ("null", "not a valid imagen.report/1"),
        ("[" * 100_000, "not a valid imagen.report/1"),
    ],
    ids=["does not add up", "empty", "half", "null", "deep"],
)
def test_unaccounted_prompts_fail_the_run_after_the_record_is_written(
    deployment: Deployment,
    backfill: Run,
    caplog: pytest.LogCaptureFixture,
    content: str,
    reason: str,
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    report(deployment, content)
    outlet_events = events()
    with pytest.raises(AirflowFailException, match=f"unaccounted for: .*{reason}"):
        backfill(reconcile_task(), outlet_events=outlet_events)
    (record,) = records(deployment)
    assert record["state"] == "unaccounted"
    assert reason in record["unaccounted"][0]
    assert not outlet_events, "no event without new images"
    assert '"event": "backfill_unaccounted"' in caplog.text
