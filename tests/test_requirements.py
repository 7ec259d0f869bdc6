"""The requirements say what is used: no extra that does not exist, no import that comes by luck."""

import ast
import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

FILES = ("beam_jobs/requirements.txt", "requirements.txt", "requirements-dev.txt")


def requirements(file: str) -> list[Requirement]:
    lines = (ROOT / file).read_text().splitlines()
    return [Requirement(line) for line in lines if re.match(r"\w", line)]


def extras_of(distribution: str) -> set[str]:
    """Return the extras that an installed distribution has."""
    provided = importlib.metadata.metadata(distribution).get_all("Provides-Extra") or []
    return {canonicalize_name(extra) for extra in provided}


def missing_extras(requirement: Requirement) -> set[str]:
    return {canonicalize_name(extra) for extra in requirement.extras} - extras_of(requirement.name)


@pytest.mark.parametrize("file", FILES)
def test_every_extra_that_a_requirement_names_exists(file: str) -> None:
    given = requirements(file)
    assert given
    assert {each.name: missing for each in given if (missing := missing_extras(each))} == {}


def test_an_extra_that_does_not_exist_is_found() -> None:
    # pip and uv only warn about it.
    assert missing_extras(Requirement("apache-beam[gcp,no-such-extra]")) == {"no-such-extra"}
    # Names are compared as installers compare them.
    assert missing_extras(Requirement("google-api-core[async_rest]")) == set()


def imported(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the modules that a folder's modules import, each with the importing file."""
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from ((name.name, path) for name in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.module, path
                # `from google.cloud import storage` imports a module of another distribution.
                yield from ((f"{node.module}.{name.name}", path) for name in node.names)


def files_of(distribution: str) -> set[str]:
    """Return the paths of an installed distribution's modules."""
    found = importlib.metadata.distribution(distribution)
    return {
        str(found.locate_file(file)) for file in found.files or [] if file.suffix in {".py", ".so"}
    }


@pytest.mark.slow
def test_the_workers_get_each_package_that_they_import_by_a_requirement() -> None:
    """What Beam's extra for Google Cloud asks for itself need not be said twice."""
    stated = {each.name for each in requirements("beam_jobs/requirements.txt")}
    beam = [Requirement(text) for text in importlib.metadata.requires("apache-beam") or []]
    brought = {
        each.name for each in beam if not each.marker or each.marker.evaluate({"extra": "gcp"})
    }
    allowed: set[str] = set()
    for name in stated | brought:
        allowed |= files_of(name)
    ours = {"beam_jobs"} | sys.stdlib_module_names
    by_luck = {}
    for module, path in imported(ROOT / "beam_jobs"):
        if module.partition(".")[0] in ours:
            continue
        try:
            spec = importlib.util.find_spec(module)
        except ModuleNotFoundError:  # a name in a module, not a module
            continue
        # Namespaces have no file.
        if spec and spec.origin and spec.origin not in allowed:
            by_luck[module] = str(path.relative_to(ROOT))
    assert by_luck == {}


def pinned(file: str) -> dict[str, str]:
    """Return the versions of a file of constraints, by name."""
    lines = re.findall(r"^([\w.-]+)==(\S+)", (ROOT / file).read_text(), re.M)
    return {canonicalize_name(name): version for name, version in lines}


def test_what_composers_shape_adds_is_pinned_beside_all_else_and_not_twice() -> None:
    added, always = pinned("constraints-composer.txt"), pinned("constraints.txt")
    assert added.keys() & always.keys() == set()
    for each in requirements("requirements-composer.txt"):
        assert each.specifier.contains((added | always)[canonicalize_name(each.name)]), each
    # What CeleryExecutor's messages and results go through.
    assert {"celery", "kombu", "redis", "psycopg", "psycopg2-binary"} <= added.keys()
