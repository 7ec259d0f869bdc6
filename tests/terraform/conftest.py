"""Terraform with the stand-in provider, and what it made of `composer.tf`. Nothing here goes out to
the network.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.terraform.provider import serve
from tests.terraform.workspace import EXAMPLE, Deployment, Workspace, by_address, fill


@pytest.fixture(scope="session")
def terraform() -> str:
    path = shutil.which("terraform")
    if not path:
        pytest.skip("terraform is not on PATH")
    return path


@pytest.fixture(scope="session")
def provider(terraform: str) -> Iterator[dict[str, str]]:
    """The environment in which Terraform finds the stand-in."""
    with serve() as environment:
        yield environment


@pytest.fixture(scope="session")
def new_workspace(
    provider: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Workspace]:
    """A workspace with this text, or with `composer.tf` and the folders that it reads."""

    def new(text: str | None = None) -> Workspace:
        return fill(tmp_path_factory.mktemp("terraform"), provider, text)

    return new


@pytest.fixture(scope="session")
def plan(new_workspace: Callable[..., Workspace]) -> Callable[..., dict[str, dict[str, Any]]]:
    """Plans `composer.tf` with variables beside the example's; values by address."""

    def planned(**variables: Any) -> dict[str, dict[str, Any]]:
        workspace = new_workspace()
        workspace.give(**EXAMPLE, **variables)
        workspace.run("plan", "-input=false", "-out=plan")
        shown = json.loads(workspace.run("show", "-json", "plan").stdout)
        return by_address(shown["planned_values"])

    return planned


@pytest.fixture(scope="session")
def planned(plan: Callable[..., dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Values by address, without those that are known after apply only."""
    return plan()


@pytest.fixture(scope="session")
def applied_workspace(new_workspace: Callable[..., Workspace]) -> Workspace:
    workspace = new_workspace()
    workspace.give(**EXAMPLE)
    workspace.run("apply", "-input=false", "-auto-approve")
    return workspace


@pytest.fixture(scope="session")
def applied(applied_workspace: Workspace) -> Deployment:
    """All values, those included that the service decides (`answers.py` has their forms)."""
    values = json.loads(applied_workspace.run("show", "-json").stdout)["values"]
    return Deployment(
        by_address(values),
        {name: output["value"] for name, output in values.get("outputs", {}).items()},
    )
