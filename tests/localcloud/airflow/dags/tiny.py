"""DAGs that the tests of the local Airflow run."""

import os
import sys
import time
from pathlib import Path

from airflow.sdk import Param, dag, get_current_context, task


@dag(schedule=None, params={"number": Param(1, type="integer", minimum=1, maximum=9)})
def double():
    """Double a number, and tell where the task finds its world."""

    @task
    def compute() -> int:
        number: int = get_current_context()["params"]["number"]
        print(f"doubling {number}")
        return 2 * number

    @task
    def surroundings() -> dict[str, str]:
        names = ("IMAGEN_POKE_SECONDS", "IMAGEN_BUCKET", "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT")
        return {name: os.environ[name] for name in names}

    compute() >> surroundings()


@dag(schedule=None)
def fails():
    """Fail, and leave something to do after it."""

    @task
    def burst() -> None:
        print("about to burst", file=sys.stderr)
        raise RuntimeError("the pipe has burst")

    @task
    def after() -> None:
        """Never begun."""

    burst() >> after()


@dag(schedule=None, params={"file": ""})
def waits():
    """Run until there is a file, for at most a minute."""

    @task(retries=1, retry_delay=0)
    def wait() -> None:
        file = Path(get_current_context()["params"]["file"])
        file.with_suffix(".began").touch()
        for _ in range(600):
            if file.exists():
                return
            time.sleep(0.1)
        raise TimeoutError(f"no {file}")

    wait()


double()
fails()
waits()
