"""Which runners a job is started on."""

import pytest

from beam_jobs.config.job_config import OptionsError
from beam_jobs.pipeline.runners import refuse_lossy


class OfSomebody:
    """A runner that says nothing of itself."""


class Faithful:
    keeps_every_prompt = True


@pytest.mark.parametrize(
    ("runner", "streaming"),
    [
        ("FnApiRunner", False),
        ("DirectRunner", False),
        ("DataflowRunner", False),
        ("DataflowRunner", True),
        ("apache_beam.runners.dataflow.dataflow_runner.DataflowRunner", True),
        ("apache_beam.runners.portability.flink_runner.FlinkRunner", False),
        ("localcloud.runner.MicroBatchRunner", True),
        (f"{__name__}.Faithful", True),
    ],
)
def test_a_runner_that_is_known_to_keep_every_prompt_is_accepted(runner, streaming):
    refuse_lossy(runner, streaming=streaming)


@pytest.mark.parametrize(
    ("runner", "streaming"),
    [
        ("apache_beam.runners.direct.direct_runner.BundleBasedDirectRunner", False),
        ("apache_beam.runners.dask.dask_runner.DaskRunner", False),
        ("apache_beam.runners.interactive.interactive_runner.InteractiveRunner", False),
        ("apache_beam.runners.no_such.Runner", True),
        ("KafkaStreamsRunner", False),
        ("FlinkRunner", True),
        ("FnApiRunner", True),
        ("dask", False),
        ("no_such_runner", False),
        (f"{__name__}.OfSomebody", False),
        (f"{__name__}.NoClass", False),
    ],
)
def test_any_other_runner_is_refused_with_the_reason(runner, streaming):
    with pytest.raises(OptionsError) as refused:
        refuse_lossy(runner, streaming=streaming)
    assert str(refused.value).startswith(f"--runner: {runner} is not known to keep every prompt")
    assert f"use {'DataflowRunner' if streaming else 'FnApiRunner'}" in str(refused.value)


@pytest.mark.parametrize(
    "runner", ["direct", "DirectRunner", "apache_beam.runners.direct.direct_runner.DirectRunner"]
)
def test_the_direct_runner_is_refused_for_a_stream_with_its_own_reason(runner):
    from apache_beam.options.pipeline_options import PipelineOptions

    from beam_jobs.pipeline.submit import _runner

    known = _runner(PipelineOptions([f"--runner={runner}"]), streaming=True)
    with pytest.raises(OptionsError, match="acknowledges a stream's prompts before"):
        refuse_lossy(known, streaming=True)


def test_a_runner_that_cannot_be_imported_is_named():
    with pytest.raises(OptionsError, match=r"no\.such\.Runner cannot be imported: No module named"):
        refuse_lossy("no.such.Runner", streaming=False)


@pytest.mark.parametrize("error", [AttributeError("no IPython"), SyntaxError("broken")])
def test_a_runner_whose_module_raises_is_named(monkeypatch, tmp_path, error):
    (tmp_path / "raising_runner.py").write_text(f"raise {error!r}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(OptionsError, match=r"raising_runner\.Runner cannot be imported"):
        refuse_lossy("raising_runner.Runner", streaming=False)
