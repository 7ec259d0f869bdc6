"""What `--help` of the jobs prints."""

import argparse
import re

import pytest

from beam_jobs import backfill, prefetch_import, stream
from beam_jobs.config.import_options import SHARED
from beam_jobs.config.options import ImagenOptions
from tests.beam_jobs.test_templates import NOT_OF


def options_of(job: str) -> set[str]:
    parser = argparse.ArgumentParser()
    ImagenOptions._add_argparse_args(parser)
    return set(vars(parser.parse_args([]))) - NOT_OF[job]


@pytest.mark.parametrize("job", [stream, backfill], ids=["stream", "backfill"])
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_says_of_each_option_of_the_job_its_default_and_an_example(job, flag, capsys):
    name = job.__name__.rpartition(".")[2]
    assert job.main(["--region=us-central1", flag]) == 0
    out = capsys.readouterr().out
    entries = dict(re.findall(r"(?ms)^  --(\w+)(.*?)(?=^  --|^\S|\Z)", out))
    assert set(entries) == options_of(name)
    for option, text in entries.items():
        words = " ".join(text.split())
        assert re.search(r"(Default: .+\.|Required\.) Example: \S+$", words), option
        assert not re.search(r"only: (?!seconds)|None", words), option
    assert "Default: 600. Example" in " ".join(entries["max_retry_seconds"].split())
    groups = re.findall(r"(?m)^([a-z].+):$", out)
    assert groups == [
        *("options", "what to read, and where results go", "what to make"),
        *("functions of your own", "the model", "pace", "money", "what belongs to others"),
    ]
    assert "Beam's own options are accepted too" in out


def test_help_of_the_import_has_its_own_options_alone(capsys):
    assert prefetch_import.main(["--help"]) == 0
    out = capsys.readouterr().out
    assert set(re.findall(r"(?m)^  --(\w+)", out)) == {*SHARED, "prefetch"}
    assert "python -m beam_jobs.prefetch_import --OPTION" in out
    assert re.search(r"Required\. Example:\s+gs://my-project-imagen/prefetch/", out)
