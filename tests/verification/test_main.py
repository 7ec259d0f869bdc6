"""The program: its list, its exit codes, and that it asks nothing of Google beside stand-ins."""

import json
from pathlib import Path

import pytest

from tests.conftest import BUCKET, PROJECT, Cloud, Lane
from tests.verification.test_checks import DEPLOYMENT, VARIABLES
from tests.verification.test_runner import check
from verification.__main__ import DIFFERS, HOLDS, INCOMPLETE, _exit_code, main
from verification.access import Access, NotAskedError
from verification.check import Ending, Result


@pytest.fixture(autouse=True)
def _deployed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)


def test_a_dry_run_lists_the_checks_with_what_they_cost(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--dry-run"]) == HOLDS
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 80
    (prompts,) = (line for line in lines if line.startswith("prompts "))
    assert "up to 0.56 USD" in prompts
    assert "(budget: 2.00)" in lines[-1]


def test_an_unknown_check_is_told_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "nonsense"]) == 2
    assert "expected one of: nothing runs, act as composer" in capsys.readouterr().err


@pytest.mark.parametrize("budget", ["0", "-1", "nan"])
def test_a_budget_is_above_0(budget: str) -> None:
    with pytest.raises(SystemExit):
        main(["--budget-usd", budget, "--dry-run"])


def test_exit_codes_tell_what_differs_from_what_was_not_asked() -> None:
    holds, differs, not_asked = (Result(check("a"), ending, "") for ending in Ending)
    cleaned = holds
    assert _exit_code([holds, cleaned], 1) == HOLDS
    assert _exit_code([holds, differs, not_asked, cleaned], 3) == DIFFERS
    assert _exit_code([holds, not_asked, cleaned], 2) == INCOMPLETE
    assert _exit_code([holds, cleaned], 2) == INCOMPLETE, "it was interrupted"


def test_beside_stand_ins_google_is_not_asked(cloud: Cloud) -> None:
    access = Access(DEPLOYMENT, cloud.environment)
    assert access.on_stand_ins
    for service in ("logging", "composer", "artifactregistry"):
        with pytest.raises(NotAskedError, match="no stand-in for"):
            access.url(service)
    assert not Access(DEPLOYMENT, {}).on_stand_ins
    assert Access(DEPLOYMENT, {}).url("logging") == "https://logging.googleapis.com"


@pytest.mark.usefixtures("cloud")
def test_a_run_writes_its_report_and_its_exit_code_tells_what_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lane: Lane
) -> None:
    for name, value in {"PROJECT": PROJECT, "BUCKET": BUCKET, "IMAGE_TAG": "local"}.items():
        monkeypatch.setenv(name, value)
    path = tmp_path / "verification.json"
    chosen = ["--only", "templates", "--only", "role worker_sees_it", "--output", str(path)]
    assert main(chosen) == HOLDS
    report = json.loads(path.read_text())
    names = [check["name"] for check in report["checks"]]
    assert names == ["act as worker", "role worker_sees_it", "templates", "clean up"]
    assert report["on"] == "stand-ins"
    assert report["counts"] == {"holds": 4}

    blob = lane.storage.bucket(BUCKET).blob("templates/backfill.json")
    content = blob.download_as_bytes()
    blob.delete()
    try:
        assert main(chosen) == DIFFERS
    finally:
        lane.storage.bucket(BUCKET).blob(blob.name).upload_from_string(content)
    assert json.loads(path.read_text())["counts"] == {"holds": 3, "differs": 1}
    assert "templates/backfill.json does not exist" in path.with_suffix(".md").read_text()
