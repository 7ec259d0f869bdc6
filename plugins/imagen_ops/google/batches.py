"""Vertex AI's batch jobs of one location, `batchPredictionJobs`: one method for each call.

The provider's `CreateBatchPredictionJobOperator` goes through the SDK, which holds a worker while
it waits; its Gemini operators are for the Developer API.
"""

from typing import Any

from imagen_ops.google.models import ModelsHook
from imagen_ops.jobs.batch_job import BatchJob, BatchRequest

_NO_RETRY = 0
_PAGE_SIZE = 100


class BatchesHook(ModelsHook):
    """The batch jobs of a project at one location.

    Raises:
        ApiError: by every method, if Vertex AI refuses or does not answer.
    """

    def create(self, request: BatchRequest) -> BatchJob:
        """Create a job, which starts at once. The call is never repeated.

        The service takes the same request twice, and both jobs would cost money. So whoever gets no
        answer has to look with `labelled` before asking again.
        """
        return BatchJob.from_api(
            self.call(
                f"creating the batch job {request.display_name}",
                lambda service: _jobs(service).create(parent=self._parent, body=request.body()),
                num_retries=_NO_RETRY,
            )
        )

    def get(self, name: str) -> BatchJob:
        """Return the job called projects/PROJECT/locations/LOCATION/batchPredictionJobs/ID."""
        return BatchJob.from_api(
            self.call(
                f"reading batch job {name.rpartition('/')[2]}",
                lambda service: _jobs(service).get(name=name),
            )
        )

    def labelled(self, label: str, value: str) -> list[BatchJob]:
        """Return the jobs with this label, whatever their state. A listing may be late."""
        found: list[BatchJob] = []
        for page in self.pages(
            f"listing batch jobs with {label}={value}",
            lambda service, token: _jobs(service).list(
                parent=self._parent,
                filter=f"labels.{label}={value}",
                pageSize=_PAGE_SIZE,
                pageToken=token,
            ),
        ):
            found += [BatchJob.from_api(job) for job in page.get("batchPredictionJobs", [])]
        return [job for job in found if job.labels.get(label) == value]

    def cancel(self, name: str) -> None:
        """Ask a job to end. It goes on to CANCELLED, and what it has finished is kept and paid."""
        self.call(
            f"cancelling batch job {name.rpartition('/')[2]}",
            lambda service: _jobs(service).cancel(name=name, body={}),
        )

    @property
    def _parent(self) -> str:
        return f"projects/{self._project}/locations/{self._location}"


def _jobs(service: Any) -> Any:
    return service.projects().locations().batchPredictionJobs()
