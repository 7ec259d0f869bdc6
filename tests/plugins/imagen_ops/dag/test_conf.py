"""Fields of a run's conf that its DAG doesn't have."""

import types
from typing import Any

import pytest

from imagen_ops.dag.conf import refuse_unknown_fields, unknown_fields

KNOWN = ("day", "dry_run", "max_images", "max_in_flight", "model", "prompts")


@pytest.mark.parametrize("conf", [None, {}, {"dry_run": True}, {"airflow/task_span": 1}], ids=str)
def test_known_fields_and_those_of_airflow_are_accepted(conf: dict[str, Any] | None) -> None:
    assert unknown_fields(conf, KNOWN) == []


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("dryrun", "dry_run"),
        ("dryRun", "dry_run"),
        ("dry-run", "dry_run"),
        ("DRY_RUN", "dry_run"),
        ("dry_rnu", "dry_run"),
        ("Model", "model"),
        ("prompt", "prompts"),
        ("max_image", "max_images"),
        ("maxInFlight", "max_in_flight"),
    ],
)
def test_a_field_that_is_misspelt_is_refused_with_the_nearest_one(given: str, meant: str) -> None:
    assert unknown_fields({given: True}, KNOWN) == [
        f"'{given}': no such field (did you mean {meant}?)"
    ]


def test_a_field_that_is_near_to_none_is_refused_without_its_value() -> None:
    (line,) = unknown_fields({"zzz" * 40: "a secret"}, KNOWN)
    assert line == f"'{'z' * 50}': no such field"


def test_the_refusal_lists_what_the_dag_has() -> None:
    from airflow.sdk.exceptions import AirflowFailException

    dag = types.SimpleNamespace(dag_id="imagen_backfill", params=dict.fromkeys(KNOWN))
    task = types.SimpleNamespace(has_dag=lambda: True, dag=dag)
    run = types.SimpleNamespace(conf={"dryrun": True})
    with pytest.raises(
        AirflowFailException, match=r"nothing was done.*imagen_backfill has day, dr"
    ):
        refuse_unknown_fields(run, task)
    dag.params = {}
    with pytest.raises(AirflowFailException, match="imagen_backfill has no fields"):
        refuse_unknown_fields(run, task)
