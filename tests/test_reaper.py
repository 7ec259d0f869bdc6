"""A pytest that is killed leaves no process behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import ROOT

HANGING = """
import subprocess, sys, time
from pathlib import Path

def test_hangs():
    sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
    process = subprocess.Popen(sleeper, start_new_session=True)
    Path(__file__).with_name("pid").write_text(str(process.pid))
    time.sleep(600)
"""


@pytest.mark.slow
def test_what_a_killed_pytest_had_started_ends(
    tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    (tmp_path / "test_hanging.py").write_text(HANGING)
    (tmp_path / "conftest.py").write_text("from tests import reaper\nreaper.start()\n")
    pytest = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""},
        cwd=tmp_path,
    )
    try:
        pid = tmp_path / "pid"
        eventually(lambda: pid.exists() and pid.read_text(), what="the detached process")
        sleeper = int(pid.read_text())
        assert psutil.pid_exists(sleeper)
    finally:
        pytest.send_signal(signal.SIGKILL)
        pytest.wait()
    eventually(lambda: not psutil.pid_exists(sleeper), what="the end of the detached process")
