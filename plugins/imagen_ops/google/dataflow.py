"""The Dataflow jobs of a deployment: found by exact name, and launched once.

A listing is late: it may not show a new job yet, and still show an old one as active. So what is
decided about a job goes by `jobs.get`, and the ids are those of the listing and those that
`imagen_ops.records.launches` remembers.
"""

import logging
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from imagen_ops.errors import ApiError
from imagen_ops.google.dataflow_api import DataflowApi
from imagen_ops.google.rest import explained
from imagen_ops.jobs.job import Job, JobState
from imagen_ops.jobs.launch_request import LaunchRequest
from imagen_ops.records.launches import UNDER_WAY_FOR, Drain, Remembered

if TYPE_CHECKING:
    from imagen_ops.records.launches import Launches

_log = logging.getLogger(__name__)

_NOT_FOUND, _CONFLICT = 404, 409
# A job's id begins with when it was created. Dataflow names the id of the job that has the name.
_JOB_ID = re.compile(r"\b\d{4}-\d\d-\d\d_\d\d_\d\d_\d\d-\d+\b")
# Of the remembered jobs of a name: two can be active, and one more may have been refused since.
_ASKED_FOR = 3


class NameInUseError(RuntimeError):
    """An active job already has this name.

    Args:
        text: what Dataflow says.
        job_id: the id of that job, if Dataflow names it.
    """

    def __init__(self, text: str, job_id: str | None = None) -> None:
        super().__init__(text)
        self.job_id = job_id


class DataflowJobsHook(DataflowApi):
    """The jobs of one project and region.

    Args:
        gcp_conn_id: the Airflow connection.
        project: the project's id.
        region: the region of the jobs.
        launches: opens the memory of what was launched; None: only listings are known.

    Raises:
        ApiError: by every method, if Dataflow refuses or does not answer. A job that no listing
            shows is known from Cloud Storage: if that does not answer, nobody can say that there is
            none.
    """

    def __init__(
        self,
        gcp_conn_id: str,
        *,
        project: str,
        region: str,
        launches: "Callable[[], Launches] | None" = None,
    ) -> None:
        super().__init__(gcp_conn_id, project=project, region=region)
        self._launches = launches

    def active(self, name: str) -> Job | None:
        """Return the newest active job with exactly this name and its labels, or None."""
        return _newest(self.all_active(name))

    def all_active(self, name: str) -> list[Job]:
        """Return the active jobs with this name and their labels. During an update there are two.

        They are the listed ones and the remembered ones, each as `jobs.get` describes it.
        """
        listed = [job.id for job in self.listed("ACTIVE", name=name)]
        return [job for job in self._each(name, listed) if job.state.active]

    def newest(self, name: str) -> Job | None:
        """Return the newest job with this name, active or ended, with its labels; or None."""
        listed = self.listed("ACTIVE", name=name)
        ended = _newest(self.listed("TERMINATED", name=name, all_pages=False))
        return _newest(self._each(name, [job.id for job in (*listed, *([ended] if ended else ()))]))

    def active_like(self, prefix: str) -> list[Job]:
        """Return the active jobs whose names start with `prefix`, without labels."""
        jobs = {job.id: job for job in self.listed("ACTIVE") if job.name.startswith(prefix)}
        if self._launches:
            with explained("looking for launches that no listing shows yet"):
                names = self._launches().names_since(prefix, datetime.now(UTC) - UNDER_WAY_FOR)
            for name in names:
                recent = self._each(name, [])
                jobs |= {job.id: job for job in recent if job.state.active}
        return list(jobs.values())

    def last_ended(self, name: str) -> Job | None:
        """Return the newest ended job with this name, or None."""
        listed = self.listed("TERMINATED", name=name, all_pages=False)
        remembered = [job for job in self._each(name, []) if job.state.terminal]
        return _newest([*listed, *remembered])

    def launch_under_way(self, name: str) -> bool:
        """Return whether a job of this name may still appear: a launch has no known answer."""
        return self._remembered(name).launch_under_way(datetime.now(UTC))

    def last_drain(self, name: str) -> Drain | None:
        """Return the last request to drain the jobs of this name that `note_drain` noted."""
        return self._remembered(name).drain

    def note_drain(self, name: str, drain: Drain) -> None:
        """Note a request to drain, for a launch that is under way and does not know of it."""
        if self._launches:
            with explained(f"noting the drain of {name}"):
                self._launches().drained(name, drain)

    def launch(self, request: LaunchRequest, *, update: bool = False) -> Job:
        """Launch a job from a flex template, and return it.

        Args:
            request: what to launch.
            update: replace the active job of the same name, which must exist.

        Raises:
            NameInUseError: an active job already has this name.
        """
        name, run_label = request.job_name, request.run_label
        if self._launches:
            with explained(f"noting that {name} is being launched"):
                self._launches().begin(name, run_label)
        try:
            job = self.request_launch(request, update=update)
        except ApiError as error:
            if error.status == _CONFLICT:
                found = _JOB_ID.search(str(error))
                self._note(lambda: self._launched(name, run_label, found[0] if found else None))
                raise NameInUseError(str(error), found[0] if found else None) from error
            if not error.transient:
                self._note(lambda: self._launched(name, run_label, None))
            raise
        self._note(lambda: self._launched(name, run_label, job.id))
        return job

    def launch_or_adopt(self, request: LaunchRequest) -> Job:
        """Launch a job whose name nothing else uses; adopt the one that an earlier try launched.

        Raises:
            NameInUseError: that one is not known, or is being cancelled.
        """
        try:
            return self.launch(request)
        except NameInUseError as error:
            # An earlier try launched it, and it was not visible yet.
            job = self.active(request.job_name)
            if job is None and error.job_id:
                job = self.get(error.job_id)
            if job is None or job.state is JobState.CANCELLING:
                raise
            return job

    def _each(self, name: str, listed: list[str]) -> Iterator[Job]:
        """Yield the jobs of a name, as `jobs.get` describes them: listed ones, then remembered."""
        remembered = Remembered()
        try:
            remembered = self._remembered(name)
        except ApiError as error:
            if not listed:
                raise
            _log.warning("%s; only jobs that are listed are known", error)
        for job_id in dict.fromkeys((*listed, *remembered.job_ids[:_ASKED_FOR])):
            try:
                job = self.get(job_id)
            except ApiError as error:
                if error.status != _NOT_FOUND:
                    raise
                continue  # it is no longer kept
            if job.name == name:
                yield job

    def _remembered(self, name: str) -> Remembered:
        if not self._launches:
            return Remembered()
        with explained(f"reading what was launched as {name}"):
            return self._launches().read(name)

    def _launched(self, name: str, run_label: str, job_id: str | None) -> None:
        if self._launches and job_id:
            self._launches().launched(name, run_label, job_id)
        elif self._launches:
            self._launches().refused(name, run_label)

    def _note(self, write: Callable[[], None]) -> None:
        """Write down a launch that has been answered: if that fails, the answer still counts."""
        try:
            with explained("noting the answer to a launch"):
                write()
        except ApiError as error:
            _log.warning("%s; until a listing shows the job, only this task knows it", error)


def _newest(jobs: Iterable[Job]) -> Job | None:
    unknown = datetime.min.replace(tzinfo=UTC)
    return max(jobs, key=lambda job: job.created or unknown, default=None)
