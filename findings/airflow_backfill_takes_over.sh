#!/usr/bin/env bash
# Airflow 3.3.1: `airflow backfill create` takes over a run that was triggered by hand.
#
# Seen: a run was triggered by the REST API with the logical date 2026-03-10 and a conf. A backfill
# of that day, reprocessing completed runs, made no run of its own. It cleared that one, and changed
# only its run_type to "backfill" (_handle_clear_run in airflow/models/backfill.py). The run keeps
# its run_id, its conf and its data interval, which begins on another day.
#
# Why it matters: a DAG that works on its conf or on data_interval_start succeeds, and the day that
# was asked for is not made.
#
# Instead: take the day from logical_date. A run of type "backfill" whose run_id begins with neither
# "backfill__" nor "scheduled__", which Airflow reserves, was taken over: ignore its conf, or fail.
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

daily = DAG(
    "daily",
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    catchup=False,
)
PY
{
  airflow db migrate
  airflow dags reserialize
} >"$work/log" 2>&1

python - >>"$work/log" 2>&1 <<'PY' || { tail -n 20 "$work/log" >&2; exit 1; }
import subprocess

from airflow.api_fastapi.app import create_app
from fastapi.testclient import TestClient

with TestClient(create_app()) as api:
    token = api.get("/auth/token").json()["access_token"]
    api.headers["Authorization"] = f"Bearer {token}"
    runs = "/api/v2/dags/daily/dagRuns"
    body = {"logical_date": "2026-03-10T00:00:00Z", "conf": {"dry_run": True}}
    made = api.post(runs, json=body).raise_for_status().json()
    path = f"{runs}/{made['dag_run_id']}"
    api.patch(path, json={"state": "success"}).raise_for_status()
    command = "airflow backfill create --dag-id daily --reprocess-behavior completed"
    dates = "--from-date 2026-03-10 --to-date 2026-03-10"
    subprocess.run(f"{command} {dates}".split(), check=True)
    found = api.get(runs).json()["dag_runs"]
    seen = [(r["dag_run_id"] == made["dag_run_id"], r["run_type"], r["conf"]) for r in found]
    start = found[0]["data_interval_start"][:10]
if (seen, start) != ([(True, "backfill", {"dry_run": True})], "2026-03-09"):
    raise SystemExit(f"Changed: the runs (the same one, type, conf) are {seen}, from {start}.")
print(f"Still so: the only run is of type backfill, with the conf {seen[0][2]}, from {start}.")
PY
tail -n 1 "$work/log"
