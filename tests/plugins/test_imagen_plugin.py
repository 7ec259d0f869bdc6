"""What Airflow makes of the folder `plugins/`, as it is deployed."""

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.interpreters import python

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
        "from beam_jobs import outcomes, prompts, rows\n"
        "from beam_jobs.models import catalog\n"
        "from imagen_ops import planning\n"
        "from imagen_ops.plans import costs, reading\n"
        "heavy = {'apache_beam', 'aiohttp', 'google.genai', 'google.cloud.aiplatform'}\n"
        "print(json.dumps([rows.__file__, sorted(heavy & set(sys.modules))]))\n",
        plugins=False,
    )
    where, heavy = json.loads(seen)
    assert where == str(deployed / "beam_jobs" / "rows.py")
    assert heavy == []
