"""What `composer.tf` deploys is what the code expects: settings, templates, messages, Composer."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from beam_jobs.images.location import KINDS, Location
from imagen_ops.settings import DEPLOYED, PREFIX, Settings
from imagen_ops.ui.index_reader import KEPT_DAYS
from localcloud.dataflow.templates import PROGRAMS, Template
from localcloud.resources import Names, template_metadata
from tests.conftest import ROOT
from tests.terraform.workspace import OTHERWISE, SETTINGS, Deployment, Workspace, of_kind

pytestmark = pytest.mark.slow

PROJECT = "my-project"
Resources = dict[str, dict[str, Any]]


def environment_of(resources: dict[str, dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        resources["google_storage_bucket_object.settings"]["content"]
    )
    return found


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


def test_every_setting_that_the_code_reads_can_be_set(otherwise: Resources) -> None:
    assert set(environment_of(otherwise)) == {
        f"{PREFIX}{name.upper()}" for name in Settings.model_fields
    }


def test_what_is_set_arrives_as_it_was_meant(otherwise: Resources) -> None:
    settings = Settings.from_environment(environment_of(otherwise))
    alone = ("signed_url_hours", "kms_key", "model", "worker_machine_type")
    expected = SETTINGS | {name: OTHERWISE[name] for name in alone}
    values = {name: getattr(settings, name) for name in expected}
    lists = {name: ",".join(each) for name, each in values.items() if isinstance(each, tuple)}
    assert values | lists == expected
    for name in ("allowed_projects", "allowed_buckets"):
        assert list(getattr(settings, name)) == OTHERWISE[name]
    assert set(settings.labels) == {"team=pictures", "stage=test"}


def test_what_is_not_set_is_left_to_the_code(planned: Resources) -> None:
    left = {name.removeprefix(PREFIX).lower() for name in environment_of(planned)}
    assert left & {*SETTINGS, "allowed_projects", "allowed_buckets", "labels", "kms_key"} == set()


def test_settings_are_read_where_the_plugins_are(applied: Deployment) -> None:
    one = applied.resources["google_storage_bucket_object.settings"]
    assert one["name"] == f"plugins/{DEPLOYED.name}"
    assert one["bucket"] == applied.resources["google_storage_bucket.composer[0]"]["name"]


# Of a provider that Composer has, and that is not installed here:
# https://airflow.apache.org/docs/apache-airflow-providers-openlineage/stable/configurations-ref.html
OPENLINEAGE = {"openlineage-selective_enable"}


def options_of(resources: dict[str, dict[str, Any]]) -> dict[str, str]:
    (config,) = resources["google_composer_environment.imagen[0]"]["config"]
    (software,) = config["software_config"]
    options: dict[str, str] = software["airflow_config_overrides"]
    return options


def test_what_callbacks_say_comes_out_where_logs_are_read_once_that_is_switched_on(
    planned: Resources, otherwise: Resources
) -> None:
    assert "logging-dag_processor_log_target" not in options_of(planned)
    assert options_of(otherwise)["logging-dag_processor_log_target"] == "stdout"


def test_every_option_of_airflow_that_is_set_is_one_that_it_has(
    planned: Resources, otherwise: Resources
) -> None:
    from airflow.configuration import conf

    for name in {**options_of(planned), **options_of(otherwise)}:
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


def test_an_option_that_composer_refuses_can_be_taken_back(otherwise: Resources) -> None:
    options = options_of(otherwise)
    assert options["core-parallelism"] == "8"
    assert options["core-dags_are_paused_at_creation"] == "False"
    assert "logging-namespace_levels" not in options


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
    applied: Deployment, applied_workspace: Workspace
) -> None:
    bucket = applied.resources["google_storage_bucket.composer[0]"]["name"]
    folder = applied_workspace.folder / "buckets" / bucket
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    here = {
        path.relative_to(ROOT).as_posix()
        for folder, what in (("dags", "*.py"), ("plugins", "*.*"), ("beam_jobs", "*.py"))
        for path in (ROOT / folder).rglob(what)
        if path.is_file() and path.suffix != ".pyc"
    }
    # Airflow would run it as a program.
    here -= {"beam_jobs/__main__.py"}
    here |= {"beam_jobs/catalog.json", "beam_jobs/.airflowignore"}
    expected = {f"plugins/{name}" if name.startswith("beam_jobs") else name for name in here}
    assert "plugins/imagen_ops/.airflowignore" in expected
    assert files == expected


def test_of_what_lies_beside_the_plugins_airflow_imports_none_as_a_plugin(
    applied: Deployment, applied_workspace: Workspace
) -> None:
    from airflow._shared.module_loading.file_discovery import find_path_from_directory

    bucket = applied.resources["google_storage_bucket.composer[0]"]["name"]
    plugins = applied_workspace.folder / "buckets" / bucket / "plugins"
    found = find_path_from_directory(str(plugins), ".airflowignore")
    assert [Path(path).name for path in found if path.endswith(".py")] == ["imagen_plugin.py"]


def test_scripts_take_exactly_what_terraform_gives_out(applied: Deployment) -> None:
    text = (ROOT / "scripts" / "00_set_environment.sh").read_text(encoding="utf-8")
    taken = set(re.findall(r"^\s*_imagen_default (\w+)", text, re.MULTILINE))
    assert taken - {"IMAGE_TAG", "MAX_WORKERS"} == set(applied.outputs["environment"])
