"""The flex templates' image is built from existing files, in versions that match."""

import json
import os
import re
import shutil
import subprocess

import pytest
import yaml
from packaging.requirements import Requirement

from localcloud.dataflow.templates import PROGRAMS
from tests.beam_jobs.dockerfile import DOCKERFILE, context, is_ignored, sent_of, stages, targets
from tests.conftest import ROOT

BUILD = yaml.safe_load((ROOT / "beam_jobs/cloudbuild.yaml").read_text())
STEPS = {step["id"]: step for step in BUILD["steps"]}
LOCK = (ROOT / "beam_jobs/requirements.lock").read_text()
ENTRY = "FLEX_TEMPLATE_PYTHON_PY_FILE"
with_each_target = pytest.mark.parametrize("target", ["stream", "backfill", "prefetch_import"])


def requirements() -> dict[str, str]:
    """Return the versions in beam_jobs/requirements.txt by package name, without extras."""
    lines = (ROOT / "beam_jobs/requirements.txt").read_text().splitlines()
    pairs = [line.partition("==") for line in lines if not line.startswith("#")]
    return {re.sub(r"\[.*\]", "", name): version for name, _, version in pairs}


def locked() -> dict[str, str]:
    """Return the versions in beam_jobs/requirements.lock by package name."""
    return dict(re.findall(r"^([\w.-]+)==([^\s;\\]+)", LOCK, re.MULTILINE))


def bases() -> dict[str, str]:
    """Return the image and tag of each stage that is based on an external image."""
    own = stages()
    lines = re.findall(r"^FROM (\S+)", DOCKERFILE.read_text(), re.MULTILINE)
    return {
        image: tag for image, _, tag in (line.partition(":") for line in lines) if image not in own
    }


def python_of(image: str, tag: str) -> str:
    """Return the minor version of Python that an image names, such as 3.11."""
    if image == "python":
        return ".".join(tag.split(".")[:2])
    found = re.search(r"python3\.?(\d+)", image)
    assert found, image
    return f"3.{found[1]}"


@with_each_target
def test_a_target_starts_a_program_that_its_image_holds(target):
    stage = targets()[target]
    assert stage.environment()[ENTRY] == f"/template/beam_jobs/{target}.py"
    assert stage.environment()[ENTRY] in stage.files()


def test_the_targets_differ_in_nothing_but_the_program_and_their_names():
    def common(target):
        environment = targets()[target].environment(IMAGE="one")
        del environment[ENTRY]
        return environment, targets()[target].files()

    assert set(targets()) == {"stream", "backfill", "prefetch_import"}
    assert common("stream") == common("backfill") == common("prefetch_import")


@with_each_target
def test_a_target_knows_its_name_once_it_is_built(target):
    name = f"somewhere/imagen-{target}:1"
    assert targets()[target].environment(IMAGE=name)["IMAGEN_IMAGE"] == name


@with_each_target
def test_workers_can_import_the_package_and_a_program_run_by_path_shadows_nothing(target):
    environment = targets()[target].environment()
    assert environment["PYTHONPATH"] == "/template"
    assert environment["PYTHONSAFEPATH"] == "1"
    assert targets()[target].values("ENTRYPOINT") == ['["/opt/apache/beam/boot"]']


@with_each_target
def test_the_image_holds_every_module_but_those_for_a_laptop(target):
    held = {path for path in targets()[target].files().values() if path.suffix == ".py"}
    package, custom = ROOT / "beam_jobs", ROOT / "custom"
    laptop = {package / "__main__.py", *(package / "cli").rglob("*.py")}
    assert held == {*package.rglob("*.py"), *custom.rglob("*.py")} - laptop


@with_each_target
def test_all_copied_files_exist_and_are_sent(target):
    for source, _ in targets()[target].copies():
        assert sent_of(source), f"COPY {source} finds nothing that .gcloudignore lets through"


def test_nothing_is_sent_but_modules_and_what_the_build_needs():
    copied = set(targets()["stream"].files().values())
    assert set(context()) == copied | {DOCKERFILE}
    names = {"Dockerfile", "catalog.json", "pin_bases.sh", "requirements.lock", "sbom.json"}
    needed = {ROOT / "beam_jobs" / name for name in names}
    assert needed < set(context())
    assert {path.suffix for path in set(context()) - needed} == {".py"}


def test_what_somebody_left_beside_the_modules_is_not_sent():
    for name in (".env", "key.json", "notes.txt", "config/.env", "prompts/parse.py.orig", "id_rsa"):
        assert is_ignored(ROOT / "beam_jobs" / name), name
    assert not is_ignored(ROOT / "beam_jobs" / "stream.py")


@pytest.mark.slow
def test_gcloud_sends_the_same(tmp_path):
    if not shutil.which("gcloud"):
        pytest.skip("no gcloud on this machine; the test above reads .gcloudignore without it")
    sent = subprocess.run(
        ["gcloud", "meta", "list-files-for-upload", "."],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "CLOUDSDK_CONFIG": str(tmp_path)},
    )
    assert {ROOT / line for line in sent.stdout.splitlines()} == set(context())


def test_the_images_beam_is_the_one_that_is_installed():
    beam = next(tag for image, tag in bases().items() if image.startswith("apache/beam"))
    assert beam == requirements()["apache-beam"]


def test_the_images_agree_on_a_python_that_the_project_supports():
    (python,) = {python_of(image, tag) for image, tag in bases().items()}
    lowest, highest = re.search(
        r"\((3, \d+)\) <= sys.version_info\[:2\] <= \((3, \d+)\)", (ROOT / "Makefile").read_text()
    ).groups()
    minor = int(python.removeprefix("3."))
    assert int(lowest.removeprefix("3, ")) <= minor <= int(highest.removeprefix("3, "))


def test_every_image_that_is_built_on_is_pinned():
    for image, tag in bases().items():
        assert re.search(r"\d+\.\d+\.\d+|\d{8}", tag), f"{image}:{tag} may change under us"
    for step in BUILD["steps"]:
        assert re.search(r":\d+\.\d+\.\d+$", step["name"]), f"{step['name']} may change under us"


def test_what_is_installed_is_in_the_versions_that_the_tests_run_with():
    version = bases()["python"].partition("-")[0]
    assert f"\nIMAGE_PYTHON := {version}\n" in (ROOT / "Makefile").read_text()
    image = {"python_version": version.rpartition(".")[0], "python_full_version": version}
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    constraints = [Requirement(line) for line in lines if not line.startswith("#")]
    pinned = {
        each.name: str(each.specifier).removeprefix("==")
        for each in constraints
        if not each.marker or each.marker.evaluate(image)
    }
    assert requirements().items() <= locked().items()
    assert locked() == {name: pinned[name] for name in locked()}


def test_nothing_is_installed_whose_hash_is_not_listed():
    (install,) = [run for run in targets()["stream"].values("RUN") if "pip install" in run]
    assert "--require-hashes -r /tmp/requirements.lock" in install
    parts = re.split(r"^(?=\w)", LOCK, flags=re.MULTILINE)[1:]
    assert len(parts) == len(locked()) > 100
    assert [part for part in parts if not re.search(r"--hash=sha256:[0-9a-f]{64}\b", part)] == []


def test_the_list_of_parts_has_every_package_that_is_installed_and_no_other():
    parts = json.loads((ROOT / "beam_jobs/sbom.json").read_text())
    assert parts["bomFormat"] == "CycloneDX"
    listed = {part["name"]: part["version"] for part in parts["components"]}
    assert listed == locked(), "run `make lock`"
    assert {part["purl"] for part in parts["components"]} == {
        f"pkg:pypi/{name}@{version}" for name, version in locked().items()
    }


# Cloud Build


def flags(step) -> dict[str, str]:
    """Return the flags of a step's docker build."""
    first, *others, last = step["args"]
    assert (first, last) == ("build", "."), "expected a build of the top directory"
    return dict(flag.removeprefix("--").split("=", 1) for flag in others)


def test_cloud_build_builds_each_target_and_pushes_it():
    first, *builds = BUILD["steps"]
    assert first is STEPS["bases"], "it changes the file that the others read"
    assert [flags(step)["target"] for step in builds] == list(targets())
    assert [flags(step)["tag"] for step in builds] == BUILD["images"]
    assert {flags(step)["file"] for step in builds} == {"beam_jobs/Dockerfile"}


# A registry in which each tag has been moved since somebody looked.
DOCKER = """#!/bin/sh
echo "$@" >> "${0%/*}/calls"
if [ "$1" = inspect ]; then
  for image; do :; done
  case "$image" in *@*) echo "$image" ;; *) echo "${image%:*}@sha256:$DIGEST" ;; esac
fi
"""


def pin(folder, digest):
    """Run the build's first step in a copy of the folder; return its output and the Dockerfile."""
    (folder / "beam_jobs").mkdir(exist_ok=True)
    text = DOCKERFILE.read_text()
    (folder / "beam_jobs/Dockerfile").write_text(text)
    docker = folder / "docker"
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    done = subprocess.run(
        [STEPS["bases"]["entrypoint"], *(ROOT / name for name in STEPS["bases"]["args"])],
        cwd=folder,
        env={"PATH": f"{folder}:{os.environ['PATH']}", "DIGEST": digest},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done, (folder / "beam_jobs/Dockerfile").read_text()


def test_images_are_built_on_digests_and_the_build_keeps_which(tmp_path):
    digest = "0123456789abcdef" * 4
    done, text = pin(tmp_path, digest)
    assert done.returncode == 0, done.stderr
    external = [line for line in re.findall(r"^FROM (\S+) AS", text, re.MULTILINE) if ":" in line]
    assert external == [f"{image}@sha256:{digest}" for image in bases()]
    assert (tmp_path / "bases.txt").read_text().splitlines() == [
        f"{image}:{tag} {image}@sha256:{digest}" for image, tag in bases().items()
    ]
    kept = BUILD["artifacts"]["objects"]
    assert kept["location"] == "gs://${_BUCKET}/templates/sbom/${_TAG}/"
    assert set(kept["paths"]) == {"beam_jobs/sbom.json", "beam_jobs/requirements.lock", "bases.txt"}


def test_an_image_without_a_digest_ends_the_build(tmp_path):
    done, _ = pin(tmp_path, "")
    assert done.returncode == 1
    assert "error: expected the digest of apache/beam" in done.stderr


def test_cloud_build_tells_each_image_the_name_that_it_gives_it():
    for step in map(STEPS.get, targets()):
        name, _, value = flags(step)["build-arg"].partition("=")
        assert value == flags(step)["tag"]
        assert (
            targets()[flags(step)["target"]].environment(**{name: value})["IMAGEN_IMAGE"] == value
        )


def test_an_image_runs_what_the_local_dataflow_takes_it_for():
    built = {}
    for step in map(STEPS.get, targets()):
        name = flags(step)["tag"].removeprefix("${_REPOSITORY}/").removesuffix(":${_TAG}")
        entry = targets()[flags(step)["target"]].environment()[ENTRY]
        built[name] = entry.removeprefix("/template/").removesuffix(".py").replace("/", ".")
    assert built == {name: program.module for name, program in PROGRAMS.items()}


def test_a_build_needs_repository_and_tag_and_no_bucket_for_its_log():
    used = set(re.findall(r"\$\{(\w+)\}", str(BUILD)))
    assert used == {"_REPOSITORY", "_TAG", "_BUCKET"}
    assert "substitutions" not in BUILD, "a default would name images that nobody asked for"
    assert BUILD["options"]["logging"] == "CLOUD_LOGGING_ONLY"
    assert 600 <= int(BUILD["timeout"].removesuffix("s")) <= 3600
