"""Airflow on Composer: its DAGs, plugins, versions, and the options that Composer may block."""

import re
from collections.abc import Iterator
from pathlib import Path

from verification.check import Check, DiffersError, Seen
from verification.visit import Visit

_DAGS = frozenset(
    {
        "imagen_stream_start",
        "imagen_stream_health",
        "imagen_stream_drain",
        "imagen_backfill",
        "imagen_dead_letters_replay",
    }
)
_PLUGIN = "imagen"
_REQUIREMENTS = Path(__file__).parents[2] / "requirements.txt"
# Those that a document doubts: `composer.tf` says what each is for.
_DOUBTED = ("logging-dag_processor_log_target", "openlineage-selective_enable")
_PACKAGES = ("apache-airflow-providers-google", "apache-airflow-providers-apache-beam")


def _dags(visit: Visit) -> Seen:
    if errors := visit.airflow.get("importErrors", limit=10)["import_errors"]:
        files = ", ".join(f"{error['filename']}" for error in errors)
        last = str(errors[0]["stack_trace"]).strip().splitlines()[-1]
        raise DiffersError(f"can't be imported: {files}; {last}")
    found = {dag["dag_id"]: dag for dag in visit.airflow.get("dags", limit=100)["dags"]}
    if missing := sorted(_DAGS - found.keys()):
        raise DiffersError(f"not there: {', '.join(missing)}; terraform apply uploads them")
    if paused := sorted(name for name in _DAGS if found[name]["is_paused"]):
        raise DiffersError(f"paused: {', '.join(paused)}; unpause them in Airflow")
    return Seen(f"{len(_DAGS)} DAGs, not paused, without import errors")


def _plugins(visit: Visit) -> Seen:
    """The web server has them; that DAGs parse and tasks run shows those that others have."""
    found = [each["name"] for each in visit.airflow.get("plugins", limit=100)["plugins"]]
    if _PLUGIN not in found:
        raise DiffersError(f"the web server has {', '.join(map(str, found)) or 'no plugins'}")
    health = visit.airflow.get("monitor/health")
    parts = {name: each.get("status") for name, each in health.items() if isinstance(each, dict)}
    return Seen(
        "the web server and the DAG processor have plugins/; components: "
        + ", ".join(f"{name} {status}" for name, status in parts.items()),
        facts={"components": parts},
    )


def _options(visit: Visit) -> Seen:
    software = visit.composer["config"]["softwareConfig"]
    options = software.get("airflowConfigOverrides", {})
    # The API writes some names with dots or hyphens between section and option.
    names = {re.sub(r"[.]", "-", name, count=1) for name in options}
    if missing := [name for name in _DOUBTED if name not in names]:
        raise DiffersError(
            f"{', '.join(missing)} is not among the environment's {len(options)} options"
        )
    state = visit.composer.get("state")
    if state != "RUNNING":
        raise DiffersError(f"the environment is {state}")
    return Seen(f"{software.get('imageVersion')} has {', '.join(_DOUBTED)}")


def _versions(visit: Visit) -> Seen:
    wanted = dict(re.findall(r"(?m)^([\w-]+)(?:\[\w+\])?==([\w.]+)", _REQUIREMENTS.read_text()))
    found = {
        each["package_name"]: each["version"]
        for each in visit.airflow.get("providers", limit=200)["providers"]
    }
    found["apache-airflow"] = visit.airflow.get("version")["version"]
    # Composer's own build has a suffix, as in 3.3.1+composer.
    others = [
        f"{name} {found.get(name)}, not {wanted[name]}"
        for name in ("apache-airflow", *_PACKAGES)
        if name in wanted and str(found.get(name)).partition("+")[0] != wanted[name]
    ]
    if others:
        raise DiffersError("; ".join(others))
    return Seen(
        ", ".join(f"{name} {found.get(name)}" for name in ("apache-airflow", *_PACKAGES)),
        facts={"providers": found},
    )


def checks() -> Iterator[Check]:
    """Yield them."""
    yield Check(
        name="dags",
        believed="Composer takes DAGs, plugins, and beam_jobs/ as they are, without packages.",
        where="composer.tf",
        expected="five DAGs, without import errors and not paused",
        ask=_dags,
    )
    yield Check(
        name="plugins seen",
        believed="The web server and the DAG processor see plugins/; nothing else has to.",
        where="docs/decisions/0003-sensors-that-reschedule.md",
        expected="the web server lists the plugin",
        ask=_plugins,
        needs=("dags",),
    )
    yield Check(
        name="composer options",
        believed="Composer takes the options that it doesn't list.",
        where="composer.tf",
        expected=f"{' and '.join(_DOUBTED)} are set, and the environment runs",
        ask=_options,
    )
    yield Check(
        name="versions",
        believed="Composer's image has the versions that tests run with.",
        where="requirements.txt",
        expected="the same versions of Airflow and its providers",
        ask=_versions,
    )
