"""The Python that jobs and contenders run with: one that has what a worker's image has.

This environment has Airflow in it as well, whose packages Beam imports where it finds them (pandas
alone is 50 MB), so that memory and the time of starting would be those of no worker.
"""

import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".state/bench/venv"


def python() -> Path:
    """The interpreter; its packages are installed unless they are there already."""
    files = [ROOT / "bench/requirements.txt", ROOT / "beam_jobs/requirements.txt"]
    constraints = ROOT / "constraints.txt"
    wanted = hashlib.sha256(b"".join(file.read_bytes() for file in [*files, constraints]))
    mark, interpreter = FOLDER / ".installed", FOLDER / "bin/python"
    if mark.exists() and mark.read_text() == wanted.hexdigest():
        return interpreter
    uv = str(Path(sys.executable).with_name("uv"))
    subprocess.run(
        [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(FOLDER)], check=True
    )
    install = [uv, "pip", "install", "--quiet", "--python", str(interpreter)]
    subprocess.run([*install, "-r", str(files[0]), "-c", str(constraints)], check=True)
    mark.write_text(wanted.hexdigest())
    return interpreter
