from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import Cloud
from tests.plugins.conftest import Deployment


def check() -> Any:
    from imagen_ops.stream.prerequisites import CheckPrerequisites

    return CheckPrerequisites(task_id="check")


def test_a_complete_deployment_passes(deployment: Deployment, run_task: Callable[..., Any]) -> None:
    assert run_task(check(), params=deployment.form()) is None


def test_one_error_lists_everything_that_is_missing(
    deployment: Deployment, run_task: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    monkeypatch.setenv("IMAGEN_PROMPTS_TOPIC", "no-such-topic")
    monkeypatch.setenv("IMAGEN_CANARY_SUBSCRIPTION", "no-such-sub")
    monkeypatch.setenv("IMAGEN_BUCKET", "no-such-bucket")
    monkeypatch.setenv("IMAGEN_STREAM_TEMPLATE", "gs://no-such-bucket/stream.json")
    with pytest.raises(AirflowFailException) as refused:
        run_task(check(), params=deployment.form())
    for name in ("no-such-topic", "no-such-sub", "gs://no-such-bucket:", "/stream.json"):
        assert name in str(refused.value)
    assert "predictions-sub" not in str(refused.value), "what exists is not listed"
    assert "composer.tf" in str(refused.value)


OTHERS = "projects/other/locations/us-central1/endpoints/7"


@pytest.mark.parametrize(
    ("form", "environment", "expected"),
    [
        ({"model": "my-flux", "model_endpoint": OTHERS}, {}, "IMAGEN_ALLOWED_PROJECTS"),
        ({}, {"STREAM_TEMPLATE": "gs://others/stream.json"}, "IMAGEN_ALLOWED_BUCKETS"),
        ({"max_images_per_prompt": 2}, {"MAX_IMAGES_PER_PROMPT": "1"}, "MAX_IMAGES_PER_PROMPT"),
    ],
)
def test_what_the_deployment_does_not_allow_is_refused_before_anybody_is_asked(
    deployment: Deployment,
    run_task: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    cloud: Cloud,
    form: dict[str, Any],
    environment: dict[str, str],
    expected: str,
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    for name, value in environment.items():
        monkeypatch.setenv(f"IMAGEN_{name}", value)
    monkeypatch.setenv("IMAGEN_PROMPTS_TOPIC", "no-such-topic")
    before = cloud.models()
    with pytest.raises(AirflowFailException, match=expected) as refused:
        run_task(check(), params=deployment.form(**form))
    assert "no-such-topic" not in str(refused.value), "Pub/Sub was not asked yet"
    assert cloud.models() == before


def test_an_endpoint_of_a_project_on_the_list_is_asked(
    deployment: Deployment,
    run_task: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    cloud: Cloud,
) -> None:
    monkeypatch.setenv("IMAGEN_ALLOWED_PROJECTS", "network-host, other")
    reads = cloud.models()["endpoint_reads"]
    form = deployment.form(model="my-flux", model_endpoint=OTHERS)
    assert run_task(check(), params=form) is None
    assert cloud.models()["endpoint_reads"] == reads + 1


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"model_endpoint": "projects/demo-project/locations/l/endpoints/7"}, "model_endpoint"),
        ({"model": "my-flux"}, "model_endpoint"),
        ({"prompt_field": "text"}, "prompt_field"),
        ({"model": "imagen-4.0-generate-001", "request_tier": "flex"}, "request_tier"),
        ({"model": "gemini-2.5-flash-image", "request_tier": "priority"}, "no tier priority"),
        ({"model_location": "us,eu", "request_tier": "flex"}, "model_location: Google serves flex"),
        ({"flex_fallback_seconds": 60}, "flex_fallback_seconds: only for the tier flex"),
    ],
)
def test_a_form_that_contradicts_itself_is_refused_in_the_first_task(
    deployment: Deployment, run_task: Callable[..., Any], form: dict[str, Any], expected: str
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match=expected):
        run_task(check(), params=deployment.form(**form))


@pytest.mark.parametrize("on_active", ["keep", "update", "replace"])
def test_a_model_that_does_not_exist_is_refused_before_anything_is_launched(
    deployment: Deployment, run_task: Callable[..., Any], on_active: str, cloud: Cloud
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    calls = cloud.models()["calls"]
    form = deployment.form(model="gemini-3.1-flash-imagee", on_active=on_active)
    with pytest.raises(AirflowFailException, match=r"does not answer.*mean gemini-3.1-flash-image"):
        run_task(check(), params=form)
    assert cloud.models()["calls"] == calls, "asking costs nothing"


def test_a_model_that_is_down_does_not_keep_a_stream_from_starting(
    deployment: Deployment,
    run_task: Callable[..., Any],
    cloud: Cloud,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cloud.models(down=1)
    assert run_task(check(), params=deployment.form()) is None
    assert "is there is unknown" in caplog.text
