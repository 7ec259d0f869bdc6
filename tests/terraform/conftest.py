"""Terraform with the stand-in provider, and what it made of `composer.tf`. Nothing here goes out to
the network.
"""

import contextlib
import functools
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.terraform.provider import serve
from tests.terraform.schema import VERSIONS
from tests.terraform.workspace import (
    EXAMPLE,
    OTHERWISE,
    TEAM,
    Deployment,
    Workspace,
    by_address,
    fill,
)


@pytest.fixture(scope="session")
def terraform() -> str:
    path = shutil.which("terraform")
    if not path:
        pytest.skip("terraform is not on PATH")
    return path


@pytest.fixture(scope="session")
def providers(terraform: str) -> Iterator[Callable[[str], dict[str, str]]]:
    """The environment in which Terraform finds the stand-in of a version."""
    with contextlib.ExitStack() as served:
        yield functools.cache(lambda version: served.enter_context(serve(version)))


@pytest.fixture(scope="session")
def provider(providers: Callable[[str], dict[str, str]]) -> dict[str, str]:
    """The same of the last version."""
    return providers(VERSIONS[-1])


@pytest.fixture(scope="session")
def new_workspace(
    provider: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Workspace]:
    """A workspace with this text, or with `composer.tf` and the folders that it reads."""

    def new(text: str | None = None) -> Workspace:
        return fill(tmp_path_factory.mktemp("terraform"), provider, text)

    return new


@pytest.fixture(scope="session")
def planned(new_workspace: Callable[..., Workspace]) -> dict[str, dict[str, Any]]:
    """Values by address, without those that are known after apply only."""
    workspace = new_workspace()
    workspace.give(**EXAMPLE)
    return by_address(workspace.plan()["planned_values"])


@pytest.fixture(scope="session")
def applied_workspace(new_workspace: Callable[..., Workspace]) -> Workspace:
    workspace = new_workspace()
    workspace.give(**EXAMPLE)
    return workspace


@pytest.fixture(scope="session")
def applied(applied_workspace: Workspace) -> Deployment:
    """All values, those included that the service decides (`answers.py` has their forms)."""
    return applied_workspace.apply()


@pytest.fixture(scope="session")
def changed_workspace(
    applied: Deployment, applied_workspace: Workspace, tmp_path_factory: pytest.TempPathFactory
) -> Workspace:
    """What is applied, with another value for every variable."""
    workspace = applied_workspace.copy(tmp_path_factory.mktemp("changed") / "copy")
    workspace.give(**{**EXAMPLE, **OTHERWISE})
    return workspace


@pytest.fixture(scope="session")
def changed_plan(changed_workspace: Workspace) -> dict[str, Any]:
    """What changing every variable would do to what is applied."""
    return changed_workspace.plan()


@pytest.fixture(scope="session")
def otherwise(changed_plan: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Values by address once every variable has another value."""
    return by_address(changed_plan["planned_values"])


@pytest.fixture(scope="session")
def team_workspace(
    providers: Callable[[str], dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> Workspace:
    """With what a team has already, and the last provider before version 8."""
    workspace = fill(tmp_path_factory.mktemp("team"), providers(VERSIONS[-2]))
    workspace.give(**EXAMPLE, **TEAM)
    return workspace


@pytest.fixture(scope="session")
def team(team_workspace: Workspace) -> Deployment:
    return team_workspace.apply()
