"""Accepts jobs that Beam's DataflowRunner submits as pipelines.

A submitted pipeline is not run from its proto. The staged files are checked, then the job's own
program runs with the options of the submission. Importing Beam takes seconds, so the pipeline is
checked in a process of its own.
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
    """The parts of Cloud Storage that are needed here. Methods may block; called in threads."""

    def read(self, bucket: str, name: str) -> bytes:
        """Return an object's content; raise LookupError if it does not exist."""

    def exists(self, bucket: str, name: str) -> bool:
        """Return whether an object exists."""


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
    """Return the job for a `jobs.create` request; the earlier job if the request is repeated.

    Args:
        body: the request's JSON, a Job.
        registry: the existing jobs.
        objects: Cloud Storage, for the staged files.
        project: the project in the request's path.
        location: the region in the request's path.
        replaces: the id of the job to replace, from the query string.
        environment: variables for the process that checks the pipeline.

    Raises:
        ApiError: 400, listing everything that is wrong with the submission; 404 or 409, the name
            is in use or the job to replace does not exist.
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
        registry.check_name_free(project, location, name)
    else:
        old = registry.get(project, location, replaces)
        if not old.active or old.name != name:
            raise ApiError(
                400, f"replaceJobId: expected the id of the active job named {name}, got {replaces}"
            )
    kind = JobType(request.get("type") or JobType.UNKNOWN)
    job_environment = request.get("environment") or {}
    options = (job_environment.get("sdkPipelineOptions") or {}).get("options")
    if kind is JobType.UNKNOWN or not isinstance(options, dict):
        raise ApiError(
            400,
            "The workflow could not be created: expected type JOB_TYPE_STREAMING or JOB_TYPE_BATCH "
            "and environment.sdkPipelineOptions.options.",
        )
    problems, pipeline = await asyncio.to_thread(_check_staged, job_environment, options, objects)
    result = await _check_pipeline(kind, options, pipeline, environment) if pipeline else None
    problems += result.problems if result else []
    if problems or result is None:
        raise ApiError(400, "The workflow could not be created. Causes: " + "; ".join(problems))
    return new_job(
        registry,
        program_of(kind, options),
        name=name,
        project=project,
        location=location,
        options=result.arguments,
        labels=request.get("labels") or {},
        environment=job_environment,
        parameters=dict(argument[2:].split("=", 1) for argument in result.arguments),
        subscription=result.subscription,
        client_request_id=request_id,
        replaces=replaces,
    )


def _check_staged(
    environment: dict[str, Any], options: dict[str, Any], objects: Objects
) -> tuple[list[str], bytes]:
    """Return which staged files are missing, and the serialized pipeline. Blocks."""
    problems = []
    pipeline = b""
    url = str(options.get("pipelineUrl") or "")
    try:
        pipeline = objects.read(*_split(url, _SCHEME))
    except (LookupError, ValueError):
        problems.append(f"the pipeline is not at pipelineUrl {url!r}")
    else:
        if not pipeline:
            problems.append(f"the pipeline at {url} is empty")
    for pool in environment.get("workerPools") or ():
        for package in pool.get("packages") or ():
            location = package.get("location") or ""
            try:
                exists = objects.exists(*_split(location, _STORAGE))
            except ValueError:
                exists = False
            if not exists:
                problems.append(f"package {package.get('name')} is not at {location!r}")
    return problems, pipeline


def _split(path: str, prefix: str) -> tuple[str, str]:
    bucket, separator, name = path.removeprefix(prefix).partition("/")
    if not path.startswith(prefix) or not separator or not bucket or not name:
        raise ValueError(path)
    return bucket, name


async def _check_pipeline(
    kind: JobType, options: dict[str, Any], pipeline: bytes, environment: Mapping[str, str]
) -> pipeline_check.CheckResult:
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
        raise ApiError(500, f"The pipeline could not be checked: {text}")
    return pipeline_check.CheckResult(**json.loads(out.splitlines()[-1]))
