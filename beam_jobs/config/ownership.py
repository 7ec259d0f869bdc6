"""Checks that everything a job's options name is the deployment's own, or allowed by its lists.

Runs with the other checks of options, so before anything is read, called or launched.
"""

import re
from collections.abc import Mapping
from typing import Any

from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, WorkerOptions

from beam_jobs.allowed import BUCKET_PATTERN, PROJECT_PATTERN, Allowed, names_in

_PROJECTS, _BUCKETS = "allowed_projects", "allowed_buckets"
_REFERENCES = "reference_buckets"
_BUCKET_NAMES = "names of buckets without gs://"


def ownership_problems(
    options: PipelineOptions, ours: Mapping[str, Any], *, project: str, bucket: str
) -> list[str]:
    """Return one line for each option that names somebody else's resource, or no list.

    Args:
        options: all options, Beam's included.
        ours: the values of the job's own options, by name.
        project: the id of the project that the job runs in.
        bucket: the bucket of the images; empty if it isn't known, for another problem.
    """
    projects, buckets = names_in(ours[_PROJECTS]), names_in(ours[_BUCKETS])
    problems = [
        f"--{option}: expected comma-separated {what}, got {name[:200]!r}"
        for option, names, pattern, what in (
            (_PROJECTS, projects, PROJECT_PATTERN, "ids or numbers of projects"),
            (_BUCKETS, buckets, BUCKET_PATTERN, _BUCKET_NAMES),
            (_REFERENCES, names_in(ours[_REFERENCES]), BUCKET_PATTERN, _BUCKET_NAMES),
        )
        for name in names
        if not re.fullmatch(pattern, name)
    ]
    allowed = Allowed(project=project, bucket=bucket, projects=projects, buckets=buckets)
    cloud, worker = options.view_as(GoogleCloudOptions), options.view_as(WorkerOptions)
    # An option of ours needs no entry here: its value says what it is.
    texts = {
        f"--{name}": value
        for name, value in ours.items()
        if isinstance(value, str) and name not in (_PROJECTS, _BUCKETS, _REFERENCES)
    }
    places = {
        **texts,
        "--staging_location": cloud.staging_location,
        "--temp_location": cloud.temp_location,
        "--template_location": cloud.template_location,
    }
    if project:
        for name, value in texts.items():
            problems += allowed.resource(name, value)
        problems += allowed.network("--network", worker.network)
        problems += allowed.network("--subnetwork", worker.subnetwork)
        problems += allowed.account("--service_account_email", cloud.service_account_email)
    if bucket:
        for name, value in places.items():
            problems += allowed.path(name, value)
    return problems
