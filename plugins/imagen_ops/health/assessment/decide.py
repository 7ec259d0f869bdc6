"""The health decision: from the signals of one health check to a verdict."""

from imagen_ops.health.assessment.failures import budget_reason
from imagen_ops.health.assessment.formatting import duration, quote
from imagen_ops.health.assessment.models import ending_model
from imagen_ops.health.assessment.readings import Readings, usable_readings
from imagen_ops.health.assessment.running import examine, newest_error, summary
from imagen_ops.health.assessment.signals import Signals, Source, elapsed_s
from imagen_ops.health.assessment.thresholds import Thresholds
from imagen_ops.health.assessment.verdict import Reason, ReasonCode, Verdict
from imagen_ops.jobs.job import Job, JobState

# By source: its name for people, and what a failed call to it means for the verdict.
_UNREACHABLE: dict[str, tuple[str, str]] = {
    Source.DATAFLOW: (
        "Dataflow",
        "The job's state is unknown, at least in part, so nothing is restarted.",
    ),
    Source.MONITORING: ("Cloud Monitoring", "Lag, watermark age and backlog are unknown."),
    Source.PUBSUB: ("Pub/Sub", "The canary could not be sent or received."),
    Source.STORAGE: ("Cloud Storage", "Whether a model refuses every prompt is unknown."),
}


def assess(signals: Signals, thresholds: Thresholds) -> Verdict:
    """Decide how healthy the stream is. Pure; never raises, whatever the signals hold.

    The worst reason decides, and all are listed, worst first. A value at its limit is fine.

    | the stream should run | job | verdict |
    |---|---|---|
    | no | none active | HEALTHY: drained on purpose, by whom, what is waiting |
    | no | DRAINING, CANCELLING | HEALTHY: stopping on purpose |
    | no | any other | DEGRADED: the job is not draining |
    | yes | none active | DOWN, restart; but not while a run of the start DAG is launching one |
    | yes | QUEUED, PENDING, STOPPED (not started yet) | DEGRADED in the start-up grace, then DOWN |
    | yes | DRAINING, CANCELLING | DEGRADED: somebody stopped it outside the DAGs |
    | yes | PAUSING, PAUSED | DEGRADED: somebody paused it outside the DAGs |
    | yes | UNKNOWN, RESOURCE_CLEANING_UP | DEGRADED: not a state a stream should be in |
    | yes | RUNNING, or unknown because calls to Dataflow fail | the signals, below |
    | either | calls to a source fail | DEGRADED at least; this alone is never DOWN |

    | signal | DEGRADED | DOWN |
    |---|---|---|
    | system lag, watermark age, backlog size | over the limit | |
    | backlog age | over the limit | over the down limit, and the canary lost |
    | canary | not back in time, or back late; lost, and none since | lost in two checks in a row |
    | failure ratio, in a window (see `failures`) | over the limit | over the down limit |
    | error messages | any | |
    | a model that refuses every prompt | others come through | the stream's own; none came out |
    | the end of the stream's model | within 14 days | |
    | reading missing or stale | except while the job is young | |
    | reading from the future, negative, NaN | always; treated as missing | |

    A job is young until it has been RUNNING for the start-up grace. Until then its metrics may be
    missing, and a canary that has not come back counts as late, not as lost. A late or lost canary
    is merged into the reason for a backlog over its limit, with the backlog's code and the worse
    status of the two: one cause, one reason.

    `restart` is set only if the stream should run, Dataflow answered, and no job is active. An
    unfinished run of the start DAG is left to launch the job for as long as a start takes. If the
    DAG is paused, or that time is over, the run stands in the way: the stream is restarted all the
    same, which is safe because only one job can have its name, and START_STUCK says so.
    """
    readings = usable_readings(signals, thresholds)
    reasons = [_unreachable(source, error) for source, error in signals.unreachable.items()]
    job = signals.job if signals.job is not None and signals.job.state.active else None
    job_unknown = job is None and Source.DATAFLOW in signals.unreachable
    if not signals.wanted:
        if not job_unknown:
            reasons.append(_unwanted(signals, job, readings))
        return Verdict.of(reasons)
    if job is None and not job_unknown:
        stuck = _stuck_start(signals, thresholds)
        waits = bool(signals.starts and signals.starts.unfinished) and stuck is None
        no_job = _no_job(signals, readings, waits=waits)
        return Verdict.of([no_job, *([stuck] if stuck else ()), *reasons], restart=not waits)
    if job is not None and job.state is not JobState.RUNNING:
        return Verdict.of([_not_running(signals, thresholds, job), *reasons])

    young = job is not None and _within_grace(
        _age_s(signals, thresholds, job, running=True), thresholds
    )
    problems, lost = examine(signals, thresholds, readings, young=young)
    reasons += problems
    over_budget = budget_reason(signals)
    if over_budget is not None:
        reasons.append(over_budget)
    elif job is not None and not reasons:
        values = summary(signals, thresholds, readings)
        state = _state(signals, job)
        text = f"{state}: {values}." if values else f"{state}."
        reasons = [Reason.healthy(ReasonCode.RUNNING, text)]
    return Verdict.of([*reasons, *ending_model(signals)], canary_lost=lost)


def _unreachable(source: str, error: str) -> Reason:
    name, consequence = _UNREACHABLE.get(source, (source, "Some signals are unknown."))
    return Reason.degraded(
        ReasonCode.UNREACHABLE,
        f"Calls to {name} failed: “{quote(error)}”. {consequence} Check the API's endpoint, and "
        "the roles of Airflow's service account.",
    )


def _unwanted(signals: Signals, job: Job | None, readings: Readings) -> Reason:
    drained_by = _drained_by(signals)
    if job is None:
        backlog = f" Backlog: {readings.backlog}." if readings.backlog else ""
        return Reason.healthy(
            ReasonCode.DRAINED,
            f"No job is active, as intended{drained_by}.{backlog} To start the stream, run "
            "imagen_stream_start.",
        )
    state = _state(signals, job)
    if job.state.stopping:
        return Reason.healthy(ReasonCode.STOPPING, f"{state}, as intended{drained_by}.")
    return Reason.degraded(
        ReasonCode.UNWANTED_JOB,
        f"{state}, but the stream should not be running{drained_by}. The job is not draining. Run "
        "imagen_stream_drain to stop it, or imagen_stream_start to keep it.",
    )


def _drained_by(signals: Signals) -> str:
    """Return who drained the stream and when, in parentheses; empty if unknown.

    Only for a stream that should not run: nothing but a drain records that.
    """
    by, since = quote(signals.wanted_by, 200), signals.wanted_since
    # The epoch means that nobody has started it yet.
    if since is None or since.year <= 1970:
        return f" ({by})" if by else ""
    ago = f"{duration(elapsed_s(since, signals.at))} ago"
    return f" (drained by {by}, {ago})" if by else f" (drained {ago})"


def _stuck_start(signals: Signals, thresholds: Thresholds) -> Reason | None:
    """Return what is wrong with an unfinished run of the start DAG, if it does not get on."""
    starts = signals.starts
    if starts is None or not starts.unfinished:
        return None
    runs = (
        "A run of imagen_stream_start is"
        if starts.unfinished == 1
        else (f"{starts.unfinished} runs of imagen_stream_start are")
    )
    if starts.paused:
        why = "the DAG is paused"
    else:
        ended = signals.last_job or signals.job
        since = (ended.state_since if ended else None) or signals.wanted_since
        without_job_s = None if since is None else elapsed_s(since, signals.at)
        if without_job_s is not None and without_job_s <= thresholds.startup_grace_s:
            return None
        why = (
            "it is unknown since when there is no job"
            if without_job_s is None
            else f"there has been no job for {duration(without_job_s)}"
        )
    return Reason.degraded(
        ReasonCode.START_STUCK,
        f"{runs} unfinished, and {why}. The stream is restarted without waiting for it. Switch the "
        "DAG on, or mark the run failed: when it goes on, it acts on the job that is active then.",
    )


def _no_job(signals: Signals, readings: Readings, *, waits: bool) -> Reason:
    text = "No job is active, but the stream should be running."
    ended = signals.last_job or signals.job
    if ended is not None:
        text += f" The last job, {_named(ended)}, ended as {ended.state}"
        if ended.state_since is not None:
            text += f" {duration(elapsed_s(ended.state_since, signals.at))} ago"
        text += "."
    if signals.errors:
        age, error = newest_error(signals)
        text += f" Its newest error message ({age}) was {error}."
    if readings.backlog:
        text += f" Backlog: {readings.backlog}."
    text += (
        " A run of imagen_stream_start is under way and launches one, so this run restarts nothing."
        if waits
        else " This run's restart task launches a new job. If the new job ends too, read the new "
        "job's log."
    )
    return Reason.down(ReasonCode.NO_JOB, text)


def _not_running(signals: Signals, thresholds: Thresholds, job: Job) -> Reason:
    state = _state(signals, job)
    if job.state.stopping:
        return Reason.degraded(
            ReasonCode.STOPPING,
            f"{state}, but the stream should be running: somebody stopped it outside these DAGs. "
            "The stream is restarted automatically once the job has ended. To keep it off, run "
            "imagen_stream_drain.",
        )
    if job.state in (JobState.PAUSING, JobState.PAUSED):
        return Reason.degraded(
            ReasonCode.PAUSED,
            f"{state}, but the stream should be running: somebody paused it outside these DAGs. "
            "Resume it in the Dataflow console.",
        )
    if not job.state.starting:
        return Reason.degraded(
            ReasonCode.UNKNOWN_STATE,
            f"{state}, which is not a state a stream should be in. Check it in the Dataflow "
            "console.",
        )
    age = _age_s(signals, thresholds, job, running=False)
    grace = duration(thresholds.startup_grace_s)
    if age is None:
        return Reason.degraded(
            ReasonCode.STARTING,
            f"{state}. When it was launched is unknown; up to {grace} is normal.",
        )
    if _within_grace(age, thresholds):
        return Reason.degraded(
            ReasonCode.STARTING,
            f"{state}. It was launched {duration(age)} ago; up to {grace} is normal.",
        )
    return Reason.down(
        ReasonCode.STARTING,
        f"{state}. It was launched {duration(age)} ago; the limit is {grace}. Check the launcher's "
        "log, and the project's quota for CPUs and IP addresses in the region.",
    )


def _age_s(signals: Signals, thresholds: Thresholds, job: Job, *, running: bool) -> float | None:
    """Return for how many seconds a job has been RUNNING, or else since its launch.

    None if unknown. A change from QUEUED to PENDING does not restart the grace.
    """
    times = (job.state_since, job.created) if running else (job.created, job.state_since)
    start = next((moment for moment in times if moment is not None), None)
    if start is None:
        return None
    age = elapsed_s(start, signals.at)
    return None if age < -thresholds.clock_skew_s else max(age, 0.0)


def _within_grace(age_s: float | None, thresholds: Thresholds) -> bool:
    return age_s is not None and age_s <= thresholds.startup_grace_s


def _named(job: Job) -> str:
    return f"{quote(job.name, 100)} ({quote(job.id, 100)})" if job.id else quote(job.name, 100)


def _state(signals: Signals, job: Job) -> str:
    """Return the start of a sentence: `NAME (ID) has been RUNNING for 4 min`."""
    age = None if job.state_since is None else elapsed_s(job.state_since, signals.at)
    if age is None or age < 0:
        return f"{_named(job)} is {job.state}"
    return f"{_named(job)} has been {job.state} for {duration(age)}"
