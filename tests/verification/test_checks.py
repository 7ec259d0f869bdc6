"""The list of checks: names, needs, what they cost, and the files that believe them."""

import re
from fnmatch import fnmatchcase

import pytest

from tests.conftest import ROOT
from tests.docs.markdown import section, text_of
from verification.check import Check
from verification.checks import checks_of
from verification.deployment import Deployment, DeploymentError

VARIABLES = {"PROJECT": "my-project", "REGION": "us-central1", "BUCKET": "b", "IMAGE_TAG": "t"}
DEPLOYMENT = Deployment.from_environment(VARIABLES)
ALL = list(checks_of(DEPLOYMENT))


def test_names_are_different_and_what_a_check_needs_comes_before_it() -> None:
    names = [check.name for check in ALL]
    assert len(set(names)) == len(names) > 80
    for place, check in enumerate(ALL):
        assert set(check.needs) <= set(names[:place]), check.name


@pytest.mark.parametrize("check", ALL, ids=lambda check: check.name)
def test_a_belief_is_a_sentence_of_a_file_that_is_there(check: Check) -> None:
    assert re.fullmatch(r"[A-Z].*\.|imagen-.*\.", check.believed)
    assert (ROOT / check.where).is_file()
    assert not check.expected.endswith(".")
    assert 10 <= check.limit_s <= 15 * 60


def test_all_of_it_fits_into_the_default_budget() -> None:
    assert 0.5 < sum(check.usd for check in ALL if not check.by_name_only) < 2.0


def test_a_deployment_s_names_are_those_of_the_variables() -> None:
    given = VARIABLES | {"STREAM_JOB_NAME": "other", "WORKER_SERVICE_ACCOUNT": "w@x"}
    found = Deployment.from_environment(given)
    assert (found.stream_job, found.worker_account) == ("other", "w@x")
    assert found.composer_account == "imagen-composer@my-project.iam.gserviceaccount.com"
    with pytest.raises(DeploymentError, match="REGION and BUCKET not set"):
        Deployment.from_environment({"PROJECT": "my-project"})


def test_what_is_not_confirmed_names_the_checks_that_tell() -> None:
    page = section(text_of(ROOT / "docs" / "verified" / "README.md"), "Not confirmed")
    rows = [line.split(" | ")[-1] for line in page.splitlines() if line.startswith("| ")]
    named = {name for row in rows[1:] for name in re.findall(r"`([a-z *]+)`", row)}
    names = {check.name for check in ALL}
    assert [name for name in named if not any(fnmatchcase(each, name) for each in names)] == []
    # What every belief rests on, or what is there only to be needed by others, needs no row.
    unnamed = {each for each in names if not any(fnmatchcase(each, name) for name in named)}
    assert unnamed <= {
        *("nothing runs", "act as composer", "act as worker", "act as build"),
        *("subscriptions", "templates", "images stored", "run fails"),
    }
