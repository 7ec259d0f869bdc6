"""The decision itself: from the signals of one look to a verdict."""

from imagen_ops.health.assessment.readings import Readings, believable
from imagen_ops.health.assessment.running import examine, newest, summary
from imagen_ops.health.assessment.signals import Signals, Source, elapsed_s
from imagen_ops.health.assessment.thresholds import Thresholds
from imagen_ops.health.assessment.verdict import Reason, ReasonCode, Verdict
from imagen_ops.health.assessment.words import duration, quote
from imagen_ops.jobs.job import Job, JobState

_UNSEEN: dict[str, str] = {
    Source.DATAFLOW: "the job is unknown in whole or in part, and nothing is restarted",
    Source.MONITORING: "lag, watermark and backlog are unknown",
    Source.PUBSUB: "no canary could be sent or received",
}


def assess(signals: Signals, thresholds: Thresholds) -> Verdict:
    """Decide how the stream is. Pure; never raises, whatever the signals hold.

    The worst reason decides, and all are listed, worst first. A value at its limit is fine.

    | the stream should run | job | verdict |
    |---|---|---|
    | no | none active | HEALTHY: drained on purpose, by whom, what waits meanwhile |
    | no | DRAINING, CANCELLING | HEALTHY: on its way out |
    | no | any other | DEGRADED: nobody drains it |
    | yes | none active | DOWN, restart |
    | yes | QUEUED, PENDING, STOPPED (not started yet) | DEGRADED in the start-up grace, then DOWN |
    | yes | DRAINING, CANCELLING | DEGRADED: someone stops it outside of the DAGs |
    | yes | PAUSING, PAUSED | DEGRADED: someone paused it outside of the DAGs |
    | yes | UNKNOWN, RESOURCE_CLEANING_UP | DEGRADED: no state of a stream |
    | yes | RUNNING, or Dataflow does not answer | the signals, below |
    | either | a source does not answer | DEGRADED at least; no answer alone is never DOWN |

    | signal | DEGRADED | DOWN |
    |---|---|---|
    | system lag, watermark age, backlog size | over the limit | |
    | backlog age | over the limit | over the down limit, and the canary lost |
    | canary | not back in time, or back late | lost in two looks running |
    | failure ratio (with enough prompts) | over the limit | over the down limit |
    | error messages | any | |
    | reading missing or stale | except while the job is young | |
    | reading of the future, negative, NaN | always; treated as missing | |

    A job is young until the start-up grace has passed since it is RUNNING: then its metrics may be
    missing, and a canary that is not back counts as late, not as lost. A canary that is late while
    the backlog is over its limit is told with the backlog, under the backlog's code: one cause, one
    reason, as bad as the worse of both.

    `restart` is set only if the stream should run, Dataflow answered, and no job is active.
    """
    readings = believable(signals, thresholds)
    reasons = [
        Reason.degraded(
            ReasonCode.UNREACHABLE,
            f"{source} could not be asked: “{quote(error)}”. So "
            f"{_UNSEEN.get(source, 'less is known')}. "
            "Check the API's endpoint, and the roles of Airflow's service account.",
        )
        for source, error in signals.unreachable.items()
    ]
    job = signals.job if signals.job is not None and signals.job.state.active else None
    unseen = job is None and Source.DATAFLOW in signals.unreachable
    if not signals.wanted:
        if not unseen:
            reasons.append(_unwanted(signals, job, readings))
        return Verdict.of(reasons)
    if job is None and not unseen:
        return Verdict.of([_no_job(signals, readings), *reasons], restart=True)
    if job is not None and job.state is not JobState.RUNNING:
        return Verdict.of([_not_running(signals, thresholds, job), *reasons])

    young = job is not None and _within_grace(
        _age_s(signals, thresholds, job, running=True), thresholds
    )
    found, lost = examine(signals, thresholds, readings, young=young)
    reasons += found
    if job is not None and not reasons:
        known = summary(signals, thresholds, readings)
        reasons = [
            Reason.healthy(
                ReasonCode.RUNNING,
                f"{_named(job)} is RUNNING{_since(signals, job)}"
                + (f": {known}." if known else "."),
            )
        ]
    return Verdict.of(reasons, canary_lost=lost)


def _unwanted(signals: Signals, job: Job | None, readings: Readings) -> Reason:
    who = [quote(signals.wanted_by, 200)] if signals.wanted_by else []
    # The epoch stands for a stream that nobody has asked for yet.
    if signals.wanted_since is not None and signals.wanted_since.year > 1970:
        who.append(f"{duration(elapsed_s(signals.wanted_since, signals.at))} ago")
    by = f" ({', '.join(who)})" if who else ""
    if job is None:
        waiting = f" Backlog: {readings.backlog}." if readings.backlog else ""
        return Reason.healthy(
            ReasonCode.DRAINED,
            f"No job is active, on purpose{by}.{waiting} imagen_stream_start starts one.",
        )
    if job.state.stopping:
        return Reason.healthy(
            ReasonCode.STOPPING,
            f"{_named(job)} is {job.state}{_since(signals, job)}: stopped on purpose{by}.",
        )
    return Reason.degraded(
        ReasonCode.UNWANTED_JOB,
        f"{_named(job)} is {job.state}{_since(signals, job)} though the stream should not run{by}, "
        "and nobody drains it. Run imagen_stream_drain, or imagen_stream_start to keep it.",
    )


def _no_job(signals: Signals, readings: Readings) -> Reason:
    text = "No job is active, and the stream should run."
    ended = signals.last_job or signals.job
    if ended is not None:
        text += f" The last one, {_named(ended)}, {ended.state}"
        if ended.state_since is not None:
            text += f" {duration(elapsed_s(ended.state_since, signals.at))} ago"
        text += "."
    if signals.errors:
        text += f" Of its error messages {newest(signals)}."
    if readings.backlog:
        text += f" Backlog: {readings.backlog}."
    return Reason.down(
        ReasonCode.NO_JOB,
        f"{text} It is to be restarted; if that does not last, read the last job's log.",
    )


def _not_running(signals: Signals, thresholds: Thresholds, job: Job) -> Reason:
    what = f"{_named(job)} is {job.state}{_since(signals, job)}"
    if job.state.stopping:
        return Reason.degraded(
            ReasonCode.STOPPING,
            f"{what}, though the stream should run: someone stops it outside of these DAGs. It is "
            "restarted when it has ended; to leave it off, run imagen_stream_drain.",
        )
    if job.state in (JobState.PAUSING, JobState.PAUSED):
        return Reason.degraded(
            ReasonCode.PAUSED,
            f"{what}, though the stream should run: someone paused it outside of these DAGs. "
            "Resume it in the Dataflow console.",
        )
    if not job.state.starting:
        return Reason.degraded(
            ReasonCode.UNKNOWN_STATE,
            f"{what}, which is no state of a stream. Look at it in the Dataflow console.",
        )
    age = _age_s(signals, thresholds, job, running=False)
    grace = duration(thresholds.startup_grace_s)
    if age is None:
        return Reason.degraded(
            ReasonCode.STARTING, f"{what}, for how long is unknown; {grace} are normal."
        )
    if _within_grace(age, thresholds):
        return Reason.degraded(
            ReasonCode.STARTING, f"{what}, {duration(age)} after its launch; {grace} are normal."
        )
    return Reason.down(
        ReasonCode.STARTING,
        f"{what}, {duration(age)} after its launch, the limit is {grace}. See the launcher's log, "
        "and the project's quota of CPUs and addresses in the region.",
    )


def _age_s(signals: Signals, thresholds: Thresholds, job: Job, *, running: bool) -> float | None:
    """Return the seconds that a job is RUNNING, or else those since its launch; None if unknown.

    QUEUED turning into PENDING does not begin the grace anew.
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


def _since(signals: Signals, job: Job) -> str:
    if job.state_since is None:
        return ""
    age = elapsed_s(job.state_since, signals.at)
    return f" for {duration(age)}" if age >= 0 else ""
