"""A folder to run the scripts in, whose programs at the edge (gcloud, terraform) are recorded.

The scripts are the real ones, in a checkout of its own whose path has a space in it. PATH holds
what they may rely on and nothing else, so that a test can leave a program out.
"""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ["sh", "env", "sed", "awk", "tr", "grep", "mktemp", "tail", "head", "cat", "rm", "git"]
SHELLS = ("bash", "zsh")

# Writes down what it was called with, and answers with what the test put there for that.
_RECORDER = """#!/bin/sh
{ printf '%s\\0' "$@"; printf '\\n'; } >> "$EDGE/${0##*/}.calls"
for answer in "$EDGE/${0##*/}".answers/*; do
  [ -f "$answer/words" ] || continue
  case "$*" in *"$(cat "$answer/words")"*) ;; *) continue ;; esac
  cat "$answer/out"
  cat "$answer/err" >&2
  exit "$(cat "$answer/code")"
done
"""


@dataclasses.dataclass
class Place:
    """The checkout, what is on PATH, and what was called."""

    root: Path
    bin: Path
    edge: Path
    environment: dict[str, str]

    def install(self, program: str) -> None:
        """Put a recorded program on PATH, which answers nothing and succeeds."""
        self._program(self.bin / program)

    def install_python(self, version: str = "3.11") -> None:
        """Put a recorded `.venv/bin/python` there."""
        self._program(self.root / ".venv" / "bin" / "python")
        self.answer("python", "-c import sys", out=version)

    def _program(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_RECORDER)
        path.chmod(0o755)

    def answer(self, program: str, words: str, *, out: str = "", err: str = "", code: int = 0):
        """Have a program answer calls that contain `words` so; the latest given comes first."""
        folder = self.edge / f"{program}.answers"
        number = 999 - len(list(folder.iterdir())) if folder.exists() else 999
        answer = folder / f"{number}"
        answer.mkdir(parents=True)
        for name, content in (("words", words), ("out", out), ("err", err), ("code", str(code))):
            (answer / name).write_text(content)

    def calls(self, program: str, *first: str) -> list[list[str]]:
        """Return the calls of a program that begin with these words."""
        path = self.edge / f"{program}.calls"
        if not path.exists():
            return []
        calls = [line.split("\0") for line in path.read_text().removesuffix("\0\n").split("\0\n")]
        return [call for call in calls if call[: len(first)] == list(first)]

    def git(self, *arguments: str) -> str:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com", *arguments]
        done = subprocess.run(command, cwd=self.root, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def commit(self) -> str:
        """Commit all of the folder, and return the commit as an image's tag has it."""
        self.git("init", "--quiet")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "a")
        return self.git("rev-parse", "--short=12", "HEAD")

    def run(self, *command: str, cwd: Path | None = None, **environment: str):
        return subprocess.run(
            command,
            cwd=cwd or self.root,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def script(self, name: str, *arguments: str, **environment: str):
        return self.run(f"scripts/{name}.sh", *arguments, **environment)

    def source(self, *steps: str, shell: str = "bash", **environment: str):
        """Run commands in a shell; what they print, and the environment that they leave."""
        left = self.edge / "environment.json"
        dump = "import json, os, sys; json.dump(dict(os.environ), open(sys.argv[1], 'w'))"
        steps = (*steps, f"'{sys.executable}' -c \"{dump}\" '{left}'")
        flags = ["-f"] if shell == "zsh" else ["--norc"]  # nobody's own settings
        done = self.run(shell, *flags, "-c", "\n".join(steps), **environment)
        assert done.returncode == 0, done.stderr
        after = json.loads(left.read_text())
        for name in ("_", "SHLVL", "PWD", "OLDPWD", "LOGNAME"):  # the shells' own
            after.pop(name, None)
        return done.stdout, done.stderr, after


@pytest.fixture
def place(tmp_path):
    """A checkout without .venv, gcloud or terraform."""
    root, folder, edge = tmp_path / "a check out", tmp_path / "bin", tmp_path / "edge"
    folder.mkdir()
    edge.mkdir()
    shutil.copytree(ROOT / "scripts", root / "scripts")
    (root / "beam_jobs").mkdir()
    for name in ("stream.py", "catalog.json", "Dockerfile", "cloudbuild.yaml"):
        shutil.copy(ROOT / "beam_jobs" / name, root / "beam_jobs" / name)
    (root / ".gitignore").write_text(".venv\n.terraform\n")
    for name in (*TOOLS, *SHELLS):
        if found := shutil.which(name):
            (folder / name).symlink_to(found)
    environment = {
        "PATH": str(folder),
        "HOME": str(tmp_path),
        "TMPDIR": str(edge),
        "EDGE": str(edge),
        "LC_ALL": os.environ.get("LC_ALL", "C.UTF-8"),
    }
    return Place(root, folder, edge, environment)


@pytest.fixture(params=SHELLS)
def shell(request):
    if not shutil.which(request.param):
        pytest.skip(f"{request.param} is not installed")
    return request.param
