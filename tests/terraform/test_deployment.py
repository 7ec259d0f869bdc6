"""What `composer.tf` deploys is what the code expects: settings, templates, messages, Composer."""

import re
from typing import Any

import pytest

from beam_jobs.images.location import KINDS, Location
from imagen_ops.settings import PREFIX, Settings
from imagen_ops.ui.index_reader import KEPT_DAYS
from localcloud.dataflow.templates import PROGRAMS, Template
from localcloud.resources import Names, template_metadata
from tests.conftest import ROOT
from tests.terraform.workspace import Deployment, of_kind

pytestmark = pytest.mark.slow

PROJECT = "my-project"
# Every setting that has a default in the code, as somebody might set it.
OTHERWISE = {
    "health_schedule": "*/10 * * * *",
    "backfill_schedule": "0 3 * * *",
    "poke_seconds": 20,
    "canary_seconds": 60,
    "restarts_per_hour": 1,
    "startup_seconds": 1200,
    "backfills_at_once": 3,
    "approval_timeout_hours": 6.5,
    "health_due_minutes": 20,
    "backfill_due_hours": 8.5,
    "prefetch_min_saving_usd": 2.5,
    "backfill_pool": "imagen_backfill",
    "backfill_requests_per_minute": 30.5,
    "backfill_max_images": 1000,
    "backfill_max_cost_usd": 70,
    "backfill_max_rows": 5000,
    "prefetch": "auto",
    "prefetch_deadline_hours": 6.5,
    "prefetch_keep_output": True,
    "reference_buckets": "product-photos",
    "backfill_max_unpacked_bytes": 1000000,
    "backfill_max_plan_seconds": 60,
    "stream_max_images_per_hour": 100,
    "stream_max_images_per_day": 1000,
    "max_system_lag_seconds": 100,
    "max_watermark_age_seconds": 200,
    "max_backlog_age_seconds": 300,
    "max_backlog_size": 400,
    "max_failure_ratio": 0.25,
    "allowed_models": "gemini-3.1-flash-image,gemini-3-pro-image",
    "allowed_image_sizes": "1K",
    "max_images_per_prompt": 2,
    "console_url": "https://console.example.com",
    "gcp_conn_id": "another",
    "image_metadata": "on",
    "preprocess": "custom.example:prepare",
    "postprocess": "custom.example:compress",
    "notifier": '{"class": "a.B", "kwargs": {}}',
}
# The lists of others' resources have variables of their own.
OTHERS = {"allowed_projects": ["network-host", "123456"], "allowed_buckets": ["shared"]}
SIGNED = {"signed_url_hours": 24.5}


def environment_of(resources: dict[str, dict[str, Any]]) -> dict[str, Any]:
    (config,) = resources["google_composer_environment.imagen"]["config"]
    (software,) = config["software_config"]
    return software["env_variables"]


def test_the_dags_find_all_that_they_need_and_no_name_that_they_do_not_know(
    applied: Deployment,
) -> None:
    environment = environment_of(applied.resources)
    settings = Settings.from_environment(environment)
    assert settings.project == PROJECT
    assert settings.bucket == applied.outputs["environment"]["BUCKET"]
    assert settings.worker_service_account == f"imagen-worker@{PROJECT}.iam.gserviceaccount.com"
    assert settings.worker_subnetwork == "regions/us-central1/subnetworks/imagen"
    for template in (settings.stream_template, settings.backfill_template):
        bucket, _, name = template.removeprefix("gs://").partition("/")
        assert bucket == settings.bucket
        assert any(
            (one["bucket"], one["name"]) == (bucket, name)
            for one in of_kind(applied.resources, "google_storage_bucket_object").values()
        )
    made = of_kind(applied.resources, "google_pubsub_topic") | of_kind(
        applied.resources, "google_pubsub_subscription"
    )
    names = {one["name"] for one in made.values()}
    named = {
        value
        for name, value in settings.model_dump().items()
        if name.endswith(("_topic", "_subscription"))
    }
    assert named == names


def test_every_setting_that_the_code_reads_can_be_set(plan: Any) -> None:
    runbook = "https://example.com/runbook"
    others = {**OTHERS, **SIGNED, "batch_inference": True, "bigquery_dataset": "imagen"}
    assert set(environment_of(plan(settings=OTHERWISE, runbook_url=runbook, **others))) == {
        f"{PREFIX}{name.upper()}" for name in Settings.model_fields
    }


def test_what_is_set_arrives_as_it_was_meant(plan: Any) -> None:
    planned = plan(settings=OTHERWISE, **OTHERS, **SIGNED)
    settings = Settings.from_environment(environment_of(planned))
    assert settings.signed_url_hours == SIGNED["signed_url_hours"]
    values = {name: getattr(settings, name) for name in OTHERWISE}
    lists = {name: ",".join(each) for name, each in values.items() if isinstance(each, tuple)}
    assert values | lists == OTHERWISE
    assert {name: list(getattr(settings, name)) for name in OTHERS} == OTHERS


def test_what_is_not_set_is_left_to_the_code(planned: dict[str, dict[str, Any]]) -> None:
    left = {name.removeprefix(PREFIX).lower() for name in environment_of(planned)} & {
        *OTHERWISE,
        *OTHERS,
    }
    assert left == set()


# Of a provider that Composer has, and that is not installed here:
# https://airflow.apache.org/docs/apache-airflow-providers-openlineage/stable/configurations-ref.html
OPENLINEAGE = {"openlineage-selective_enable"}


def options_of(resources: dict[str, dict[str, Any]]) -> dict[str, str]:
    (config,) = resources["google_composer_environment.imagen"]["config"]
    (software,) = config["software_config"]
    options: dict[str, str] = software["airflow_config_overrides"]
    return options


def test_what_callbacks_say_comes_out_where_logs_are_read(
    planned: dict[str, dict[str, Any]],
) -> None:
    assert options_of(planned)["logging-dag_processor_log_target"] == "stdout"


def test_every_option_of_airflow_that_is_set_is_one_that_it_has(
    planned: dict[str, dict[str, Any]],
) -> None:
    from airflow.configuration import conf

    for name in options_of(planned):
        section, _, option = name.partition("-")
        options = conf.configuration_description.get(section, {}).get("options", {})
        assert option in options or name in OPENLINEAGE, name


def test_events_of_openlineage_are_sent_for_no_dag_that_does_not_ask_for_it(
    planned: dict[str, dict[str, Any]],
) -> None:
    """They carry the conf of a run."""
    assert options_of(planned)["openlineage-selective_enable"] == "True"
    for path in (ROOT / "dags").glob("*.py"):
        assert "enable_lineage" not in path.read_text(encoding="utf-8"), path


def test_an_option_that_composer_refuses_can_be_taken_back(plan: Any) -> None:
    given = {"logging-dag_processor_log_target": None, "core-parallelism": "8"}
    options = options_of(plan(airflow_config=given))
    assert options["core-parallelism"] == "8"
    assert options["core-dags_are_paused_at_creation"] == "False"
    assert "logging-dag_processor_log_target" not in options


def test_a_template_names_the_image_that_is_built_and_takes_what_the_dags_send(
    applied: Deployment,
) -> None:
    for name in ("stream", "backfill", "prefetch_import"):
        program = f"imagen-{name.replace('_', '-')}"
        spec = applied.resources[f'google_storage_bucket_object.template["{name}"]']["content"]
        template = Template.read("gs://bucket/template", lambda *_, s=spec: s.encode())
        assert template.program == PROGRAMS[program]
        image = f"us-central1-docker.pkg.dev/{PROJECT}/imagen/{program}:0123456789ab"
        assert template.image == image
        assert template.environment == {"sdkContainerImage": image}
        assert template.metadata == template_metadata(name)


def test_messages_go_the_same_ways_as_on_one_machine(applied: Deployment) -> None:
    subscriptions = of_kind(applied.resources, "google_pubsub_subscription")
    assert {
        (one["name"], one["topic"].rpartition("/")[2], one["filter"] or "")
        for one in subscriptions.values()
    } == set(Names.subscriptions)
    for one in subscriptions.values():
        assert one["expiration_policy"] == [{"ttl": ""}], "it is there for good"
        assert not one["retain_acked_messages"]


def test_of_the_images_nothing_is_ever_deleted_but_their_indexes_and_claims(
    planned: dict[str, dict[str, Any]],
) -> None:
    settings = Settings.from_environment(environment_of(planned))
    location = Location.parse(settings.images_location)
    deleted = [
        condition
        for rule in planned["google_storage_bucket.imagen"]["lifecycle_rule"]
        for action in rule["action"]
        if action["type"] == "Delete"
        for condition in rule["condition"]
    ]
    assert all(condition["matches_prefix"] for condition in deleted)

    def ages(name: str) -> list[int]:
        """After how many days each rule deletes the object of that name."""
        return [
            condition["age"]
            for condition in deleted
            if name.startswith(tuple(condition["matches_prefix"]))
            and name.endswith(tuple(condition.get("matches_suffix") or [""]))
        ]

    for kind in KINDS:
        assert ages(f"{location.index(kind)}0000000000000-00000000.jsonl") == [14]
    assert ages(f"{location.day_index(0)}0000000000000-00000000.jsonl") == [KEPT_DAYS]
    assert ages(location.thumbnail("00" * 16, 0)) == []
    for digits in ("00", "c0", "ff"):
        assert ages(f"{location.prefix}{digits}/{digits * 16}-0.png") == []
        assert ages(f"{location.prefix}{digits}/{digits * 16}.json") == []
        assert ages(f"{location.prefix}{digits}/{digits * 16}.claim") == [1]


def test_composers_bucket_holds_what_airflow_imports_and_nothing_else(
    applied: Deployment,
) -> None:
    uploads = ("google_storage_bucket_object.plugin", "google_storage_bucket_object.dag")
    files = {
        one["name"]: one for name, one in applied.resources.items() if name.startswith(uploads)
    }
    here = {
        path.relative_to(ROOT).as_posix()
        for folder, what in (("dags", "*.py"), ("plugins", "*.*"), ("beam_jobs", "*.py"))
        for path in (ROOT / folder).rglob(what)
        if path.is_file() and path.suffix != ".pyc"
    }
    here.add("beam_jobs/catalog.json")
    expected = {f"plugins/{name}" if name.startswith("beam_jobs") else name for name in here}
    assert "plugins/.airflowignore" in expected
    assert set(files) == expected
    composer = applied.resources["google_storage_bucket.composer"]["name"]
    assert {one["bucket"] for one in files.values()} == {composer}


# https://cloud.google.com/composer/docs/composer-3/scale-environments: vCPU, GB; from, to.
SIZES = {
    "scheduler": ((0.5, 1), (1, 8)),
    "dag_processor": ((0.5, 32), (1, 256)),
    "triggerer": ((0.5, 1), (1, 8)),
    "web_server": ((1, 4), (2, 32)),
    "worker": ((0.5, 32), (1, 256)),
}
# Of other generations of Composer; the service refuses them.
NOT_COMPOSER_3 = {
    "node_count",
    "private_environment_config",
    "master_authorized_networks_config",
    "database_config",
    "web_server_config",
}


def test_the_environment_is_one_that_composer_3_offers(applied: Deployment) -> None:
    (config,) = applied.resources["google_composer_environment.imagen"]["config"]
    (workloads,) = config["workloads_config"]
    for name, ((least_cpu, most_cpu), (least_gb, most_gb)) in SIZES.items():
        (size,) = workloads[name]
        assert least_cpu <= size["cpu"] <= most_cpu, name
        assert least_gb <= size["memory_gb"] <= most_gb, name
        assert 1 <= size["memory_gb"] / size["cpu"] <= 8, name
    text = (ROOT / "composer.tf").read_text(encoding="utf-8")
    assert not NOT_COMPOSER_3 & set(re.findall(r"^\s*(\w+) *(?:=|\{)", text, re.MULTILINE))


def test_airflow_is_the_version_that_the_tests_run_with(applied: Deployment) -> None:
    (config,) = applied.resources["google_composer_environment.imagen"]["config"]
    (software,) = config["software_config"]
    pinned = re.search(
        r"^apache-airflow==(\S+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE
    )
    assert pinned
    assert software["image_version"].startswith(f"composer-3-airflow-{pinned[1]}")


def test_maintenance_has_the_twelve_hours_a_week_that_composer_asks_for(
    applied: Deployment,
) -> None:
    import datetime as dt

    (config,) = applied.resources["google_composer_environment.imagen"]["config"]
    (window,) = config["maintenance_window"]
    start, end = (dt.datetime.fromisoformat(window[name]) for name in ("start_time", "end_time"))
    days = window["recurrence"].rpartition("BYDAY=")[2].split(",")
    assert end - start >= dt.timedelta(hours=4)
    assert (end - start) * len(days) >= dt.timedelta(hours=12)


def test_scripts_take_exactly_what_terraform_gives_out(applied: Deployment) -> None:
    text = (ROOT / "scripts" / "00_set_environment.sh").read_text(encoding="utf-8")
    taken = set(re.findall(r"^\s*_imagen_default (\w+)", text, re.MULTILINE))
    assert taken - {"IMAGE_TAG", "MAX_WORKERS"} == set(applied.outputs["environment"])
