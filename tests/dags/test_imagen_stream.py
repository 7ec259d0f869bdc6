"""The trigger forms: what they offer, and what they reject before a run starts."""

import copy
from typing import Any

import pytest

from localcloud.resources import template_metadata

FORM = {
    "model": "gemini-3-pro-image",
    "on_active": "replace",
    "request_tier": "flex",
    "max_in_flight": 256,
    "max_requests_per_minute": 90.5,
    "max_retry_seconds": 60,
    "max_workers": 10,
    "model_endpoint": None,
    "max_images_per_hour": 100,
    "max_images_per_day": 1000,
}


def validated(dag: Any, form: dict[str, Any]) -> dict[str, Any]:
    """Return the params of a run triggered with `form`, checked as the API server checks them."""
    params = copy.deepcopy(dag.params)
    params.update(form)
    return dict(params.validate())


@pytest.mark.parametrize(
    ("dag_id", "form"),
    [
        ("imagen_stream_start", {}),
        ("imagen_stream_start", FORM),
        (
            "imagen_stream_start",
            {
                "model": "my-flux",
                "model_endpoint": "projects/p/locations/l/endpoints/7",
                "prompt_field": "text",
            },
        ),
        ("imagen_stream_drain", {}),
        ("imagen_stream_drain", {"cancel_after_minutes": 1440}),
    ],
)
def test_a_valid_form_is_accepted(dags: dict[str, Any], dag_id: str, form: dict[str, Any]) -> None:
    params = validated(dags[dag_id], form)
    assert {name: params[name] for name in form} == form


@pytest.mark.parametrize(
    ("dag_id", "field", "value"),
    [
        ("imagen_stream_start", "on_active", "kill"),
        ("imagen_stream_start", "model", ""),
        ("imagen_stream_start", "model", None),
        ("imagen_stream_start", "model", "no spaces allowed"),
        ("imagen_stream_start", "model", "../../etc/passwd"),
        ("imagen_stream_start", "model_endpoint", "endpoint-7"),
        ("imagen_stream_start", "model_endpoint", "projects/p/locations/a.example#/endpoints/1"),
        ("imagen_stream_start", "model_endpoint", "projects/p/locations/l/endpoints/.."),
        ("imagen_stream_start", "prompt_field", "a prompt"),
        ("imagen_stream_start", "prompt_field", ""),
        ("imagen_stream_start", "request_tier", "cheap"),
        ("imagen_stream_start", "max_in_flight", 0),
        ("imagen_stream_start", "max_in_flight", 1.5),
        ("imagen_stream_start", "max_in_flight", "64"),
        ("imagen_stream_start", "max_in_flight", 100_000),
        ("imagen_stream_start", "max_requests_per_minute", 0),
        ("imagen_stream_start", "max_requests_per_minute", -1),
        ("imagen_stream_start", "max_retry_seconds", 0),
        ("imagen_stream_start", "max_workers", 0),
        ("imagen_stream_start", "max_workers", 1000),
        ("imagen_stream_drain", "cancel_after_minutes", -1),
        ("imagen_stream_drain", "cancel_after_minutes", 100_000),
    ],
)
def test_an_invalid_value_is_rejected_before_a_run_starts(
    dags: dict[str, Any], dag_id: str, field: str, value: Any
) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    with pytest.raises(ParamValidationError):
        validated(dags[dag_id], {field: value})


def test_the_start_form_has_the_defaults_of_the_template(dags: dict[str, Any]) -> None:
    template = template_metadata("stream")
    parameters = {parameter["name"]: parameter for parameter in template["parameters"]}
    form = dags["imagen_stream_start"].params
    for name in set(form) - {"on_active", "max_workers"}:
        default = parameters[name].get("defaultValue")
        assert default is None or str(form[name]) == str(default), name


def test_the_models_on_offer_are_known_to_the_jobs(dags: dict[str, Any]) -> None:
    from beam_jobs.catalog import KNOWN_MODELS

    examples = dags["imagen_stream_start"].params.get_param("model").schema["examples"]
    assert set(examples) <= set(KNOWN_MODELS)
