#!/usr/bin/env bash
# Airflow 3.3.1: in reschedule mode, a sensor's timeout starts over with each retry.
#
# `timeout` is meant to limit the whole wait, across retries (apache/airflow issue 19346). But a
# retry gets a new task instance ID, and the dates of earlier pokes are looked up by that ID.
#
# Seen: with a timeout of 10 s and a first try that failed after 5 s, the second try ran for
# another 10 s.
#
# Why it matters: with `retries=3`, a sensor can wait four times as long as its timeout says, and
# a dagrun_timeout that was chosen to match ends the run first.
#
# Instead: compute a deadline from something that survives a retry, such as the start of the run,
# and check it in poke().
. "$(dirname "$0")/lib.sh"
packages "apache-airflow-core==${1:-3.3.1}" sqlalchemy==2.1.9 \
  fastapi==0.136.3 starlette==1.10.0 cadwyn==7.0.0 pydantic==2.14.3

export AIRFLOW_HOME=$work AIRFLOW__CORE__LOAD_EXAMPLES=False AIRFLOW__CORE__DAGS_FOLDER=$work/dags
mkdir "$work/dags"
cat >"$work/dags/waiting.py" <<'PY'
import datetime
import os
import time

from airflow.sdk import dag, get_current_context, task

TIMEOUT_S = 10
POKES = os.path.join(os.environ["AIRFLOW_HOME"], "pokes")


@dag(dag_id="waiting", schedule=None)
def waiting():
    @task.sensor(
        mode="reschedule",
        poke_interval=1,
        timeout=TIMEOUT_S,
        retries=1,
        retry_delay=datetime.timedelta(seconds=1),
    )
    def wait():
        attempt = get_current_context()["ti"].try_number
        with open(POKES, "a+") as file:
            file.write(f"{attempt} {time.time()}\n")
            file.seek(0)
            first = float(file.readline().split()[1])
        if attempt == 1 and time.time() - first > 4:
            raise RuntimeError("a temporary error")
        return False

    wait()


run = waiting()
if __name__ == "__main__":
    run.test()
PY
airflow db migrate >"$work/log" 2>&1
python "$work/dags/waiting.py" >>"$work/log" 2>&1 || true # the sensor times out, as it should
python - "$work/pokes" <<'PY'
import sys

TIMEOUT_S = 10
pokes = [line.split() for line in open(sys.argv[1])]
first, second = ([float(at) for attempt, at in pokes if attempt == n] for n in ("1", "2"))
if not second:
    raise SystemExit("Changed: there was no second try.")
spent, lasted = first[-1] - first[0], second[-1] - second[0]
seen = f"the first try took {spent:.1f} s, the second {lasted:.1f} s of {TIMEOUT_S} s"
if lasted < TIMEOUT_S - spent / 2:
    raise SystemExit(f"Changed: {seen}.")
print(f"Still so: {seen}.")
PY
