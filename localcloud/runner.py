"""How a streaming job runs on one machine: Beam's FnApiRunner in overlapping micro-batches.

    python -m beam_jobs.stream --runner=localcloud.runner.MicroBatchRunner …

Beam's own streaming DirectRunner acknowledges what it has pulled before it has worked on it,
cannot drain, and gives 3 prompts a second. Here a micro-batch is pulled under a lease, the same
pipeline runs over it, and it is acknowledged when that has succeeded; the lease is extended
meanwhile. Many micro-batches run side by side in one process and share its model object, so a
prompt that takes a minute holds up nobody behind it.

For one machine; Dataflow is what it grows into.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineResult, PipelineRunner, PipelineState

from localcloud.microbatch.batches import Batches
from localcloud.microbatch.leases import Leases
from localcloud.microbatch.metrics import RunningMetrics
from localcloud.microbatch.overrides import Source, bind_batch, overrides_for

_log = logging.getLogger(__name__)

# These log a line for every run of a pipeline, which here is several times a second.
_TALKATIVE = ("apache_beam.runners.worker.statecache", "apache_beam.transforms.util")


class MicroBatchOptions(PipelineOptions):
    """Options of this runner."""

    @classmethod
    def _add_argparse_args(cls, parser: Any) -> None:
        parser.add_argument(
            "--max_micro_batches", type=int, default=64, help="most micro-batches side by side"
        )
        # A slow prompt holds up its micro-batch. Where 1 % of the calls took twenty times as long,
        # a window of 64 did 98 prompts a second with 1,024 of them, and 106 with 2,048.
        parser.add_argument(
            "--max_outstanding", type=int, default=2048, help="most messages under lease at once"
        )
        parser.add_argument(
            "--metrics_file", help="a file that the running metrics are written to, as JSON"
        )


class MicroBatchRunner(PipelineRunner):
    """Runs a pipeline that reads from one Pub/Sub subscription, until SIGTERM drains it."""

    def run_pipeline(self, pipeline: beam.Pipeline, options: PipelineOptions) -> "MicroBatchResult":
        """Start the job; the result's `wait_until_finish` works until it is drained."""
        given = options.view_as(MicroBatchOptions)
        for name in _TALKATIVE:
            logging.getLogger(name).setLevel(logging.WARNING)
        source = Source()
        pipeline.replace_all(overrides_for(source))
        if source.subscription is None:
            raise ValueError(
                "this runner needs a pipeline with ReadFromPubSub(subscription=…); for one "
                "without, use the default runner"
            )
        metrics = RunningMetrics(given.metrics_file)
        # Translated once; each micro-batch runs the same graph over other messages.
        graph = _Graph(pipeline, options)

        def run(batch: list[Any]) -> None:
            with bind_batch(batch):
                metrics.add(graph.run().metrics())

        leases = Leases(source.subscription)
        batches = Batches(
            leases,
            run,
            most_batches=given.max_micro_batches,
            most_messages=given.max_outstanding,
        )
        return MicroBatchResult(batches, metrics)


class _Graph:
    """The pipeline as FnApiRunner wants it."""

    def __init__(self, pipeline: beam.Pipeline, options: PipelineOptions) -> None:
        self._options = options
        runner = FnApiRunner()
        self._proto: beam_runner_api_pb2.Pipeline = pipeline.to_runner_api(
            default_environment=runner._default_environment
        )

    def run(self) -> Any:
        proto = beam_runner_api_pb2.Pipeline()
        proto.CopyFrom(self._proto)  # optimizing it changes it
        return FnApiRunner().run_via_runner_api(proto, self._options)


class MicroBatchResult(PipelineResult):
    """A running stream. SIGTERM or SIGINT drains it; a second one gives up what is under way."""

    def __init__(self, batches: Batches, metrics: RunningMetrics) -> None:
        super().__init__(PipelineState.RUNNING)
        self._batches = batches
        self._metrics = metrics
        self._stop = threading.Event()
        self._force = threading.Event()

    def wait_until_finish(self, duration: int | None = None) -> str:
        """Work until drained or cancelled, or for `duration` milliseconds; return the state."""
        deadline = None if duration is None else time.monotonic() + duration / 1000
        restore = self._handle_signals()
        try:
            self._state = self._batches.work(
                stop=lambda: (
                    self._stop.is_set() or (deadline is not None and time.monotonic() > deadline)
                ),
                force=self._force.is_set,
                progress=self._metrics.report,
            )
        finally:
            restore()
            self._metrics.write()
        return str(self._state)

    def drain(self) -> None:
        """Take no more messages; finish and acknowledge those under way."""
        self._stop.set()

    def cancel(self) -> str:
        """Leave at once; what is under way is delivered again when its lease runs out."""
        self._stop.set()
        self._force.set()
        return str(PipelineState.CANCELLED)

    def metrics(self) -> Any:
        """Return the metrics of all micro-batches so far."""
        return self._metrics

    def _handle_signals(self) -> Callable[[], None]:
        if threading.current_thread() is not threading.main_thread():
            return lambda: None

        def on_signal(number: int, _: object) -> None:
            if self._stop.is_set():
                _log.warning("%s again: leaving at once", signal.Signals(number).name)
                self._force.set()
            else:
                _log.info("%s: draining", signal.Signals(number).name)
                self._stop.set()

        before = {n: signal.signal(n, on_signal) for n in (signal.SIGTERM, signal.SIGINT)}

        def restore() -> None:
            for number, handler in before.items():
                signal.signal(number, handler)

        return restore
