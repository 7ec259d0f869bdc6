"""Imported by Airflow as it starts, from AIRFLOW_HOME/config: what no variable of its can set.

https://airflow.apache.org/docs/apache-airflow/stable/howto/set-config.html#configuring-local-settings
"""

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

__all__: list[str] = []


@event.listens_for(Engine, "savepoint")
def _wait_for_the_turn_to_write(connection: Connection, _name: str) -> None:
    """Begin a transaction that a savepoint opens as one that writes, when it is its turn.

    SQLite begins it as one that reads. When it comes to write, and another process has written in
    the meantime, it is told "database is locked" at once, whatever the time-out; `airflow backfill
    create` beside a scheduler is. https://www.sqlite.org/rescode.html#busy_snapshot
    """
    driver = connection.connection.driver_connection
    if connection.dialect.name == "sqlite" and driver and not driver.in_transaction:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
