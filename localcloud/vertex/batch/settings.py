"""How batch jobs behave: their pace, how they end, and what is wrong with their output."""

import dataclasses

from beam_jobs.catalog import BATCH_FILE_BYTES, BATCH_REQUESTS
from localcloud.vertex.batch.job import State

# States in which a job can be kept: the first two before it begins, the others halfway.
KEPT_BEFORE = (State.QUEUED, State.PENDING)
KEPT_HALFWAY = (State.RUNNING, State.PAUSED, State.UPDATING)
_ENDS = (State.EXPIRED, State.FAILED, State.CANCELLED, State.PARTIALLY_SUCCEEDED)


@dataclasses.dataclass
class Settings:
    """Settings, changed by a PATCH of `/localcloud/batch` of the stand-in for Vertex AI.

    Rates are shares of a job's rows, from 0 to 1. They are kept exactly, to a row.

    Attributes:
        latency_s: seconds that each API call takes.
        error_rate: the share of API calls that fail, with the HTTP status `error_status`.
        error_status: see `error_rate`.
        pending_s: seconds that a job waits before it runs.
        row_s: seconds that a row takes; one comes after the other.
        kept_in: a state, such as `QUEUED`, in which jobs stay until this is empty again: QUEUED or
            PENDING before they begin, RUNNING, PAUSED, or UPDATING from half of their rows on.
        end_in: a state in which jobs end early: EXPIRED, FAILED, CANCELLED, or
            PARTIALLY_SUCCEEDED.
        end_after: the share of its rows after which a job ends early; with 0, it never runs.
        shard_rows: the maximum number of rows in a file of output.
        failed_rate: rows that fail with 429, which may succeed later.
        wordless_rate: rows that fail with a status that has no code.
        doubled_rate: rows that are written twice.
        missing_rate: rows that are never finished.
        unlabelled_rate: rows whose echoed request has lost its labels.
        relabelled_rate: rows whose echoed request has other labels.
        no_image_rate: rows whose image is none.
        cut: the last line of each job's output ends in its middle.
        max_requests: the maximum number of rows in an input file.
        max_file_bytes: the maximum size of an input file.
        unserved_models: comma-separated models that batch inference does not serve.
        forbidden: the caller may not create jobs.
        agent_reads: whether the service agent may read the input.
        agent_writes: whether the service agent may write the output.
        storage_url: where the service agent reaches Cloud Storage, if not where others do: a test
            puts a proxy there that checks its permissions.
    """

    latency_s: float = 0.0
    error_rate: float = 0.0
    error_status: int = 503
    pending_s: float = 1.0
    row_s: float = 0.0
    kept_in: str = ""
    end_in: str = ""
    end_after: float = 0.5
    shard_rows: int = 1000
    failed_rate: float = 0.0
    wordless_rate: float = 0.0
    doubled_rate: float = 0.0
    missing_rate: float = 0.0
    unlabelled_rate: float = 0.0
    relabelled_rate: float = 0.0
    no_image_rate: float = 0.0
    cut: bool = False
    max_requests: int = BATCH_REQUESTS
    max_file_bytes: int = BATCH_FILE_BYTES
    unserved_models: str = ""
    forbidden: bool = False
    agent_reads: bool = True
    agent_writes: bool = True
    storage_url: str = ""

    def __post_init__(self) -> None:
        """Refuse states that there are not, and files without rows.

        Raises:
            ValueError: says which setting, what was given, and what was expected.
        """
        for name, states in (("kept_in", KEPT_BEFORE + KEPT_HALFWAY), ("end_in", _ENDS)):
            value = getattr(self, name)
            names = [state.short for state in states]
            if value and value not in names:
                raise ValueError(
                    f"setting {name!r}: expected one of {', '.join(names)}, or nothing, "
                    f"got {value!r}"
                )
        if self.shard_rows < 1:
            raise ValueError(f"setting 'shard_rows': expected at least 1, got {self.shard_rows}")


@dataclasses.dataclass
class Counts:
    """Counters since the start.

    Attributes:
        created: jobs.
        rows: rows that were finished, successfully or not.
        images: images in them.
        billed_usd: what they cost.
    """

    created: int = 0
    rows: int = 0
    images: int = 0
    billed_usd: float = 0.0
