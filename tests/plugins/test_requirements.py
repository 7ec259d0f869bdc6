"""Composer's image brings Airflow and the providers; what runs on it needs nothing else."""

import ast
import importlib.metadata as metadata
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.conftest import ROOT

# https://cloud.google.com/composer/docs/composer-versions lists these among an image's packages.
IMAGE = (
    "apache-airflow",
    "apache-airflow-providers-google",
    "apache-airflow-providers-apache-beam",
    # For mail, which a notifier may be set to.
    "apache-airflow-providers-smtp",
)
# Shared by many packages: that one is held says nothing of another.
NAMESPACES = {"google", "google.cloud", "airflow", "airflow.providers"}
# Imported only where Airflow's OpenLineage provider is installed.
OPTIONAL = ("airflow.providers.openlineage", "openlineage.client")
OURS = {"imagen_ops", "imagen_plugin", "beam_jobs", "dags"}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            assert node.module
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def reached(paths: list[Path]) -> dict[str, Path]:
    """Return what these files import of others, and what they import of beam_jobs does."""
    found: dict[str, Path] = {}
    seen: set[Path] = set()
    while paths:
        path = paths.pop()
        if path in seen or not path.exists():
            continue
        seen.add(path)
        for name in imports(path):
            found.setdefault(name, path)
            if name.split(".")[0] == "beam_jobs":
                module = ROOT.joinpath(*name.split("."))
                paths += [module.with_suffix(".py"), module / "__init__.py"]
    return found


def closure(names: tuple[str, ...]) -> set[str]:
    """Return the distributions that these require, and those that they require, and so on."""
    found: set[str] = set()
    left = [*names]
    while left:
        name = re.sub(r"[-_.]+", "-", left.pop()).lower()
        if name in found:
            continue
        try:
            required = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        found.add(name)
        left += [
            needed.name
            for needed in map(Requirement, required)
            if needed.marker is None or needed.marker.evaluate({"extra": ""})
        ]
    return found


def modules(distributions: set[str]) -> set[str]:
    """Return every module and package in these, by its dotted name."""
    found = set()
    for name in distributions:
        for file in metadata.files(name) or []:
            if file.suffix in {".py", ".so"}:
                parts = [*file.parts[:-1], file.name.partition(".")[0]]
                found |= {".".join(parts[:n]) for n in range(1, len(parts) + 1)}
    return found


@pytest.mark.slow
def test_dags_and_plugins_import_nothing_that_composers_image_does_not_hold() -> None:
    held = modules(closure(IMAGE))
    missing = {}
    files = [*(ROOT / "dags").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]
    for name, path in reached(files).items():
        if (
            name in NAMESPACES
            or name.startswith(OPTIONAL)
            or name.split(".")[0] in OURS | sys.stdlib_module_names
        ):
            continue
        # What is imported from a module may be no module itself.
        if not {name, name.rpartition(".")[0]} & (held - NAMESPACES):
            missing[name] = str(path.relative_to(ROOT))
    assert missing == {}


def test_a_plan_reaches_the_jobs_rules_but_not_their_machinery() -> None:
    files = [*(ROOT / "dags").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]
    names = set(reached(files))
    assert "beam_jobs.prompts.rows" in names, "the search finds what is imported inside functions"
    assert not {name for name in names if name.startswith(("apache_beam", "aiohttp", "gcloud"))}


def test_no_package_is_installed_onto_composers_image() -> None:
    """Its versions are tested by Google with each other; one that we pinned could break them."""
    assert "pypi_packages" not in (ROOT / "composer.tf").read_text(encoding="utf-8")
