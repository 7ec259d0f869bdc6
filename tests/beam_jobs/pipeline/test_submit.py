"""How jobs are submitted: the image of Dataflow's workers, and the parts of a local run."""

import pytest
from apache_beam.options.pipeline_options import (
    DirectOptions,
    PipelineOptions,
    StandardOptions,
    WorkerOptions,
)

from beam_jobs.config.job_config import OptionsError
from beam_jobs.pipeline import submit
from beam_jobs.pipeline.submit import IMAGE_VARIABLE, _name_worker_image

OURS, ANOTHER = "somewhere/imagen-stream:1", "elsewhere/imagen-stream:2"


@pytest.fixture
def named(monkeypatch):
    """Return the worker image of a job that is submitted from the image `inside`."""

    def image(*flags, inside=None, runner="DataflowRunner"):
        monkeypatch.delenv(IMAGE_VARIABLE, raising=False)
        if inside is not None:
            monkeypatch.setenv(IMAGE_VARIABLE, inside)
        options = PipelineOptions(list(flags))
        _name_worker_image(options, runner)
        return options.view_as(WorkerOptions).sdk_container_image

    return image


def test_workers_run_the_image_that_the_job_is_submitted_from(named):
    assert named(inside=OURS) == OURS
    assert named(inside=OURS, runner="TestDataflowRunner") == OURS


def test_the_image_that_a_template_names_comes_first(named):
    assert named(f"--sdk_container_image={ANOTHER}", inside=OURS) == ANOTHER
    assert named(f"--sdk_container_image={ANOTHER}") == ANOTHER


@pytest.mark.parametrize("inside", [None, ""])
def test_workers_without_the_modules_are_refused(named, inside):
    with pytest.raises(OptionsError, match="--sdk_container_image: expected a worker image"):
        named(inside=inside)


@pytest.mark.parametrize("flag", ["--setup_file=./setup.py", "--extra_package=beam_jobs.tar.gz"])
def test_modules_may_reach_workers_as_a_package_too(named, flag):
    assert named(flag) is None


@pytest.mark.parametrize("runner", ["FnApiRunner", "localcloud.runner.MicroBatchRunner"])
def test_other_runners_need_no_image(named, runner):
    assert named(inside=OURS, runner=runner) is None


def test_a_local_backfill_works_on_several_parts_by_default():
    options = PipelineOptions([])
    assert submit._runner(options, streaming=False) == "FnApiRunner"
    local = options.view_as(DirectOptions)
    assert local.direct_num_workers == submit.LOCAL_PARTS
    assert local.direct_running_mode == "in_memory"
    told = PipelineOptions(["--direct_num_workers=2", "--direct_running_mode=multi_processing"])
    submit._runner(told, streaming=False)
    assert told.view_as(DirectOptions).direct_num_workers == 2
    assert told.view_as(DirectOptions).direct_running_mode == "multi_processing"
    one = PipelineOptions(["--direct_running_mode=multi_processing"])
    submit._runner(one, streaming=False)
    assert one.view_as(DirectOptions).direct_running_mode == "multi_processing"
    elsewhere = PipelineOptions(["--runner=DataflowRunner"])
    submit._runner(elsewhere, streaming=False)
    assert elsewhere.view_as(DirectOptions).direct_num_workers == 1


@pytest.mark.parametrize(
    ("given", "runner"),
    [
        ("direct", "DirectRunner"),
        ("directrunner", "DirectRunner"),
        ("dataflow", "DataflowRunner"),
        ("DATAFLOWRUNNER", "DataflowRunner"),
        ("localcloud.runner.MicroBatchRunner", "localcloud.runner.MicroBatchRunner"),
    ],
)
def test_a_runner_is_recognised_by_every_name_that_beam_accepts(given, runner):
    """Otherwise decisions that depend on the runner would be skipped silently."""
    options = PipelineOptions([f"--runner={given}"])
    assert submit._runner(options, streaming=True) == runner
    assert options.view_as(StandardOptions).runner == runner
