"""The flex templates' image is built from existing files, in versions that match."""

import os
import re
import shutil
import subprocess

import pytest
import yaml

from localcloud.dataflow.templates import PROGRAMS
from tests.beam_jobs.dockerfile import DOCKERFILE, context, is_ignored, sent_of, stages, targets
from tests.conftest import ROOT

BUILD = yaml.safe_load((ROOT / "beam_jobs/cloudbuild.yaml").read_text())
ENTRY = "FLEX_TEMPLATE_PYTHON_PY_FILE"
with_each_target = pytest.mark.parametrize("target", ["stream", "backfill"])


def requirements() -> dict[str, str]:
    """Return the versions in beam_jobs/requirements.txt by package name, without extras."""
    lines = (ROOT / "beam_jobs/requirements.txt").read_text().splitlines()
    pairs = [line.partition("==") for line in lines if not line.startswith("#")]
    return {re.sub(r"\[.*\]", "", name): version for name, _, version in pairs}


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

    assert set(targets()) == {"stream", "backfill"}
    assert common("stream") == common("backfill")


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
    package = ROOT / "beam_jobs"
    laptop = {package / "__main__.py", *(package / "cli").glob("*.py")}
    assert held == set(package.rglob("*.py")) - laptop


@with_each_target
def test_all_copied_files_exist_and_are_sent(target):
    for source, _ in targets()[target].copies():
        assert sent_of(source), f"COPY {source} finds nothing that .gcloudignore lets through"


def test_nothing_is_sent_but_modules_and_what_the_build_needs():
    copied = set(targets()["stream"].files().values())
    assert set(context()) == copied | {DOCKERFILE}
    needed = {DOCKERFILE, ROOT / "constraints.txt", ROOT / "beam_jobs/requirements.txt"}
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
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = dict(line.partition(" ")[0].split("==") for line in lines if not line.startswith("#"))
    assert requirements() == {name: pinned[name] for name in requirements()}


# Cloud Build


def flags(step) -> dict[str, str]:
    """Return the flags of a step's docker build."""
    first, *others, last = step["args"]
    assert (first, last) == ("build", "."), "expected a build of the top directory"
    return dict(flag.removeprefix("--").split("=", 1) for flag in others)


def test_cloud_build_builds_each_target_and_pushes_it():
    assert [flags(step)["target"] for step in BUILD["steps"]] == list(targets())
    assert [flags(step)["tag"] for step in BUILD["steps"]] == BUILD["images"]
    assert {flags(step)["file"] for step in BUILD["steps"]} == {"beam_jobs/Dockerfile"}


def test_cloud_build_tells_each_image_the_name_that_it_gives_it():
    for step in BUILD["steps"]:
        name, _, value = flags(step)["build-arg"].partition("=")
        assert value == flags(step)["tag"]
        assert (
            targets()[flags(step)["target"]].environment(**{name: value})["IMAGEN_IMAGE"] == value
        )


def test_an_image_runs_what_the_local_dataflow_takes_it_for():
    built = {}
    for step in BUILD["steps"]:
        name = flags(step)["tag"].removeprefix("${_REPOSITORY}/").removesuffix(":${_TAG}")
        entry = targets()[flags(step)["target"]].environment()[ENTRY]
        built[name] = entry.removeprefix("/template/").removesuffix(".py").replace("/", ".")
    assert built == {name: program.module for name, program in PROGRAMS.items()}


def test_a_build_needs_repository_and_tag_and_no_bucket_for_its_log():
    used = set(re.findall(r"\$\{(\w+)\}", str(BUILD)))
    assert used == {"_REPOSITORY", "_TAG"}
    assert "substitutions" not in BUILD, "a default would name images that nobody asked for"
    assert BUILD["options"]["logging"] == "CLOUD_LOGGING_ONLY"
    assert 600 <= int(BUILD["timeout"].removesuffix("s")) <= 3600
