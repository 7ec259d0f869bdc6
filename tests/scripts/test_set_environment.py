"""`source scripts/00_set_environment.sh`: what it sets, from where, and what it leaves alone."""

import json
import re
import shutil
from pathlib import Path

import pytest

from beam_jobs.catalog import DEFAULT_MODEL

ROOT = Path(__file__).parents[2]
SOURCE = "source scripts/00_set_environment.sh"
QUIET = f"{SOURCE} > /dev/null"
OURS = {"PROJECT": "my-project", "REGION": "europe-west4"}
STAND_INS = {
    "GOOGLE_CLOUD_PROJECT": "demo-project",
    "PUBSUB_EMULATOR_HOST": "127.0.0.1:4001",
    "STORAGE_EMULATOR_HOST": "http://127.0.0.1:4002",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_DATAFLOW": "http://127.0.0.1:4003/",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_MONITORING": "http://127.0.0.1:4004/",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS": "http://127.0.0.1:4007/",
    "GOOGLE_VERTEX_BASE_URL": "http://127.0.0.1:4005",
    "GCE_METADATA_HOST": "127.0.0.1:4006",
    "GCE_METADATA_IP": "127.0.0.1:4006",
}


@pytest.fixture
def deployed(place):
    """Have Terraform know of a deployment, with these outputs besides project and region."""
    place.install("terraform")
    (place.root / ".terraform").mkdir()

    def give(**outputs):
        out = json.dumps({**OURS, **outputs}, separators=(",", ":"))
        place.answer("terraform", "output -json environment", out=out)

    return give


@pytest.fixture
def stand_ins(place):
    """Have stand-ins run on `.state/cloud`, and on nothing else."""
    place.install_python()
    lines = "".join(f"export {name}='{value}'\n" for name, value in STAND_INS.items())
    place.answer("python", "-m localcloud", err="error: nothing runs there", code=1)
    place.answer("python", "-m localcloud --state .state/cloud env", out=lines)
    return {"LOCALCLOUD": ".state/cloud"}


def set_by(place, before, after):
    """What a sourcing added to the environment, without its own records."""
    known = {**place.environment, **before}
    return {
        name: value
        for name, value in after.items()
        if known.get(name) != value and not name.startswith("SCRIPTS_")
    }


ABBREVIATED = ("--abbrev=12", "--format=%h")


def test_a_project_and_a_region_are_all_that_is_needed(place, shell):
    tag = place.commit()
    out, err, after = place.source(SOURCE, shell=shell, **OURS)
    assert err == ""
    assert set_by(place, OURS, after) == {
        "GOOGLE_CLOUD_PROJECT": "my-project",
        "BUCKET": "my-project-imagen",
        "REPOSITORY": "europe-west4-docker.pkg.dev/my-project/imagen",
        "IMAGE_TAG": tag,
        "PROMPTS_TOPIC": "prompts",
        "PROMPTS_SUBSCRIPTION": "prompts-sub",
        "PREDICTIONS_TOPIC": "predictions",
        "PREDICTIONS_SUBSCRIPTION": "predictions-sub",
        "DEAD_LETTERS_TOPIC": "dead-letters",
        "STREAM_JOB_NAME": "imagen-stream",
        "NAME_PREFIX": "imagen",
        "CANARY_SUBSCRIPTION": "canary-sub",
        "DEAD_LETTERS_SUBSCRIPTION": "dead-letters-sub",
        "COMPOSER_ENVIRONMENT": "imagen",
        "COMPOSER_SERVICE_ACCOUNT": "imagen-composer@my-project.iam.gserviceaccount.com",
        "MODEL": "gemini-nano-banana-2.1",
        "WORKER_MACHINE_TYPE": "n2-standard-2",
        "MAX_WORKERS": "2",
        "WORKER_SERVICE_ACCOUNT": "imagen-worker@my-project.iam.gserviceaccount.com",
        "WORKER_SUBNETWORK": "regions/europe-west4/subnetworks/imagen",
        "BUILD_SERVICE_ACCOUNT": "imagen-build@my-project.iam.gserviceaccount.com",
        "TF_VAR_project": "my-project",
        "TF_VAR_region": "europe-west4",
        "TF_VAR_name_prefix": "imagen",
        "TF_VAR_bucket": "my-project-imagen",
        "TF_VAR_image_tag": tag,
        "TF_VAR_model": DEFAULT_MODEL,
    }
    shown = dict(line.split()[:2] for line in out.splitlines() if line.split()[0].isupper())
    assert shown == {name: after[name] for name in shown}
    assert {"PROJECT", "BUCKET", "IMAGE_TAG", "WORKER_SUBNETWORK"} <= shown.keys()


def test_a_second_deployment_has_names_of_its_own(place, shell):
    place.commit()
    _, err, after = place.source(SOURCE, shell=shell, NAME_PREFIX="pics", **OURS)
    assert err == ""
    assert {name: after[name] for name in ("BUCKET", "PROMPTS_TOPIC", "STREAM_JOB_NAME")} == {
        "BUCKET": "my-project-pics",
        "PROMPTS_TOPIC": "pics-prompts",
        "STREAM_JOB_NAME": "pics-stream",
    }
    assert after["WORKER_SERVICE_ACCOUNT"].startswith("pics-worker@")
    assert after["TF_VAR_name_prefix"] == after["COMPOSER_ENVIRONMENT"] == "pics"


def test_what_you_set_wins_over_terraform_and_terraform_over_the_default(place, deployed, shell):
    deployed(BUCKET="terraforms-bucket", MODEL="terraforms-model", WORKER_SUBNETWORK="https://a/b")
    mine = {**OURS, "MODEL": "my-model", "STREAM_JOB_NAME": "my-stream"}
    _, err, after = place.source(QUIET, shell=shell, **mine)
    assert err == ""
    assert after["MODEL"] == after["TF_VAR_model"] == "my-model"
    assert after["STREAM_JOB_NAME"] == "my-stream"
    assert after["BUCKET"] == after["TF_VAR_bucket"] == "terraforms-bucket"
    assert after["WORKER_SUBNETWORK"] == "https://a/b"
    assert after["PROMPTS_TOPIC"] == "prompts"


def test_everything_that_composer_tf_gives_out_is_taken(place, deployed):
    text = (ROOT / "composer.tf").read_text()
    (block,) = re.findall(r'output "environment" \{.*?\n\}', text, re.DOTALL)
    names = set(re.findall(r"^ +([A-Z_]+) *=", block, re.MULTILINE)) - set(OURS)
    assert len(names) > 10
    given = {name: f"its-{number}" for number, name in enumerate(sorted(names))}
    deployed(**given)
    _, _, after = place.source(QUIET)
    assert {name: after.get(name) for name in given} == given


@pytest.mark.skipif(not shutil.which("terraform"), reason="terraform is not installed")
def test_the_real_terraform_is_understood(place):
    (place.bin / "terraform").symlink_to(shutil.which("terraform"))
    values = {**OURS, "BUCKET": "a-b.c", "WORKER_SUBNETWORK": "https://a/v1/projects/p/x"}
    lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())
    # Outputs alone need no provider.
    (place.root / "outputs.tf").write_text(f'output "environment" {{\nvalue = {{\n{lines}}}\n}}\n')
    done = place.run("terraform", "apply", "-auto-approve")
    assert done.returncode == 0, done.stderr
    _, err, after = place.source(QUIET)
    assert err == ""
    assert {name: after.get(name) for name in values} == values


def test_what_is_set_without_being_exported_counts_too(place, shell):
    _, _, after = place.source("PROJECT=my-project REGION=us-east1 MODEL=mine", QUIET, shell=shell)
    assert (after["PROJECT"], after["REGION"], after["MODEL"]) == ("my-project", "us-east1", "mine")


def test_project_and_region_come_from_a_deployment_too(place, deployed, shell):
    deployed()
    _, err, after = place.source(QUIET, shell=shell)
    assert (err, after["PROJECT"], after["REGION"]) == ("", "my-project", "europe-west4")


def test_the_deployment_of_another_project_is_left_alone_and_said(place, deployed):
    deployed(BUCKET="terraforms-bucket")
    out, _, after = place.source(SOURCE, PROJECT="another", REGION="europe-west4")
    assert after["BUCKET"] == "another-imagen"
    assert "note: terraform output belongs to my-project in europe-west4, so it is ignored" in out


def test_terraform_that_knows_of_nothing_is_passed_over_in_silence(place, shell):
    place.install("terraform")
    place.answer("terraform", "output", err='Error: Output "environment" not found', code=1)
    assert place.source(QUIET, shell=shell, **OURS)[1] == ""
    assert place.calls("terraform") == []
    (place.root / "terraform.tfstate").write_text("{}")
    _, err, after = place.source(QUIET, shell=shell, **OURS)
    assert place.calls("terraform") == [["output", "-json", "environment"]]
    assert (err, after["BUCKET"]) == ("", "my-project-imagen")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, ["PROJECT is not set", "REGION is not set"]),
        ({"PROJECT": "my-project"}, ["REGION is not set"]),
        (
            {**OURS, "PROJECT": "My Project"},
            ["PROJECT: expected a project ID such as my-project, got My Project"],
        ),
        (
            {**OURS, "REGION": "us-central1-a"},
            ["REGION: expected a region such as us-central1, got us-central1-a"],
        ),
        ({**OURS, "PUBSUB_EMULATOR_HOST": "localhost:1"}, ["unset PUBSUB_EMULATOR_HOST"]),
    ],
    ids=["nothing", "project", "malformed", "zone", "emulator"],
)
def test_all_that_is_missing_is_named_and_nothing_is_set(place, shell, given, named):
    out, err, after = place.source(f"{SOURCE} || echo 'it is $?'", shell=shell, **given)
    lines = err.splitlines()
    assert len(lines) == len(named)
    assert all(line.startswith("error: ") for line in lines)
    assert all(words in line for words, line in zip(named, lines, strict=True))
    assert "it is" in out
    assert after == {**place.environment, **given}


LEFT_OVER = sorted(STAND_INS.keys() - {"GOOGLE_CLOUD_PROJECT"})


@pytest.mark.parametrize("name", LEFT_OVER)
def test_what_is_left_over_of_stand_ins_is_never_taken_for_google_cloud(place, shell, name):
    given = {**OURS, name: STAND_INS[name]}
    _, err, after = place.source(f"{QUIET} || true", shell=shell, **given)
    assert err.startswith(f"error: {name} is set to {STAND_INS[name]}, which is not Google Cloud")
    assert after == {**place.environment, **given}


def test_a_terminal_that_points_at_stand_ins_is_told_so_in_one_sentence(place, shell):
    given = {name: STAND_INS[name] for name in LEFT_OVER}
    _, err, after = place.source(f"{QUIET} || true", shell=shell, **given)
    (line,) = err.splitlines()
    assert line.startswith(
        "error: this terminal points at stand-ins: export LOCALCLOUD=.state/localcloud"
    )
    assert all(name in line for name in LEFT_OVER)
    assert after == {**place.environment, **given}


def test_everything_that_stand_ins_set_is_looked_for():
    from localcloud import cloud

    text = Path(cloud.__file__).read_text()
    block = text.partition("environment |= {")[2].partition("}\n        await")[0]
    assert set(re.findall(r'(?m)^ +"([A-Z_]+)":', block)) == STAND_INS.keys()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GOOGLE_VERTEX_BASE_URL", "https://aiplatform-private.p.googleapis.com"),
        ("CLOUDSDK_API_ENDPOINT_OVERRIDES_DATAFLOW", "https://dataflow-private.p.googleapis.com/"),
        ("GCE_METADATA_HOST", "metadata.google.internal"),
        ("GCE_METADATA_IP", "169.254.169.254"),
    ],
)
def test_googles_own_endpoints_may_be_named(place, shell, name, value):
    _, err, after = place.source(QUIET, shell=shell, **OURS, **{name: value})
    assert (err, after[name]) == ("", value)


def test_elsewhere_than_in_the_top_directory_it_says_so(place, shell):
    _, err, _ = place.source("cd beam_jobs", "source ../scripts/00_set_environment.sh || true")
    assert "this isn't the project's top directory" in err


def test_run_instead_of_sourced_it_says_how(place):
    done = place.run("bash", "scripts/00_set_environment.sh", **OURS)
    assert done.returncode == 1
    assert "type: source scripts/00_set_environment.sh" in done.stderr


@pytest.mark.parametrize("given", [OURS, {}], ids=["set", "missing"])
@pytest.mark.parametrize("options", ["set -eu", "set +eu"])
def test_the_shell_is_left_as_it_was(place, shell, options, given):
    look = "set +o; typeset -f" if shell == "bash" else "setopt; typeset -f"
    steps = [options, f"before=$({look})", f"{QUIET} || true", f"after=$({look})"]
    same = '[ "$before" = "$after" ] && echo same'
    out, _, _ = place.source(*steps, same, shell=shell, **given)
    assert out == "same\n"


def test_sourced_again_it_leaves_the_same(place, shell):
    _, _, once = place.source(QUIET, shell=shell, **OURS)
    _, _, twice = place.source(QUIET, QUIET, shell=shell, **OURS)
    assert twice == once


def test_another_project_takes_along_what_followed_from_the_one_before(place, shell):
    another = {"PROJECT": "another", "REGION": "us-east1", "MODEL": "mine"}
    _, _, fresh = place.source(QUIET, shell=shell, **another)
    change = "export PROJECT=another REGION=us-east1"
    _, _, after = place.source(QUIET, change, QUIET, shell=shell, **OURS, MODEL="mine")
    assert after == fresh


def test_what_you_set_between_two_sourcings_stays(place, shell):
    steps = (QUIET, "export BUCKET=mine", QUIET, QUIET)
    _, _, after = place.source(*steps, shell=shell, **OURS)
    assert after["BUCKET"] == after["TF_VAR_bucket"] == "mine"


@pytest.mark.parametrize("folder", ["beam_jobs", "custom"])
def test_a_commit_of_what_the_images_hold_is_a_new_tag(place, folder):
    first = place.commit()
    (place.root / folder).mkdir(exist_ok=True)
    change = f"echo > {folder}/new.py && git add {folder}/new.py"
    commit = "git -c user.name=a -c user.email=a@example.com commit -q -m b"
    _, _, after = place.source(QUIET, change, commit, QUIET, **OURS)
    assert after["IMAGE_TAG"] == after["TF_VAR_image_tag"] == place.git("log", "-1", *ABBREVIATED)
    assert after["IMAGE_TAG"] != first


def test_a_tag_that_is_exported_is_the_one_that_is_applied_until_it_is_unset(place, shell):
    """As the runbook keeps the tag that is deployed."""
    tag = place.commit()
    keep = (QUIET, "export IMAGE_TAG=deployed", QUIET)
    _, _, after = place.source(*keep, shell=shell, **OURS)
    assert after["TF_VAR_image_tag"] == "deployed"
    _, _, after = place.source(*keep, "unset IMAGE_TAG", QUIET, shell=shell, **OURS)
    assert after["IMAGE_TAG"] == after["TF_VAR_image_tag"] == tag


def test_a_commit_of_something_else_asks_for_no_new_images(place):
    first = place.commit()
    (place.root / "composer.tf").write_text("# another alert")
    place.commit()
    _, _, after = place.source(QUIET, **OURS)
    assert after["IMAGE_TAG"] == after["TF_VAR_image_tag"] == first


def test_uncommitted_changes_are_seen_in_the_tag_and_said(place):
    tag = place.commit()
    (place.root / "beam_jobs" / "new.py").write_text("")
    out, _, after = place.source(SOURCE, **OURS)
    assert after["IMAGE_TAG"] == f"{tag}-dirty"
    assert "note: beam_jobs/ or custom/ has uncommitted changes" in out


def test_what_terraform_leaves_in_the_folder_is_no_change_of_an_image(place):
    tag = place.commit()
    (place.root / ".terraform.lock.hcl").write_text("")
    _, _, after = place.source(SOURCE, **OURS)
    assert after["IMAGE_TAG"] == tag


# With LOCALCLOUD


def test_with_localcloud_the_stand_ins_decide_where_things_are(place, stand_ins, shell):
    _, err, after = place.source(QUIET, shell=shell, **stand_ins)
    assert err == ""
    expected = {
        **STAND_INS,
        "PROJECT": "demo-project",
        "REGION": "us-central1",
        "BUCKET": "demo-project-imagen",
        # Beam speaks REST to an endpoint of this name only.
        "DATAFLOW_ENDPOINT": "http://localhost:4003",
        "PROMPTS_SUBSCRIPTION": "prompts-sub",
    }
    assert {name: after.get(name) for name in expected} == expected
    assert not [name for name in after if name.startswith("TF_VAR_")]


def test_stand_ins_that_do_not_run_are_told_how_to_be_started(place, stand_ins, shell):
    before = {**OURS, "LOCALCLOUD": "/tmp/else where"}
    steps = ("unset LOCALCLOUD", QUIET, "export LOCALCLOUD='/tmp/else where'", f"{QUIET} || true")
    _, err, after = place.source(*steps, shell=shell, **before)
    assert "no stand-ins run with the state folder /tmp/else where" in err
    assert "-m localcloud --state '/tmp/else where' up --detach" in err
    assert after == {**place.environment, **before}


def test_without_an_installation_there_are_no_stand_ins(place, shell):
    _, err, _ = place.source(f"{QUIET} || true", shell=shell, LOCALCLOUD=".state/cloud")
    assert err == "error: .venv doesn't exist; create it with: make install\n"


def test_from_google_cloud_to_the_stand_ins_and_back_nothing_is_left_over(place, stand_ins, shell):
    mine = {**OURS, "BUCKET": "my-bucket", "GOOGLE_CLOUD_PROJECT": "billing", "MODEL": "mine"}
    _, _, cloud = place.source(QUIET, shell=shell, **mine)
    _, _, local = place.source(QUIET, shell=shell, **mine, **stand_ins)
    there, back = "export LOCALCLOUD=.state/cloud", "unset LOCALCLOUD"
    assert place.source(QUIET, there, QUIET, shell=shell, **mine)[2] == local
    assert place.source(QUIET, there, QUIET, QUIET, back, QUIET, shell=shell, **mine)[2] == cloud
    assert local["BUCKET"] == "demo-project-imagen"
    assert local["MODEL"] == "mine"
    assert cloud["BUCKET"] == "my-bucket"
    assert not any("127.0.0.1" in value for value in cloud.values())


def test_what_you_set_on_the_stand_ins_is_what_comes_back(place, stand_ins, shell):
    steps = (QUIET, "export PROJECT=another", QUIET, "unset LOCALCLOUD", QUIET)
    _, _, after = place.source(*steps, shell=shell, **OURS, **stand_ins)
    assert (after["PROJECT"], after["BUCKET"]) == ("another", "another-imagen")
