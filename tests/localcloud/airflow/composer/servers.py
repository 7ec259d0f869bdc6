"""Whether this machine has what an Airflow as Composer's needs."""

from pathlib import Path

from localcloud.airflow import AirflowError
from localcloud.airflow.composer.programs import as_postgres, postgres_folder, redis_server


def missing() -> str:
    """Return what is missing, in words; nothing if all is there."""
    nowhere = Path("/nonexistent")
    try:
        redis_server()
        postgres_folder(nowhere)
        as_postgres(nowhere)
    except AirflowError as error:
        return str(error)
    return ""
