"""Fields of a run's conf that its DAG doesn't have, and values that are no one line."""

import types
from typing import Any

import pytest

from imagen_ops.dag.conf import refuse_unknown_fields, unknown_fields, unsafe_values

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


@pytest.mark.parametrize(
    "value",
    [
        "gs://b/p/*\nCRITICAL forged",
        "\x1b[2J",
        "a\u2028b",
        "a\u202eb",
        "imagen.alert/1:run_failed",
        ["fine", "not\rfine"],
        {"na\nme": 1},
    ],
    ids=ascii,
)
def test_a_value_with_a_line_end_or_what_cannot_be_seen_is_refused_at_once(value: Any) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    dag = types.SimpleNamespace(dag_id="imagen_backfill", params=dict.fromkeys(KNOWN))
    task = types.SimpleNamespace(has_dag=lambda: True, dag=dag)
    with pytest.raises(AirflowFailException, match="prompts: expected text on one line") as refused:
        refuse_unknown_fields(types.SimpleNamespace(conf={"prompts": value}), task)
    assert str(refused.value).isascii()
    assert len(str(refused.value).splitlines()) == 1
    assert "imagen.alert/1" not in str(refused.value)


def test_values_of_one_line_are_accepted() -> None:
    fine = {"prompts": "gs://b/über/狐 *.csv", "dry_run": True, "max_images": 3, "model": None}
    assert unsafe_values(fine) == []
    assert unsafe_values(None) == []
