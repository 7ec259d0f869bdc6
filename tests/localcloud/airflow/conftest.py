"""One real Airflow for these tests, on a state and DAGs of its own."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcloud.airflow import Airflow, AirflowClient

CLOUD = {
    "GOOGLE_CLOUD_PROJECT": "demo-project",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_DATAFLOW": "http://127.0.0.1:9/",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_MONITORING": "http://127.0.0.1:10/",
}


@pytest.fixture(scope="package")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    """An Airflow whose folder of DAGs is a copy that tests may change."""
    folder = tmp_path_factory.mktemp("airflow")
    (folder / "plugins").mkdir()
    dags = shutil.copytree(Path(__file__).parent / "dags", folder / "dags")
    airflow = Airflow(folder)
    airflow.start(
        CLOUD, dags=dags, plugins=folder / "plugins", settings={"IMAGEN_POKE_SECONDS": "7"}
    )
    try:
        airflow.wait_until_ready(within_s=400)
        yield airflow
    finally:
        airflow.stop()


@pytest.fixture
def admin(airflow: Airflow) -> Iterator[AirflowClient]:
    with airflow.client("admin") as client:
        yield client
