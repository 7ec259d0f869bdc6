#!/usr/bin/env bash
# Airflow 3.3.1: another try of a human-in-the-loop task erases the answer that somebody has given.
#
# Seen: somebody approved, the process that was to take the answer was lost, and Airflow tried the
# task again. `HITLOperator` asks anew in each try, and asking removes an answer (`upsert_hitl_detail`
# in `airflow/api_fastapi/execution_api/routes/hitl.py`). It waits for a second answer.
#
# Why it matters: the person has answered, and sees nothing happen. LocalExecutor loses such a process
# regularly: it takes the end of the one that asked, if it is told late, for an unexpected end of the
# one that takes the answer (https://github.com/apache/airflow/issues/72716).
#
# Instead: ask in the first try only. In another one, raise `TaskAwaitingInput` without asking: when
# the task parks, Airflow resumes it with an answer that is there.
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
        try:
            super().execute(context)
        except TaskAwaitingInput:
            if context["ti"].try_number == 1:
                answer()
                raise RuntimeError("the process is lost") from None


def answer():
    """Answer as the API server's route does for a person."""
    from airflow.models.hitl import HITLDetail
    from airflow.utils.session import create_session
    from airflow.utils.timezone import utcnow

    with create_session() as session:
        question = session.query(HITLDetail).one()
        question.chosen_options, question.responded_at = ["Approve"], utcnow()
        question.responded_by = {"id": "1", "name": "ada"}


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
python "$work/dags/asking.py" >>"$work/log" 2>&1 || true
python - "$work/airflow.db" <<'PY'
import sqlite3
import sys

database = sqlite3.connect(sys.argv[1])
((tries,),) = database.execute("SELECT try_number FROM task_instance")
((answer,),) = database.execute("SELECT chosen_options FROM hitl_detail")
given = [row[0] for row in database.execute("SELECT chosen_options FROM hitl_detail_history")]
seen = f"after {tries} tries, the answer is {answer}, and that to the first try was {given}"
if (tries, given) != (2, ['["Approve"]']) or answer not in (None, "null"):
    raise SystemExit(f"Changed: {seen}.")
print(f"Still so: {seen}.")
PY
