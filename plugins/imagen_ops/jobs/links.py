"""Links from a task instance to its job, the job's logs and its metrics in the console."""

import dataclasses
from typing import Any
from urllib.parse import quote

from airflow.sdk import BaseOperatorLink


@dataclasses.dataclass(frozen=True)
class LinkedJob:
    """Where a job is to be seen; `console` without a slash at its end."""

    console: str
    project: str
    region: str
    job_id: str


class _JobLink(BaseOperatorLink):
    """A link to the job that the task has worked on; empty as long as it has not."""

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return the address. Runs in the task's own process, at its end."""
        job = getattr(operator, "linked_job", None)
        return self.address(job) if job else ""

    def address(self, job: LinkedJob) -> str:
        """Return where the link leads to."""
        raise NotImplementedError


class JobLink(_JobLink):
    """The job's page."""

    name = "Dataflow job"

    def address(self, job: LinkedJob) -> str:
        """Return the address of the job's page."""
        return _page(job)


class MetricsLink(_JobLink):
    """The job's metrics."""

    name = "Dataflow metrics"

    def address(self, job: LinkedJob) -> str:
        """Return the address of the job's page, with its metrics open."""
        return _page(job, ";mainTab=JOB_METRICS")


class LogsLink(_JobLink):
    """What the job and its workers log."""

    name = "Dataflow logs"

    def address(self, job: LinkedJob) -> str:
        """Return the address of a search over the logs of launcher, job and workers."""
        query = quote(f'resource.type="dataflow_step"\nresource.labels.job_id="{job.job_id}"', "")
        return f"{job.console}/logs/query;query={query}?project={quote(job.project)}"


JOB_LINKS = (JobLink(), LogsLink(), MetricsLink())


def _page(job: LinkedJob, tab: str = "") -> str:
    path = f"{quote(job.region)}/{quote(job.job_id)}"
    return f"{job.console}/dataflow/jobs/{path}{tab}?project={quote(job.project)}"
