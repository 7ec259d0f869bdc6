"""Runs a streaming job on one machine: Beam's FnApiRunner in overlapping micro-batches.

    python -m beam_jobs.stream --runner=localcloud.runner.MicroBatchRunner …

Beam's own streaming DirectRunner acknowledges messages before it has processed them, cannot drain,
and handles 3 prompts a second. This runner pulls a micro-batch under a lease, runs the same
pipeline over it, and acknowledges it once the run has succeeded. It extends the lease meanwhile.
Many micro-batches run in parallel in one process and share its model object, so a prompt that takes
a minute does not delay those behind it.

The runner is for one machine. To scale beyond that, run the job on Dataflow.
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
from localcloud.microbatch.metrics import MetricsOptions, RunningMetrics
from localcloud.microbatch.overrides import Source, bind_batch, overrides_for

_log = logging.getLogger(__name__)

# These log a line for every run of a pipeline, which means several times a second here.
_NOISY_LOGGERS = ("apache_beam.runners.worker.statecache", "apache_beam.transforms.util")


class MicroBatchOptions(PipelineOptions):
    """Options of `MicroBatchRunner`."""

    @classmethod
    def _add_argparse_args(cls, parser: Any) -> None:
        parser.add_argument(
            "--max_micro_batches",
            type=int,
            default=64,
            help="Maximum number of micro-batches that run in parallel.",
        )
        # A slow prompt delays its micro-batch. When 1 % of the calls took 20 times as long, a
        # window of 64 handled 98 prompts a second with 1,024 messages, and 106 with 2,048.
        parser.add_argument(
            "--max_outstanding",
            type=int,
            default=2048,
            help="Maximum number of messages under lease at once.",
        )


class MicroBatchRunner(PipelineRunner):
    """Runs a pipeline that reads from one Pub/Sub subscription, until SIGTERM drains it."""

    # What `beam_jobs.pipeline.runners` asks of a runner that is not Beam's.
    keeps_every_prompt = True

    def run_pipeline(self, pipeline: beam.Pipeline, options: PipelineOptions) -> "MicroBatchResult":
        """Prepare the job; the result's `wait_until_finish` runs it until it is drained.

        Raises:
            ValueError: the pipeline does not read from a Pub/Sub subscription.
        """
        own_options = options.view_as(MicroBatchOptions)
        for name in _NOISY_LOGGERS:
            logging.getLogger(name).setLevel(logging.WARNING)
        source = Source()
        pipeline.replace_all(overrides_for(source))
        if source.subscription is None:
            raise ValueError(
                "this runner needs a pipeline with ReadFromPubSub(subscription=…); for one "
                "without, use the default runner"
            )
        metrics = RunningMetrics(options.view_as(MetricsOptions).metrics_file)
        # Translated once: each micro-batch runs the same graph over other messages.
        graph = _Graph(pipeline, options)

        def run(batch: list[Any]) -> None:
            with bind_batch(batch):
                metrics.add(graph.run().metrics())

        leases = Leases(source.subscription)
        batches = Batches(
            leases,
            run,
            max_batches=own_options.max_micro_batches,
            max_messages=own_options.max_outstanding,
        )
        return MicroBatchResult(batches, metrics)


class _Graph:
    """The pipeline in the form that FnApiRunner runs."""

    def __init__(self, pipeline: beam.Pipeline, options: PipelineOptions) -> None:
        self._options = options
        runner = FnApiRunner()
        self._proto: beam_runner_api_pb2.Pipeline = pipeline.to_runner_api(
            default_environment=runner._default_environment
        )

    def run(self) -> Any:
        proto = beam_runner_api_pb2.Pipeline()
        proto.CopyFrom(self._proto)  # the runner's optimizer modifies the proto
        return FnApiRunner().run_via_runner_api(proto, self._options)


class MicroBatchResult(PipelineResult):
    """A streaming job. SIGTERM or SIGINT drains it; a second signal abandons work in progress."""

    def __init__(self, batches: Batches, metrics: RunningMetrics) -> None:
        super().__init__(PipelineState.RUNNING)
        self._batches = batches
        self._metrics = metrics
        self._stop = threading.Event()
        self._force = threading.Event()

    def wait_until_finish(self, duration: int | None = None) -> str:
        """Run until drained or cancelled, or for `duration` milliseconds; return the state."""
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
        """Pull no more messages; finish and acknowledge those in progress."""
        self._stop.set()

    def cancel(self) -> str:
        """Stop at once. Messages in progress are delivered again when their leases expire."""
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
                _log.warning("second %s: stopping at once", signal.Signals(number).name)
                self._force.set()
            else:
                _log.info("%s: draining", signal.Signals(number).name)
                self._stop.set()

        before = {n: signal.signal(n, on_signal) for n in (signal.SIGTERM, signal.SIGINT)}

        def restore() -> None:
            for number, handler in before.items():
                signal.signal(number, handler)

        return restore
