"""The metrics of a streaming job: those of its micro-batches, summed as they finish."""

import logging
import threading
import time
from pathlib import Path
from typing import Any

from apache_beam.metrics.cells import DistributionData, DistributionResult
from apache_beam.metrics.execution import MetricKey, MetricResult
from apache_beam.metrics.metric import MetricResults
from apache_beam.options.pipeline_options import PipelineOptions
from typing_extensions import override

from localcloud.files import write_json

_log = logging.getLogger(__name__)

LOG_EVERY_S = 10.0


class MetricsOptions(PipelineOptions):
    """Options of both runners. Beam parses those of all classes it knows of, so each needs one."""

    @classmethod
    def _add_argparse_args(cls, parser: Any) -> None:
        parser.add_argument(
            "--metrics_file", help="File that the job's metrics are written to, as JSON."
        )


class RunningMetrics(MetricResults):
    """Sums of the micro-batches' metrics, with Beam's `query` interface. Thread-safe.

    `query` returns the sums as Beam does for any pipeline result.

    Args:
        path: a file that is rewritten about once a second with the sums as JSON; None for none.
    """

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._counters: dict[MetricKey, int] = {}
        self._distributions: dict[MetricKey, DistributionData] = {}
        self._lock = threading.Lock()
        self._changed = False
        self._logged_at = time.monotonic()
        self._written_at = 0.0

    def add(self, results: MetricResults) -> None:
        """Add the metrics of one micro-batch."""
        metrics = results.query()
        with self._lock:
            self._changed = True
            for counter in metrics[MetricResults.COUNTERS]:
                self._counters[counter.key] = self._counters.get(counter.key, 0) + counter.committed
            for distribution in metrics[MetricResults.DISTRIBUTIONS]:
                data = distribution.committed.data
                before = self._distributions.get(distribution.key)
                self._distributions[distribution.key] = before.combine(data) if before else data

    @override
    def query(self, filter: Any = None) -> dict[str, list[MetricResult]]:
        with self._lock:
            counters = list(self._counters.items())
            distributions = list(self._distributions.items())
        return {
            self.COUNTERS: [
                MetricResult(key, value, value)
                for key, value in counters
                if self.matches(filter, key)
            ],
            self.DISTRIBUTIONS: [
                MetricResult(key, DistributionResult(data), DistributionResult(data))
                for key, data in distributions
                if self.matches(filter, key)
            ],
            self.GAUGES: [],
            self.STRINGSETS: [],
            self.BOUNDED_TRIES: [],
        }

    def totals(self, namespace: str = "imagen") -> dict[str, Any]:
        """Return counters by name, and distributions as objects with count, sum, min and max."""
        totals: dict[str, Any] = {}
        metrics = self.query()
        for counter in metrics[self.COUNTERS]:
            name = counter.key.metric
            if name.namespace == namespace:
                totals[name.name] = totals.get(name.name, 0) + counter.committed
        for distribution in metrics[self.DISTRIBUTIONS]:
            name = distribution.key.metric
            if name.namespace == namespace:
                data = distribution.committed.data
                totals[name.name] = {
                    "count": data.count,
                    "sum": data.sum,
                    "min": data.min,
                    "max": data.max,
                }
        return totals

    def report(self, under_way: int) -> None:
        """Log the sums every 10 s if they have changed, and write the file every second.

        `under_way` is the number of messages in progress.
        """
        now = time.monotonic()
        if self._changed and now - self._logged_at > LOG_EVERY_S:
            self._changed, self._logged_at = False, now
            totals = self.totals()
            _log.info(
                "%s, %d in progress",
                ", ".join(
                    f"{totals.get(name, 0)} {name}"
                    for name in ("prompts", "predictions", "failures")
                ),
                under_way,
            )
        if now - self._written_at > 1.0:
            self.write(under_way)

    def write(self, under_way: int = 0) -> None:
        """Write the file now."""
        self._written_at = time.monotonic()
        if self._path:
            write_json(Path(self._path), {"under_way": under_way, **self.totals()})
