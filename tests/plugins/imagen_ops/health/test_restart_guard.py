"""The limit on restarts per hour. Jobs stay QUEUED here."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.plugins.conftest import Deployment
from tests.plugins.imagen_ops.health.conftest import Run, assess, request_stream, restart

pytestmark = pytest.mark.usefixtures("queued_jobs")


def test_a_stream_that_keeps_dying_is_left_to_a_person_after_the_last_restart_of_the_hour(
    deployment: Deployment, variables: dict[str, str], run_task: Run, alerts: Any
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    request_stream(deployment)
    down = assess(run_task, "0")
    for number in range(deployment.settings.restarts_per_hour):
        restart(run_task, str(number), down)
        deployment.cancel_jobs()
    for number in range(10, 13):
        with pytest.raises(AirflowFailException, match="IMAGEN_RESTARTS_PER_HOUR allows 3"):
            restart(run_task, str(number), down)
    assert [alert["event"] for alert in alerts()].count("stream_crash_loop") == 1


def test_a_retried_restart_counts_once(
    deployment: Deployment, variables: dict[str, str], run_task: Run
) -> None:
    request_stream(deployment)
    down = assess(run_task, "0")
    for number in range(deployment.settings.restarts_per_hour - 1):
        restart(run_task, str(number), down)
    for _ in range(3):
        restart(run_task, "the hour's last", down)


def claim(deployment: Deployment, run_id: str) -> None:
    from imagen_ops.health.restart_guard import claim_restart
    from imagen_ops.records.folders import RESTART_RECORDS

    claim_restart(
        deployment.clients.history(RESTART_RECORDS),
        run_id=run_id,
        max_per_hour=1,
        start_dag_id="imagen_stream_start",
    )


def test_a_refusal_gives_the_number_the_limit_and_what_to_do(deployment: Deployment) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    claim(deployment, "1")
    with pytest.raises(AirflowFailException) as refused:
        claim(deployment, "2")
    assert str(refused.value) == (
        "not restarting: 1 restart in the last hour, and "
        "IMAGEN_RESTARTS_PER_HOUR allows 1. Find out why the job keeps ending (the verdict quotes "
        "its error), fix it, then run imagen_stream_start"
    )


def test_a_restart_of_more_than_an_hour_ago_does_not_count(deployment: Deployment) -> None:
    from imagen_ops.health.restart_guard import RESTART_SCHEMA
    from imagen_ops.records.folders import RESTART_RECORDS

    earlier = datetime.now(UTC) - timedelta(minutes=61)
    record = {"schema": RESTART_SCHEMA, "run_id": "1", "at": earlier.isoformat(), "refused": False}
    deployment.clients.history(RESTART_RECORDS).put(record)
    claim(deployment, "2")
