"""What an Airflow finds in its folder."""

import pytest

from localcloud.airflow.home import Home
from tests.interpreters import python

_PROGRAM = """
import sqlite3
from airflow import settings
from sqlalchemy import text

def write(session, value):
    session.execute(text(f"INSERT INTO written VALUES ('{value}')"))

with settings.Session() as session:
    session.execute(text("CREATE TABLE written (by TEXT)"))
    session.commit()
other = sqlite3.connect(settings.engine.url.database, timeout=0)
with settings.Session() as session:
    with session.begin_nested():
        session.execute(text("SELECT * FROM written")).all()
        try:
            other.execute("INSERT INTO written VALUES ('other')")
            other.commit()
        except sqlite3.OperationalError:
            pass  # it has to wait
        write(session, "ours")
    with session.begin_nested():
        write(session, "ours again")
    session.commit()
other.execute("INSERT INTO written VALUES ('other')")
other.commit()
with settings.Session() as session:
    print(*sorted(session.execute(text("SELECT by FROM written")).scalars()), sep=", ")
"""


@pytest.mark.slow
def test_a_transaction_that_reads_before_it_writes_does_not_fail_as_locked(tmp_path):
    home = Home(tmp_path)
    home.prepare([])
    variables = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/airflow.db"}
    said = python(_PROGRAM, plugins=False, AIRFLOW_HOME=str(tmp_path), **variables)
    assert said == "other, ours, ours again"
