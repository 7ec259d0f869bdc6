"""The environment of a launch, as flags of the Python launcher and as the API shows it."""

import argparse
import re
from collections.abc import Mapping, Sequence
from typing import Any

from localcloud.rest import ApiError

_VALUES = {
    "numWorkers": "num_workers",
    "maxWorkers": "max_num_workers",
    "machineType": "machine_type",
    "serviceAccountEmail": "service_account_email",
    "tempLocation": "temp_location",
    "stagingLocation": "staging_location",
    "subnetwork": "subnetwork",
    "network": "network",
    "diskSizeGb": "disk_size_gb",
    "workerRegion": "worker_region",
    "workerZone": "worker_zone",
    "zone": "zone",
    "kmsKeyName": "dataflow_kms_key",
    "sdkContainerImage": "sdk_container_image",
}
_CHOICES = {
    "autoscalingAlgorithm": {
        "AUTOSCALING_ALGORITHM_NONE": "--autoscaling_algorithm=NONE",
        "AUTOSCALING_ALGORITHM_BASIC": "--autoscaling_algorithm=THROUGHPUT_BASED",
    },
    "ipConfiguration": {
        "WORKER_IP_PUBLIC": "--use_public_ips",
        "WORKER_IP_PRIVATE": "--no_use_public_ips",
    },
    "flexrsGoal": {
        "FLEXRS_SPEED_OPTIMIZED": "--flexrs_goal=SPEED_OPTIMIZED",
        "FLEXRS_COST_OPTIMIZED": "--flexrs_goal=COST_OPTIMIZED",
    },
    "streamingMode": {
        "STREAMING_MODE_AT_LEAST_ONCE": "--dataflow_service_options=streaming_mode_at_least_once",
        "STREAMING_MODE_EXACTLY_ONCE": "--dataflow_service_options=streaming_mode_exactly_once",
    },
}
# https://cloud.google.com/compute/docs/labeling-resources#restrictions
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
_MAX_LABELS = 64
_MAX_WORKERS = 1000


def flags_of(environment: Mapping[str, Any]) -> list[str]:
    """Return the flags for a FlexTemplateRuntimeEnvironment.

    Fields that concern only the launcher's machine or the Java SDK have no flag.
    """
    flags = [
        f"--{flag}={environment[name]}" for name, flag in _VALUES.items() if environment.get(name)
    ]
    flags += [
        choices[environment[name]]
        for name, choices in _CHOICES.items()
        if environment.get(name) in choices
    ]
    if environment.get("enableStreamingEngine"):
        flags.append("--enable_streaming_engine")
    labels = environment.get("additionalUserLabels") or {}
    flags += [f"--labels={key}={value}" for key, value in labels.items()]
    flags += [f"--experiments={name}" for name in environment.get("additionalExperiments") or ()]
    flags += environment.get("additionalPipelineOptions") or []
    return flags


def workers_of(options: Sequence[str]) -> tuple[int, int]:
    """Return how many workers a job starts with, and how many it can have.

    Dataflow chooses both where the options don't name them. Here a job then starts with one, and
    keeps what it starts with.

    Args:
        options: the job's command-line arguments.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--num_workers", type=int, default=1)
    parser.add_argument("--max_num_workers", type=int, default=1)
    try:
        given, _ = parser.parse_known_args(list(options))
    except argparse.ArgumentError:
        return 1, 1  # the job's program says what is wrong
    workers = max(1, given.num_workers)
    return workers, max(workers, given.max_num_workers)


def check_environment(environment: Mapping[str, Any]) -> None:
    """Validate a FlexTemplateRuntimeEnvironment.

    Raises:
        ApiError: 400, listing everything that is wrong.
    """
    labels = environment.get("additionalUserLabels") or {}
    problems = [
        f"additionalUserLabels: {key}={value} is no label"
        for key, value in labels.items()
        if not (_LABEL_KEY.fullmatch(key) and _LABEL_VALUE.fullmatch(value))
    ]
    if len(labels) > _MAX_LABELS:
        problems.append(f"additionalUserLabels: {len(labels)} labels; at most {_MAX_LABELS}")
    problems += [
        f"{name}: expected gs://BUCKET/FOLDER, got {environment[name]!r}"
        for name in ("tempLocation", "stagingLocation")
        if environment.get(name) and not environment[name].startswith("gs://")
    ]
    max_workers = environment.get("maxWorkers") or 0
    if not 0 <= max_workers <= _MAX_WORKERS:
        problems.append(f"maxWorkers: expected 1 to {_MAX_WORKERS}, got {max_workers}")
    if max_workers and (environment.get("numWorkers") or 0) > max_workers:
        problems.append(
            f"numWorkers: {environment['numWorkers']} is more than maxWorkers, {max_workers}"
        )
    if problems:
        raise ApiError(400, "The environment is invalid: " + "; ".join(problems))


def shown_environment(
    environment: Mapping[str, Any], options: Mapping[str, Any], *, streaming: bool
) -> dict[str, Any]:
    """Return the API's Environment of a job that was launched from a template.

    Args:
        environment: the FlexTemplateRuntimeEnvironment of the launch.
        options: the job's pipeline options.
        streaming: whether the job is a streaming job.
    """
    pool: dict[str, Any] = {
        "kind": "harness",
        "numWorkers": environment.get("numWorkers"),
        "machineType": environment.get("machineType"),
        "network": environment.get("network"),
        "subnetwork": environment.get("subnetwork"),
        "zone": environment.get("zone"),
        "diskSizeGb": environment.get("diskSizeGb"),
        "ipConfiguration": environment.get("ipConfiguration"),
        "workerHarnessContainerImage": environment.get("sdkContainerImage"),
    }
    if environment.get("maxWorkers"):
        pool["autoscalingSettings"] = {"maxNumWorkers": environment["maxWorkers"]}
    shown: dict[str, Any] = {
        "experiments": environment.get("additionalExperiments"),
        "serviceAccountEmail": environment.get("serviceAccountEmail"),
        "serviceKmsKeyName": environment.get("kmsKeyName"),
        "workerRegion": environment.get("workerRegion"),
        "workerZone": environment.get("workerZone"),
        "version": {"job_type": "FNAPI_STREAMING" if streaming else "FNAPI_BATCH", "major": "8"},
        "sdkPipelineOptions": {"options": dict(options)},
        "workerPools": [_nonempty(pool)],
    }
    if environment.get("tempLocation"):
        shown["tempStoragePrefix"] = environment["tempLocation"].replace(
            "gs:/", "storage.googleapis.com"
        )
    return _nonempty(shown)


def _nonempty(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}
