"""One Airflow with FAB for all of these tests, served below a path."""

from collections.abc import Iterator

import pytest

from tests.conftest import ENVIRONMENT
from tests.fab.home import FabHome

PATH = "/team/airflow"


@pytest.fixture(scope="package")
def fab(tmp_path_factory: pytest.TempPathFactory) -> FabHome:
    """A database with users, and no process. Nothing here needs a stand-in to answer."""
    return FabHome(tmp_path_factory.mktemp("fab") / "airflow", PATH, ENVIRONMENT)


@pytest.fixture(scope="package")
def airflow(fab: FabHome) -> Iterator[str]:
    """The address of an API server."""
    with fab.serving() as url:
        yield url
