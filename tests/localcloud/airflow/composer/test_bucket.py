"""What is deployed is what `composer.tf` uploads."""

import os
import subprocess
import sys
from pathlib import Path

from localcloud.airflow.composer.bucket import deploy, layout
from tests.conftest import ROOT
from tests.terraform import gcloud as gcloud_program


def ours() -> dict[str, Path]:
    return layout(ROOT / "dags", ROOT / "plugins", ROOT / "beam_jobs")


def test_the_objects_are_those_that_composer_tf_uploads(tmp_path: Path) -> None:
    gcloud = tmp_path / "bin" / "gcloud"
    gcloud.parent.mkdir()
    gcloud.write_text(f'#!/bin/sh\nexec {sys.executable} -SE {gcloud_program.__file__} "$@"\n')
    gcloud.chmod(0o755)
    environment = {
        "PATH": f"{gcloud.parent}:{os.environ['PATH']}",
        gcloud_program.BUCKETS: str(tmp_path),
    }
    command = ["scripts/upload_to_airflow.sh", "bucket"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    bucket = tmp_path / "bucket"
    uploaded = {str(path.relative_to(bucket)) for path in bucket.rglob("*") if path.is_file()}
    assert set(ours()) == uploaded
    assert {"plugins/beam_jobs/catalog.json", "plugins/beam_jobs/.airflowignore"} <= uploaded
    # Airflow would run it as a program, wherever the ignore file is late.
    assert [name for name in uploaded if name.endswith("/__main__.py")] == []


def test_a_deployment_has_each_file_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "of_an_older_version.py").touch()
    deploy(ours(), tmp_path)
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert found == set(ours())
    assert all(
        (tmp_path / name).read_bytes() == source.read_bytes() for name, source in ours().items()
    )


def test_a_second_deployment_touches_only_what_has_changed(tmp_path: Path) -> None:
    source = tmp_path / "source.py"
    source.write_text("A = 1\n")
    files = {"dags/a.py": source, "plugins/b.py": source}
    deploy(files, tmp_path / "gcs")
    before = {name: (tmp_path / "gcs" / name).stat().st_ino for name in files}
    changed = tmp_path / "changed.py"
    changed.write_text("A = 2\n")
    deploy(files | {"dags/a.py": changed}, tmp_path / "gcs")
    after = {name: (tmp_path / "gcs" / name).stat().st_ino for name in files}
    assert {name for name in files if before[name] != after[name]} == {"dags/a.py"}
