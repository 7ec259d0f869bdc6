"""Jobs that are submitted as pipelines, by Beam's DataflowRunner: checked, and made to run here.

A pipeline is not run from its proto: what was staged is looked at, and the job's own program runs
with the options that it was submitted with. Beam is imported by a process of its own, since that
takes seconds.
"""

import asyncio
import base64
import json
import os
import sys
from collections.abc import Mapping
from typing import Any, Protocol

from localcloud.dataflow import pipeline_check
from localcloud.dataflow.jobs import Job
from localcloud.dataflow.launching import check_name, new_job, program_of
from localcloud.dataflow.processes import ROOT
from localcloud.dataflow.registry import Registry
from localcloud.dataflow.schema import checked
from localcloud.dataflow.states import JobType
from localcloud.rest import ApiError

_CHECK_WITHIN_S = 120.0
_STORAGE = "storage.googleapis.com/"
_SCHEME = "gs://"


class Objects(Protocol):
    """What is needed of Cloud Storage. May block; called in threads."""

    def read(self, bucket: str, name: str) -> bytes:
        """Return an object's content; LookupError if it is not there."""

    def exists(self, bucket: str, name: str) -> bool:
        """Tell whether an object is there."""


async def submitted_job(
    body: dict[str, Any],
    registry: Registry,
    objects: Objects,
    *,
    project: str,
    location: str,
    replaces: str | None,
    environment: Mapping[str, str],
) -> Job:
    """Return the job that a `jobs.create` asks for; an earlier one if it is the same request.

    Raises:
        ApiError: 400, listing all that is wrong with the submission.
    """
    request = checked("Job", body)
    name = request.get("name") or ""
    check_name(name)
    request_id = request.get("clientRequestId")
    for job in registry.all(project, location):
        if request_id and (job.name, job.client_request_id) == (name, request_id):
            return job
    replaces = request.get("replaceJobId") or replaces
    if replaces is None:
        registry.check_free(project, location, name)
    else:
        old = registry.get(project, location, replaces)
        if not old.active or old.name != name:
            raise ApiError(
                400, f"replaceJobId: expected the id of the active job named {name}, got {replaces}"
            )
    kind = JobType(request.get("type") or JobType.UNKNOWN)
    wanted = request.get("environment") or {}
    options = (wanted.get("sdkPipelineOptions") or {}).get("options")
    if kind is JobType.UNKNOWN or not isinstance(options, dict):
        raise ApiError(
            400,
            "The workflow could not be created: expected type JOB_TYPE_STREAMING or JOB_TYPE_BATCH "
            "and environment.sdkPipelineOptions.options.",
        )
    wrong, pipeline = await asyncio.to_thread(_staged, wanted, options, objects)
    found = await _check_pipeline(kind, options, pipeline, environment) if pipeline else None
    wrong += found.problems if found else []
    if wrong or found is None:
        raise ApiError(400, "The workflow could not be created. Causes: " + "; ".join(wrong))
    return new_job(
        registry,
        program_of(kind),
        name=name,
        project=project,
        location=location,
        options=found.arguments,
        labels=request.get("labels") or {},
        environment=wanted,
        parameters=dict(argument[2:].split("=", 1) for argument in found.arguments),
        subscription=found.subscription,
        client_request_id=request_id,
        replaces=replaces,
    )


def _staged(
    environment: dict[str, Any], options: dict[str, Any], objects: Objects
) -> tuple[list[str], bytes]:
    """Return what is missing of what should have been staged, and the pipeline. Blocks."""
    wrong = []
    pipeline = b""
    url = str(options.get("pipelineUrl") or "")
    try:
        pipeline = objects.read(*_split(url, _SCHEME))
    except (LookupError, ValueError):
        wrong.append(f"the pipeline is not at pipelineUrl {url!r}")
    else:
        if not pipeline:
            wrong.append(f"the pipeline at {url} is empty")
    for pool in environment.get("workerPools") or ():
        for package in pool.get("packages") or ():
            where = package.get("location") or ""
            try:
                there = objects.exists(*_split(where, _STORAGE))
            except ValueError:
                there = False
            if not there:
                wrong.append(f"package {package.get('name')} is not at {where!r}")
    return wrong, pipeline


def _split(path: str, prefix: str) -> tuple[str, str]:
    bucket, separator, name = path.removeprefix(prefix).partition("/")
    if not path.startswith(prefix) or not separator or not bucket or not name:
        raise ValueError(path)
    return bucket, name


async def _check_pipeline(
    kind: JobType, options: dict[str, Any], pipeline: bytes, environment: Mapping[str, str]
) -> pipeline_check.Found:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", pipeline_check.__name__),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, **environment},
    )
    request = {
        "streaming": kind is JobType.STREAMING,
        "options": options,
        "pipeline": base64.b64encode(pipeline).decode(),
    }
    try:
        out, err = await asyncio.wait_for(
            process.communicate(json.dumps(request).encode()), _CHECK_WITHIN_S
        )
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        text = err.decode("utf-8", "replace")[-1000:]
        raise ApiError(500, f"The pipeline could not be looked at: {text}")
    return pipeline_check.Found(**json.loads(out.splitlines()[-1]))
