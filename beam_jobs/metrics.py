"""The job's counters, in Beam's namespace `imagen`, under the names that dashboards read."""

from apache_beam.metrics import Metrics

from beam_jobs.outcomes import Failure, Outcome

NAMESPACE = "imagen"


def count_outcome(outcome: Outcome) -> None:
    """Count one ended prompt. Only from within a DoFn: Beam's metrics belong to its threads."""
    if isinstance(outcome, Failure):
        _add("failures")
        _add(f"failures_{outcome.reason.value}")
    elif outcome.canary:
        _add("canaries")
        return
    else:
        _add("predictions")
        _add("reused", int(outcome.reused))
    work = outcome.work
    _add("images", work.images)
    _add("bytes", work.bytes)
    _add("model_calls", work.calls)
    _add("quota_refusals", work.quota_refusals)
    _add("throttled_ms", work.throttled_ms)
    Metrics.distribution(NAMESPACE, "latency_ms").update(work.latency_ms)


def count_prompt() -> None:
    """Count one prompt that came in, whatever becomes of it."""
    _add("prompts")


def _add(name: str, value: int = 1) -> None:
    if value:
        Metrics.counter(NAMESPACE, name).inc(value)
