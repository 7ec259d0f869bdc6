"""The tree is the architecture: rooms import only what is below them, and files never in a circle.

The order of the rooms stands in `[tool.importlinter]` of pyproject.toml.
"""

import ast
import graphlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import grimp
import pytest

from tests.conftest import ROOT

CONFIGURATION = ROOT / "pyproject.toml"
CONTRACTS = tomllib.loads(CONFIGURATION.read_text())["tool"]["importlinter"]["contracts"]


def rooms(package: str) -> set[str]:
    """Return the modules and packages right below a package."""
    folder = ROOT / ("plugins" if package == "imagen_ops" else ".") / package
    files = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    return files | {path.parent.name for path in folder.glob("*/__init__.py")}


@pytest.mark.slow
def test_every_import_goes_down() -> None:
    """In a process of its own: it changes how this one logs."""
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--config", CONFIGURATION],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "plugins")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("package", ["imagen_ops", "beam_jobs"])
def test_every_room_has_its_place_in_the_order(package: str) -> None:
    (contract,) = [one for one in CONTRACTS if one.get("containers") == [package]]
    listed = {room.strip() for layer in contract["layers"] for room in layer.split("|")}
    assert listed == rooms(package)


@pytest.mark.parametrize("package", ["imagen_ops", "beam_jobs", "localcloud", "bench"])
def test_no_files_import_each_other_in_a_circle(package: str) -> None:
    graph = grimp.build_graph(package, cache_dir=None)
    direct = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    list(graphlib.TopologicalSorter(direct).static_order())  # CycleError names the circle


@pytest.mark.parametrize("path", sorted((ROOT / "dags").glob("*.py")), ids=lambda path: path.name)
def test_a_dag_file_imports_airflow_and_the_plugins_alone(path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    modules = {
        name
        for node in ast.walk(tree)
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else []
        )
    }
    assert {name.partition(".")[0] for name in modules} <= {
        *("airflow", "imagen_ops", "datetime", "os", "typing")
    }
