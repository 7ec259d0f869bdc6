#!/usr/bin/env bash
# Airflow 3.3.1: the data interval of a manual run depends on how the run was triggered.
#
# Seen: with CronDataIntervalTimetable("0 0 * * *") and the logical date 2026-03-10, the REST API
# (which the UI uses) gives the interval that starts on 2026-03-09. `airflow dags trigger
# --logical-date` gives yesterday by the clock, whatever the date. Airflow's documentation says
# not to derive one from the other (apache/airflow pull request 64740), but not that the two ways
# differ.
#
# Why it matters: a DAG that works on data_interval_start processes the wrong day, and succeeds.
#
# Instead: take the day of a manual run from a Param, or refuse manual runs with a logical date.
. "$(dirname "$0")/lib.sh"
packages "apache-airflow-core==${1:-3.3.1}" sqlalchemy==2.1.9 \
  fastapi==0.136.3 starlette==1.10.0 cadwyn==7.0.0 pydantic==2.14.3

export AIRFLOW_HOME=$work AIRFLOW__CORE__LOAD_EXAMPLES=False AIRFLOW__CORE__DAGS_FOLDER=$work/dags
export AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS=True
mkdir "$work/dags"
cat >"$work/dags/daily.py" <<'PY'
import datetime

from airflow.sdk import DAG
from airflow.timetables.interval import CronDataIntervalTimetable

for name in ("by_rest", "by_command_line"):
    globals()[name] = DAG(
        name,
        schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
        start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
        catchup=False,
    )
PY
{
  airflow db migrate
  airflow dags reserialize
  airflow dags trigger by_command_line --logical-date 2026-03-10T00:00:00+00:00
} >"$work/log" 2>&1

python - >>"$work/log" 2>&1 <<'PY' || { tail -n 20 "$work/log" >&2; exit 1; }
import datetime

from airflow.api_fastapi.app import create_app
from fastapi.testclient import TestClient

AT = "2026-03-10T00:00:00Z"
with TestClient(create_app()) as api:
    token = api.get("/auth/token").json()["access_token"]
    api.headers["Authorization"] = f"Bearer {token}"
    api.post("/api/v2/dags/by_rest/dagRuns", json={"logical_date": AT}).raise_for_status()
    seen = {}
    for name in ("by_rest", "by_command_line"):
        (run,) = api.get(f"/api/v2/dags/{name}/dagRuns").json()["dag_runs"]
        assert run["logical_date"] == AT, run
        seen[name] = run["data_interval_start"][:10]
yesterday = str(datetime.datetime.now(datetime.UTC).date() - datetime.timedelta(days=1))
if seen != {"by_rest": "2026-03-09", "by_command_line": yesterday}:
    raise SystemExit(f"Changed: the intervals of the run for {AT[:10]} begin on {seen}.")
print(f"Still so: the intervals of the run for {AT[:10]} begin on {seen}.")
PY
tail -n 1 "$work/log"
