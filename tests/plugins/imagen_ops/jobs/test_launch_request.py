import dataclasses
import json
import re

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.catalog import DEFAULT_MODEL, ENDPOINT_PATTERN, PREDICT_PATTERN
from beam_jobs.config.job_config import job_config
from imagen_ops.jobs.launch_request import (
    RUN_LABEL,
    TRY_LABEL,
    LaunchRequest,
    backfill_job_name,
    backfill_jobs,
    backfill_launch_request,
    import_job_name,
    ledger_path,
    prediction_source,
    report_path,
    run_label_of,
    stream_launch_request,
)
from imagen_ops.jobs.params import JobForm
from imagen_ops.settings import Settings
from localcloud.resources import template_metadata
from tests.plugins.imagen_ops.test_settings import COMPLETE

SETTINGS = Settings.from_environment(COMPLETE)
PARAMETERS = {job: template_metadata(job)["parameters"] for job in ("stream", "backfill")}
LABEL = run_label_of("imagen_backfill", "r")
# Dataflow's rule for job names.
JOB_NAME = re.compile("[a-z]([-a-z0-9]{0,1022}[a-z0-9])?")
RUN_IDS = [
    "scheduled__2026-11-22T00:00:00+00:00",
    "manual__2026-11-22T10:00:00.123456+00:00",
    "backfill__2026-03-01T00:00:00+00:00",
    'with spaces, a "quote" and a\nline',
    "käse 🎨",
    "x" * 250,
    "~",
]


def test_a_form_becomes_template_parameters_as_text() -> None:
    form = JobForm("gemini-3-pro-image", max_in_flight=32, max_requests_per_minute=90.5)
    parameters = stream_launch_request(SETTINGS, form, run_label="r").parameters
    assert parameters == {
        "messages_subscription": "projects/my-project/subscriptions/prompts-sub",
        "canary_keys": "gs://my-project-imagen/keys/canary.json",
        "responses_topic": "projects/my-project/topics/predictions",
        "dead_letter_topic": "projects/my-project/topics/dead-letters",
        "images_output_location": "gs://my-project-imagen/images",
        "model": "gemini-3-pro-image",
        "request_tier": "standard",
        "thumbnails": "on",
        "max_in_flight": "32",
        "max_requests_per_minute": "90.5",
        "max_retry_seconds": "600",
    }


def test_the_stream_template_accepts_every_parameter_of_a_launch() -> None:
    known = {each["name"]: each for each in PARAMETERS["stream"]}
    form = JobForm(
        "my-flux",
        model_endpoint="projects/p/locations/us-central1/endpoints/1",
        prompt_field="text",
        request_tier="flex",
        max_requests_per_minute=100_000.0,
        max_retry_seconds=86_400.0,
    )
    for name, value in stream_launch_request(SETTINGS, form, run_label="r").parameters.items():
        for regex in known[name].get("regexes", []):
            assert re.fullmatch(regex, value), f"{name}={value}"


def test_a_large_number_is_not_written_with_an_exponent() -> None:
    form = JobForm("m", max_requests_per_minute=12_345_678.0)
    launch = stream_launch_request(SETTINGS, form, run_label="r")
    assert launch.parameters["max_requests_per_minute"] == "12345678"


def test_workers_have_no_public_address_if_a_subnetwork_is_set() -> None:
    settings = SETTINGS.model_copy(
        update={"worker_subnetwork": "regions/us-central1/subnetworks/imagen"}
    )
    environment = stream_launch_request(settings, JobForm("m"), run_label="r").environment
    assert environment["ipConfiguration"] == "WORKER_IP_PRIVATE"
    assert environment["subnetwork"] == "regions/us-central1/subnetworks/imagen"


def test_a_job_carries_the_label_of_the_run_that_launched_it() -> None:
    label = run_label_of("imagen_stream_start", "manual__2026-11-22T10:00:00+00:00")
    assert re.fullmatch("[a-z0-9]{32}", label), "what a label value may hold"
    assert label != run_label_of("imagen_stream_start", "manual__2026-11-22T10:00:01+00:00")
    launch = stream_launch_request(SETTINGS, JobForm("m"), run_label=label)
    assert launch.body()["environment"]["additionalUserLabels"][RUN_LABEL] == label


def test_the_streams_budgets_are_those_of_the_form_or_of_the_settings() -> None:
    settings = SETTINGS.model_copy(
        update={"stream_max_images_per_hour": 10, "stream_max_images_per_day": 100}
    )
    form = JobForm("m", max_images_per_hour=3)
    launch = stream_launch_request(settings, form, run_label="r")
    assert launch.parameters["max_images_per_hour"] == "3"
    assert launch.parameters["max_images_per_day"] == "100"
    without = stream_launch_request(SETTINGS, JobForm("m"), run_label="r")
    assert not {"max_images_per_hour", "max_images_per_day"} & set(without.parameters)


@pytest.mark.parametrize(
    ("setting", "expected"), [("off", None), ("on", "on"), ("prompt", "prompt")]
)
def test_what_images_say_of_themselves_is_the_deployments_to_decide(
    setting: str, expected: str | None
) -> None:
    settings = SETTINGS.model_copy(update={"image_metadata": setting})
    launch = stream_launch_request(settings, JobForm("m"), run_label="r")
    assert launch.parameters.get("image_metadata") == expected


@pytest.mark.parametrize(("setting", "expected"), [(None, None), (24.0, "24"), (0.5, "0.5")])
def test_whether_predictions_have_signed_urls_is_the_deployments_to_decide(
    setting: float | None, expected: str | None
) -> None:
    settings = SETTINGS.model_copy(update={"signed_url_hours": setting})
    launch = stream_launch_request(settings, JobForm("m"), run_label="r")
    assert launch.parameters.get("signed_url_hours") == expected


@pytest.mark.parametrize("option", ["preprocess", "postprocess"])
def test_custom_functions_are_the_deployments_to_name_and_no_forms(option: str) -> None:
    settings = SETTINGS.model_copy(update={option: "custom.example:prepare"})
    stream = stream_launch_request(settings, JobForm("m"), run_label="r")
    assert stream.parameters[option] == "custom.example:prepare"
    plain = stream_launch_request(SETTINGS, JobForm("m"), run_label="r")
    assert not {"preprocess", "postprocess"} & set(plain.parameters)
    assert not {"preprocess", "postprocess"} & {field.name for field in dataclasses.fields(JobForm)}


def test_only_an_update_sets_the_update_field() -> None:
    launch = stream_launch_request(SETTINGS, JobForm("m"), run_label="r")
    assert "update" not in launch.body()
    assert launch.body(update=True)["update"] is True


def test_a_form_survives_the_round_trip_through_json() -> None:
    form = JobForm("m", request_tier="flex", max_workers=7, max_requests_per_minute=3.5)
    assert JobForm.from_fields(json.loads(json.dumps(form.to_json()))) == form


def test_parameters_that_are_not_about_the_job_are_ignored() -> None:
    assert JobForm.from_fields({"model": "m", "on_active": "keep"}) == JobForm("m")


def test_the_ledger_of_a_run_is_the_one_that_its_job_keeps() -> None:
    """Says the same name as the options that the job is launched with."""
    paths = [
        ledger_path(SETTINGS, "manual__1+00:00", of_money=of_money) for of_money in (False, True)
    ]
    launch = backfill(JobForm(DEFAULT_MODEL), run_id="manual__1+00:00")
    given = [f"--{name}={value}" for name, value in launch.parameters.items()]
    budgets = job_config(PipelineOptions(given), streaming=False).budgets
    assert paths == [f"gs://my-project-imagen/{budget.ledger}" for budget in budgets]


def test_a_form_without_a_model_is_rejected() -> None:
    with pytest.raises(ValueError, match="model: expected an id"):
        JobForm.from_fields({"max_workers": 2})


def backfill(
    form: JobForm, settings: Settings = SETTINGS, *, run_id: str = "r", try_number: int = 1
) -> LaunchRequest:
    return backfill_launch_request(
        settings,
        form,
        name=backfill_job_name("2026-11-22", LABEL),
        prompts="gs://my-project-imagen/prompts/ds=2026-11-22/*",
        run_id=run_id,
        run_label=LABEL,
        try_number=try_number,
        max_images=30,
        max_cost_usd=7.5,
    )


def test_a_backfill_launch_has_its_files_its_report_and_its_source() -> None:
    form = JobForm("gemini-3-pro-image", max_workers=5)
    launch = backfill(form, run_id="manual__1", try_number=2)
    assert launch.template == "gs://my-project-imagen/templates/backfill.json"
    assert launch.parameters == {
        "prompts": "gs://my-project-imagen/prompts/ds=2026-11-22/*",
        "plan": f"gs://my-project-imagen/jobs/{LABEL}/plan.jsonl",
        "report": f"gs://my-project-imagen/jobs/{LABEL}/report.json",
        "max_images": "30",
        "max_cost_usd": "7.5",
        "max_rows": "200000",
        "max_unpacked_bytes": "1000000000",
        "source": "backfill:manual__1",
        "responses_topic": "projects/my-project/topics/predictions",
        "dead_letter_topic": "projects/my-project/topics/dead-letters",
        "images_output_location": "gs://my-project-imagen/images",
        "model": "gemini-3-pro-image",
        "request_tier": "standard",
        "thumbnails": "on",
        "max_in_flight": "64",
        "max_retry_seconds": "600",
    }
    assert launch.parameters["report"] == report_path(SETTINGS, LABEL)
    assert launch.environment["maxWorkers"] == 5
    labels = launch.body()["environment"]["additionalUserLabels"]
    assert labels == {"app": "imagen", RUN_LABEL: LABEL, TRY_LABEL: "2"}
    assert "enableStreamingEngine" not in launch.environment


@pytest.mark.parametrize(
    "form",
    [
        JobForm("gemini-3-pro-image"),
        JobForm(
            "my-flux",
            model_endpoint="projects/p/locations/us-central1/endpoints/1",
            request_tier="flex",
            max_requests_per_minute=100_000.0,
            max_retry_seconds=86_400.0,
        ),
        JobForm("m", max_requests_per_minute=0.5, max_retry_seconds=1),
        JobForm("m", max_requests_per_minute=0.00001, max_in_flight=1024),
    ],
    ids=["defaults", "all fields", "less than one call per minute", "tiny number"],
)
def test_the_backfill_template_accepts_every_parameter_of_a_launch(form: JobForm) -> None:
    declared = PARAMETERS["backfill"]
    known = {each["name"]: each for each in declared}
    sent = backfill(form).parameters
    for name, value in sent.items():
        for regex in known[name].get("regexes", []):
            assert re.fullmatch(regex, value), f"{name}={value}"
    assert {each["name"] for each in declared if not each["isOptional"]} <= set(sent)


@pytest.mark.parametrize("run_id", RUN_IDS, ids=range(len(RUN_IDS)))
def test_the_source_of_any_run_is_one_that_the_template_accepts(run_id: str) -> None:
    parameters = PARAMETERS["backfill"]
    (regex,) = next(each["regexes"] for each in parameters if each["name"] == "source")
    assert re.fullmatch(regex, prediction_source(run_id))


def test_run_ids_from_airflow_stay_unchanged_in_the_source() -> None:
    assert [prediction_source(run_id) for run_id in RUN_IDS[:3]] == [
        f"backfill:{run_id}" for run_id in RUN_IDS[:3]
    ]


@pytest.mark.parametrize("day", ["2026-11-22", None])
@pytest.mark.parametrize("run_id", RUN_IDS, ids=range(len(RUN_IDS)))
def test_any_run_has_a_job_name_that_dataflow_accepts(run_id: str, day: str | None) -> None:
    name = backfill_job_name(day, run_label_of("imagen_backfill", run_id))
    assert JOB_NAME.fullmatch(name)
    assert name.startswith(f"imagen-backfill-{day or 'by-hand'}-")
    assert len(name) <= 63, "the limit for labels and worker names"


def test_a_job_name_is_the_same_for_every_try_and_unique_per_run() -> None:
    names = [
        backfill_job_name("2026-11-22", run_label_of("imagen_backfill", run_id))
        for run_id in [*RUN_IDS, *RUN_IDS]
    ]
    assert names[: len(RUN_IDS)] == names[len(RUN_IDS) :]
    assert len(set(names)) == len(RUN_IDS)


@pytest.mark.parametrize(
    ("form", "setting", "sent"),
    [(None, None, None), (None, 90.0, "90"), (30.5, 90.0, "30.5"), (30.5, None, "30.5")],
)
def test_a_backfill_takes_its_quota_share_from_its_form_or_else_from_the_setting(
    form: float | None, setting: float | None, sent: str | None
) -> None:
    settings = SETTINGS.model_copy(update={"backfill_requests_per_minute": setting})
    launch = backfill(JobForm("m", max_requests_per_minute=form), settings)
    assert launch.parameters.get("max_requests_per_minute") == sent


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", "a/../b"),
        ("model", "m\n"),
        ("model_endpoint", "projects/p/locations/a.example#/endpoints/1"),
        ("model_endpoint", "projects/p/locations/a.example?b=/endpoints/1"),
        ("model_endpoint", "projects/p/locations/l/endpoints/1\n"),
    ],
)
def test_fields_that_become_part_of_a_url_are_always_checked(field: str, value: str) -> None:
    """Health restarts the stream from the Variable, which Airflow does not validate."""
    with pytest.raises(ValueError, match=f"^{field}: expected"):
        JobForm.from_fields({"model": "my-flux", field: value})


def test_template_form_and_job_agree_on_what_an_endpoint_is() -> None:
    """Dataflow reads the template's regular expression before there is any Python."""
    ((regex,),) = [
        each["regexes"] for each in PARAMETERS["backfill"] if each["name"] == "model_endpoint"
    ]
    assert regex.replace("?:", "") == f"^({PREDICT_PATTERN})?$"
    endpoint = "projects/p-1/locations/us-central1/endpoints/1234"
    assert re.fullmatch(ENDPOINT_PATTERN, endpoint), "what the form takes"
    assert re.fullmatch(PREDICT_PATTERN, endpoint), "what the job takes"


def test_jobs_have_the_deployments_key_and_labels_and_none_takes_the_place_of_our_own() -> None:
    environment = {
        "IMAGEN_KMS_KEY": "projects/p/locations/us-central1/keyRings/r/cryptoKeys/k",
        "IMAGEN_LABELS": "team=pictures,app=other",
    }
    settings = Settings.from_environment({**COMPLETE, **environment})
    launch = stream_launch_request(settings, JobForm("m"), run_label=LABEL)
    sent = launch.body()["environment"]
    assert sent["kmsKeyName"] == environment["IMAGEN_KMS_KEY"]
    assert sent["additionalUserLabels"] == {"team": "pictures", "app": "imagen", RUN_LABEL: LABEL}


def test_two_deployments_in_a_project_find_none_of_each_others_jobs() -> None:
    ours, theirs = (run_label_of("imagen_backfill", "run", name) for name in ("imagen", "pics"))
    assert ours == run_label_of("imagen_backfill", "run"), "a run survives an upgrade"
    assert ours != theirs
    for name in (backfill_job_name, import_job_name):
        assert name(None, ours) != name(None, ours, "pics")
        assert name(None, ours, "pics").startswith("pics-")
    assert not backfill_job_name(None, ours, "imagen-eu").startswith(backfill_jobs("imagen"))
