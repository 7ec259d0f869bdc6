"""What is deployed is what `composer.tf` uploads."""

import re
from pathlib import Path

from localcloud.airflow.composer.bucket import deploy, layout
from tests.conftest import ROOT


def ours() -> dict[str, Path]:
    return layout(ROOT / "dags", ROOT / "plugins", ROOT / "beam_jobs")


def matching(pattern: str) -> set[str]:
    """The files that Terraform's `fileset` finds, for patterns as `composer.tf` has them."""
    folder, _, rest = pattern.partition("/")
    suffixes = re.search(r"\*\.\{?([\w,]+)\}?$", rest)
    assert suffixes, pattern
    glob = "**/*" if rest.startswith("**") else "*"
    wanted = {f".{suffix}" for suffix in suffixes[1].split(",")}
    return {
        str(path.relative_to(ROOT))
        for path in (ROOT / folder).glob(glob)
        if path.suffix in wanted and "__pycache__" not in path.parts
    }


def test_the_objects_are_those_of_composer_tf() -> None:
    text = (ROOT / "composer.tf").read_text()
    resource = re.search(r'resource "google_storage_bucket_object" "plugin" {.*?\n}', text, re.S)
    dags = re.search(r'resource "google_storage_bucket_object" "dag" {.*?\n}', text, re.S)
    assert resource
    assert dags
    plugins, jobs = re.findall(r'fileset\(path\.module, "(.+?)"\)', resource[0])
    [dag_files] = re.findall(r'fileset\(path\.module, "(.+?)"\)', dags[0])
    single = set(re.findall(r'^    { "(.+?)" = "', resource[0], re.M))
    expected = matching(plugins) | single | matching(dag_files)
    expected |= {f"plugins/{name}" for name in matching(jobs)}
    assert set(ours()) == expected
    assert "plugins/beam_jobs/catalog.json" in expected


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
