"""What `make` does with what it is given."""

import subprocess
from pathlib import Path

import pytest

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
