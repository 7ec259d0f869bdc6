"""Airflow and its page: answers as its API gives them, right and wrong."""

from typing import Any

import pytest

from tests.verification.answers import Answers
from tests.verification.conftest import Verifying, differs, holds
from verification.check import Ending
from verification.checks import airflow as checks

DAGS = [{"dag_id": name, "is_paused": False} for name in sorted(checks._DAGS)]
API = "/api/v2"
ENVIRONMENT = "/v1/projects/demo-project/locations/us-central1/environments/imagen"
OPTIONS = {
    "logging-dag_processor_log_target": "stdout",
    "openlineage-selective_enable": "True",
}


def environment(**options: str) -> dict[str, Any]:
    software = {"imageVersion": "composer-3", "airflowConfigOverrides": options}
    return {"state": "RUNNING", "config": {"softwareConfig": software}}


@pytest.fixture
def well(answers: Answers) -> Answers:
    """An Airflow in which all is well."""
    answers.at |= {
        f"{API}/importErrors": (200, {"import_errors": []}),
        f"{API}/dags": (200, {"dags": DAGS}),
        f"{API}/plugins": (200, {"plugins": [{"name": "imagen"}]}),
        f"{API}/monitor/health": (200, {"scheduler": {"status": "healthy"}}),
        f"{API}/version": (200, {"version": "3.3.1+composer"}),
        f"{API}/providers": (
            200,
            {
                "providers": [
                    {"package_name": "apache-airflow-providers-google", "version": "22.2.2"},
                    {"package_name": "apache-airflow-providers-apache-beam", "version": "6.3.1"},
                ]
            },
        ),
        ENVIRONMENT: (200, environment(**OPTIONS)),
        "/imagen/": (200, "<html><title>Imagen</title></html>"),
        "/imagen/images/a/a-0.png": (200, b"\x89PNG"),
        **{
            f"/imagen/api/{panel}": (200, {"error": None, "data": {}})
            for panel in ("stream", "plots", "backfills", "dead-letters", "images")
        },
    }
    return answers


@pytest.mark.parametrize(
    "name", ["dags", "plugins seen", "versions", "composer options", "page closed", "page opens"]
)
@pytest.mark.usefixtures("well")
def test_what_is_well_holds(verifying: Verifying, name: str) -> None:
    holds(verifying.ask(name))


def failed_import() -> dict[str, Any]:
    trace = "Traceback\nModuleNotFoundError: No module named 'beam_jobs'"
    return {"import_errors": [{"filename": "dags/imagen_stream.py", "stack_trace": trace}]}


@pytest.mark.parametrize(
    ("name", "path", "answer", "words"),
    [
        ("dags", f"{API}/importErrors", failed_import(), "No module named 'beam_jobs'"),
        ("dags", f"{API}/dags", {"dags": DAGS[1:]}, "not there: imagen_backfill"),
        ("dags", f"{API}/dags", {"dags": [{**DAGS[0], "is_paused": True}, *DAGS[1:]]}, "paused"),
        ("plugins seen", f"{API}/plugins", {"plugins": []}, "no plugins"),
        ("versions", f"{API}/version", {"version": "3.2.0"}, "apache-airflow 3.2.0, not 3.3.1"),
        (
            "composer options",
            ENVIRONMENT,
            environment(**{"openlineage-selective_enable": "True"}),
            "logging-dag_processor_log_target",
        ),
        ("page opens", "/imagen/", "<title>Airflow</title>", "HTTP 200"),
        (
            "page opens",
            "/imagen/api/plots",
            {"error": "403 Forbidden", "data": None},
            "the panel plots: 403 Forbidden",
        ),
    ],
)
def test_what_is_wrong_is_found(
    verifying: Verifying, well: Answers, name: str, path: str, answer: Any, words: str
) -> None:
    well.at[path] = (200, answer)
    differs(verifying.ask(name), words)


def test_a_page_that_is_open_to_everybody_is_found(verifying: Verifying, well: Answers) -> None:
    well.open_paths.add("/imagen/")
    differs(verifying.ask("page closed"), "HTTP 200 for somebody without a login")


def test_images_that_the_web_server_cannot_read_are_found(
    verifying: Verifying, well: Answers
) -> None:
    verifying.visit.known["images"] = ["gs://demo-project-imagen/images/a/a-0.png"]
    holds(verifying.ask("page images"))
    well.at["/imagen/images/a/a-0.png"] = (503, {"detail": "storage does not answer"})
    differs(verifying.ask("page images"), "HTTP 503")


def test_an_environment_that_is_not_there_differs_with_google_s_words(
    verifying: Verifying,
) -> None:
    differs(verifying.ask("composer options"), "404")


def test_without_an_airflow_beside_stand_ins_nothing_is_asked(verifying: Verifying) -> None:
    verifying.visit.environment = {}
    assert verifying.ask("dags").ending is Ending.NOT_ASKED
