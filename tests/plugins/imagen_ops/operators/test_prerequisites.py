from collections.abc import Callable
from typing import Any

import pytest

from tests.plugins.conftest import Deployment


def check() -> Any:
    from imagen_ops.operators.prerequisites import CheckPrerequisites

    return CheckPrerequisites(task_id="check")


def test_a_complete_deployment_passes(deployment: Deployment, run_task: Callable[..., Any]) -> None:
    assert run_task(check()) is None


def test_one_message_lists_all_that_is_missing(
    deployment: Deployment, run_task: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    monkeypatch.setenv("IMAGEN_PROMPTS_TOPIC", "no-such-topic")
    monkeypatch.setenv("IMAGEN_CANARY_SUBSCRIPTION", "no-such-sub")
    monkeypatch.setenv("IMAGEN_BUCKET", "no-such-bucket")
    monkeypatch.setenv("IMAGEN_STREAM_TEMPLATE", "gs://no-such-bucket/stream.json")
    with pytest.raises(AirflowFailException) as refused:
        run_task(check())
    for name in ("no-such-topic", "no-such-sub", "gs://no-such-bucket:", "/stream.json"):
        assert f"{name}" in str(refused.value)
    assert "predictions-sub" not in str(refused.value), "what is there is not listed"
    assert "composer.tf" in str(refused.value)
