"""What a form may ask for is what the settings allow, or less."""

from typing import Any

import pytest

from imagen_ops.jobs.launch_request import stream_launch_request
from imagen_ops.jobs.limits import not_allowed as _not_allowed
from imagen_ops.jobs.limits import with_limits
from imagen_ops.jobs.params import JobForm
from imagen_ops.settings import Settings
from tests.plugins.imagen_ops.test_settings import COMPLETE

GEMINI, PRO = "gemini-3.1-flash-image", "gemini-3-pro-image"
OTHERS = "projects/other/locations/us-central1/endpoints/1"


def settings(**changed: str) -> Settings:
    return Settings.from_environment(
        COMPLETE | {f"IMAGEN_{name.upper()}": value for name, value in changed.items()}
    )


def not_allowed(deployed: Settings, form: JobForm) -> list[str]:
    """Return what is refused to both jobs, each line once."""
    lines = [
        *_not_allowed(deployed, form, "stream_template"),
        *_not_allowed(deployed, form, "backfill_template"),
    ]
    return list(dict.fromkeys(lines))


def sent(deployed: Settings, form: JobForm) -> dict[str, str]:
    request = stream_launch_request(deployed, form, run_label="r")
    return {
        name: value
        for name, value in request.parameters.items()
        if name.startswith("allowed_") or name == "max_images_per_prompt"
    }


def test_without_limits_a_launch_sends_none_and_the_job_keeps_its_defaults() -> None:
    assert not_allowed(settings(), JobForm(GEMINI)) == []
    assert sent(settings(), JobForm(GEMINI)) == {}


@pytest.mark.parametrize(
    ("changed", "form", "named", "allow"),
    [
        (
            {},
            {"model": "flux-1", "model_endpoint": OTHERS},
            ["model_endpoint: ", "of the project 'other', not of my-project"],
            {"allowed_projects": "other"},
        ),
        (
            {"worker_subnetwork": "projects/host/regions/us-central1/subnetworks/s"},
            {},
            ["IMAGEN_WORKER_SUBNETWORK: ", "'host'"],
            {"allowed_projects": "host"},
        ),
        (
            {"worker_service_account": "worker@other.iam.gserviceaccount.com"},
            {},
            ["IMAGEN_WORKER_SERVICE_ACCOUNT: ", "'other'"],
            {"allowed_projects": "other"},
        ),
        (
            {"worker_service_account": "123-compute@developer.gserviceaccount.com"},
            {},
            ["IMAGEN_WORKER_SERVICE_ACCOUNT: ", "list 123"],
            {"allowed_projects": "other,123"},
        ),
        (
            {"stream_template": "gs://shared/stream.json"},
            {},
            ["IMAGEN_STREAM_TEMPLATE: ", "gs://my-project-imagen"],
            {"allowed_buckets": "shared"},
        ),
        (
            {"backfill_template": "gs://shared/backfill.json"},
            {},
            ["IMAGEN_BACKFILL_TEMPLATE: "],
            {"allowed_buckets": "shared"},
        ),
        (
            {"allowed_models": GEMINI},
            {"model": PRO},
            [f"model: {PRO} is not in ", f"which allows {GEMINI}"],
            {"allowed_models": f"{GEMINI},{PRO}"},
        ),
        (
            {"allowed_models": GEMINI},
            {"allowed_models": f"{GEMINI}, {PRO}"},
            [f"allowed_models: {PRO} is not in "],
            {"allowed_models": f"{GEMINI},{PRO}"},
        ),
        (
            {"allowed_image_sizes": "1K"},
            {"allowed_image_sizes": "1K,4K"},
            ["allowed_image_sizes: 4K is not in "],
            {"allowed_image_sizes": "1K,4K"},
        ),
        (
            {"max_images_per_prompt": "2"},
            {"max_images_per_prompt": 3},
            ["max_images_per_prompt: 3 is more than ", "allows, 2"],
            {"max_images_per_prompt": "3"},
        ),
    ],
)
def test_what_goes_beyond_a_setting_is_refused_by_its_name_and_allowed_by_it(
    changed: dict[str, str], form: dict[str, Any], named: list[str], allow: dict[str, str]
) -> None:
    asked = JobForm(**{"model": GEMINI, **form})
    (line,) = not_allowed(settings(**changed), asked)
    ((setting, _),) = allow.items()
    assert f"IMAGEN_{setting.upper()}" in line
    assert all(text in line for text in named), line
    assert not_allowed(settings(**{**changed, **allow}), asked) == []


def test_nothing_is_said_of_what_else_the_deployment_allows_others() -> None:
    deployed = settings(allowed_projects="secret-partner", allowed_buckets="secret-partner-data")
    form = JobForm("flux-1", model_endpoint=OTHERS)
    assert "secret-partner" not in "\n".join(not_allowed(deployed, form))


def test_a_launch_passes_the_lists_on_and_the_forms_limits_or_else_the_settings() -> None:
    deployed = settings(
        allowed_projects="host, 123",
        allowed_buckets="shared",
        allowed_models=f"{GEMINI},{PRO},flux-1,flux-2",
        allowed_image_sizes="1K,2K",
        max_images_per_prompt="2",
    )
    lists = {"allowed_projects": "host,123", "allowed_buckets": "shared"}
    assert sent(deployed, JobForm(GEMINI)) == {
        **lists,
        "allowed_models": f"{GEMINI},{PRO}",
        "allowed_image_sizes": "1K,2K",
        "max_images_per_prompt": "2",
    }
    narrow = JobForm(GEMINI, allowed_models=PRO, allowed_image_sizes="2K", max_images_per_prompt=1)
    assert not_allowed(deployed, narrow) == []
    assert sent(deployed, narrow) == {
        **lists,
        "allowed_models": f"{GEMINI},{PRO}",
        "allowed_image_sizes": "2K",
        "max_images_per_prompt": "1",
    }
    # Google serves all models but those of endpoints, of which the job has one.
    flux = with_limits(deployed, JobForm("flux-1", model_endpoint=OTHERS))
    assert flux.allowed_models == f"flux-1,{GEMINI},{PRO}"


def test_the_deployments_own_model_needs_no_entry_in_its_list() -> None:
    deployed = settings(model=PRO, allowed_models=GEMINI)
    assert not_allowed(deployed, JobForm(PRO)) == []


def test_an_endpoints_model_cannot_be_offered_by_a_form_of_another() -> None:
    (line,) = JobForm(GEMINI, allowed_models=f"{PRO},flux-1").contradictions()
    assert line.startswith("allowed_models: flux-1 is not one of Google's own models")


@pytest.mark.parametrize("models", ["a b", f"{GEMINI},../x", f"{GEMINI}\n{PRO}"])
def test_models_of_a_stored_form_are_checked_too(models: str) -> None:
    with pytest.raises(ValueError, match="allowed_models: expected ids"):
        JobForm.from_fields({"model": GEMINI, "allowed_models": models})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("allowed_projects", "projects/other"),
        ("allowed_projects", "ok-project,*"),
        ("allowed_buckets", "gs://shared"),
        ("allowed_models", "a b"),
        ("allowed_image_sizes", "1K,8K"),
        ("max_images_per_prompt", "0"),
        ("max_images_per_prompt", "5"),
    ],
)
def test_a_malformed_limit_is_no_limit_that_is_ignored(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"IMAGEN_{name.upper()}: "):
        settings(**{name: value})


@pytest.mark.parametrize("template", ["stream_template", "backfill_template"])
def test_a_job_is_not_refused_for_the_template_of_the_other(template: Any) -> None:
    for other in {"stream_template", "backfill_template"} - {template}:
        deployed = settings(**{other: "gs://shared/spec.json"})
        assert _not_allowed(deployed, JobForm(GEMINI), template) == []
