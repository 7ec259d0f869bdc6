"""The small shape, and where Composer's differs from it."""

import re
from pathlib import Path

import pytest

from localcloud.airflow import AirflowError
from localcloud.airflow.composer.shape import Composer
from localcloud.airflow.home import Home
from localcloud.airflow.processes import ProcessGroup
from localcloud.airflow.shape import Plan, Shape
from localcloud.airflow.standalone import AIRFLOW, ROOT, SHAPES
from tests.localcloud.airflow.composer.servers import missing


def plan(shape: Shape, home: Path, *, triggerer: bool = False) -> Plan:
    return shape.plan(
        Home(home),
        ProcessGroup(home),
        dags=ROOT / "dags",
        plugins=ROOT / "plugins",
        triggerer=triggerer,
    )


def test_the_small_shape_needs_no_server_and_has_three_processes(tmp_path: Path) -> None:
    small = plan(SHAPES["sqlite"], tmp_path)
    assert set(small.components) == {"api-server", "scheduler", "dag-processor"}
    assert not small.services
    assert small.settings["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] == (
        f"sqlite:///{tmp_path}/airflow.db?timeout=60"
    )
    assert small.settings["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"] == "admin:admin,viewer:viewer"
    assert set(plan(SHAPES["sqlite"], tmp_path, triggerer=True).components) - set(
        small.components
    ) == {"triggerer"}


@pytest.fixture
def composer(tmp_path: Path) -> Plan:
    if reason := missing():
        pytest.skip(reason)
    (tmp_path / "packages" / "celery").mkdir(parents=True)
    return plan(Composer(AIRFLOW, ROOT, tmp_path / "packages"), tmp_path)


def test_neither_scheduler_nor_triggerer_sees_the_plugins(composer: Plan, tmp_path: Path) -> None:
    seen = {
        name: each.environment.get("AIRFLOW__CORE__PLUGINS_FOLDER", str(composer.plugins))
        for name, each in composer.components.items()
    }
    with_plugins = {name for name, folder in seen.items() if folder == str(composer.plugins)}
    assert with_plugins == {"api-server", "dag-processor", "worker-1", "worker-2"}
    assert set(seen) - with_plugins == {"scheduler", "triggerer"}
    assert list((tmp_path / "empty").iterdir()) == []
    assert (composer.plugins / "beam_jobs" / "names.py").is_file()
    # Nothing of the project is on the path but by the plugins' folder.
    assert composer.settings["PYTHONPATH"] == str(tmp_path / "packages")


def test_it_has_the_settings_of_composer_tf(composer: Plan) -> None:
    text = (ROOT / "composer.tf").read_text()
    block = re.search(r"airflow_config_overrides = .*?\n      }, var", text, re.S)
    assert block
    given = dict(re.findall(r'^ +"(scheduler-\w+)" += "(.+)"$', block[0], re.M))
    assert len(given) == 2
    ours = {f"AIRFLOW__{name.replace('-', '__').upper()}": value for name, value in given.items()}
    assert ours.items() <= composer.settings.items()


def test_every_fab_role_has_a_user() -> None:
    assert SHAPES["composer"].users == {
        "admin": "Admin",
        "op": "Op",
        "user": "User",
        "viewer": "Viewer",
        "public": "Public",
    }


def test_without_its_packages_the_command_that_installs_them_is_named(tmp_path: Path) -> None:
    with pytest.raises(AirflowError, match=r"install them: make install-composer$"):
        plan(Composer(AIRFLOW, ROOT, tmp_path / "packages"), tmp_path)
    assert list(tmp_path.iterdir()) == [], "nothing has begun"
