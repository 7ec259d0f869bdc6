"""DAGs whose runs end in every possible way, with the callbacks of the real DAGs."""

import time
from datetime import timedelta

from airflow.sdk import DAG, Param, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from imagen_ops.alerts.alert import alert
from imagen_ops.alerts.deadlines import due
from imagen_ops.dag.defaults import DAG_DEFAULTS

ONE_TRY = {"default_args": {**DAG_DEFAULTS["default_args"], "retries": 0}}
TEXT = 'a line\nbreak, 100 % "quoted" {braces} ünd [brackets]'

with DAG(
    "fickle",
    schedule=None,
    params={"fail": Param(False, type="boolean"), "prompt": "a fox"},
    **{**DAG_DEFAULTS, **ONE_TRY},
):

    @task
    def tell() -> None:
        """Send an alert, as the health operators do."""
        alert("stream_verdict", TEXT, status="DOWN")

    @task
    def may_fail() -> None:
        """Fail on demand."""
        if get_current_context()["params"]["fail"]:
            raise RuntimeError("the form asks for a failure")

    tell() >> may_fail()


with DAG(
    "slow",
    schedule=None,
    dagrun_timeout=timedelta(seconds=2),
    **{**DAG_DEFAULTS, **ONE_TRY},
):

    @task
    def sleep() -> None:
        """Take longer than the run may take."""
        time.sleep(60)

    sleep()


with DAG("long", schedule=None, **{**DAG_DEFAULTS, **ONE_TRY}):

    @task(task_id="sleep")
    def sleep_on() -> None:
        """Run long enough to be marked as failed."""
        time.sleep(600)

    sleep_on()


with DAG("idle", schedule=None, **{**DAG_DEFAULTS, **ONE_TRY}):

    @task
    def skip() -> None:
        """Skip."""
        raise AirflowSkipException("nothing to do")

    skip()


with DAG(
    "late",
    # Its one scheduled run is of the start date, months ago, and so late from the beginning.
    schedule="@once",
    deadline=due("health_due_minutes", 30, timedelta(minutes=1)),
    **{**DAG_DEFAULTS, **ONE_TRY, "is_paused_upon_creation": True},
):

    @task(task_id="sleep")
    def sleep_late() -> None:
        """Run long enough to be found late."""
        time.sleep(600)

    sleep_late()
