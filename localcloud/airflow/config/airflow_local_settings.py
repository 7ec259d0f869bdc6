"""Imported by Airflow as it starts, from AIRFLOW_HOME/config: what no variable of its can set.

https://airflow.apache.org/docs/apache-airflow/stable/howto/set-config.html#configuring-local-settings
"""

import asyncio
import logging

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.orm import Session

__all__: list[str] = []

_LOG = logging.getLogger(__name__)


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


@event.listens_for(Session, "before_flush")
def _keep_the_event_loop_free(session: Session, _context: object, _instances: object) -> None:
    """Hand lines of the audit log, which the API server writes on its event loop, to a thread.

    SQLite lets one write at a time. A request that has written commits when the event loop comes
    round to it; if that waits for its own turn to write, neither goes on, for the whole of the
    database's time-out, and no request is answered meanwhile.
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
    except Exception:  # nobody waits for the outcome
        _LOG.exception("a line of the audit log was not written: %r", line)
