"""Jobs of Dataflow: found by their exact name, launched from a template, drained, asked.

The provider's own hook matches names by prefix, waits inside its calls, and knows neither updates
nor what a flex template answers to a name in use.
"""

import dataclasses
from datetime import UTC, datetime
from typing import Any

from imagen_ops.errors import ApiError
from imagen_ops.google.rest import RestHook
from imagen_ops.jobs.job import Job, JobState, api_time
from imagen_ops.jobs.launch_request import LaunchRequest

# Both jobs' counters are in this namespace; see beam_jobs/metrics.py.
_NAMESPACE = "imagen"
_CONFLICT = 409
# In these states a request to drain, or to cancel, has nothing more to do.
_ON_ITS_WAY = {
    JobState.DRAINED: {state for state in JobState if state.stopping or state.terminal},
    JobState.CANCELLED: {state for state in JobState if state.terminal} | {JobState.CANCELLING},
}
# A listing is read in pages of this many; what has ended, no further than one of them.
_PAGE = 100


@dataclasses.dataclass(frozen=True)
class JobMessage:
    """What Dataflow says about a job."""

    at: datetime
    text: str


class NameInUseError(RuntimeError):
    """An active job has the name already."""


class DataflowJobsHook(RestHook):
    """The jobs of one project and region.

    Every method raises `ApiError` when Dataflow refuses, or does not answer.
    """

    api = "dataflow"
    version = "v1b3"

    def __init__(self, gcp_conn_id: str, *, project: str, region: str) -> None:
        super().__init__(gcp_conn_id=gcp_conn_id)
        self._where = {"projectId": project, "location": region}

    def get(self, job_id: str) -> Job:
        """Return the job, labels included."""
        return Job.from_api(
            self.call(
                f"looking at job {job_id}",
                lambda service: _jobs(service).get(
                    **self._where, jobId=job_id, view="JOB_VIEW_DESCRIPTION"
                ),
            )
        )

    def active(self, name: str) -> Job | None:
        """Return the job that holds `name`, labels included, or None."""
        found = self._named(name, "ACTIVE", whole=True)
        return self.get(found.id) if found else None

    def all_active(self, name: str) -> list[Job]:
        """Return the jobs that hold `name`, without their labels: two while one is updated."""
        return self._all_named(name, "ACTIVE", whole=True)

    def active_like(self, prefix: str) -> list[Job]:
        """Return the active jobs whose names begin with `prefix`, without their labels."""
        return [job for job in self._list("ACTIVE") if job.name.startswith(prefix)]

    def last_ended(self, name: str) -> Job | None:
        """Return the job of that name that was created last, of those that have ended."""
        return self._named(name, "TERMINATED", whole=False)

    def launch(self, launch: LaunchRequest, *, update: bool = False) -> Job:
        """Launch a flex template.

        Args:
            launch: what to launch.
            update: take the place of the active job of that name, which has to be there.

        Raises:
            NameInUseError: an active job has the name.
        """
        body = {"launchParameter": launch.body(update=update)}
        try:
            answer = self.call(
                f"launching {launch.job_name} from {launch.template}",
                lambda service: (
                    service.projects().locations().flexTemplates().launch(**self._where, body=body)
                ),
            )
        except ApiError as error:
            if error.status == _CONFLICT:
                raise NameInUseError(str(error)) from error
            raise
        return Job.from_api({"name": launch.job_name, **answer["job"]})

    def drain(self, job_id: str) -> None:
        """Ask a streaming job to take no more input, and to finish what it has."""
        self._request(job_id, JobState.DRAINED)

    def cancel(self, job_id: str) -> None:
        """Ask a job to stop now; what a stream has under way is delivered to the next one."""
        self._request(job_id, JobState.CANCELLED)

    def counters(self, job_id: str) -> dict[str, int]:
        """Return the job's own counters so far, by name."""
        answer = self.call(
            f"reading the metrics of job {job_id}",
            lambda service: _jobs(service).getMetrics(**self._where, jobId=job_id),
        )
        counters: dict[str, int] = {}
        for metric in answer.get("metrics", []):
            name, value = metric.get("name", {}), metric.get("scalar")
            context = name.get("context", {})
            if context.get("namespace") != _NAMESPACE or "tentative" in context:
                continue
            if isinstance(value, int | float | str):
                # One metric comes once for each step that counts it.
                counters[name["name"]] = counters.get(name["name"], 0) + int(float(value))
        return counters

    def errors(self, job_id: str, *, since: datetime | None = None) -> list[JobMessage]:
        """Return the job's messages that are errors, oldest first."""
        after = {"startTime": since.astimezone(UTC).isoformat()} if since else {}
        messages = [
            message
            for page in self.pages(
                f"reading the messages of job {job_id}",
                lambda service, token: (
                    _jobs(service)
                    .messages()
                    .list(
                        **self._where,
                        **after,
                        jobId=job_id,
                        minimumImportance="JOB_MESSAGE_ERROR",
                        pageToken=token,
                    )
                ),
            )
            for message in page.get("jobMessages", [])
        ]
        found = [
            JobMessage(at, message.get("messageText", ""))
            for message in messages
            if (at := api_time(message.get("time")))
        ]
        return sorted(found, key=lambda message: message.at)

    def _named(self, name: str, which: str, *, whole: bool) -> Job | None:
        """Return the newest job called exactly `name`; of ended ones the first page will do."""
        found = self._all_named(name, which, whole=whole)
        oldest = datetime.min.replace(tzinfo=UTC)
        return max(found, key=lambda job: job.created or oldest, default=None)

    def _all_named(self, name: str, which: str, *, whole: bool) -> list[Job]:
        # Exactly: what the service finds by a name need not be.
        return [job for job in self._list(which, whole=whole, name=name) if job.name == name]

    def _list(self, which: str, *, whole: bool = True, name: str | None = None) -> list[Job]:
        jobs: list[Job] = []
        for page in self.pages(
            f"looking for jobs{f' called {name}' if name else ''}",
            lambda service, token: _jobs(service).list(
                **self._where, filter=which, name=name, pageSize=_PAGE, pageToken=token
            ),
        ):
            jobs += [Job.from_api(job) for job in page.get("jobs", [])]
            if not whole:
                break
        return jobs

    def _request(self, job_id: str, state: JobState) -> None:
        try:
            self.call(
                f"asking job {job_id} to become {state}",
                lambda service: _jobs(service).update(
                    **self._where, jobId=job_id, body={"requestedState": f"JOB_STATE_{state}"}
                ),
            )
        except ApiError as error:
            # Refused because somebody else was quicker: what was asked for is under way.
            if error.passing or self.get(job_id).state not in _ON_ITS_WAY[state]:
                raise


def _jobs(service: Any) -> Any:
    return service.projects().locations().jobs()
