"""Rules that every DAG follows."""

import json
import re
import types
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from tests.dags.conftest import FILES
from tests.interpreters import python

IDS = [
    "imagen_backfill",
    "imagen_dead_letters_replay",
    "imagen_stream_drain",
    "imagen_stream_health",
    "imagen_stream_start",
]


def test_the_dags_are_the_documented_ones(dags: dict[str, Any]) -> None:
    assert sorted(dags) == IDS


@pytest.mark.parametrize("dag_id", IDS)
def test_a_dag_states_its_purpose_and_its_owner(dags: dict[str, Any], dag_id: str) -> None:
    dag = dags[dag_id]
    assert "imagen" in dag.tags
    assert dag.description
    assert len(dag.description) < 80
    assert dag.doc_md.strip().startswith("### ")
    assert len(dag.doc_md) > 400, "a manual, not a title"
    assert {task.owner for task in dag.tasks} == {"imagen"}


@pytest.mark.parametrize("dag_id", IDS)
def test_the_description_of_a_field_has_no_code_in_it(dags: dict[str, Any], dag_id: str) -> None:
    """Airflow 3.3.1 draws it over the line above."""
    for name, field in dags[dag_id].params.items():
        text = dags[dag_id].params.get_param(name).schema.get("description_md", "")
        assert "`" not in text, f"{name}: {field}"


@pytest.mark.parametrize("dag_id", IDS)
def test_an_asterisk_in_a_description_is_seen(dags: dict[str, Any], dag_id: str) -> None:
    for name in dags[dag_id].params:
        text = dags[dag_id].params.get_param(name).schema["description_md"]
        drawn = re.sub("<[^>]+>", "", MarkdownIt().render(text))
        assert drawn.count("*") == text.count(r"\*"), name
        assert "prompts/ds=YYYY-MM-DD/*" in drawn or name != "day"


@pytest.mark.parametrize("dag_id", IDS)
def test_a_manual_names_every_task(dags: dict[str, Any], dag_id: str) -> None:
    dag = dags[dag_id]
    missing = [task.task_id for task in dag.tasks if f"`{task.task_id}`" not in dag.doc_md]
    assert not missing


@pytest.mark.parametrize("dag_id", IDS)
def test_no_dag_catches_up_on_past_days(dags: dict[str, Any], dag_id: str) -> None:
    dag = dags[dag_id]
    assert dag.catchup is False
    # Each backfill has a job of its own, and they take turns. The other DAGs share one stream.
    assert dag.max_active_runs == (16 if dag_id == "imagen_backfill" else 1)
    assert not any(task.depends_on_past for task in dag.tasks)


@pytest.mark.parametrize("dag_id", IDS)
def test_every_run_is_recorded_and_a_failed_one_is_alerted_on(
    dags: dict[str, Any], dag_id: str
) -> None:
    from imagen_ops.alerts.run_callbacks import run_failed, run_succeeded

    dag = dags[dag_id]
    assert dag.on_failure_callback is run_failed
    assert dag.on_success_callback is run_succeeded
    # On the run only: a task's callbacks would alert a second time, and on each retry.
    for task in dag.tasks:
        assert not task.on_failure_callback, task.task_id
        assert not task.on_retry_callback, task.task_id


@pytest.mark.parametrize("dag_id", IDS)
def test_every_task_has_a_timeout_and_is_retried(dags: dict[str, Any], dag_id: str) -> None:
    dag = dags[dag_id]
    assert dag.dagrun_timeout is not None
    for task in dag.tasks:
        assert task.execution_timeout is not None, task.task_id
        # A task that fails its run on purpose is not retried.
        assert task.retries >= 2 or task.task_id == "conclude", task.task_id


def test_what_is_scheduled_has_a_deadline_with_room_for_its_tasks(dags: dict[str, Any]) -> None:
    found = {dag_id: dag.deadline[0].interval for dag_id, dag in dags.items() if dag.deadline}
    assert found == {
        "imagen_stream_health": timedelta(minutes=30),
        "imagen_backfill": timedelta(hours=48),
    }
    health = dags["imagen_stream_health"]
    # As long as the canary may take to come back, and a try of each other task.
    usual = health.get_task("wait_for_canary").timeout + 4 * 3 * 60
    assert timedelta(seconds=usual) <= found["imagen_stream_health"] <= health.dagrun_timeout


def longest(task: Any) -> timedelta:
    """Return how long a task can take, from its first try to the end of its last."""
    from airflow.providers.standard.operators.hitl import HITLOperator
    from airflow.sdk import BaseSensorOperator

    from imagen_ops.settings import MAX_APPROVAL_HOURS

    between = task.max_retry_delay or task.retry_delay
    asks = timedelta(hours=MAX_APPROVAL_HOURS if isinstance(task, HITLOperator) else 0)
    if isinstance(task, BaseSensorOperator):
        # Its limit counts over all tries. The last check may begin just before it, fail, and be
        # tried once more.
        limit = timedelta(seconds=task.timeout)
        return limit + 2 * task.execution_timeout + between
    return (task.retries + 1) * task.execution_timeout + task.retries * between + asks


@pytest.mark.parametrize("dag_id", IDS)
def test_a_run_is_not_ended_before_its_tasks_can_have_ended(
    dags: dict[str, Any], dag_id: str
) -> None:
    """Each DAG is a chain, so the times of its tasks add up."""
    dag = dags[dag_id]
    together = sum((longest(task) for task in dag.tasks), timedelta())
    assert together <= dag.dagrun_timeout


@pytest.mark.parametrize("dag_id", IDS)
def test_a_run_with_a_field_that_its_dag_does_not_have_is_refused_by_each_task(
    dags: dict[str, Any], dag_id: str
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    name = next(iter(dags[dag_id].params), "dry_run")
    run = types.SimpleNamespace(conf={f"{name}x": "a secret"})
    for task in dags[dag_id].tasks:
        with pytest.raises(AirflowFailException, match=f"'{name}x': no such field") as refused:
            task.execute({"dag_run": run})
        assert "secret" not in str(refused.value)


@pytest.mark.parametrize("dag_id", IDS)
def test_a_waiting_task_holds_no_worker_slot(dags: dict[str, Any], dag_id: str) -> None:
    from airflow.sdk import BaseSensorOperator

    dag = dags[dag_id]
    for task in dag.tasks:
        if isinstance(task, BaseSensorOperator):
            assert task.mode == "reschedule", task.task_id
            assert task.timeout < dag.dagrun_timeout.total_seconds(), task.task_id


@pytest.mark.parametrize("dag_id", IDS)
def test_every_form_field_is_described_and_validated(dags: dict[str, Any], dag_id: str) -> None:
    for name in dags[dag_id].params:
        schema = dags[dag_id].params.get_param(name).schema
        assert schema.get("title"), name
        assert schema.get("description_md"), name
        types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        bounded = {"string": {"enum", "pattern"}, "integer": {"minimum"}, "boolean": {"type"}}
        bounded["number"] = {"minimum", "exclusiveMinimum"}
        bounded["array"] = {"items"}
        for kind in set(types) - {"null"}:
            assert bounded[kind] & set(schema), f"{name}: a {kind} without a limit"


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_parsing_a_dag_file_imports_nothing_that_only_its_tasks_need(path: Path) -> None:
    program = (
        "import sys, time, json, runpy, airflow.sdk as sdk\n"
        # The SDK imports these lazily, and nearly every DAG uses them.
        "sdk.DAG, sdk.Param, sdk.BaseOperator, sdk.BaseSensorOperator, sdk.Variable\n"
        "started, before = time.perf_counter(), set(sys.modules)\n"
        f"runpy.run_path({str(path)!r})\n"
        "took = time.perf_counter() - started\n"
        "roots = ('apache_beam', 'googleapiclient', 'google.cloud', 'grpc', 'google.genai',\n"
        "    'airflow.providers.google.cloud', 'airflow.providers.google.common',\n"
        "    'airflow.providers.apache.beam',\n"
        # The work itself: a DAG file needs only the operators.
        "    'imagen_ops.backfill.reconciliation', 'imagen_ops.backfill.planning',\n"
        "    'imagen_ops.health.collect', 'imagen_ops.health.assessment',\n"
        "    'imagen_ops.google.dataflow', 'imagen_ops.google.monitoring',\n"
        "    'imagen_ops.google.pubsub',\n"
        "    'imagen_ops.google.rest', 'imagen_ops.google.storage')\n"
        "new = set(sys.modules) - before\n"
        "bad = [m for m in new if any(m == r or m.startswith(r + '.') for r in roots)]\n"
        "print(json.dumps([took, sorted(bad)]))\n"
    )
    took, imported = json.loads(python(program, plugins=True))
    assert imported == []
    print(f"{path.name}: {took:.2f} s beyond airflow.sdk")


@pytest.mark.slow
def test_the_scheduler_needs_no_code_of_ours(tmp_path: Path) -> None:
    """Composer gives it the serialized DAGs, and no `plugins/`."""
    files = [str(path) for path in FILES]
    serialized = python(
        "import json\n"
        "from airflow.dag_processing.importers.python_importer import PythonDagImporter\n"
        "from airflow.serialization.serialized_objects import DagSerialization\n"
        f"results = [PythonDagImporter().import_file(path) for path in {files!r}]\n"
        "dags = [dag for result in results for dag in result.dags]\n"
        "print(json.dumps([DagSerialization.to_dict(dag) for dag in dags]))\n",
        plugins=True,
    )
    file = tmp_path / "dags.json"  # it is too long for an argument
    file.write_text(serialized, encoding="utf-8")
    seen = python(
        "import json, sys\n"
        "from airflow.serialization.serialized_objects import DagSerialization\n"
        f"dags = [DagSerialization.from_dict(d) for d in json.load(open({str(file)!r}))]\n"
        "ours = [m for m in sys.modules if m.startswith('imagen')]\n"
        "tasks = [t for d in dags for t in d.tasks]\n"
        "waiting = [t.task_id for t in tasks\n"
        "    if any(type(dep).__name__ == 'ReadyToRescheduleDep' for dep in t.deps)]\n"
        "triggered = [t.task_id for t in tasks if t.start_from_trigger]\n"
        "print(json.dumps([sorted(d.dag_id for d in dags), ours, waiting, triggered]))\n",
        plugins=False,
    )
    ids, ours, waiting, triggered = json.loads(seen)
    assert ids == IDS
    assert ours == []
    assert triggered == []
    assert {"make_way", "wait_until_running", "wait_for_canary", "wait_until_drained"} <= {*waiting}
