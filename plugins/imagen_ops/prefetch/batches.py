"""The batch jobs of one run: created once each, watched, and cancelled at the deadline."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from beam_jobs.prefetch.folder import PartFolder
from imagen_ops.errors import ApiError
from imagen_ops.google.rest import explained
from imagen_ops.jobs.batch_job import BatchJob, BatchRequest, BatchState, RowCounts
from imagen_ops.jobs.launch_request import RUN_LABEL
from imagen_ops.prefetch.decision import Step, Watch, next_step, what_happened
from imagen_ops.prefetch.state import Part, Prefetch, StateFile
from imagen_ops.prefetch.submission import SubmitStep, next_submit_step

if TYPE_CHECKING:
    from imagen_ops.google.clients import Clients

_log = logging.getLogger(__name__)

PART_LABEL = "imagen-part"
# How long a part may be kept from being submitted. The night can be made without it.
SUBMIT_PATIENCE = timedelta(hours=1)
_NOT_FOUND, _TOO_MANY = 404, 429
# What the first request of a project may be answered, with 400 FAILED_PRECONDITION:
# https://github.com/GoogleCloudPlatform/generative-ai/issues/1308
_PROVISIONING = "are being provisioned"


class Batches:
    """The batch jobs of one run. Its methods can be called again at any time.

    Args:
        clients: to reach Vertex AI and Cloud Storage.
        file: what the run's tasks know.
        run_label: the label value of the run, by which its batch jobs are found.
    """

    def __init__(self, clients: "Clients", file: StateFile, run_label: str) -> None:
        self._clients = clients
        self._file = file
        self._run_label = run_label

    def submit(self, deadline_after: timedelta) -> bool:
        """Create the batch jobs that are missing; return whether nothing more is to be done.

        Args:
            deadline_after: how long after the first one they have to end.

        Raises:
            ApiError: Cloud Storage refuses or does not answer.
            ValueError: what is known cannot be read.
        """
        now = datetime.now(UTC)
        state = self._change(
            lambda was: (
                was
                if was.submitted_from
                else was.changed(submitted_from=now, deadline=now + deadline_after)
            )
        )
        assert state.submitted_from
        assert state.deadline
        until = min(state.deadline, state.submitted_from + SUBMIT_PATIENCE)
        done = [self._submit(part, until) for part in state.parts]
        return all(done)

    def watch(self) -> bool:
        """See how the batch jobs do, and cancel them at the deadline; whether all have ended.

        Raises:
            ApiError: Cloud Storage refuses or does not answer.
            ValueError: what is known cannot be read.
        """
        with explained("reading what is known of the batch jobs"):
            state = self._file.known()
        deadline = state.deadline or datetime.now(UTC)
        ended = [part.ended or self._watch(part, deadline) for part in state.parts]
        return all(ended)

    def _submit(self, part: Part, until: datetime) -> bool:
        """Do what is to be done about a part; whether that is all."""
        found: list[BatchJob] | None = None
        step = next_submit_step(part.asked, found, now=datetime.now(UTC), until=until)
        if step is SubmitStep.LOOK:
            found = self._find(part, until)
            if found is None:
                return False
            step = next_submit_step(part.asked, found, now=datetime.now(UTC), until=until)
        if step is SubmitStep.ADOPT and found:
            self._adopt(part, found)
        elif step is SubmitStep.GIVE_UP:
            text = "it could not be submitted in time"
            self._note(part.changed(ended=True, problem=_of(part, text)))
        elif step is SubmitStep.CREATE:
            return self._create(part)
        return step is not SubmitStep.WAIT

    def _create(self, part: Part) -> bool:
        """Ask for a part's batch job; whether it was answered."""
        asked = part.changed(asked_at=datetime.now(UTC))
        self._note(asked)
        try:
            job = self._clients.batches(part.location).create(self._request(part))
        except ApiError as error:
            _log.warning("%s", error)
            if error.status == _TOO_MANY or _PROVISIONING in error.summary:
                self._note(part.changed(asked_at=None))  # it is sure that there is no job
                return False
            if error.transient:
                return False
            text = f"it was refused: {error.summary}"
            self._note(part.changed(asked_at=None, ended=True, problem=_of(part, text)))
            return True
        self._note(asked.changed(job=job.name, state=job.state))
        _log.info("part %d: %s, %d rows", part.number, job.standing, part.rows)
        return True

    def _find(self, part: Part, until: datetime) -> list[BatchJob] | None:
        """Return the jobs with a part's labels; None if that cannot be told yet."""
        try:
            jobs = self._clients.batches(part.location).labelled(RUN_LABEL, self._run_label)
        except ApiError as error:
            if error.transient and datetime.now(UTC) < until:
                _log.warning("%s; looking again", error)
                return None
            # Nothing is created in the dark. The budget goes without what there may be.
            text = f"whether it has a batch job is not known: {error.summary}"
            self._note(part.changed(ended=True, may_go_on=True, problem=_of(part, text)))
            return []
        of_part = [job for job in jobs if job.labels.get(PART_LABEL) == str(part.number)]
        if not of_part:
            _log.info("part %d: no batch job is found; one was asked for", part.number)
        return of_part

    def _adopt(self, part: Part, found: list[BatchJob]) -> None:
        unknown = datetime.max.replace(tzinfo=UTC)
        first, *others = sorted(found, key=lambda job: job.created or unknown)
        self._note(part.changed(job=first.name, state=first.state))
        _log.info("part %d: adopted: %s", part.number, first.standing)
        for job in others:
            # Nobody should have created it. What it makes would be paid for a second time.
            _log.error("part %d: cancelling %s: it has two", part.number, job.standing)
            self._clients.batches(part.location).cancel(job.name)

    def _watch(self, part: Part, deadline: datetime) -> bool:
        """Look at a part's batch job once; whether it has ended."""
        if not part.job:
            text = "whether it has a batch job is not known"
            self._note(part.changed(ended=True, may_go_on=True, problem=_of(part, text)))
            return True
        batches, job = self._clients.batches(part.location), None
        try:
            job = batches.get(part.job)
            _log.info("part %d: %s", part.number, job.standing)
        except ApiError as error:
            if error.status == _NOT_FOUND:
                text = "its batch job is gone: somebody deleted it"
                self._note(part.changed(ended=True, problem=_of(part, text)))
                return True
            _log.warning("%s; looking again", error)
        step = next_step(job, Watch(deadline, part.cancelled_at), datetime.now(UTC))
        seen = part.changed(state=job.state, counts=job.rows or part.counts) if job else part
        if step is Step.END and job:
            self._note(_ended(seen, job))
        elif step is Step.ABANDON:
            text = "its batch job did not end after the deadline, and may still run"
            self._note(seen.changed(ended=True, may_go_on=True, problem=_of(part, text)))
        elif step is Step.CANCEL:
            try:
                batches.cancel(part.job)
                _log.warning("part %d: the deadline has passed: cancelled", part.number)
                self._note(seen.changed(cancelled_at=datetime.now(UTC)))
            except ApiError as error:
                _log.warning("%s; trying again", error)
        elif seen.state is not part.state:
            self._note(seen)
        return step in (Step.END, Step.ABANDON)

    def _request(self, part: Part) -> BatchRequest:
        folder = PartFolder(part.folder)
        return BatchRequest(
            display_name=f"imagen-prefetch-{self._run_label[:12]}-{part.number:05d}",
            model=part.model,
            requests=folder.requests,
            output=folder.output.rstrip("/"),
            labels={"app": "imagen", RUN_LABEL: self._run_label, PART_LABEL: str(part.number)},
        )

    def _note(self, part: Part) -> None:
        self._change(lambda was: was.with_part(part))

    def _change(self, change: Callable[[Prefetch], Prefetch]) -> Prefetch:
        with explained("writing down what is known of the batch jobs"):
            return self._file.change(change)


def _ended(part: Part, job: BatchJob) -> Part:
    counts = job.rows
    if counts is None and not job.begun and job.state is not BatchState.SUCCEEDED:
        counts = RowCounts(incomplete=part.rows)  # it has never run
    happened = what_happened(job, cancelled_at=part.cancelled_at)
    return part.changed(ended=True, counts=counts, problem=_of(part, happened) if happened else "")


def _of(part: Part, text: str) -> str:
    return f"part {part.number} ({part.rows:,} images of {part.model}): {text}"
