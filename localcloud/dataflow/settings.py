"""Settings of the stand-in for Dataflow, which can be changed while it runs."""

import dataclasses


@dataclasses.dataclass
class Settings:
    """Set by a PATCH of `/localcloud`.

    Attributes:
        error_rate: the share of calls that fail, from 0 to 1.
        error_status: the HTTP status of those calls.
        latency_s: seconds added to every call.
        queued_s: seconds that a job is QUEUED.
        unlisted_s: seconds for which a job that is QUEUED is in no listing. `jobs.get` answers
            about it, and its name is taken (googleapis/google-cloud-node issue 4827).
        pending_s: minimum seconds that a job is PENDING; it lasts until the job's process works.
        updated_s: seconds that an updated job's process has for its work in progress. Dataflow
            hands all of it to the new job at once; here, what is paid for is finished first.
    """

    error_rate: float = 0.0
    error_status: int = 503
    latency_s: float = 0.0
    queued_s: float = 0.5
    unlisted_s: float = 0.0
    pending_s: float = 0.5
    updated_s: float = 30.0
