"""Links from a task instance to its Dataflow job, the job's logs and its metrics."""

import dataclasses
from typing import Any
from urllib.parse import quote

from airflow.sdk import BaseOperatorLink
from typing_extensions import override


@dataclasses.dataclass(frozen=True)
class LinkedJob:
    """What a link needs to know about a job.

    Args:
        console: the URL of the Google Cloud console, without a trailing slash.
        project: the project id.
        region: the Dataflow region.
        job_id: the Dataflow job id.
    """

    console: str
    project: str
    region: str
    job_id: str


class _JobLink(BaseOperatorLink):
    """A link to a page about the job that the task worked on; empty if it worked on none.

    Airflow calls `get_link` in the task's own process, when the task ends.
    """

    @override
    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        job = getattr(operator, "linked_job", None)
        return self.address(job) if job else ""

    def address(self, job: LinkedJob) -> str:
        """Return the URL of the page about `job`."""
        raise NotImplementedError


class JobLink(_JobLink):
    """The job's page."""

    name = "Dataflow job"

    @override
    def address(self, job: LinkedJob) -> str:
        return _page(job)


class MetricsLink(_JobLink):
    """The job's page, with its metrics open."""

    name = "Dataflow metrics"

    @override
    def address(self, job: LinkedJob) -> str:
        return _page(job, ";mainTab=JOB_METRICS")


class LogsLink(_JobLink):
    """A search over the logs of the job's launcher, of the job and of its workers."""

    name = "Dataflow logs"

    @override
    def address(self, job: LinkedJob) -> str:
        query = quote(f'resource.type="dataflow_step"\nresource.labels.job_id="{job.job_id}"', "")
        return f"{job.console}/logs/query;query={query}?project={quote(job.project)}"


JOB_LINKS = (JobLink(), LogsLink(), MetricsLink())


@dataclasses.dataclass(frozen=True)
class LinkedBatch:
    """What a link needs to know about a batch job of Vertex AI.

    Args:
        console: the URL of the Google Cloud console, without a trailing slash.
        name: projects/PROJECT/locations/LOCATION/batchPredictionJobs/ID.
    """

    console: str
    name: str


class BatchLink(BaseOperatorLink):
    """The page of the batch job that the task worked on; empty if it worked on none."""

    name = "Vertex AI batch job"

    @override
    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        batch = getattr(operator, "linked_batch", None)
        if batch is None:
            return ""
        # The address is the one that `google.cloud.aiplatform.BatchPredictionJob` prints.
        _, project, _, location, _, job = map(quote, batch.name.split("/"))
        path = f"agent-platform/locations/{location}/batch-predictions/{job}"
        return f"{batch.console}/{path}?project={project}"


BATCH_LINKS = (BatchLink(),)


def _page(job: LinkedJob, tab: str = "") -> str:
    path = f"{quote(job.region)}/{quote(job.job_id)}"
    return f"{job.console}/dataflow/jobs/{path}{tab}?project={quote(job.project)}"
