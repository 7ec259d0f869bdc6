import pytest

from imagen_ops.settings import Settings, SettingsError

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


def test_a_misspelt_setting_is_rejected_and_not_ignored() -> None:
    with pytest.raises(SettingsError, match="IMAGEN_BUKET: no such setting"):
        Settings.from_environment({**COMPLETE, "IMAGEN_BUKET": "x"})
