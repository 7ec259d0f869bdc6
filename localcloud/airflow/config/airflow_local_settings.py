"""Settings that no variable can set. Airflow imports this from AIRFLOW_HOME/config as it starts.

https://airflow.apache.org/docs/apache-airflow/stable/howto/set-config.html#configuring-local-settings
"""

import asyncio
import importlib
import logging
import os
import sys

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.orm import Session

__all__: list[str] = []

_LOG = logging.getLogger(__name__)

# Tasks are forks of the scheduler, or of a Celery worker; parsing a file and callbacks, of the DAG
# processor. What these have imported, no fork imports again: that took four fifths of a task's CPU.
# Nothing of this project is here, so that forks see changes.
_FOR_FORKS = (
    "airflow.providers.google.common.hooks.base_google",
    "google.cloud.pubsub_v1",
    "google.cloud.storage",
)
_FORKING = {"worker", "dag-processor"}
if os.environ.get("AIRFLOW__CORE__EXECUTOR") != "CeleryExecutor":
    _FORKING.add("scheduler")
if _FORKING & set(sys.argv):
    for _name in _FOR_FORKS:
        importlib.import_module(_name)


@event.listens_for(Engine, "savepoint")
def _begin_savepoints_as_writers(connection: Connection, _name: str) -> None:
    """Open a transaction that a savepoint starts as a write transaction, and wait for the lock.

    By default SQLite opens it for reading. If another process writes before the first write of
    this transaction, the write fails with "database is locked" at once, whatever the time-out.
    `airflow backfill create` beside a scheduler runs into this.
    https://www.sqlite.org/rescode.html#busy_snapshot
    """
    driver = connection.connection.driver_connection
    if connection.dialect.name == "sqlite" and driver and not driver.in_transaction:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


@event.listens_for(Session, "before_flush")
def _write_audit_log_in_a_thread(session: Session, _context: object, _instances: object) -> None:
    """Move audit log writes from the API server's event loop to a thread.

    SQLite allows one writer at a time. A request that holds the write lock commits on the event
    loop. If the event loop itself waits for that lock, both are stuck until the database's
    time-out, and no request is answered meanwhile.
    """
    dialect = session.get_bind().dialect
    if dialect.name != "sqlite" or dialect.is_async:
        return
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return
    for line in [new for new in session.new if new.__tablename__ == "log"]:
        session.expunge(line)
        loop.run_in_executor(None, _write, Session(session.get_bind()), line)


def _write(session: Session, line: object) -> None:
    try:
        with session, session.begin():
            session.add(line)
    except Exception:  # no caller waits for the outcome
        event_name = getattr(line, "event", "unknown")
        _LOG.exception("An audit log entry was not written (event: %s)", event_name)
