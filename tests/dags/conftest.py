"""The DAGs of `dags/`, imported as Airflow's DAG processor imports them."""

from typing import Any

import pytest

from tests.conftest import ROOT

FILES = sorted((ROOT / "dags").glob("*.py"))


@pytest.fixture(scope="session")
def dags() -> dict[str, Any]:
    """All DAGs, by id."""
    from airflow.dag_processing.importers.python_importer import PythonDagImporter

    found: dict[str, Any] = {}
    for path in FILES:
        result = PythonDagImporter().import_file(path)
        assert result.errors == []
        found |= {dag.dag_id: dag for dag in result.dags}
    return found
