#!/usr/bin/env bash
# Airflow 3.3.1: a run whose deadline counts from when it was queued can't be cleared.
#
# A deadline's interval is stored as JSON since 3.3 (migration 0117: it can be a Variable's). What
# reckons the deadline anew when a run is cleared still takes the stored value for a number of seconds
# (`airflow.models.taskinstance._recalculate_dagrun_queued_at_deadlines`).
#
# Seen: clearing a run with `DeadlineReference.DAGRUN_QUEUED_AT` answers 500, and the API server logs
# `TypeError: unsupported type for timedelta seconds component: dict`. With `DAGRUN_LOGICAL_DATE`, 200.
#
# Why it matters: DAGRUN_QUEUED_AT is the first example of Airflow's own guide, and such a run can't be
# cleared as long as its deadline is ahead: the very time in which people clear it to be done in time.
#
# Instead: count from the logical date.
. "$(dirname "$0")/lib.sh"
packages "apache-airflow-core==${1:-3.3.1}" apache-airflow-providers-standard==1.21.0 sqlalchemy==2.1.9 \
  fastapi==0.136.3 starlette==1.10.0 cadwyn==7.0.0 pydantic==2.14.3

export AIRFLOW_HOME=$work AIRFLOW__CORE__LOAD_EXAMPLES=False AIRFLOW__CORE__DAGS_FOLDER=$work/dags
export AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS=True AIRFLOW__LOGGING__LOGGING_LEVEL=ERROR
export AIRFLOW__API_AUTH__JWT_SECRET=$(printf 'x%.0s' {1..64})
mkdir "$work/dags"
cat >"$work/dags/due.py" <<'PY'
from datetime import timedelta

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, DeadlineAlert, DeadlineReference, SyncCallback


def told(**kwargs): ...


for reference in ("DAGRUN_QUEUED_AT", "DAGRUN_LOGICAL_DATE"):
    deadline = DeadlineAlert(
        reference=getattr(DeadlineReference, reference),
        interval=timedelta(hours=1),
        callback=SyncCallback(told),
    )
    with DAG(reference, schedule=None, deadline=deadline):
        EmptyOperator(task_id="nothing")
PY
{ airflow db migrate && airflow dags reserialize; } >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }

python - <<'PY'
from datetime import UTC, datetime

from airflow.api_fastapi.app import create_app
from starlette.testclient import TestClient

found = {}
with TestClient(create_app(), raise_server_exceptions=False) as client:
    token = client.get("/auth/token").json()["access_token"]
    client.headers["Authorization"] = f"Bearer {token}"
    for dag in ("DAGRUN_QUEUED_AT", "DAGRUN_LOGICAL_DATE"):
        runs = f"/api/v2/dags/{dag}/dagRuns"
        made = client.post(runs, json={"logical_date": datetime.now(UTC).isoformat()})
        run = f"{runs}/{made.raise_for_status().json()['dag_run_id']}"
        client.patch(run, json={"state": "failed"}).raise_for_status()
        found[dag] = client.post(f"{run}/clear", json={"dry_run": False}).status_code
expected = {"DAGRUN_QUEUED_AT": 500, "DAGRUN_LOGICAL_DATE": 200}
if found != expected:
    raise SystemExit(f"Changed: clearing a run answers {found}, not {expected}.")
print(f"Still so: clearing a run answers {found}.")
PY
