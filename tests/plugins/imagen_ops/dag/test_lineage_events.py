"""With OpenLineage's own client, where it is installed."""

import copy
from typing import Any

import pytest

pytest.importorskip("airflow.providers.openlineage", reason="the provider is optional")


def event(**facets: Any) -> Any:
    from openlineage.client.event_v2 import Job, Run, RunEvent, RunState

    return RunEvent(
        eventType=RunState.COMPLETE,
        eventTime="2026-11-30T00:00:00Z",
        run=Run("0193a1b2-0000-7000-8000-000000000000", facets),
        job=Job("imagen", "imagen_backfill.plan"),
        producer="https://example.com",
    )


def dag_run(**others: Any) -> Any:
    """A run, encoded as the provider does it."""
    from airflow.providers.openlineage.utils.utils import DagRunInfo

    class Run:
        run_id, conf, note = "manual__1", {"prompts": "gs://b/a-persons-name.csv"}, "a note"

    run = Run()
    for name, value in others.items():
        setattr(run, name, value)
    return DagRunInfo(run)


def sent(given: Any) -> str:
    """What the transport sends, as JSON."""
    from openlineage.client.serde import Serde

    from imagen_ops.dag.lineage_events import WithoutConf

    return Serde.to_json(WithoutConf({}).transform(copy.deepcopy(given)))


def test_the_conf_of_a_run_is_in_no_event_of_a_task_or_of_the_run() -> None:
    from airflow.providers.openlineage.plugins.facets import AirflowDagRunFacet, AirflowRunFacet

    of_task = AirflowRunFacet(dag={}, dagRun=dag_run(), task={}, taskInstance={}, taskUuid="1")
    of_run = AirflowDagRunFacet(dag={}, dagRun=dag_run())
    asks = {"hitl_summary": {"body": "a-persons-name.csv", "params": {}}}
    of_question = AirflowRunFacet(dag={}, dagRun=dag_run(), task=asks, taskInstance={}, taskUuid="")
    for facets in (
        {"airflow": of_question},
        {"airflow": of_task},
        {"airflowDagRun": of_run},
        {"later": {"x": [dag_run()]}},
    ):
        text = sent(event(**facets))
        assert "manual__1" in text
        assert "a-persons-name" not in text
        assert "a note" not in text
        assert '"conf"' not in text


def test_an_event_of_a_job_or_without_facets_passes() -> None:
    from openlineage.client.event_v2 import Job, JobEvent

    assert "imagen_backfill.plan" in sent(event())
    job = JobEvent(
        eventTime="2026-11-30T00:00:00Z", producer="https://example.com", job=Job("imagen", "x")
    )
    assert '"x"' in sent(job)


@pytest.mark.parametrize("base", ["ImagenOperator", "ImagenSensor"])
def test_the_provider_finds_what_a_task_has_noted_and_else_nothing(base: str) -> None:
    from airflow.providers.openlineage.extractors.base import DefaultExtractor

    from imagen_ops.dag import tasks
    from imagen_ops.dag.lineage import Dataset, Lineage

    task = getattr(tasks, base)(task_id="t")
    nothing = DefaultExtractor(task).extract_on_complete(None)
    assert nothing is not None, "the provider would warn of it"
    assert (nothing.inputs, nothing.outputs) == ([], [])
    task.lineage = Lineage((Dataset.folder("gs://b/in"),), (Dataset.topic("p", "out"),))
    for found in (
        DefaultExtractor(task).extract_on_complete(None),
        DefaultExtractor(task).extract_on_failure(None),
    ):
        assert found is not None
        assert [(each.namespace, each.name) for each in found.inputs] == [("gs://b", "in")]
        assert [(each.namespace, each.name) for each in found.outputs] == [
            ("pubsub", "topic:p:out")
        ]
