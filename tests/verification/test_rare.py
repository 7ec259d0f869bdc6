"""Checks that run only if somebody names them, and Airflow's command line."""

from typing import Any

import pytest

from tests.verification.answers import Answers
from tests.verification.conftest import Verifying, differs, holds

ENVIRONMENT = "/v1/projects/demo-project/locations/us-central1/environments/imagen"
RUN = {"executionId": "1", "pod": "p", "podNamespace": "n"}


@pytest.mark.parametrize(
    ("ended", "words"),
    [
        ({"outputEnd": True, "output": [{"content": "2026-01-01"}]}, ""),
        (
            {"outputEnd": True, "output": [{"content": "bad"}], "exitInfo": {"exitCode": 2}},
            "exit code 2: bad",
        ),
        ({"output": []}, "has not ended"),
    ],
)
def test_a_command_that_fails_or_does_not_end_is_found(
    verifying: Verifying, answers: Answers, ended: dict[str, Any], words: str
) -> None:
    answers.at[f"{ENVIRONMENT}:executeAirflowCommand"] = (200, RUN)
    answers.at[f"{ENVIRONMENT}:pollAirflowCommand"] = (200, ended)
    result = verifying.ask("airflow command", within_s=1)
    differs(result, words) if words else holds(result)


def test_an_update_of_nothing_is_refused_or_fails(verifying: Verifying) -> None:
    holds(verifying.ask("update nothing"))
