"""A real Airflow on one machine, pointed at the local cloud.

The same Airflow, provider and DAG files as on Composer; only where Google's APIs are differs, and
that it is told by environment variables alone. It is talked to as anybody else would: as processes
and over its REST API. Nothing here imports Airflow, which reads its configuration when imported.
"""

from localcloud.airflow.client import AirflowClient, AirflowError, AnswerError, RunState
from localcloud.airflow.standalone import Airflow

__all__ = ["Airflow", "AirflowClient", "AirflowError", "AnswerError", "RunState"]
