import json
import re

import pytest

from imagen_ops.jobs.job_form import JobForm
from imagen_ops.jobs.launch_request import (
    RUN_LABEL,
    TRY_LABEL,
    LaunchRequest,
    backfill_job_name,
    backfill_launch_request,
    report_path,
    run_label_of,
    source_of,
    stream_launch_request,
)
from imagen_ops.settings import Settings
from tests.conftest import ROOT
from tests.plugins.imagen_ops.test_settings import COMPLETE

SETTINGS = Settings.from_environment(COMPLETE)
TEMPLATES = ROOT / "beam_jobs" / "templates"
TEMPLATE = TEMPLATES / "stream.json"
BACKFILL_TEMPLATE = TEMPLATES / "backfill.json"
LABEL = run_label_of("imagen_backfill", "r")
# Dataflow's own rule.
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


def test_a_form_becomes_the_templates_parameters_in_text() -> None:
    form = JobForm("gemini-3-pro-image", max_in_flight=32, max_requests_per_minute=90.5)
    parameters = stream_launch_request(SETTINGS, form, run_label="r").parameters
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
    for name, value in stream_launch_request(SETTINGS, form, run_label="r").parameters.items():
        for regex in known[name].get("regexes", []):
            assert re.fullmatch(regex, value), f"{name}={value}"


def test_a_large_number_is_not_written_with_an_exponent() -> None:
    form = JobForm("m", max_requests_per_minute=12_345_678.0)
    launch = stream_launch_request(SETTINGS, form, run_label="r")
    assert launch.parameters["max_requests_per_minute"] == "12345678"


def test_workers_have_no_public_address_where_there_is_a_subnetwork_for_them() -> None:
    settings = SETTINGS.model_copy(
        update={"worker_subnetwork": "regions/us-central1/subnetworks/imagen"}
    )
    environment = stream_launch_request(settings, JobForm("m"), run_label="r").environment
    assert environment["ipConfiguration"] == "WORKER_IP_PRIVATE"
    assert environment["subnetwork"] == "regions/us-central1/subnetworks/imagen"


def test_a_job_carries_the_label_of_the_run_that_launched_it() -> None:
    label = run_label_of("imagen_stream_start", "manual__2026-11-22T10:00:00+00:00")
    assert re.fullmatch("[a-z0-9]{32}", label), "what labels may hold"
    assert label != run_label_of("imagen_stream_start", "manual__2026-11-22T10:00:01+00:00")
    launch = stream_launch_request(SETTINGS, JobForm("m"), run_label=label)
    assert launch.body()["environment"]["additionalUserLabels"][RUN_LABEL] == label


def test_only_an_update_asks_for_one() -> None:
    launch = stream_launch_request(SETTINGS, JobForm("m"), run_label="r")
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
    )


def test_a_backfill_is_told_its_files_its_report_and_what_predictions_say() -> None:
    form = JobForm("gemini-3-pro-image", max_workers=5)
    launch = backfill(form, run_id="manual__1", try_number=2)
    assert launch.template == "gs://my-project-imagen/templates/backfill.json"
    assert launch.parameters == {
        "prompts": "gs://my-project-imagen/prompts/ds=2026-11-22/*",
        "report": f"gs://my-project-imagen/records/reports/{LABEL}.json",
        "source": "backfill:manual__1",
        "responses_topic": "projects/my-project/topics/predictions",
        "dead_letter_topic": "projects/my-project/topics/dead-letters",
        "images_output_location": "gs://my-project-imagen/images",
        "model": "gemini-3-pro-image",
        "request_tier": "standard",
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
    ids=["plain", "everything", "less than one a minute", "with an exponent"],
)
def test_the_backfills_template_takes_every_parameter_that_a_launch_can_send(form: JobForm) -> None:
    given = json.loads(BACKFILL_TEMPLATE.read_text())["parameters"]
    known = {each["name"]: each for each in given}
    sent = backfill(form).parameters
    for name, value in sent.items():
        for regex in known[name].get("regexes", []):
            assert re.fullmatch(regex, value), f"{name}={value}"
    assert {each["name"] for each in given if not each["isOptional"]} <= set(sent)


@pytest.mark.parametrize("run_id", RUN_IDS, ids=range(len(RUN_IDS)))
def test_predictions_can_say_that_they_come_from_any_run(run_id: str) -> None:
    parameters = json.loads(BACKFILL_TEMPLATE.read_text())["parameters"]
    (regex,) = next(each["regexes"] for each in parameters if each["name"] == "source")
    assert re.fullmatch(regex, source_of(run_id))


def test_the_runs_that_airflow_names_itself_are_said_as_they_are() -> None:
    assert [source_of(run_id) for run_id in RUN_IDS[:3]] == [f"backfill:{r}" for r in RUN_IDS[:3]]


@pytest.mark.parametrize("day", ["2026-11-22", None])
@pytest.mark.parametrize("run_id", RUN_IDS, ids=range(len(RUN_IDS)))
def test_any_run_has_a_job_name_that_dataflow_takes(run_id: str, day: str | None) -> None:
    name = backfill_job_name(day, run_label_of("imagen_backfill", run_id))
    assert JOB_NAME.fullmatch(name)
    assert name.startswith(f"imagen-backfill-{day or 'by-hand'}-")
    assert len(name) <= 63, "what labels and the names of workers hold"


def test_a_job_is_called_the_same_in_each_try_and_otherwise_in_another_run() -> None:
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
def test_a_backfill_takes_its_share_of_the_quota_from_its_form_or_else_from_the_setting(
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
def test_what_becomes_part_of_an_address_is_looked_at_wherever_the_form_comes_from(
    field: str, value: str
) -> None:
    """Health starts again with what the Variable holds, which no form was asked about."""
    with pytest.raises(ValueError, match=f"^{field}: expected"):
        JobForm.of({"model": "my-flux", field: value})


def test_form_job_and_template_agree_on_what_is_an_endpoint() -> None:
    from beam_jobs.config import options
    from imagen_ops.jobs.job_form import ENDPOINT, MODEL

    template = json.loads(BACKFILL_TEMPLATE.read_text())["parameters"]
    (of_template,) = [each["regexes"] for each in template if each["name"] == "model_endpoint"]
    assert options._MODEL.pattern == MODEL
    assert ENDPOINT.rpartition("endpoints/")[0] in options._ENDPOINT.pattern
    assert ENDPOINT.rpartition("endpoints/")[0] in of_template[0]
