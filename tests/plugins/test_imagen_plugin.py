"""What Airflow makes of the folder `plugins/`, as it is deployed."""

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.interpreters import python
from tests.plugins.imagen_ops.test_settings import COMPLETE

pytestmark = pytest.mark.slow


@pytest.fixture
def deployed(tmp_path: Path) -> Path:
    """The folder as composer.tf uploads it: the jobs' code is beside the plugins."""
    folder = tmp_path / "plugins"
    shutil.copytree(ROOT / "plugins", folder)
    shutil.copytree(ROOT / "beam_jobs", folder / "beam_jobs")
    return folder


def test_airflow_takes_the_plugin_and_leaves_its_package_alone(deployed: Path) -> None:
    """Airflow imports each file of the folder under its bare name, `jobs` or `settings` say."""
    names = [path.stem for path in deployed.rglob("*.py") if not path.stem.startswith("__")]
    seen = python(
        "import json, sys\n"
        "from airflow.plugins_manager import get_import_errors, get_plugin_info\n"
        "from airflow.plugins_manager import get_operator_extra_links\n"
        "plugins = [each['name'] for each in get_plugin_info()]\n"
        "links = sorted(link.name for link in get_operator_extra_links())\n"
        f"bare = sorted(set({names!r}) & set(sys.modules))\n"
        "heavy = sorted({'apache_beam', 'googleapiclient', 'grpc'} & set(sys.modules))\n"
        "print(json.dumps([plugins, links, bare, heavy, get_import_errors()]))\n",
        plugins=False,
        AIRFLOW__CORE__PLUGINS_FOLDER=str(deployed),
    )
    plugins, links, bare, heavy, errors = json.loads(seen)
    assert "imagen" in plugins
    assert {"Dataflow job", "Dataflow logs", "Dataflow metrics"} <= set(links)
    assert bare == ["imagen_plugin"]
    assert heavy == []
    assert errors == {}


def test_a_plan_finds_the_jobs_rules_beside_the_plugins_and_needs_no_beam(deployed: Path) -> None:
    seen = python(
        "import json, sys\n"
        f"sys.path.insert(0, {str(deployed)!r})\n"
        "from beam_jobs import catalog, outcomes\n"
        "from beam_jobs.prompts import parse, rows\n"
        "from imagen_ops.backfill import plan_totals, file_count, planning\n"
        "heavy = {'apache_beam', 'aiohttp', 'google.genai', 'google.cloud.aiplatform'}\n"
        "print(json.dumps([rows.__file__, sorted(heavy & set(sys.modules))]))\n",
        plugins=False,
    )
    where, heavy = json.loads(seen)
    assert where == str(deployed / "beam_jobs" / "prompts" / "rows.py")
    assert heavy == []


def test_the_page_is_in_the_menu_and_costs_other_processes_nothing(deployed: Path) -> None:
    """Each process of Airflow imports the plugin; one of them serves the page."""
    seen = python(
        "import json, sys\n"
        "from airflow import plugins_manager\n"
        "apps, _ = plugins_manager.get_fastapi_plugins()\n"
        "views, _ = plugins_manager._get_ui_plugins()\n"
        "ours = [(app['name'], app['url_prefix']) for app in apps if app['name'] == 'Imagen']\n"
        "shown = [view for view in views if view['name'] == 'Imagen']\n"
        "wanted = ('fastapi', 'starlette', 'requests', 'imagen_ops.ui')\n"
        "heavy = sorted(name for name in sys.modules if name in wanted or\n"
        "               name.startswith(('imagen_ops.ui.', 'google.cloud.')))\n"
        "print(json.dumps([ours, shown, heavy]))\n",
        plugins=False,
        AIRFLOW__CORE__PLUGINS_FOLDER=str(deployed),
    )
    apps, [view], heavy = json.loads(seen)
    assert apps == [["Imagen", "/imagen"]]
    assert (view["href"], view["url_route"], view["destination"]) == ("imagen/", "imagen", "nav")
    assert not view["href"].startswith(("/", "http")), "Airflow may be served under a path"
    assert set(heavy) <= {"imagen_ops.ui", "imagen_ops.ui.build_page", "imagen_ops.ui.lazy"}


def test_a_server_of_airflows_begins_with_the_page_before_anybody_looks(deployed: Path) -> None:
    """By Airflow's own hands: `init_plugins` is what its API server does with plugins."""
    seen = python(
        "import json, sys, threading\n"
        "from airflow.api_fastapi.app import init_plugins\n"
        "from fastapi import FastAPI\n"
        "server = FastAPI()\n"
        "init_plugins(server)\n"
        "wanted = {'imagen_ops.ui.app', 'airflow.providers.google.cloud.hooks.gcs'}\n"
        "before = sorted(wanted & set(sys.modules))\n"
        "server.build_middleware_stack()\n"
        # The second of them is started by the first.
        "for name in ('imagen-ui-begin', 'imagen-ui-warm-up'):\n"
        "    [thread.join(60) for thread in threading.enumerate() if thread.name == name]\n"
        "print(json.dumps([before, sorted(wanted - set(sys.modules))]))\n",
        plugins=False,
        AIRFLOW__CORE__PLUGINS_FOLDER=str(deployed),
        **COMPLETE,
    )
    assert json.loads(seen) == [[], []]
