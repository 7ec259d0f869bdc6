"""What the pages for users, operators and whoever deploys say, against the code."""

import argparse
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from beam_jobs import __main__ as cli
from beam_jobs.config.options import ImagenOptions
from beam_jobs.outcomes import Failure, Prediction, Reason, encode
from beam_jobs.prefetch.tally import Tally, rendered
from beam_jobs.prompts.field_values import MAX_ID_CHARS, MAX_PROMPT_CHARS, MAX_SEED
from beam_jobs.prompts.fields import FIELD_NAMES
from imagen_ops.settings import Settings
from tests.docs.markdown import ROOT, blocks, names_in_first_cells, section, text_of
from tests.docs.test_runbook import alert_events, dags, terraform

USAGE = text_of(ROOT / "docs" / "usage.md")
OPERATING = text_of(ROOT / "docs" / "operating.md")
DEPLOYING = text_of(ROOT / "docs" / "deploying.md")


def test_the_fields_of_a_prompt_are_all_there() -> None:
    text = section(USAGE, "Send a prompt")
    assert names_in_first_cells(text) == list(FIELD_NAMES)
    for limit in (MAX_PROMPT_CHARS, MAX_ID_CHARS, MAX_SEED):
        assert f"{limit:,}" in text


def test_the_fields_of_both_messages_are_all_there() -> None:
    text = section(USAGE, "Read a prediction")
    assert set(names_in_first_cells(text)) == _keys(_prediction())
    text = section(USAGE, "Read a dead letter")
    named = set(names_in_first_cells(text)) - {reason.value for reason in Reason}
    assert named == _keys(_failure())


@pytest.mark.slow
def test_the_commands_for_the_bucket_work_against_the_stand_ins(
    lane: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = section(USAGE, "Work on one machine")
    lines = [line[2:] for block in blocks(text, "console") for line in block.splitlines()]
    (put,) = (shlex.split(line) for line in lines if "beam_jobs put" in line)
    (read,) = (shlex.split(line) for line in lines if "google.cloud" in line)
    (tmp_path / "prompts.csv").write_text("prompt\nA fox\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "beam_jobs.cli.commands.put.night_folder", lambda day: f"{lane.name}/prompts/ds={day}"
    )
    assert put[:3] == [".venv/bin/python", "-m", "beam_jobs"]
    assert cli.main(put[3:]) == 0
    assert lane.objects("prompts/") == {"prompts/ds=2026-11-01/prompts.csv": b"prompt\nA fox\n"}
    lane.put("records/a.jsonl", "{}\n")
    done = subprocess.run(
        [sys.executable, read[1], read[2].replace("records/backfills/", f"{lane.name}/records/")],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout == "{}\n"


def test_the_commands_are_all_there(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    listed = re.findall(r"(?m)^    (\w+) ", capsys.readouterr().out)
    rows = re.findall(r"(?m)^\| (`.*?) \|", section(USAGE, "Commands"))
    named = re.findall(r"`([a-z]+)[^`]*`", " ".join(rows))
    assert sorted(named) == sorted(listed)


def test_the_reasons_of_failures_are_all_there() -> None:
    named = names_in_first_cells(section(USAGE, "Read a dead letter"))
    assert [name for name in named if name.isupper()] == [reason.value for reason in Reason]


def test_what_an_import_reports_is_all_there() -> None:
    text = section(USAGE, "Images that batch inference has made")
    report = rendered(Tally(), run="backfill:r", parts=1, ordered=1)
    assert set(names_in_first_cells(text)) == {*report.keys() - {"schema"}, *report["rows"]}
    assert report["schema"] in text


def test_the_options_of_the_jobs_are_all_there_with_their_defaults() -> None:
    text = section(USAGE, "Run the jobs yourself")
    parser = argparse.ArgumentParser()
    ImagenOptions._add_argparse_args(parser)
    defaults = vars(parser.parse_args([]))
    assert {name.removeprefix("--") for name in names_in_first_cells(text)} == set(defaults)
    for name, value in defaults.items():
        (row,) = re.findall(rf"(?m)^\| [^|]*`--{name}`[^|]*\|([^|]+)\|", text)
        shown = f"{value:g}" if isinstance(value, float) else str(value)
        assert value is None or shown in row, name


def test_the_alerts_are_all_there() -> None:
    named = names_in_first_cells(section(OPERATING, "Records and alerts"))
    assert set(named) == alert_events()


def test_the_dags_are_all_there() -> None:
    assert set(names_in_first_cells(section(OPERATING, "The DAGs"))) == set(dags())


def test_every_setting_that_is_named_is_one_with_the_default_that_it_says() -> None:
    named = set(re.findall(r"\bIMAGEN_([A-Z_]+)", OPERATING + DEPLOYING)) - {"X"}
    assert len(named) > 8
    assert {name.lower() for name in named} <= set(Settings.model_fields)
    for name, value in re.findall(r"`IMAGEN_(\w+)` \(([\d,]+)\)", OPERATING):
        assert Settings.model_fields[name.lower()].default == float(value.replace(",", ""))


def test_settings_without_a_default_are_all_there() -> None:
    required = {name for name, field in Settings.model_fields.items() if field.is_required()}
    rows = names_in_first_cells(section(OPERATING, "Settings"))
    assert {name.removeprefix("IMAGEN_").lower() for name in rows} == required


def test_every_variable_of_the_deployment_that_is_named_is_one() -> None:
    variables = set(re.findall(r'variable "(\w+)"', terraform()))
    named = set(names_in_first_cells(section(DEPLOYING, "Set variables")))
    named |= set(re.findall(r"-var (\w+)=", DEPLOYING))
    assert len(named) > 4
    assert named <= variables


def _keys(outcome: Prediction | Failure) -> set[str]:
    return set(json.loads(encode(outcome)[0]))


def _prediction() -> Prediction:
    return Prediction("1", "2", "0", "x", (), "m", "stream", False, "", 0)


def _failure() -> Failure:
    return Failure("1", "2", Reason.BLOCKED, "", False, 1, b"", {}, "stream")
