"""What Airflow's processes find in their environment: the whole of their configuration.

Pure: what goes in decides what comes out, so that it can be read and tested without an Airflow.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from localcloud.resources import Names

REGION = "us-central1"
USERS = {"admin": "admin", "viewer": "viewer"}
"""User name to role, of Airflow's SimpleAuthManager."""

MARK = "LOCALCLOUD_AIRFLOW_HOME"
"""In the environment of every process that belongs to an Airflow of ours: the folder of which."""

DATAFLOW = "CLOUDSDK_API_ENDPOINT_OVERRIDES_DATAFLOW"
MONITORING = "CLOUDSDK_API_ENDPOINT_OVERRIDES_MONITORING"

# A machine with two cores runs the model's stand-in, the streaming job and Airflow. A task waits
# most of its time; sensors that reschedule hold no slot.
_PARALLELISM = 4

_ALWAYS = {
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
    "AIRFLOW__CORE__PARALLELISM": str(_PARALLELISM),
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{u}:{r}" for u, r in USERS.items()),
    # The default asks the network for the machine's full name, which may take seconds.
    "AIRFLOW__CORE__HOSTNAME_CALLABLE": "socket.gethostname",
    # A file that changed is parsed when the folder is looked at again; one that did not, for the
    # sake of the plugins it imports.
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "2",
    "AIRFLOW__DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": "2",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "30",
    "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
    # A first parse compiles Airflow and Google's libraries, for which 30 and 50 s may be too short.
    "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "300",
    "AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": "360",
    "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "1",
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
    # A crashed scheduler's tasks are taken over after this, seen at the interval below it. The
    # heartbeat comes every 5 s; Airflow's own 30 s and 300 s are for fleets.
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "20",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
    # A task's end is noticed at the next heartbeat; its worker's slot stays taken until then.
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    # The default of 5 s is too short for the first request after a start on a busy machine, and a
    # "task began" that is sent twice fails the task.
    "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
    "AIRFLOW__API__HOST": "127.0.0.1",
    "AIRFLOW__API__WORKERS": "1",
    # Also how long an open page may hold up the server's end.
    "AIRFLOW__API__WORKER_TIMEOUT": "10",
    "AIRFLOW__API__INSTANCE_NAME": "Image generation on this machine",
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
    "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    # Two threads' allocations need no eight heaps each; saves some memory in every process.
    "MALLOC_ARENA_MAX": "2",
}


@dataclasses.dataclass(frozen=True)
class Secrets:
    """What signs and encrypts; made once per home, so that sessions outlive a restart."""

    fernet_key: str = dataclasses.field(repr=False)
    jwt_secret: str = dataclasses.field(repr=False)
    secret_key: str = dataclasses.field(repr=False)


def environment_for(
    home: Path,
    *,
    cloud: Mapping[str, str],
    port: int,
    secrets: Secrets,
    dags: Path,
    plugins: Path,
    bucket: str = Names.bucket,
    paused: bool = False,
    settings: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return the variables that make Airflow's processes ours.

    Args:
        home: AIRFLOW_HOME; database, logs and passwords live there.
        cloud: the local cloud's environment; all of it is passed on. Where it names endpoints of
            Dataflow and Monitoring, the Google connection carries them.
        port: of the API server, on 127.0.0.1.
        secrets: see `Secrets`.
        dags: the folder of DAG files.
        plugins: the folder of plugins.
        bucket: the bucket of images, prompts and templates.
        paused: whether a new DAG waits to be switched on.
        settings: further variables, `IMAGEN_…` or `AIRFLOW__…`; they win.

    Raises:
        KeyError: `cloud` does not name the project, so it is no local cloud's environment.
    """
    url = f"http://127.0.0.1:{port}"
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
        # Several processes write; each waits for its turn, the 5 s of the default are too short.
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}?timeout=60",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__SECRET_KEY": secrets.secret_key,
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.jwt_secret,
        "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": _google_connection(project, cloud),
        **_imagen(project, bucket, cloud),
        **(settings or {}),
    }


def inherited(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what of the caller's environment the processes may see.

    Not another Airflow's configuration, nor settings of ours from elsewhere; and whatever proxy
    there is, this machine itself is reached without.
    """
    kept = {
        name: value
        for name, value in environment.items()
        if not name.startswith(("AIRFLOW", "IMAGEN_")) and name != MARK
    }
    for name in ("NO_PROXY", "no_proxy"):
        hosts = [host for host in kept.get(name, "").split(",") if host]
        kept[name] = ",".join(dict.fromkeys([*hosts, "127.0.0.1", "localhost"]))
    return kept


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
        "IMAGEN_POKE_SECONDS": "2",
        **console,
    }
