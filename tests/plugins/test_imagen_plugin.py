"""What Airflow makes of the folder `plugins/`."""

import json

import pytest

from tests.conftest import ROOT
from tests.interpreters import python

pytestmark = pytest.mark.slow


def test_airflow_takes_the_plugin_and_leaves_its_package_alone() -> None:
    """Airflow imports each file of the folder under its bare name, `jobs` or `settings` say."""
    names = [path.stem for path in (ROOT / "plugins").rglob("*.py") if path.stem != "__init__"]
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
        AIRFLOW__CORE__PLUGINS_FOLDER=str(ROOT / "plugins"),
    )
    plugins, links, bare, heavy, errors = json.loads(seen)
    assert "imagen" in plugins
    assert {"Dataflow job", "Dataflow logs", "Dataflow metrics"} <= set(links)
    assert bare == ["imagen_plugin"]
    assert heavy == []
    assert errors == {}
