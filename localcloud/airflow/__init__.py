"""A real Airflow on one machine, pointed at the local cloud.

Airflow, the provider and the DAG files are the same as on Composer. Only the addresses of Google's
APIs differ, and they are set by environment variables alone. This package controls Airflow from
outside: as processes, and over its REST API. It never imports Airflow, which reads its
configuration on import.
"""

from localcloud.airflow.client import AirflowApiError, AirflowClient, AirflowError, RunState
from localcloud.airflow.standalone import Airflow

__all__ = ["Airflow", "AirflowApiError", "AirflowClient", "AirflowError", "RunState"]
