"""OpenLineage's events, as a transport of the type `file` leaves them, and what is wrong with them.

No package has OpenLineage's JSON Schemas. `OPENLINEAGE_SPEC` names the folder `spec` of a clone of
https://github.com/OpenLineage/OpenLineage. Without it, only its Python client checks them.
"""

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

from tests.composer_packages import FOLDER

SPEC = os.environ.get("OPENLINEAGE_SPEC")


def settings(file: Path, *, namespace: str = "imagen") -> dict[str, str]:
    """Return the settings of an Airflow whose events go to a file; see docs/operating.md."""
    transport = {
        "type": "transform",
        "transformer_class": "imagen_ops.dag.lineage_events.WithoutConf",
        "transport": {"type": "file", "log_file_path": str(file), "append": True},
    }
    return {
        "AIRFLOW__OPENLINEAGE__SELECTIVE_ENABLE": "False",
        "AIRFLOW__OPENLINEAGE__NAMESPACE": namespace,
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(transport),
    }


def read(file: Path) -> list[dict[str, Any]]:
    """Return the events so far; a line that is still being written is left out."""
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text().splitlines(keepends=True) if "\n" in line]


def datasets(events: list[dict[str, Any]], kind: str) -> set[str]:
    """Return what events have read (`inputs`) or written (`outputs`): namespace and name."""
    return {f"{one['namespace']} {one['name']}" for event in events for one in event.get(kind, ())}


def problems(event: dict[str, Any]) -> list[str]:
    """Return what is wrong with an event, by OpenLineage's own definition of it."""
    return [*_by_client(event), *(_by_schema(event, Path(SPEC)) if SPEC else ())]


def _by_schema(event: dict[str, Any], spec: Path) -> list[str]:
    from jsonschema import Draft202012Validator, FormatChecker
    from referencing import Registry, Resource

    def retrieve(uri: str) -> Any:
        name = uri.partition("#")[0].rsplit("/", 1)[-1]
        (path,) = [p for p in spec.rglob(name) if "tests" not in p.relative_to(spec).parts]
        return Resource.from_contents(json.loads(path.read_text()))

    registry = Registry(retrieve=retrieve)  # type: ignore[call-arg]
    checks = [("https://openlineage.io/spec/OpenLineage.json#/$defs/RunEvent", event, "")]
    holders = [event["run"], event["job"], *event.get("inputs", ()), *event.get("outputs", ())]
    for holder in holders:
        for name, facet in holder.get("facets", {}).items():
            if facet["_schemaURL"].startswith("https://openlineage.io/"):
                checks.append((facet["_schemaURL"], facet, f"{name}: "))
    return [
        f"{where}{error.message}"
        for uri, value, where in checks
        for error in Draft202012Validator(
            {"$ref": uri}, registry=registry, format_checker=FormatChecker()
        ).iter_errors(value)
    ]


def _by_client(event: dict[str, Any]) -> list[str]:
    if not importlib.util.find_spec("openlineage"):
        sys.path.append(str(FOLDER))  # the provider is there too, or there were no events
    from openlineage.client.event_v2 import (
        InputDataset,
        Job,
        OutputDataset,
        Run,
        RunEvent,
        RunState,
    )

    try:
        RunEvent(
            eventType=RunState(event["eventType"]),
            eventTime=event["eventTime"],
            run=Run(**event["run"]),
            job=Job(**event["job"]),
            producer=event["producer"],
            inputs=[InputDataset(**each) for each in event["inputs"]],
            outputs=[OutputDataset(**each) for each in event["outputs"]],
        )
    except (KeyError, TypeError, ValueError) as error:
        return [repr(error)]
    return []
