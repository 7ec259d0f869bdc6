"""What both entry points do around their pipeline: check, submit, and wait where that is theirs."""

import importlib
import logging
import sys
from collections.abc import Callable

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.runner import PipelineState

from beam_jobs import preflight
from beam_jobs.memory import bound_arenas
from beam_jobs.options import JobConfig, OptionsError, job_config, tune_for_dataflow

EXIT_WRONG_OPTIONS = 2


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
    runner = options.view_as(StandardOptions).runner or "DirectRunner"
    if "." in runner:
        # A runner of one's own may bring options of its own.
        importlib.import_module(runner.rpartition(".")[0])
    try:
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
