"""Dataflow's API as far as the DAGs use it: one method for each call, and no decisions.

The provider's own hook matches names by prefix and waits inside its calls. It supports neither
updates nor the response of a flex template to a name in use.
"""

import dataclasses
from datetime import UTC, datetime
from typing import Any

from beam_jobs.outcomes import METRICS_NAMESPACE
from imagen_ops.errors import ApiError
from imagen_ops.google.rest import RestHook
from imagen_ops.jobs.job import Job, JobState, parse_api_time
from imagen_ops.jobs.launch_request import LaunchRequest

# The states in which a request to drain or to cancel has nothing more to do.
_NOTHING_TO_DO = {
    JobState.DRAINED: {state for state in JobState if state.stopping or state.terminal},
    JobState.CANCELLED: {state for state in JobState if state.terminal} | {JobState.CANCELLING},
}
# Jobs per page of a listing. Of ended jobs, only the first page is read.
_PAGE_SIZE = 100


@dataclasses.dataclass(frozen=True)
class JobMessage:
    """One of Dataflow's messages about a job, and its time in UTC."""

    at: datetime
    text: str


class DataflowApi(RestHook):
    """The jobs of one project and region.

    Raises:
        ApiError: by every method, if Dataflow refuses or does not answer.
    """

    api = "dataflow"
    version = "v1b3"

    def __init__(self, gcp_conn_id: str, *, project: str, region: str) -> None:
        super().__init__(gcp_conn_id=gcp_conn_id)
        self._parent = {"projectId": project, "location": region}

    def get(self, job_id: str) -> Job:
        """Return the job, with its labels."""
        return Job.from_api(
            self.call(
                f"reading job {job_id}",
                lambda service: _jobs(service).get(
                    **self._parent, jobId=job_id, view="JOB_VIEW_DESCRIPTION"
                ),
            )
        )

    def listed(
        self, job_filter: str, *, name: str | None = None, all_pages: bool = True
    ) -> list[Job]:
        """Return the jobs that a listing shows, without labels. It may be late.

        Args:
            job_filter: `ACTIVE` or `TERMINATED`.
            name: the exact name of the jobs; None: all.
            all_pages: whether to read more than the first page.
        """
        jobs: list[Job] = []
        for page in self.pages(
            f"listing jobs{f' named {name}' if name else ''}",
            lambda service, token: _jobs(service).list(
                **self._parent, filter=job_filter, name=name, pageSize=_PAGE_SIZE, pageToken=token
            ),
        ):
            jobs += [Job.from_api(job) for job in page.get("jobs", [])]
            if not all_pages:
                break
        # The service may also return jobs whose names are not exactly this one.
        return [job for job in jobs if name in (None, job.name)]

    def request_launch(self, request: LaunchRequest, *, update: bool) -> Job:
        """Launch a job from a flex template, and return what the service answers about it."""
        body = {"launchParameter": request.body(update=update)}
        answer = self.call(
            f"launching {request.job_name} from {request.template}",
            lambda service: (
                service.projects().locations().flexTemplates().launch(**self._parent, body=body)
            ),
        )
        return Job.from_api({"name": request.job_name, **answer["job"]})

    def drain(self, job_id: str) -> None:
        """Ask a streaming job to stop reading input and to finish what it has read."""
        self._request_state(job_id, JobState.DRAINED)

    def cancel(self, job_id: str) -> None:
        """Ask a job to stop now.

        Pub/Sub redelivers the prompts that a stream has not finished to the next stream.
        """
        self._request_state(job_id, JobState.CANCELLED)

    def counters(self, job_id: str) -> dict[str, int]:
        """Return the current values of the job's own counters, by name."""
        answer = self.call(
            f"reading the metrics of job {job_id}",
            lambda service: _jobs(service).getMetrics(**self._parent, jobId=job_id),
        )
        counters: dict[str, int] = {}
        for metric in answer.get("metrics", []):
            name, value = metric.get("name", {}), metric.get("scalar")
            context = name.get("context", {})
            if context.get("namespace") != METRICS_NAMESPACE or "tentative" in context:
                continue
            if isinstance(value, int | float | str):
                # A counter appears once per step that counts it.
                counters[name["name"]] = counters.get(name["name"], 0) + int(float(value))
        return counters

    def errors(self, job_id: str, *, since: datetime | None = None) -> list[JobMessage]:
        """Return the job's error messages, oldest first.

        `since` leaves out earlier ones; it needs a time zone.
        """
        time_range = {"startTime": since.astimezone(UTC).isoformat()} if since else {}
        messages = [
            message
            for page in self.pages(
                f"reading the messages of job {job_id}",
                lambda service, token: (
                    _jobs(service)
                    .messages()
                    .list(
                        **self._parent,
                        **time_range,
                        jobId=job_id,
                        minimumImportance="JOB_MESSAGE_ERROR",
                        pageToken=token,
                    )
                ),
            )
            for message in page.get("jobMessages", [])
        ]
        errors = [
            JobMessage(at, message.get("messageText", ""))
            for message in messages
            if (at := parse_api_time(message.get("time")))
        ]
        return sorted(errors, key=lambda message: message.at)

    def _request_state(self, job_id: str, state: JobState) -> None:
        try:
            self.call(
                f"changing job {job_id} to {state}",
                lambda service: _jobs(service).update(
                    **self._parent, jobId=job_id, body={"requestedState": f"JOB_STATE_{state}"}
                ),
            )
        except ApiError as error:
            # Somebody else made the same request first: the job is already changing.
            if error.transient or self.get(job_id).state not in _NOTHING_TO_DO[state]:
                raise


def _jobs(service: Any) -> Any:
    return service.projects().locations().jobs()
