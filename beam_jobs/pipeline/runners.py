"""Which of Beam's runners a job runs on without losing prompts."""

import importlib

from apache_beam.options.pipeline_options import StandardOptions

from beam_jobs.config.job_config import OptionsError

# Dataflow, and runners that execute the steps in Beam's own SDK harness, which emits what a step
# holds back until the end of a bundle and keeps tagged outputs apart. `RunInference` and the
# publishing of failures rest on both. DirectRunner is Prism or FnApiRunner, as Beam chooses.
_FOR_BATCH = (
    "FnApiRunner",
    "DataflowRunner",
    "TestDataflowRunner",
    "DirectRunner",
    "SwitchingDirectRunner",
    "PrismRunner",
    "FlinkRunner",
    "SparkRunner",
    "PortableRunner",
)
# Beam's Python SDK reads from Pub/Sub only on Dataflow and on the DirectRunner:
# https://beam.apache.org/documentation/io/built-in/google-cloud-pubsub/
_FOR_STREAM = ("DataflowRunner", "TestDataflowRunner")
# A class of another package says so by an attribute of this name that is true.
OWN_WORD = "keeps_every_prompt"


def refuse_lossy(runner: str, *, streaming: bool) -> None:
    """Check that a runner is known to lose no prompts.

    Args:
        runner: the name of one of Beam's runners, or the module path of a class.
        streaming: whether the job is the stream or a backfill.

    Raises:
        OptionsError: it is known to lose some, or not known.
    """
    name = _name_in_beam(runner) or ""
    if streaming and name.endswith("DirectRunner"):
        raise OptionsError(
            "--runner: the DirectRunner acknowledges a stream's prompts before their images are "
            "done, and loses them when it stops; use DataflowRunner, or a runner that acknowledges "
            "afterwards"
        )
    known = _FOR_STREAM if streaming else _FOR_BATCH
    # Beam's own runners have no word on this, so there is nothing to import or install for it.
    is_beams = runner.startswith("apache_beam.")
    if name not in known and (is_beams or not getattr(_class_at(runner), OWN_WORD, False)):
        raise OptionsError(
            f"--runner: {runner} is not known to keep every prompt. Some runners, such as Beam's "
            "DaskRunner, drop what a step emits at the end of a bundle and mix up the outputs of a "
            f"step, and report success; use {' or '.join(known) if streaming else known[0]}, or a "
            f"runner whose class has {OWN_WORD} = True"
        )


def _name_in_beam(runner: str) -> str | None:
    """Return the short name of one of Beam's well-known runners; None for any other."""
    if "." not in runner:
        return runner if runner in StandardOptions.KNOWN_RUNNER_NAMES else None
    return runner.rpartition(".")[2] if runner in StandardOptions.ALL_KNOWN_RUNNERS else None


def _class_at(path: str) -> object:
    """Return the class at a module path; None for a name without a module, or without a class.

    Raises:
        OptionsError: its module cannot be imported.
    """
    module, _, name = path.rpartition(".")
    if not module:
        return None
    try:
        return getattr(importlib.import_module(module), name, None)
    except Exception as error:  # a module may raise anything
        raise OptionsError(
            f"--runner: {path} cannot be imported: {error}; install it, or use another one"
        ) from error
