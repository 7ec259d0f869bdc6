"""What both entry points do around their pipeline: check, submit, and wait where that is theirs."""

import importlib
import logging
import os
import sys
from collections.abc import Callable

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    DirectOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
    WorkerOptions,
)
from apache_beam.runners.runner import PipelineState

from beam_jobs.config import preflight
from beam_jobs.config.options import JobConfig, OptionsError, job_config, tune_for_dataflow
from beam_jobs.engine.process_memory import bound_arenas

EXIT_WRONG_OPTIONS = 2
# Set in the image of a flex template, to the image's own name.
IMAGE_VARIABLE = "IMAGEN_IMAGE"
# Parts of the input side by side where Beam runs it on this machine, so that a batch that waits for
# its slowest prompt leaves the window of calls to others.
LOCAL_PARTS = 8
# Warns of that on each run.
_FN_RUNNER = "apache_beam.runners.portability.fn_api_runner.fn_runner"


def run(
    options: PipelineOptions,
    *,
    streaming: bool,
    build: Callable[[beam.Pipeline, JobConfig], None],
    subscription: str | None = None,
    prompts: str | None = None,
) -> int:
    """Check the options, build the pipeline and run it; return the exit code.

    On Dataflow this returns once the job is submitted; its life is Dataflow's from there.
    """
    bound_arenas()
    # Forced: a library that logged while it was imported has left a handler of its own.
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        force=True,
    )
    runner = _runner(options, streaming=streaming)
    try:
        _import_runner(runner)
        _refuse_direct_runner(runner, streaming=streaming)
        _name_worker_image(options, runner)
        config = job_config(options, streaming=streaming)
        preflight.check(config, subscription=subscription, prompts=prompts)
    except (OptionsError, preflight.PreflightError) as error:
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        return EXIT_WRONG_OPTIONS
    tune_for_dataflow(options, config)
    pipeline = beam.Pipeline(options=options)
    build(pipeline, config)
    result = pipeline.run()
    if "Dataflow" in runner:
        return 0
    state = result.wait_until_finish()
    return 0 if state in (PipelineState.DONE, PipelineState.DRAINED) else 1


def _runner(options: PipelineOptions, *, streaming: bool) -> str:
    """Return the runner's name; for a batch job that names none, the one that needs nothing.

    Beam's own default first downloads another runner, Prism, and tries that.
    """
    standard = options.view_as(StandardOptions)
    if standard.runner:
        # As Beam reads it: `direct` and `dataflowrunner` name them, too.
        known = {name.lower(): name for name in StandardOptions.KNOWN_RUNNER_NAMES}
        given = standard.runner.lower()
        standard.runner = known.get(given) or known.get(f"{given}runner") or standard.runner
    elif not streaming:
        standard.runner = "FnApiRunner"
        # 1 is also what Beam has where nobody has said anything; the two cannot be told apart.
        local = options.view_as(DirectOptions)
        if local.direct_num_workers == 1 and local.direct_running_mode == "in_memory":
            # In memory each part has a thread. `multi_threading` would put gRPC in between, whose
            # sender (Beam 2.77, data_plane.py) takes what is written once a second, be it in the
            # middle of an element, and the reader then decodes without an end.
            local.direct_num_workers = LOCAL_PARTS
            logging.getLogger(_FN_RUNNER).addFilter(_not_about_workers)
    return str(standard.runner or "DirectRunner")


def _not_about_workers(record: logging.LogRecord) -> bool:
    return "direct_num_workers is not equal to 1" not in record.getMessage()


def _import_runner(runner: str) -> None:
    """Import a runner that is named by its path: it may bring options of its own."""
    if "." in runner:
        try:
            importlib.import_module(runner.rpartition(".")[0])
        except ImportError as error:
            raise OptionsError(f"--runner: {runner} cannot be imported: {error}") from error


def _refuse_direct_runner(runner: str, *, streaming: bool) -> None:
    if streaming and runner.endswith("DirectRunner"):
        raise OptionsError(
            "--runner: a stream on the DirectRunner acknowledges prompts before it has worked on "
            "them, and loses them when it stops; name DataflowRunner, or one that acknowledges "
            "afterwards"
        )


def _name_worker_image(options: PipelineOptions, runner: str) -> None:
    """Have Dataflow's workers run the image that this runs in, unless another is named.

    A template's spec names it too. Where that did not come through, Beam would choose an image
    without this package, and workers would fail on their first import.
    """
    if "Dataflow" not in runner:
        return
    worker = options.view_as(WorkerOptions)
    worker.sdk_container_image = worker.sdk_container_image or os.environ.get(IMAGE_VARIABLE)
    setup = options.view_as(SetupOptions)
    if not (worker.sdk_container_image or setup.setup_file or setup.extra_packages):
        raise OptionsError(
            "--sdk_container_image: expected an image for the workers that holds beam_jobs, such "
            "as beam_jobs/Dockerfile makes, got nothing"
        )
