"""Measures how long the DAG files take to import, in a process of its own like Airflow's."""

import json
import os
import subprocess
import sys
import tempfile

from bench.interpreter import ROOT

_PROGRAM = """
import json, sys, time
import airflow.sdk
began = time.monotonic()
import importlib.util, pathlib
for file in sorted(pathlib.Path("dags").glob("*.py")):
    spec = importlib.util.spec_from_file_location(file.stem, file)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
print(json.dumps(time.monotonic() - began))
"""


def seconds() -> float:
    """Return the seconds to import all DAG files after `airflow.sdk`."""
    with tempfile.TemporaryDirectory() as home:
        environment = {
            "PATH": os.defpath,
            "HOME": home,
            "AIRFLOW_HOME": home,
            "PYTHONPATH": f"{ROOT / 'plugins'}:{ROOT}",
            "IMAGEN_PROJECT": "demo-project",
            "IMAGEN_REGION": "us-central1",
            "IMAGEN_BUCKET": "demo-project-imagen",
            "IMAGEN_STREAM_TEMPLATE": "gs://demo-project-imagen/templates/stream.json",
            "IMAGEN_BACKFILL_TEMPLATE": "gs://demo-project-imagen/templates/backfill.json",
        }
        output = subprocess.run(
            [sys.executable, "-c", _PROGRAM],
            cwd=ROOT,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    return round(float(json.loads(output.splitlines()[-1])), 3)
