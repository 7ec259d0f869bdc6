"""The trigger form of the replay: what it offers, and what it refuses before a run starts."""

import copy
from typing import Any

import pytest

DAG = "imagen_dead_letters_replay"


def validated(dag: Any, form: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of a run with this form, checked as the API server checks them."""
    params = copy.deepcopy(dag.params)
    params.update(form)
    return dict(params.validate())


def test_it_runs_only_when_somebody_triggers_it(dags: dict[str, Any]) -> None:
    assert dags[DAG].timetable.can_be_scheduled is False


def test_by_default_all_retryable_prompts_are_replayed_up_to_three_times(
    dags: dict[str, Any],
) -> None:
    from imagen_ops.dead_letters.decision import ReplayForm

    form = validated(dags[DAG], {})
    assert form == {
        "dry_run": False,
        "reasons": [
            *("UNAVAILABLE", "NO_IMAGE", "MODEL_ERROR", "STORAGE_ERROR"),
            *("OVER_BUDGET", "CUSTOM_FUNCTION_FAILED", "INVALID_PROMPT"),
        ],
        "prompt_ids": [],
        "most": 10_000,
        "max_replays": 3,
    }
    assert ReplayForm.from_fields(form) == ReplayForm()


@pytest.mark.parametrize(
    "form",
    [
        {"dry_run": True},
        {"reasons": ["UNAVAILABLE"]},
        {"reasons": ["STORAGE_ERROR", "NO_IMAGE"], "most": 1, "max_replays": 1},
        {"most": 100_000, "max_replays": 10},
    ],
    ids=str,
)
def test_a_valid_form_is_accepted(dags: dict[str, Any], form: dict[str, Any]) -> None:
    params = validated(dags[DAG], form)
    assert {name: params[name] for name in form} == form


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dry_run", "yes"),
        ("dry_run", None),
        ("reasons", []),
        ("reasons", None),
        ("reasons", "UNAVAILABLE"),
        ("reasons", ["BLOCKED"]),
        ("reasons", ["UNAVAILABLE", "UNAVAILABLE"]),
        ("reasons", ["unavailable"]),
        ("most", 0),
        ("most", 100_001),
        ("most", 1.5),
        ("max_replays", 0),
        ("max_replays", 11),
        ("max_replays", "3"),
    ],
)
def test_an_impossible_value_is_refused_before_a_run_starts(
    dags: dict[str, Any], field: str, value: Any
) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    with pytest.raises(ParamValidationError):
        validated(dags[DAG], {field: value})


def test_the_manual_names_every_field_and_reason(dags: dict[str, Any]) -> None:
    dag = dags[DAG]
    for name in dag.params:
        assert f"`{name}`" in dag.doc_md, name
    for reason in dag.params.get_param("reasons").schema["items"]["enum"]:
        assert reason in dag.doc_md
    assert "When not to use it" in dag.doc_md


def test_the_next_try_starts_after_the_leases_of_a_killed_try(
    dags: dict[str, Any],
) -> None:
    from imagen_ops.dead_letters.leases import LEASE_SECONDS

    task = dags[DAG].get_task("replay")
    assert task.retry_delay.total_seconds() > 1.5 * LEASE_SECONDS
    tries = (task.retries + 1) * task.execution_timeout + task.retries * task.max_retry_delay
    assert tries < dags[DAG].dagrun_timeout
