"""Planning, budget and reconciliation of a backfill against the local storage, without a job."""

import collections
import dataclasses
import json
import types
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from imagen_ops.backfill.plan import ModelCost
from imagen_ops.jobs.launch_request import report_path, run_label_of
from tests.plugins.conftest import Deployment
from tests.plugins.imagen_ops.backfill.test_plan_text import PLAN
from tests.plugins.imagen_ops.backfill.test_reconciliation import REPORT

Run = Callable[..., Any]
DAY = datetime(2026, 11, 22, tzinfo=UTC)
RUN_ID = "scheduled__2026-11-22T00:00:00+00:00"


@pytest.fixture
def backfill(deployment: Deployment, run_task: Run) -> Run:
    """Run a task of the backfill of `DAY`, with fields of its form."""

    def run(task: Any, *, outlet_events: Any = None, **form: object) -> Any:
        params = {
            "model": deployment.settings.model,
            "prompts": None,
            "dry_run": False,
            "max_images": None,
            "max_cost_usd": None,
            **form,
        }
        return run_task(
            task,
            dag_id="imagen_backfill",
            run_id=RUN_ID,
            day=DAY,
            params=params,
            outlet_events=outlet_events,
        )

    return run


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


def planning() -> Any:
    from imagen_ops.backfill.operators import PlanBackfill

    return PlanBackfill(task_id="plan")


def check(**changes: Any) -> Any:
    from imagen_ops.backfill.operators import CheckBudget

    return CheckBudget(task_id="check", plan=dataclasses.replace(PLAN, **changes).to_json())


def reconcile() -> Any:
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
    plan = backfill(planning())
    assert plan["glob"] == f"gs://{deployment.settings.bucket}/prompts/ds=2026-11-22/*"
    assert (plan["prompts"], plan["distinct"], plan["images_to_pay"]) == (3, 2, 2)
    assert json.loads(json.dumps(plan)) == plan, "XCom takes it"
    assert records(deployment) == []


def test_where_there_is_nothing_to_do_the_run_is_skipped_and_a_record_says_so(
    deployment: Deployment, backfill: Run
) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    put(deployment, "prompts/ds=2026-11-22/empty.txt", "")
    for _ in range(2):
        with pytest.raises(AirflowSkipException, match=r"no prompts at gs://.*ds=2026-11-22/\*"):
            backfill(planning())
    (record,) = records(deployment)
    assert (record["state"], record["day"], record["job_id"]) == ("skipped", "2026-11-22", None)
    assert record["run_id"] == RUN_ID
    assert record["counts"] == {}
    assert "empty.txt" in record["plan"]["first_problems"][0]


def test_files_that_may_not_be_read_fail_the_plan_at_once(backfill: Run) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    for prompts in ("gs://other-bucket/prompts/*", "not even a path"):
        with pytest.raises(AirflowFailException, match="prompts: "):
            backfill(planning(), prompts=prompts)


def test_within_its_budget_a_run_goes_on_with_the_plan_in_words(backfill: Run) -> None:
    assert "estimated cost: 134.00 USD" in backfill(check())


def test_a_cost_that_nobody_can_estimate_is_not_said_to_be_within_a_limit(backfill: Run) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    models = (ModelCost("my-flux", images=1000, to_pay=1000, above_1k=0, usd=None),)
    with pytest.raises(AirflowFailException, match=r"nobody knows .* my-flux .* set max_images"):
        backfill(check(models=models), max_cost_usd=10.0)
    assert "no known price" in backfill(check(models=models), max_images=1000)


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"max_images": 999}, "1 more than the 999 allowed"),
        ({"max_cost_usd": 133.5}, "0.50 more than the 133.50 allowed"),
    ],
)
def test_over_the_budget_of_its_form_a_run_fails_for_good(
    backfill: Run, form: dict[str, Any], says: str
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match=says):
        backfill(check(), **form)


@pytest.mark.parametrize(
    ("variable", "limit", "form", "says"),
    [
        ("MAX_IMAGES", "999", {"max_images": 1000}, "IMAGEN_BACKFILL_MAX_IMAGES"),
        ("MAX_COST_USD", "100", {"max_cost_usd": 134.0}, "IMAGEN_BACKFILL_MAX_COST_USD"),
    ],
)
def test_the_setting_holds_unless_the_form_says_otherwise(
    backfill: Run,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    limit: str,
    form: dict[str, Any],
    says: str,
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    monkeypatch.setenv(f"IMAGEN_BACKFILL_{variable}", limit)
    with pytest.raises(AirflowFailException, match=says):
        backfill(check())
    assert "1,000 to pay" in backfill(check(), **form)


def test_a_form_that_contradicts_itself_fails_before_anything_is_launched(backfill: Run) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match="say in model_endpoint where it is"):
        backfill(check(), model="my-flux")


def test_a_run_that_adds_up_leaves_a_record_and_an_event(
    deployment: Deployment, backfill: Run
) -> None:
    report(deployment, json.dumps(REPORT))
    told, task = events(), reconcile()
    record = backfill(task, outlet_events=told)
    assert records(deployment) == [record]
    assert (record["state"], record["job_id"]) == ("done", "job-1")
    assert record["counts"]["predictions"] == 1199
    assert record["noted"] == list(PLAN.first_problems), "what was wrong with files"
    (extra,) = (event.extra for event in told.values())
    assert (extra["run_id"], extra["predictions"]) == (RUN_ID, 1199)
    assert list(told) == task.outlets


def test_a_reconcile_that_is_tried_again_leaves_one_record(
    deployment: Deployment, backfill: Run
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match="has left no report"):
        backfill(reconcile(), outlet_events=events())
    assert [record["state"] for record in records(deployment)] == ["unaccounted"]
    report(deployment, json.dumps(REPORT))
    for _ in range(2):
        backfill(reconcile(), outlet_events=events())
    assert [record["state"] for record in records(deployment)] == ["done"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (json.dumps({**REPORT, "predictions": 1}), "1,202 prompts came in and 4 ended"),
        ("", "none of imagen.report/1"),
        ("{half a rep", "none of imagen.report/1"),
        ("null", "none of imagen.report/1"),
        ("[" * 100_000, "none of imagen.report/1"),
    ],
    ids=["does not add up", "empty", "half", "null", "deep"],
)
def test_prompts_that_are_unaccounted_for_make_the_run_red_after_the_record_is_kept(
    deployment: Deployment,
    backfill: Run,
    caplog: pytest.LogCaptureFixture,
    content: str,
    says: str,
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    report(deployment, content)
    told = events()
    with pytest.raises(AirflowFailException, match=f"unaccounted for: .*{says}"):
        backfill(reconcile(), outlet_events=told)
    (record,) = records(deployment)
    assert record["state"] == "unaccounted"
    assert says in record["unaccounted"][0]
    assert not told, "nobody is told of images"
    assert '"event": "backfill_unaccounted"' in caplog.text
