import json
import os
from pathlib import Path

import pytest

from imagen_ops.settings import Settings, SettingsError, value_of

COMPLETE = {
    "IMAGEN_PROJECT": "my-project",
    "IMAGEN_REGION": "us-central1",
    "IMAGEN_BUCKET": "my-project-imagen",
    "IMAGEN_STREAM_TEMPLATE": "gs://my-project-imagen/templates/stream.json",
    "IMAGEN_BACKFILL_TEMPLATE": "gs://my-project-imagen/templates/backfill.json",
}


def test_the_settings_of_a_deployment_are_complete() -> None:
    settings = Settings.from_environment({**COMPLETE, "HOME": "/root"})
    assert settings.topic(settings.prompts_topic) == "projects/my-project/topics/prompts"
    assert (
        settings.subscription(settings.prompts_subscription)
        == "projects/my-project/subscriptions/prompts-sub"
    )
    assert settings.images_location == "gs://my-project-imagen/images"


def test_one_error_lists_all_missing_settings_and_where_to_set_them() -> None:
    with pytest.raises(SettingsError) as raised:
        Settings.from_environment({})
    for name in COMPLETE:
        assert f"{name}: is not set, for example" in str(raised.value)
    assert "composer.tf" in str(raised.value)


@pytest.mark.parametrize("name", COMPLETE)
def test_an_empty_variable_counts_as_not_set(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}: is not set"):
        Settings.from_environment({**COMPLETE, name: "  "})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("IMAGEN_PROJECT", "My Project"),
        ("IMAGEN_REGION", "us"),
        ("IMAGEN_BUCKET", "gs://my-bucket"),
        ("IMAGEN_STREAM_TEMPLATE", "templates/stream.json"),
        ("IMAGEN_STREAM_JOB_NAME", "Imagen"),
        ("IMAGEN_WORKER_SERVICE_ACCOUNT", "worker"),
        ("IMAGEN_WORKER_SUBNETWORK", "default"),
        ("IMAGEN_POKE_SECONDS", "soon"),
        ("IMAGEN_POKE_SECONDS", "0"),
        ("IMAGEN_RESTARTS_PER_HOUR", "-1"),
        ("IMAGEN_RESTARTS_PER_HOUR", "1.5"),
        ("IMAGEN_MAX_BACKLOG_AGE_SECONDS", "0"),
        ("IMAGEN_CONSOLE_URL", "https://console.cloud.google.com/"),
        ("IMAGEN_CONSOLE_URL", "javascript:alert(1)"),
    ],
)
def test_a_malformed_setting_is_reported_with_its_value(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}: .*got '?{value.split('(')[0]}"):
        Settings.from_environment({**COMPLETE, name: value})


def test_what_the_deployment_has_in_its_file_is_read_and_airflows_own_variables_come_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "imagen_settings.json"
    file.write_text(json.dumps({**COMPLETE, "IMAGEN_POKE_SECONDS": "20"}))
    monkeypatch.setattr("imagen_ops.settings.DEPLOYED", file)
    for name in [name for name in os.environ if name.startswith("IMAGEN_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("IMAGEN_CANARY_SECONDS", "60")
    monkeypatch.setenv("IMAGEN_BUCKET", " ")
    settings = Settings.from_environment()
    assert (settings.poke_seconds, settings.canary_seconds) == (20, 60)
    assert settings.bucket == "my-project-imagen", "an empty variable is none"
    monkeypatch.setenv("IMAGEN_POKE_SECONDS", "30")
    assert Settings.from_environment().poke_seconds == 30
    assert value_of("IMAGEN_REGION") == "us-central1"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"IMAGEN_PROJECT": 1}'])
def test_a_file_that_is_malformed_fails_tasks_and_keeps_no_dag_from_being_parsed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "imagen_settings.json"
    file.write_text(text)
    monkeypatch.setattr("imagen_ops.settings.DEPLOYED", file)
    monkeypatch.setenv("IMAGEN_PREFETCH", "auto")
    with pytest.raises(SettingsError, match=r"imagen_settings\.json .*composer\.tf"):
        Settings.from_environment()
    assert value_of("IMAGEN_PREFETCH") == "auto"
    assert value_of("IMAGEN_BACKFILL_POOL", "default_pool") == "default_pool"


def test_a_label_by_which_jobs_are_not_told_apart_is_refused() -> None:
    with pytest.raises(SettingsError, match="IMAGEN_LABELS"):
        Settings.from_environment({**COMPLETE, "IMAGEN_LABELS": "team:pictures"})


def test_a_misspelt_setting_is_rejected_and_not_ignored() -> None:
    with pytest.raises(SettingsError, match="IMAGEN_BUKET: no such setting"):
        Settings.from_environment({**COMPLETE, "IMAGEN_BUKET": "x"})
