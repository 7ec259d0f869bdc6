#!/usr/bin/env bash
# Airflow 3.3.1: a human-in-the-loop task that asks again shows its first question.
#
# A task instance has one question in the database. When the task runs again, after a retry or
# because somebody cleared it, only an earlier answer is removed: subject, body, and fields stay
# those of the first try, whatever the operator passes (`upsert_hitl_detail` in
# `airflow/api_fastapi/execution_api/routes/hitl.py`). apache/airflow pull request 73235 changes it.
#
# Seen: the first try asked "question 1" and failed, the second asked "question 2", and the
# question that people see is "question 1".
#
# Why it matters: somebody can approve what they don't see, such as a plan that has grown since.
#
# Instead: keep what the first try has asked in the task's state, and refuse to ask anything else.
. "$(dirname "$0")/lib.sh"
packages "apache-airflow-core==${1:-3.3.1}" apache-airflow-providers-standard==1.21.0 \
  sqlalchemy==2.1.9 fastapi==0.136.3 starlette==1.10.0 cadwyn==7.0.0 pydantic==2.14.3

export AIRFLOW_HOME=$work AIRFLOW__CORE__LOAD_EXAMPLES=False AIRFLOW__CORE__DAGS_FOLDER=$work/dags
mkdir "$work/dags"
cat >"$work/dags/asking.py" <<'PY'
import datetime

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import DAG
from airflow.sdk.exceptions import TaskAwaitingInput


class Ask(HITLOperator):
    def execute(self, context):
        attempt = context["ti"].try_number
        self.body = f"question {attempt}"
        try:
            super().execute(context)
        except TaskAwaitingInput:
            if attempt == 1:
                raise RuntimeError("a temporary error") from None


with DAG("asking", schedule=None) as asking:
    Ask(
        task_id="ask",
        subject="May it?",
        options=["Approve", "Reject"],
        retries=1,
        retry_delay=datetime.timedelta(seconds=1),
    )
if __name__ == "__main__":
    asking.test()
PY
airflow db migrate >"$work/log" 2>&1
python "$work/dags/asking.py" >>"$work/log" 2>&1
python - "$work/airflow.db" <<'PY'
import sqlite3
import sys

database = sqlite3.connect(sys.argv[1])
((tries,),) = database.execute("SELECT try_number FROM task_instance")
((shown,),) = database.execute("SELECT body FROM hitl_detail")
seen = f"after {tries} tries, the question is {shown!r}"
if tries != 2 or shown != "question 1":
    raise SystemExit(f"Changed: {seen}.")
print(f"Still so: {seen}.")
PY
