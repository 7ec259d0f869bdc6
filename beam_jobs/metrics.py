"""The job's counters, in Beam's namespace `imagen`, under the names that dashboards read."""

from collections import Counter

from apache_beam.metrics import Metrics, MetricsFilter
from apache_beam.runners.runner import PipelineResult

from beam_jobs.outcomes import METRICS_NAMESPACE, Failure, Outcome


def count_outcome(outcome: Outcome) -> None:
    """Count one finished prompt. Call only from a DoFn: Beam binds metrics to its own threads.

    Canaries, and what was refused as one, say nothing about how prompts fare. They are counted
    apart, so that a stranger who sends many of them doesn't make a healthy stream look ill.
    """
    if outcome.canary:
        _add("refused_canaries" if isinstance(outcome, Failure) else "canaries")
        return
    if isinstance(outcome, Failure):
        _add("failures")
        _add(f"failures_{outcome.reason.value}")
    else:
        _add("predictions")
        _add("reused", int(outcome.reused))
    work = outcome.work
    _add("images", work.images)
    _add("bytes", work.bytes)
    _add("model_calls", work.calls)
    _add("quota_refusals", work.quota_refusals)
    _add("throttled_ms", work.throttled_ms)
    Metrics.distribution(METRICS_NAMESPACE, "latency_ms").update(work.latency_ms)


def count_prompt() -> None:
    """Count one incoming prompt, whether it succeeds or fails."""
    _add("prompts")


def summary(result: PipelineResult) -> str:
    """Return what a job that has ended has counted, as a line for people."""
    counts: Counter[str] = Counter()
    only_ours = MetricsFilter().with_namespace(METRICS_NAMESPACE)
    for counter in result.metrics().query(only_ours)["counters"]:
        counts[counter.key.metric.name] += counter.result
    return (
        f"prompts: {counts['prompts']:,}, predictions: {counts['predictions']:,} (found in "
        f"storage: {counts['reused']:,}), dead letters: {counts['failures']:,}, images paid for: "
        f"{counts['images']:,}"
    )


def _add(name: str, value: int = 1) -> None:
    if value:
        Metrics.counter(METRICS_NAMESPACE, name).inc(value)
