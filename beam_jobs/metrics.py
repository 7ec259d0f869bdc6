"""The job's counters, in Beam's namespace `imagen`, under the names that dashboards read."""

import threading
from collections import Counter
from collections.abc import Iterable, Mapping

from apache_beam.io.components.adaptive_throttler import ThrottlingSignaler
from apache_beam.metrics import Metrics, MetricsFilter
from apache_beam.runners.runner import PipelineResult

from beam_jobs.outcomes import METRICS_NAMESPACE, Failure, Outcome

# Beam's counter of throttling is in whole seconds. What is left of a thread's is counted next time.
_left = threading.local()


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
        _add("signed_urls", len(outcome.signed_urls))
    work = outcome.work
    _add("images", work.images)
    _add("bytes", work.bytes)
    _add("model_calls", work.calls)
    _add("quota_refusals", work.quota_refusals)
    _add("throttled_ms", work.throttled_ms)
    # Counters are whole numbers.
    _add("cost_micro_usd", round(work.cost_usd * 1e6))
    _add("unpriced_calls", work.unpriced_calls)
    _add("answered_by_another_model", int(work.other_model))
    _add("unsigned_images", work.unsigned)
    _add("input_tokens", work.input_tokens)
    _add("text_tokens", work.text_tokens)
    _add("image_tokens", work.image_tokens)
    Metrics.distribution(METRICS_NAMESPACE, "latency_ms").update(work.latency_ms)


def count_throttling(outcomes: Iterable[Outcome]) -> None:
    """Tell the runner how long a batch waited for quota: Dataflow then adds no workers to wait too.

    A thread is throttled for as long as the prompt of its batch that waits longest. The sum over
    all prompts, which is `throttled_ms`, would be more time than has passed.

    Args:
        outcomes: those of one batch, which ran at once. Call only from the DoFn's thread.
    """
    waits_ms = (min(each.work.throttled_ms, each.work.latency_ms) for each in outcomes)
    waited_ms = max(waits_ms, default=0) + getattr(_left, "ms", 0)
    seconds, _left.ms = divmod(waited_ms, 1000)
    if seconds:
        ThrottlingSignaler(METRICS_NAMESPACE).signal_throttled(seconds)


def count_thumbnails(counts: Mapping[str, int]) -> None:
    """Count thumbnails that were made or missed. Call only from the DoFn's thread.

    Args:
        counts: since the last call, by the counters' names.
    """
    for name, count in counts.items():
        _add(name, count)


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
        f"prompts: {counts['prompts']:,}, predictions: {counts['predictions']:,} ("
        f"reused: {counts['reused']:,}), dead letters: {counts['failures']:,}, images paid for: "
        f"{counts['images']:,}"
    )


def _add(name: str, value: int = 1) -> None:
    if value:
        Metrics.counter(METRICS_NAMESPACE, name).inc(value)
