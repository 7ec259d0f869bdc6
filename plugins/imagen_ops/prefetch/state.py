"""What a run's tasks know of its prefetch, in the bucket: `prefetch/<run label>/prefetch.json`.

A task that is tried again goes on from here. So a part is written down before its batch job is
asked for, and the job's name as soon as it is known.
"""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from imagen_ops.jobs.batch_job import BatchState, RowCounts
from imagen_ops.prefetch.import_report import ImportReport
from imagen_ops.prefetch.submission import Asked
from imagen_ops.records.shared_object import SharedObject

if TYPE_CHECKING:
    from google.cloud.storage import Client

SCHEMA = "imagen.prefetch/1"
_SHOWN_PROBLEMS = 20


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Part(_Record):
    """One file of requests, and its batch job.

    Attributes:
        number: from 0.
        folder: gs:// path of the folder with its requests, with a slash at its end.
        model: whose batch job it is for.
        location: where that is created.
        rows: how many requests it has, each for one image.
        likely_micro_usd: what they are likely to cost, in millionths of a US dollar.
        asked_at: when its batch job was asked for last; None: never.
        job: the name of its batch job, once it is known.
        state: the state in which that was seen last.
        counts: how many rows had ended then; None: not known.
        cancelled_at: when this run asked for the job's end; None: it has not.
        ended: whether nothing more is waited for.
        may_go_on: whether there may be a batch job all the same that works on it, and costs money.
        problem: why not everything was made, in words; or empty.
    """

    number: int
    folder: str
    model: str
    location: str
    rows: int
    likely_micro_usd: int
    asked_at: datetime | None = None
    job: str | None = None
    state: BatchState | None = None
    counts: RowCounts | None = None
    cancelled_at: datetime | None = None
    ended: bool = False
    may_go_on: bool = False
    problem: str = ""

    @property
    def asked(self) -> Asked:
        """Whether its batch job was asked for, and what became of that."""
        return Asked(answered=bool(self.job) or self.ended, asked_at=self.asked_at)

    @property
    def has_output(self) -> bool:
        """Whether its batch job may have made something."""
        return bool(self.job) and (self.counts is None or self.counts.successful > 0)

    def changed(self, **values: object) -> Self:
        """Return it with other values."""
        return self.model_copy(update=values)


class Prefetch(_Record):
    """What is known of the prefetch of a run.

    Attributes:
        schema_name: `imagen.prefetch/1`.
        run_id: Airflow's id of the run.
        parts: the files of requests; none if nothing is ordered.
        decision: why batch inference is used, or is not, in words.
        left_out: how many prompts the backfill's own job makes, by why they are not ordered.
        submitted_from: when the first batch job was about to be created, in UTC; None: not yet.
        deadline: when what has not ended is cancelled, in UTC; None: nothing is submitted yet.
        import_job: the id of the Dataflow job that stores what was made; None: not yet.
        imported: what that job reports.
        output_kept: whether the output of the batch jobs stays where it is.
        problems: what went wrong, in words.
    """

    schema_name: Literal["imagen.prefetch/1"] = "imagen.prefetch/1"
    run_id: str
    decision: str = ""
    parts: tuple[Part, ...] = ()
    left_out: dict[str, int] = {}
    submitted_from: datetime | None = None
    deadline: datetime | None = None
    import_job: str | None = None
    imported: ImportReport | None = None
    output_kept: bool = False
    problems: tuple[str, ...] = ()

    @property
    def submitted(self) -> bool:
        """Whether any batch job was asked for: from then on, the parts stay as they are."""
        return any(part.asked_at for part in self.parts)

    def changed(self, **values: object) -> Self:
        """Return it with other values."""
        return self.model_copy(update=values)

    def with_part(self, part: Part) -> Self:
        """Return it with another version of one part."""
        parts = tuple(part if part.number == old.number else old for old in self.parts)
        return self.changed(parts=parts)

    def with_problem(self, text: str) -> Self:
        """Return it with one more problem."""
        problems = tuple(dict.fromkeys((*self.problems, text)))
        return self.changed(problems=problems[:_SHOWN_PROBLEMS])


class StateFile:
    """The state of one run's prefetch. Google's exceptions pass through.

    Args:
        client: must be allowed to read and write the object.
        path: of the object, gs://BUCKET/NAME.
    """

    def __init__(self, client: "Client", path: str) -> None:
        bucket, _, name = path.removeprefix("gs://").partition("/")
        self._path = path
        self._object = SharedObject(client.bucket(bucket), name)

    def read(self) -> Prefetch | None:
        """Return what is known; None if the run has no prefetch.

        Raises:
            ValueError: the object is something else.
        """
        return self._parsed(self._object.read())

    def known(self) -> Prefetch:
        """Return what is known of a run that has a prefetch.

        Raises:
            ValueError: it has none, or the object is something else.
        """
        return self._known(self._object.read())

    def start(self, new: Prefetch) -> Prefetch:
        """Write what a run is about to order, unless it has ordered already; return what holds."""

        def begin(was: bytes | None) -> bytes:
            known = self._parsed(was)
            return _json(known if known and known.submitted else new)

        return self._known(self._object.change(begin))

    def change(self, change: Callable[[Prefetch], Prefetch]) -> Prefetch:
        """Change what is known, and return it.

        Raises:
            ValueError: there is no such object, or it is something else.
        """
        return self._known(self._object.change(lambda was: _json(change(self._known(was)))))

    def _known(self, content: bytes | None) -> Prefetch:
        known = self._parsed(content)
        if known is None:
            raise ValueError(f"{self._path} is gone: clear the task `prepare`, which writes it")
        return known

    def _parsed(self, content: bytes | None) -> Prefetch | None:
        if content is None:
            return None
        try:
            return Prefetch.model_validate_json(content)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            field = ".".join(map(str, first["loc"]))
            raise ValueError(
                f"{self._path}: expected an {SCHEMA} as the run's tasks write it: {field}: "
                f"{first['msg']}. Restore an older version of the object"
            ) from None


def _json(state: Prefetch) -> bytes:
    return state.model_dump_json(indent=1).encode()
