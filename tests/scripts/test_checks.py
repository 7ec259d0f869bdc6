"""Each script looks for all that it needs, names all that is missing, and does nothing then."""

import pytest

OURS = {"PROJECT": "my-project", "REGION": "us-central1", "IMAGE_TAG": "abc"}
RUN = {
    "01_run_dataflow": [],
    "02_verify_deployment": [],
    "build_image": [],
    "publish_prompt": ["a fox"],
    "watch_predictions": [],
}
NO_PROJECT = "PROJECT is not set; for example: export PROJECT=my-project"
NO_REGION = "REGION is not set; for example: export REGION=us-central1"
NO_VENV = ".venv doesn't exist; create it with: make install"
NO_GCLOUD = "gcloud isn't installed; see https://cloud.google.com/sdk/docs/install"
NO_LOGIN = "gcloud isn't logged in; run: gcloud auth login"
NO_CREDENTIALS = (
    "there are no application default credentials; create them with: "
    "gcloud auth application-default login"
)


@pytest.fixture
def ready(place):
    """Have all there is on Google Cloud, but for what a test takes away."""
    place.install("gcloud")
    place.install_python()
    tags = (
        "imagen-stream\tabc\nimagen-backfill\tabc\nimagen-stream\tolder\nimagen-backfill\tolder\n"
    )
    place.answer("gcloud", "artifacts docker tags list", out=tags)
    return place


def errors(done):
    assert done.returncode == 1
    return [line.removeprefix("error: ") for line in done.stderr.splitlines()]


def nothing_done(place):
    harmless = (["auth"], ["artifacts"], ["storage", "buckets", "describe"], ["-c"])
    done = [*place.calls("gcloud"), *place.calls("python")]
    return not [call for call in done if not any(call[: len(h)] == h for h in harmless)]


@pytest.mark.parametrize("name", RUN)
def test_on_an_empty_machine_everything_is_named_at_once(place, name):
    assert errors(place.script(name, *RUN[name])) == [NO_VENV, NO_PROJECT, NO_REGION, NO_GCLOUD]


@pytest.mark.parametrize("name", RUN)
def test_without_a_login_nothing_is_done(ready, name):
    ready.answer("gcloud", "auth", err="ERROR: (gcloud.auth) log in", code=1)
    wanted = [NO_LOGIN] if name == "build_image" else [NO_LOGIN, NO_CREDENTIALS]
    assert errors(ready.script(name, *RUN[name], **OURS)) == wanted
    assert nothing_done(ready)


@pytest.mark.parametrize("name", RUN)
def test_elsewhere_than_in_the_top_directory_nothing_is_done(ready, name):
    done = ready.run(f"./{name}.sh", *RUN[name], cwd=ready.root / "scripts", **OURS)
    (line,) = errors(done)
    assert line == f"run this from the project's top directory, as scripts/{name}.sh"
    assert nothing_done(ready)


@pytest.mark.parametrize("name", RUN)
def test_stand_ins_that_do_not_run_are_the_one_thing_named(ready, name):
    ready.answer("python", "-m localcloud", code=1)
    (line,) = errors(ready.script(name, *RUN[name], **OURS, LOCALCLOUD=".state/cloud"))
    assert (
        "no stand-ins run with the state folder .state/cloud; start them with: .venv/bin/python -m"
        in line
    )
    assert ready.calls("gcloud") == []


@pytest.mark.parametrize("name", ["01_run_dataflow", "build_image"])
def test_a_registry_that_cannot_be_read_is_told_with_what_gcloud_said(ready, name):
    said = "ERROR: (gcloud.artifacts.docker.tags.list) NOT_FOUND: no such repository"
    ready.answer("gcloud", "artifacts docker tags list", err=f"{said}\n", code=1)
    lines = errors(ready.script(name, **OURS))
    assert lines[0] == said.removeprefix("error: ")
    assert (
        "can't read the registry us-central1-docker.pkg.dev/my-project/imagen (see above)"
        in lines[1]
    )
    assert "terraform apply creates it" in lines[1]
    assert nothing_done(ready)


def test_an_image_that_was_not_built_is_named_with_how_to_build_it(ready):
    others = "imagen-stream\tabc\nimagen-backfill\tab\n"
    ready.answer("gcloud", "artifacts docker tags list", out=others)
    (line,) = errors(ready.script("01_run_dataflow", **{**OURS, "IMAGE_TAG": "ab"}))
    assert "there is no image us-central1-docker.pkg.dev/my-project/imagen/imagen-stream:ab" in line
    assert "build it with: scripts/build_image.sh" in line
    assert nothing_done(ready)


def test_an_image_is_found_among_more_than_a_pipe_holds(ready):
    images = "".join(f"imagen-stream\tabc\nother-{number}\tabc\n" for number in range(10_000))
    ready.answer("gcloud", "artifacts docker tags list", out=images)
    done = ready.script("01_run_dataflow", **OURS)
    assert "there is no image" not in done.stderr


def test_another_python_than_the_images_is_refused(ready):
    ready.install_python("3.12")
    (line,) = errors(ready.script("01_run_dataflow", **OURS))
    assert "the image has Python 3.11 and .venv has 3.12" in line
    assert "make install PYTHON=python3.11" in line
    assert nothing_done(ready)


def test_no_image_is_built_of_what_no_commit_holds(ready):
    given = {name: OURS[name] for name in ("PROJECT", "REGION")}
    (line,) = errors(ready.script("build_image", **given))
    assert "isn't a git checkout: choose a tag" in line
    ready.commit()
    (ready.root / "beam_jobs" / "new.py").write_text("")
    (line,) = errors(ready.script("build_image", **given))
    assert "uncommitted changes" in line
    assert "IMAGE_TAG=try-3 scripts/build_image.sh" in line
    assert nothing_done(ready)


def test_no_image_is_built_into_a_bucket_that_gcloud_would_make(ready):
    ready.answer("gcloud", "storage buckets describe gs://typo", err="404\n", code=1)
    lines = errors(ready.script("build_image", **OURS, BUCKET="typo"))
    assert lines == [
        "404",
        "can't read the bucket gs://typo (see above); terraform apply creates it",
    ]
    assert nothing_done(ready)


def test_half_a_build_is_not_built_over(ready):
    (line,) = errors(ready.script("build_image", **{**OURS, "IMAGE_TAG": "older"}))
    assert "only imagen-stream, imagen-backfill:older exists" in line
    assert "IMAGE_TAG=older-2 scripts/build_image.sh" in line
    assert nothing_done(ready)


def test_a_prompt_is_asked_for(ready):
    done = ready.script("publish_prompt", **OURS)
    assert (done.returncode, done.stdout) == (2, "")
    assert 'scripts/publish_prompt.sh "A fox in the snow"' in done.stderr
    assert nothing_done(ready)
