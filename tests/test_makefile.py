"""What `make` does with what it is given."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from beam_jobs.cli.doctor import PYTHONS

ROOT = Path(__file__).parents[1]
# Writes down what it was called with.
RECORDER = """#!/bin/sh
printf '%s\\0' "$@" > "${0%/*}/called"
"""


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """An installation whose Python only says how it was called."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(RECORDER)
    python.chmod(0o755)
    (tmp_path / ".installed").touch()
    return tmp_path


def called(venv: Path, *arguments: str, **environment: str) -> list[str]:
    """The words that `python` got from `make`."""
    done = subprocess.run(
        ["make", "--no-print-directory", "-C", str(ROOT), f"VENV={venv}", *arguments],
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return (venv / "bin" / "called").read_text().removesuffix("\0").split("\0")


PROMPTS = [
    "A fox in the snow",
    '{"prompt": "A fox", "id": "a-1", "images": 2}',
    'A sign that says "don\'t" and `touch /tmp/x` $(id) $(shell id) $HOME $$ \\ # ; & | > * ~',
    "Two\nlines",
]


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("where", ["argument", "environment"])
def test_a_prompt_arrives_as_it_was_typed(venv: Path, prompt: str, where: str) -> None:
    if where == "argument":
        words = called(venv, "publish", f"PROMPT={prompt}")
    else:
        words = called(venv, "publish", PROMPT=prompt)
    assert words[-3:] == ["beam_jobs", "publish", prompt]


def test_a_file_arrives_by_its_name(venv: Path) -> None:
    words = called(venv, "publish", "FILE=my prompts/a $x `b`.csv")
    assert words[-3:] == ["publish", "--file", "my prompts/a $x `b`.csv"]


# Answers as uv does, and pip-audit, which finds what AUDIT says.
UV = """#!/bin/sh
echo "$@" >> "${0%/*}/called"
[ "$1" = pip ] && { echo "a==1"; exit; }
for output; do :; done
[ -z "$AUDIT" ] && { echo "ERROR: a: could not be audited" >&2; exit 1; }
[ "$AUDIT" = nothing ] && exit
echo "$AUDIT" > "$output"
exit 1
"""


def audit(venv: Path, found: str) -> subprocess.CompletedProcess[str]:
    uv = venv / "bin/uv"
    uv.write_text(UV)
    uv.chmod(0o755)
    return subprocess.run(
        ["make", "-C", str(ROOT), f"VENV={venv}", f"STATE={venv}/state", "audit"],
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "AUDIT": found},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_audit_is_of_what_is_installed_here_and_in_the_image(venv: Path) -> None:
    assert audit(venv, "nothing").returncode == 0
    called = (venv / "bin/called").read_text()
    assert f"-r {venv}/state/installed.txt" in called
    assert "-r beam_jobs/requirements.lock" in called


def test_an_audit_shows_what_it_found(venv: Path) -> None:
    done = audit(venv, "a 1 PYSEC-2026-1")
    assert done.returncode != 0
    assert "a 1 PYSEC-2026-1" in done.stdout
    assert "not checked" not in done.stderr


def test_an_audit_that_could_not_ask_says_so_and_does_not_pass(venv: Path) -> None:
    done = audit(venv, "")
    assert done.returncode != 0
    assert "state/installed.txt was not checked" in done.stderr
    assert "neither good nor bad" in done.stderr


def install(python: str) -> subprocess.CompletedProcess[str]:
    """Try to install with a Python, into a folder that is not there."""
    return subprocess.run(
        ["make", "-C", str(ROOT), "VENV=/nonexistent/venv", f"PYTHON={python}", "install"],
        env={"PATH": "/usr/local/bin:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("version", "works"),
    [((3, 10), False), ((3, 11), True), ((3, 12), True), ((3, 13), True), ((3, 14), False)],
)
def test_only_a_supported_python_is_taken(
    tmp_path: Path, version: tuple[int, int], works: bool
) -> None:
    python = tmp_path / "python"
    # Runs the check as that version would, and cannot make a virtual environment.
    python.write_text(
        f"""#!/bin/sh
[ "$1" = -c ] || {{ echo reached >&2; exit 1; }}
exec {sys.executable} -c "import sys; sys.version_info = {(*version, 0)}
$2"
"""
    )
    python.chmod(0o755)
    done = install(str(python))
    assert done.returncode != 0
    assert ("reached" in done.stderr) == works
    assert (f"PYTHON={python} is not Python 3.11, 3.12, or 3.13" in done.stderr) != works


def test_without_a_supported_python_it_says_which_are() -> None:
    assert "error: no Python 3.11, 3.12, or 3.13 on PATH" in install("").stderr


def test_all_that_name_the_supported_pythons_name_the_same() -> None:
    lowest, highest = PYTHONS
    minors = range(lowest[1], highest[1] + 1)
    versions = [f"3.{minor}" for minor in minors]
    *first, last = versions
    words = f"Python {', '.join(first)}, or {last}"
    for page in ("README.md", "CONTRIBUTING.md", "Makefile"):
        assert words in (ROOT / page).read_text(), page
    makefile = (ROOT / "Makefile").read_text()
    assert f"{lowest} <= sys.version_info[:2] <= {highest}" in makefile
    assert f"in {' '.join(f'python{version}' for version in versions)} python3;" in makefile
    (job,) = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"].values()
    assert job["strategy"]["matrix"]["python"] == versions
    assert job["env"]["PYTHON"] == "python${{ matrix.python }}"


@pytest.mark.parametrize("shape", ["sqlite", "composer"])
def test_the_demo_has_the_airflow_that_was_asked_for(venv: Path, shape: str) -> None:
    # Nothing is to be installed by a test.
    words = called(venv, "demo", f"AIRFLOW={shape}", "-o", "install-composer")
    assert words[-2:] == ["--shape", shape]


def test_an_airflow_that_there_is_not_is_refused_before_anything_runs(venv: Path) -> None:
    with pytest.raises(AssertionError, match="AIRFLOW=cloud is neither sqlite nor composer"):
        called(venv, "up", "AIRFLOW=cloud")
    assert not (venv / "bin" / "called").exists()
