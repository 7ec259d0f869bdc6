"""What can be said of the scripts without running them."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(path.name for path in (ROOT / "scripts").glob("*.sh"))
SOURCED = {"00_set_environment.sh", "lib.sh"}


@pytest.mark.slow
def test_shellcheck_has_nothing_to_say():
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed; on Debian: apt-get install shellcheck")
    command = ["shellcheck", "--external-sources", *(f"scripts/{name}" for name in SCRIPTS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_can_be_parsed(name):
    done = subprocess.run(["bash", "-n", ROOT / "scripts" / name], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", sorted(set(SCRIPTS) - SOURCED))
def test_a_script_that_is_run_stops_at_the_first_error_and_explains_itself(place, name):
    path = place.root / "scripts" / name
    lines = path.read_text().splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert next(line for line in lines if not line.startswith("#")) == "set -euo pipefail"
    assert path.stat().st_mode & 0o111 == 0o111
    done = place.run(f"scripts/{name}", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"  scripts/{name}" in done.stdout
    # Terraform says where to upload to.
    needed = "gcloud" if name == "upload_to_airflow.sh" else "PROJECT and REGION"
    assert f"Needs {needed}" in done.stdout
