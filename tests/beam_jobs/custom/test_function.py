"""How an option names a custom function, and what refuses a job at its start."""

import sys
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.config.job_config import OptionsError, job_config
from beam_jobs.custom.function import CustomFunction, CustomFunctionError
from tests import custom_functions

OPTIONS = {
    "prompts": "gs://bucket-1/a.txt",
    "responses_topic": "projects/p-1/topics/predictions",
    "dead_letter_topic": "projects/p-1/topics/dead-letters",
    "images_output_location": "gs://bucket-1/images",
}


def flags(**others: str) -> PipelineOptions:
    return PipelineOptions([f"--{name}={value}" for name, value in {**OPTIONS, **others}.items()])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_function_is_named_by_its_module_and_told_by_its_version():
    function = CustomFunction.named("--preprocess", "tests.custom_functions:three")
    assert function.identity == "tests.custom_functions:three@1"
    assert function.load() is custom_functions.three


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("three", "expected package.module:function"),
        ("os:system; rm -rf", "expected package.module:function"),
        ("../custom:three", "expected package.module:function"),
        ("a.b:c.d", "expected package.module:function"),
        ("no_such_module:f", "no_such_module cannot be imported: ModuleNotFoundError"),
        ("tests.custom_functions:four", "has no function four"),
        ("tests.custom_functions:NOT_A_FUNCTION", "has no function NOT_A_FUNCTION"),
        ("tests.custom_functions:waits", "asynchronous"),
        ("tests.custom_functions:generates", "a generator"),
        ("json:loads", "needs a version"),
    ],
)
@pytest.mark.parametrize("option", ["preprocess", "postprocess"])
def test_a_function_that_cannot_be_used_refuses_the_job_at_its_start(
    option: str, name: str, said: str
):
    with pytest.raises(OptionsError) as error:
        job_config(flags(**{option: name}), streaming=False)
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"--{option}: ")
    assert said in line


@pytest.mark.parametrize(
    "content", ["raise SystemExit(0)", "import no_such_package", "def", "1 / 0"]
)
def test_a_module_that_breaks_refuses_the_job_in_one_line(folder: Path, content: str):
    (folder / "broken_module.py").write_text(content)
    with pytest.raises(OptionsError, match="broken_module cannot be imported: ") as error:
        job_config(flags(preprocess="broken_module:f"), streaming=False)
    assert len(str(error.value).splitlines()) == 1


def test_a_worker_with_another_version_says_so(folder: Path):
    (folder / "versioned_module.py").write_text("VERSION = '2'\ndef f(x): return x\n")
    started_with = CustomFunction("--postprocess", "versioned_module:f", "1")
    with pytest.raises(CustomFunctionError, match=r"version 2 on this worker.*started with 1"):
        started_with.load()
    assert "versioned_module" in sys.modules


def test_only_the_function_that_changes_images_is_part_of_what_decides_them():
    config = job_config(flags(preprocess="tests.custom_functions:three"), streaming=False)
    assert config.preprocess is not None
    assert config.defaults.postprocess is None
    config = job_config(flags(postprocess="tests.custom_functions:signed"), streaming=False)
    assert config.defaults.postprocess == "tests.custom_functions:signed@1"
