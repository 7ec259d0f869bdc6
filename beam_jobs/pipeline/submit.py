"""Runs a job: checks its options, submits its pipeline and, except on Dataflow, waits for it."""

import contextlib
import logging
import os
import sys
from collections.abc import Callable
from typing import TypeVar

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    DirectOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
    WorkerOptions,
)
from apache_beam.runners.runner import PipelineResult, PipelineState

from beam_jobs import metrics
from beam_jobs.config import preflight
from beam_jobs.config.job_config import (
    JobConfig,
    OptionsError,
    job_config,
    tune_for_dataflow,
)
from beam_jobs.engine.process_memory import bound_arenas
from beam_jobs.pipeline.report import unaccounted
from beam_jobs.pipeline.runners import refuse_lossy

EXIT_WRONG_OPTIONS = 2
# The image of a flex template sets this to the image's own name.
IMAGE_VARIABLE = "IMAGEN_IMAGE"
# Into how many parallel parts a local run splits its input. While one batch waits for its slowest
# prompt, the others keep the window of calls full.
LOCAL_PARTS = 8
# Logs a warning about that setting on each run.
_FN_RUNNER = "apache_beam.runners.portability.fn_api_runner.fn_runner"

# What a job's checked options say.
C = TypeVar("C")


def run(
    options: PipelineOptions,
    *,
    streaming: bool,
    build: Callable[[beam.Pipeline, JobConfig], None],
    subscription: str | None = None,
    prompts: str | None = None,
    report: str | None = None,
    plan: str | None = None,
) -> int:
    """Check the options, build the pipeline and run it; return the exit code.

    On Dataflow, this returns once the job is submitted. On other runners, it waits for the job.

    Args:
        options: of the job and of Beam.
        streaming: whether the job is the stream or a backfill.
        build: adds the job's transforms to a pipeline.
        subscription: for the stream, the subscription to check.
        prompts: for a backfill, the path or glob to check.
        report: for a backfill, where it writes its counts; None for no report.
        plan: for a backfill, the plan to check; None if it has none.

    Returns:
        0 for success, 1 for a job that failed or whose report does not add up,
        `EXIT_WRONG_OPTIONS` for options that do not pass the checks. What is wrong is printed as
        one error per line.
    """

    def check() -> JobConfig:
        config = job_config(options, streaming=streaming)
        preflight.check(config, subscription=subscription, prompts=prompts, plan=plan)
        tune_for_dataflow(options, threads=config.max_in_flight)
        return config

    return run_checked(
        options,
        streaming=streaming,
        check=check,
        build=build,
        summary=None if streaming else metrics.summary,
        problem=lambda: unaccounted(report) if report else None,
    )


def run_checked(
    options: PipelineOptions,
    *,
    streaming: bool,
    check: Callable[[], C],
    build: Callable[[beam.Pipeline, C], None],
    summary: Callable[[PipelineResult], str] | None = None,
    problem: Callable[[], str | None] = lambda: None,
) -> int:
    """Check a job's options, build its pipeline and run it; return the exit code, as `run` does.

    Args:
        options: of the job and of Beam.
        streaming: whether the job is a stream.
        check: checks the options, and returns what they say; raises OptionsError or PreflightError.
        build: adds the job's transforms to a pipeline.
        summary: says for people what a job that has ended has counted; None: nothing is said.
        problem: says what is wrong with the report of a job that has ended; None if nothing is.
    """
    bound_arenas()
    # Forced, because a library that logs during its import leaves a handler of its own.
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        force=True,
    )
    runner = _runner(options, streaming=streaming)
    try:
        # Imports a runner that is named by its module path; it may define options of its own.
        refuse_lossy(runner, streaming=streaming)
        _name_worker_image(options, runner)
        config = check()
    except (OptionsError, preflight.PreflightError) as error:
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        return EXIT_WRONG_OPTIONS
    pipeline = beam.Pipeline(options=options)
    build(pipeline, config)
    result = pipeline.run()
    if "Dataflow" in runner:
        return 0
    state = result.wait_until_finish()
    if summary:
        # A runner of somebody else's may have no counters.
        with contextlib.suppress(NotImplementedError):
            print(summary(result), file=sys.stderr)
    if state not in (PipelineState.DONE, PipelineState.DRAINED):
        return 1
    if wrong := problem():
        print(f"error: {wrong}", file=sys.stderr)
        return 1
    return 0


def _runner(options: PipelineOptions, *, streaming: bool) -> str:
    """Return the name of the runner; the default for a batch job is FnApiRunner.

    It needs no download. Beam's own default first downloads another runner, Prism.
    """
    standard = options.view_as(StandardOptions)
    if standard.runner:
        # Beam ignores case and accepts short names, such as `direct` and `dataflowrunner`.
        known = {name.lower(): name for name in StandardOptions.KNOWN_RUNNER_NAMES}
        name = standard.runner.lower()
        standard.runner = known.get(name) or known.get(f"{name}runner") or standard.runner
    elif not streaming:
        standard.runner = "FnApiRunner"
        # 1 is also Beam's default, so it is impossible to tell whether the option was given.
        local = options.view_as(DirectOptions)
        if local.direct_num_workers == 1 and local.direct_running_mode == "in_memory":
            # In memory, each part has a thread. `multi_threading` would add gRPC between them. Its
            # sender (Beam 2.77, data_plane.py) sends what is written once a second, even in the
            # middle of an element, and then the reader never finishes decoding it.
            local.direct_num_workers = LOCAL_PARTS
            logging.getLogger(_FN_RUNNER).addFilter(_not_about_workers)
    return str(standard.runner or "DirectRunner")


def _not_about_workers(record: logging.LogRecord) -> bool:
    return "direct_num_workers is not equal to 1" not in record.getMessage()


def _name_worker_image(options: PipelineOptions, runner: str) -> None:
    """Let Dataflow workers use the image that this process runs in, unless an option names one.

    A template's spec names the image too. If that setting is lost, Beam chooses an image without
    this package, and workers fail at their first import.
    """
    if "Dataflow" not in runner:
        return
    worker = options.view_as(WorkerOptions)
    worker.sdk_container_image = worker.sdk_container_image or os.environ.get(IMAGE_VARIABLE)
    setup = options.view_as(SetupOptions)
    if not (worker.sdk_container_image or setup.setup_file or setup.extra_packages):
        raise OptionsError(
            "--sdk_container_image: expected a worker image that contains beam_jobs, such as the "
            "one that beam_jobs/Dockerfile builds, got nothing"
        )
