"""Programs in an interpreter of their own: what is imported, and by whom, starts from nothing."""

import os
import subprocess
import sys
import tempfile

from tests.conftest import ROOT


def python(code: str, *, plugins: bool, **variables: str) -> str:
    """Run a program in a fresh interpreter and return what it prints last."""
    # As on Composer, where beam_jobs/ is put beside the plugins.
    path = [str(ROOT / "plugins"), str(ROOT)] if plugins else []
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path),
        "AIRFLOW_HOME": tempfile.mkdtemp(),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        **variables,
    }
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd="/"
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip().splitlines()[-1]
