import json
import re
from pathlib import Path

import pytest

from imagen_ops.launches import RUN_LABEL, JobForm, run_label_of, stream_launch
from imagen_ops.settings import Settings
from tests.plugins.imagen_ops.test_settings import COMPLETE

SETTINGS = Settings.from_environment(COMPLETE)
TEMPLATE = Path(__file__).parents[3] / "beam_jobs" / "templates" / "stream.json"


def test_a_form_becomes_the_templates_parameters_in_text() -> None:
    form = JobForm("gemini-3-pro-image", max_in_flight=32, max_requests_per_minute=90.5)
    parameters = stream_launch(SETTINGS, form, run_label="r").parameters
    assert parameters == {
        "messages_subscription": "projects/my-project/subscriptions/prompts-sub",
        "responses_topic": "projects/my-project/topics/predictions",
        "dead_letter_topic": "projects/my-project/topics/dead-letters",
        "images_output_location": "gs://my-project-imagen/images",
        "model": "gemini-3-pro-image",
        "request_tier": "standard",
        "max_in_flight": "32",
        "max_requests_per_minute": "90.5",
        "max_retry_seconds": "600",
    }


def test_the_template_takes_every_parameter_that_a_launch_can_send() -> None:
    known = {each["name"]: each for each in json.loads(TEMPLATE.read_text())["parameters"]}
    form = JobForm(
        "my-flux",
        model_endpoint="projects/p/locations/us-central1/endpoints/1",
        request_tier="flex",
        max_requests_per_minute=100_000.0,
        max_retry_seconds=86_400.0,
    )
    for name, value in stream_launch(SETTINGS, form, run_label="r").parameters.items():
        for regex in known[name].get("regexes", []):
            assert re.fullmatch(regex, value), f"{name}={value}"


def test_a_large_number_is_not_written_with_an_exponent() -> None:
    form = JobForm("m", max_requests_per_minute=12_345_678.0)
    launch = stream_launch(SETTINGS, form, run_label="r")
    assert launch.parameters["max_requests_per_minute"] == "12345678"


def test_workers_have_no_public_address_where_there_is_a_subnetwork_for_them() -> None:
    settings = SETTINGS.model_copy(
        update={"worker_subnetwork": "regions/us-central1/subnetworks/imagen"}
    )
    environment = stream_launch(settings, JobForm("m"), run_label="r").environment
    assert environment["ipConfiguration"] == "WORKER_IP_PRIVATE"
    assert environment["subnetwork"] == "regions/us-central1/subnetworks/imagen"


def test_a_job_carries_the_label_of_the_run_that_launched_it() -> None:
    label = run_label_of("imagen_stream_start", "manual__2026-11-22T10:00:00+00:00")
    assert re.fullmatch("[a-z0-9]{32}", label), "what labels may hold"
    assert label != run_label_of("imagen_stream_start", "manual__2026-11-22T10:00:01+00:00")
    launch = stream_launch(SETTINGS, JobForm("m"), run_label=label)
    assert launch.body()["environment"]["additionalUserLabels"][RUN_LABEL] == label


def test_only_an_update_asks_for_one() -> None:
    launch = stream_launch(SETTINGS, JobForm("m"), run_label="r")
    assert "update" not in launch.body()
    assert launch.body(update=True)["update"] is True


def test_a_form_survives_being_remembered() -> None:
    form = JobForm("m", request_tier="flex", max_workers=7, max_requests_per_minute=3.5)
    assert JobForm.of(json.loads(json.dumps(form.to_json()))) == form


def test_a_run_may_have_more_parameters_than_the_job() -> None:
    assert JobForm.of({"model": "m", "on_active": "keep"}) == JobForm("m")


def test_a_form_without_a_model_is_refused() -> None:
    with pytest.raises(ValueError, match="names a model"):
        JobForm.of({"max_workers": 2})
