"""What the runner is told besides the job's own counters."""

import apache_beam as beam
import pytest
from apache_beam.metrics import MetricsFilter

from beam_jobs import metrics
from beam_jobs.outcomes import METRICS_NAMESPACE, Failure, Reason, Work

# The name that Beam's own `ThrottlingSignaler` has for Dataflow.
COUNTER = MetricsFilter().with_namespace(METRICS_NAMESPACE).with_name("cumulativeThrottlingSeconds")


def outcome(throttled_ms: int, latency_ms: int = 60_000) -> Failure:
    work = Work(throttled_ms=throttled_ms, latency_ms=latency_ms)
    return Failure("1", "k", Reason.UNAVAILABLE, "", True, 1, b"", work=work)


def count(batches: list[list[Failure]]) -> None:
    for batch in batches:
        metrics.count_throttling(batch)


@pytest.mark.parametrize(
    ("batches", "seconds"),
    [
        ([[outcome(2_500)]], [2]),
        # What is less than a second is not lost.
        ([[outcome(600)], [outcome(600)]], [1]),
        # The prompts of a batch wait at the same time, and so do the calls of one prompt.
        ([[outcome(2_000), outcome(3_000), outcome(0)]], [3]),
        ([[outcome(9_000, latency_ms=4_000)]], [4]),
        ([[outcome(0)], []], []),
    ],
    ids=["one", "rest", "batch", "calls", "none"],
)
def test_the_runner_is_told_for_how_long_a_thread_waits_for_quota(batches, seconds):
    pipeline = beam.Pipeline("DirectRunner")
    pipeline | beam.Create([batches], reshuffle=False) | beam.Map(count)
    counters = pipeline.run().metrics().query(COUNTER)["counters"]
    assert [counter.committed for counter in counters] == seconds
