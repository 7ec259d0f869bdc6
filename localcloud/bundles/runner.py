"""Runs a batch job over several worker processes, which come and go: Beam's FnApiRunner, extended.

    python -m beam_jobs.backfill --runner=localcloud.bundles.runner.BundleRunner …

Beam's own way to have several processes, `--direct_running_mode=multi_processing`, starts a fixed
number of them and gives each a fixed part of a stage. When one dies, its part is never finished:
the control stream's reader ends, and the runner waits for that answer forever
([finding](../../findings/beam_multi_processing_waits_forever.sh)). Dataflow deals out many small
bundles, to the workers that it has at the moment, and retries a bundle of a worker that it has
lost. This runner does so too, over Beam's Fn API, with Beam's own worker harness.

The local Dataflow starts the workers. Each finds this process by the address in a file.
"""

import functools
from pathlib import Path
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner, fn_runner

from localcloud.bundles.attempts import BundlesOfStage
from localcloud.bundles.workers import WorkerManager, Workers
from localcloud.files import write_json
from localcloud.microbatch.metrics import MetricsOptions, RunningMetrics


class BundleOptions(PipelineOptions):
    """Options of `BundleRunner`."""

    @classmethod
    def _add_argparse_args(cls, parser: Any) -> None:
        parser.add_argument(
            "--worker_address_file",
            help="File that the address for workers is written to, as soon as they can connect.",
        )


class BundleRunner(FnApiRunner):
    """Runs each stage of a batch pipeline in bundles on whatever workers are connected."""

    # What `beam_jobs.pipeline.runners` asks of a runner that is not Beam's.
    keeps_every_prompt = True

    def run_pipeline(self, pipeline: Any, options: PipelineOptions) -> Any:
        """Run the pipeline until it is done.

        Raises:
            ValueError: the options don't say how workers find this process.
            BundleError: a bundle has failed four times.
        """
        own_options = options.view_as(BundleOptions)
        if not own_options.worker_address_file:
            raise ValueError(
                "--worker_address_file: expected the path of a file for the workers to read, got "
                "nothing; without worker processes, use FnApiRunner"
            )
        self._address_file = Path(own_options.worker_address_file)
        self._running_metrics = RunningMetrics(options.view_as(MetricsOptions).metrics_file)
        self._workers = Workers()
        try:
            return super().run_pipeline(pipeline, options)
        finally:
            self._running_metrics.write()

    def run_stages(self, stage_context: Any, stages: Any) -> Any:
        """Run the stages, with workers that this process does not start."""
        # Beam has no option for this: `run_stages` names the class that it makes.
        beams = fn_runner.WorkerHandlerManager
        fn_runner.WorkerHandlerManager = functools.partial(
            WorkerManager,
            workers=self._workers,
            on_listening=lambda address: write_json(self._address_file, address),
        )
        try:
            return super().run_stages(stage_context, stages)
        finally:
            fn_runner.WorkerHandlerManager = beams
            self._address_file.unlink(missing_ok=True)

    def _get_bundle_manager(self, bundle_context_manager: Any) -> BundlesOfStage:
        return BundlesOfStage(bundle_context_manager, self._workers, self._running_metrics)
