"""A stand-in for a machine that runs the jobs' image: only the Python packages of that image."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.beam_jobs.dockerfile import targets
from tests.conftest import PROJECT, ROOT, Cloud

# Prints where a process loaded its modules from, when it exits.
RECORD = """
import atexit, json, os, sys

def record():
    modules = {name: getattr(module, "__file__", None) for name, module in sys.modules.items()}
    with open(f"{os.environ['RECORDS']}/{os.getpid()}.json", "w") as file:
        json.dump({"path": sys.path, "modules": modules}, file)

if "RECORDS" in os.environ:
    atexit.register(record)
"""


def image_of(target: str) -> str:
    """Return the image name of a target of the Dockerfile."""
    return f"us-central1-docker.pkg.dev/{PROJECT}/imagen/imagen-{target}:0123456789ab"


class Machine:
    """A virtual environment with the packages and the files of the image."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.venv = folder / "venv"
        self.python = self.venv / "bin/python"
        self.records = folder / "records"
        uv = Path(sys.executable).with_name("uv")
        install = ("pip", "install", "--python", str(self.python), "-r")
        files = (str(ROOT / "beam_jobs/requirements.txt"), "-c", str(ROOT / "constraints.txt"))
        if sys.version_info[:2] == (3, 11):  # the image's, for which alone its lock is
            files = (str(ROOT / "beam_jobs/requirements.lock"), "--require-hashes")
        for command in (("venv", "--python", sys.executable, str(self.venv)), (*install, *files)):
            subprocess.run([str(uv), *command, "--quiet"], check=True)
        (site,) = self.venv.glob("lib/*/site-packages")
        (site / "sitecustomize.py").write_text(RECORD)
        self.records.mkdir()
        for place, source in targets()["stream"].files().items():
            there = folder / place.lstrip("/")
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, there)

    def start(self, target: str, cloud: Cloud, arguments: list[str]) -> subprocess.Popen[str]:
        """Start a target's program as the flex launcher does: by the path that the image names."""
        stage = targets()[target]
        image = {
            name: value.replace("/template", str(self.folder / "template"))
            for name, value in stage.environment(IMAGE=image_of(target)).items()
        }
        google = dict(cloud.environment)
        del google["GOOGLE_CLOUD_PROJECT"]  # set for Airflow and on a laptop, but not on a worker
        path = f"{self.venv}/bin:{os.defpath}"
        own = {"PATH": path, "HOME": str(self.folder), "RECORDS": str(self.records)}
        return subprocess.Popen(
            [str(self.python), image["FLEX_TEMPLATE_PYTHON_PY_FILE"], *arguments],
            env={**google, **image, **own},
            cwd=self.folder / "template",
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        """Wait for a program, and return its exit code and its output."""
        said = "\n".join(process.communicate(timeout=300))
        self.check_modules(self.records / f"{process.pid}.json")
        return process.returncode, said

    def check_modules(self, record: Path) -> dict[str, str]:
        """Assert that a process loaded only modules of the image and of Python itself."""
        assert record.exists(), "the process has not told where it had its modules from"
        told = json.loads(record.read_text())
        files = {name: file for name, file in told["modules"].items() if file}
        inside = [self.folder, Path(sysconfig.get_path("stdlib")), Path(sys.base_prefix)]
        assert {
            name: file
            for name, file in files.items()
            if not any(Path(file).is_relative_to(folder) for folder in inside)
            or Path(file).is_relative_to(ROOT)
        } == {}
        assert {"airflow", "localcloud", "tests", "options", "report"}.isdisjoint(files)
        assert str(self.folder / "template/beam_jobs") not in told["path"]
        return files
