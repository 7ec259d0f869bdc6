"""The environment variables of Airflow's processes, which are all of their configuration.

The functions are pure, so that the configuration can be read and tested without an Airflow.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from localcloud.resources import Names

REGION = "us-central1"
MARK = "LOCALCLOUD_AIRFLOW_HOME"
"""Set in every process of an Airflow that this package started, to the Airflow's home folder."""

DATAFLOW = "CLOUDSDK_API_ENDPOINT_OVERRIDES_DATAFLOW"
MONITORING = "CLOUDSDK_API_ENDPOINT_OVERRIDES_MONITORING"

# Sized for two cores shared by the model's stand-in, the streaming job and Airflow. Tasks spend
# most of their time waiting; sensors that reschedule hold no slot.
_PARALLELISM = 4

_ALWAYS = {
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__PARALLELISM": str(_PARALLELISM),
    # The default looks up the machine's full name over the network, which can take seconds.
    "AIRFLOW__CORE__HOSTNAME_CALLABLE": "socket.gethostname",
    # A changed file is parsed at the next refresh of the folder. An unchanged one is parsed at
    # the last of these intervals, because the plugins that it imports may have changed.
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "2",
    "AIRFLOW__DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": "2",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "30",
    "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
    # The first parse compiles Airflow and Google's libraries, which can exceed the defaults of
    # 30 s and 50 s.
    "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "300",
    "AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": "360",
    "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "1",
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
    # How long after a scheduler's crash its tasks are adopted, and how often that is checked. The
    # scheduler's heartbeat comes every 5 s; Airflow's defaults of 30 s and 300 s are for fleets.
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "20",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
    # The end of a task is noticed at its next heartbeat; its worker slot is in use until then.
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    # The default of 5 s is too short for the first request after a start on a busy machine, and
    # a "task started" message that is sent twice fails the task.
    "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
    "AIRFLOW__API__HOST": "127.0.0.1",
    "AIRFLOW__API__WORKERS": "1",
    # Also how long an open page can delay the server's shutdown.
    "AIRFLOW__API__WORKER_TIMEOUT": "10",
    "AIRFLOW__API__INSTANCE_NAME": "Image generation on this machine",
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
    "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
    # As composer.tf has it: so that the first line of a task's log is what the task has to say.
    "AIRFLOW__LOGGING__NAMESPACE_LEVELS": (
        "airflow.dag_processing=WARNING airflow.providers.google=WARNING py.warnings=ERROR"
    ),
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    # As composer.tf has it: events carry what runs were triggered with.
    "AIRFLOW__OPENLINEAGE__SELECTIVE_ENABLE": "True",
    # glibc allows eight heaps for each core by default. Fewer save memory in every process.
    "MALLOC_ARENA_MAX": "2",
}


@dataclasses.dataclass(frozen=True)
class Secrets:
    """Keys for signing and encryption, created once for each home so that sessions survive."""

    fernet_key: str = dataclasses.field(repr=False)
    jwt_secret: str = dataclasses.field(repr=False)
    secret_key: str = dataclasses.field(repr=False)
    service_password: str = dataclasses.field(repr=False)


def environment_for(
    home: Path,
    *,
    cloud: Mapping[str, str],
    port: int,
    secrets: Secrets,
    dags: Path,
    plugins: Path,
    path: str = "",
    bucket: str = Names.bucket,
    paused: bool = False,
    shape: Mapping[str, str] | None = None,
    settings: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return the environment variables for Airflow's processes.

    Args:
        home: AIRFLOW_HOME, the folder of the database, logs and passwords.
        cloud: the local cloud's environment; all of it is passed on. If it names endpoints of
            Dataflow and Monitoring, the Google connection uses them.
        port: the API server's port on 127.0.0.1.
        secrets: keys for signing and encryption.
        dags: the folder of DAG files.
        plugins: the folder of plugins.
        path: the path that the API server is served under, such as `/airflow`; or nothing.
        bucket: the bucket of images, prompts and templates.
        paused: whether new DAGs are created paused.
        shape: the variables of Airflow's shape: executor, database and login.
        settings: further variables, `IMAGEN_…` or `AIRFLOW__…`, which override all others.

    Raises:
        KeyError: `cloud` lacks GOOGLE_CLOUD_PROJECT, so it is not a local cloud's environment.
    """
    url = f"http://127.0.0.1:{port}{path}"
    project = cloud["GOOGLE_CLOUD_PROJECT"]
    return {
        **_ALWAYS,
        **cloud,
        MARK: str(home),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(plugins),
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": str(paused),
        "AIRFLOW__CORE__FERNET_KEY": secrets.fernet_key,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__SECRET_KEY": secrets.secret_key,
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.jwt_secret,
        "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": _google_connection(project, cloud),
        **_imagen(project, bucket, cloud),
        **(shape or {}),
        **(settings or {}),
    }


def inherited(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the part of the caller's environment that Airflow's processes inherit.

    Leaves out another Airflow's configuration and this project's settings. Exempts this machine
    from any proxy.
    """
    variables = {
        name: value
        for name, value in environment.items()
        if not name.startswith(("AIRFLOW", "IMAGEN_")) and name != MARK
    }
    for name in ("NO_PROXY", "no_proxy"):
        hosts = [host for host in variables.get(name, "").split(",") if host]
        variables[name] = ",".join(dict.fromkeys([*hosts, "127.0.0.1", "localhost"]))
    return variables


def _google_connection(project: str, cloud: Mapping[str, str]) -> str:
    endpoints = {
        api: cloud[variable]
        for api, variable in (("dataflow", DATAFLOW), ("monitoring", MONITORING))
        if variable in cloud
    }
    extra = {"project": project, "num_retries": 5, "api_endpoints": endpoints}
    return json.dumps({"conn_type": "google_cloud_platform", "extra": extra})


def _imagen(project: str, bucket: str, cloud: Mapping[str, str]) -> dict[str, str]:
    console = {"IMAGEN_CONSOLE_URL": cloud[DATAFLOW].rstrip("/")} if DATAFLOW in cloud else {}
    return {
        "IMAGEN_PROJECT": project,
        "IMAGEN_REGION": REGION,
        "IMAGEN_BUCKET": bucket,
        "IMAGEN_STREAM_TEMPLATE": f"gs://{bucket}/templates/stream.json",
        "IMAGEN_BACKFILL_TEMPLATE": f"gs://{bucket}/templates/backfill.json",
        "IMAGEN_PREFETCH_TEMPLATE": f"gs://{bucket}/templates/prefetch_import.json",
        "IMAGEN_POKE_SECONDS": "2",
        **console,
    }
