"""What Airflow is told, and what it is kept from."""

import json
from pathlib import Path

import pytest

from localcloud.airflow.environment import Secrets, environment_for, inherited

HOME = Path("/somewhere/airflow")
CLOUD = {
    "GOOGLE_CLOUD_PROJECT": "p-1",
    "PUBSUB_EMULATOR_HOST": "127.0.0.1:1",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_DATAFLOW": "http://127.0.0.1:2/",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_MONITORING": "http://127.0.0.1:3/",
}


def build(cloud=CLOUD, **changes):
    given = {
        "port": 8081,
        "secrets": Secrets("fernet", "jwt", "secret", "password"),
        "dags": Path("/repo/dags"),
        "plugins": Path("/repo/plugins"),
        **changes,
    }
    return environment_for(HOME, cloud=cloud, **given)


def test_the_local_clouds_environment_is_passed_on_whole():
    assert build().items() >= CLOUD.items()


def test_the_google_connection_reaches_the_stand_ins():
    connection = json.loads(build()["AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT"])
    assert connection == {
        "conn_type": "google_cloud_platform",
        "extra": {
            "project": "p-1",
            "num_retries": 5,
            "api_endpoints": {
                "dataflow": "http://127.0.0.1:2/",
                "monitoring": "http://127.0.0.1:3/",
            },
        },
    }


def test_a_cloud_without_dataflow_leaves_googles_own_endpoints():
    environment = build({"GOOGLE_CLOUD_PROJECT": "p-1"})
    connection = json.loads(environment["AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT"])
    assert connection["extra"]["api_endpoints"] == {}
    assert "IMAGEN_CONSOLE_URL" not in environment


def test_the_projects_settings_name_project_bucket_and_templates():
    given = {k: v for k, v in build(bucket="b-1").items() if k.startswith("IMAGEN_")}
    assert given == {
        "IMAGEN_PROJECT": "p-1",
        "IMAGEN_REGION": "us-central1",
        "IMAGEN_BUCKET": "b-1",
        "IMAGEN_STREAM_TEMPLATE": "gs://b-1/templates/stream.json",
        "IMAGEN_BACKFILL_TEMPLATE": "gs://b-1/templates/backfill.json",
        "IMAGEN_PREFETCH_TEMPLATE": "gs://b-1/templates/prefetch_import.json",
        "IMAGEN_POKE_SECONDS": "2",
        "IMAGEN_CONSOLE_URL": "http://127.0.0.1:2",
    }


def test_airflow_listens_on_this_machine_only_and_reports_no_usage():
    environment = build()
    assert environment["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert environment["AIRFLOW__API__BASE_URL"] == "http://127.0.0.1:8081"
    assert environment["AIRFLOW__API__PORT"] == "8081"
    assert environment["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == (
        "http://127.0.0.1:8081/execution/"
    )
    assert environment["AIRFLOW__USAGE_DATA_COLLECTION__ENABLED"] == "False"
    assert environment["AIRFLOW_HOME"] == str(HOME)


def test_under_a_path_pages_and_tasks_are_sent_there():
    environment = build(path="/airflow")
    assert environment["AIRFLOW__API__BASE_URL"] == "http://127.0.0.1:8081/airflow"
    assert environment["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == (
        "http://127.0.0.1:8081/airflow/execution/"
    )


def test_the_shape_overrides_what_all_have_and_settings_override_the_shape():
    environment = build(shape={"A": "shape", "B": "shape"}, settings={"B": "given"})
    assert (environment["A"], environment["B"]) == ("shape", "given")


@pytest.mark.parametrize("paused", [True, False])
def test_new_dags_are_unpaused_unless_requested_otherwise(paused):
    assert build(paused=paused)["AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION"] == str(paused)


def test_further_settings_override_all_others():
    environment = build(settings={"IMAGEN_POKE_SECONDS": "9", "AIRFLOW__CORE__PARALLELISM": "2"})
    assert environment["IMAGEN_POKE_SECONDS"] == "9"
    assert environment["AIRFLOW__CORE__PARALLELISM"] == "2"


def test_secrets_are_not_shown():
    assert "fernet" not in repr(Secrets("fernet", "x", "y", "z")).replace("fernet_key", "")


def test_another_airflow_and_a_proxy_are_kept_out():
    given = {
        "PATH": "/bin",
        "AIRFLOW_HOME": "/elsewhere",
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "IMAGEN_BUCKET": "production",
        "LOCALCLOUD_AIRFLOW_HOME": "/elsewhere",
        "HTTP_PROXY": "http://proxy",
        "no_proxy": "example.com",
    }
    assert inherited(given) == {
        "PATH": "/bin",
        "HTTP_PROXY": "http://proxy",
        "no_proxy": "example.com,127.0.0.1,localhost",
        "NO_PROXY": "127.0.0.1,localhost",
    }
