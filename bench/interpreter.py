"""The Python for jobs and contenders, with the packages of a worker's image.

The project's own environment also contains Airflow. Beam imports Airflow's packages if it finds
them (pandas alone takes 50 MB), so memory and start-up time would not be those of a worker.
"""

import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".state/bench/venv"


def python() -> Path:
    """Return the interpreter; install its packages if they are missing or outdated."""
    files = [ROOT / "bench/requirements.txt", ROOT / "beam_jobs/requirements.txt"]
    constraints = ROOT / "constraints.txt"
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in [*files, constraints]))
    marker, interpreter = FOLDER / ".installed", FOLDER / "bin/python"
    if marker.exists() and marker.read_text() == digest.hexdigest():
        return interpreter
    uv = str(Path(sys.executable).with_name("uv"))
    subprocess.run(
        [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(FOLDER)], check=True
    )
    install = [uv, "pip", "install", "--quiet", "--python", str(interpreter)]
    subprocess.run([*install, "-r", str(files[0]), "-c", str(constraints)], check=True)
    marker.write_text(digest.hexdigest())
    return interpreter
