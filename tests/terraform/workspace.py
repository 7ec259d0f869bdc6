"""Why this exists: Terraform in a folder of its own, so that it leaves nothing in the tree and
reads nothing there but what is part of it.
"""

import dataclasses
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
READ_BY_TERRAFORM = ("dags", "plugins", "beam_jobs")
EXAMPLE = {"project": "my-project", "image_tag": "0123456789ab"}


@dataclasses.dataclass(frozen=True)
class Workspace:
    """A folder in which `terraform` runs, with the environment in which it finds its provider."""

    folder: Path
    environment: dict[str, str]

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["terraform", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def errors(self, *arguments: str) -> list[dict[str, Any]]:
        """The errors of a command that takes `-json`, as Terraform's diagnostics."""
        done = self.run(*arguments, "-json", check=False)
        if arguments[0] == "validate":
            found = json.loads(done.stdout)["diagnostics"]
        else:
            lines = [json.loads(line) for line in done.stdout.splitlines()]
            found = [line["diagnostic"] for line in lines if line["type"] == "diagnostic"]
        return [one for one in found if one["severity"] == "error"]

    def give(self, **variables: Any) -> None:
        """Sets the variables of the commands to come."""
        (self.folder / "terraform.tfvars.json").write_text(json.dumps(variables))


@dataclasses.dataclass(frozen=True)
class Deployment:
    """What an apply ended with: values by address (`google_x.y["key"]`), and the outputs."""

    resources: dict[str, dict[str, Any]]
    outputs: dict[str, Any]


def fill(folder: Path, environment: dict[str, str], text: str | None = None) -> Workspace:
    """A workspace with this text, or with `composer.tf` and the folders that it reads."""
    if text is None:
        shutil.copy(ROOT / "composer.tf", folder)
        for name in READ_BY_TERRAFORM:
            shutil.copytree(ROOT / name, folder / name)
    else:
        (folder / "main.tf").write_text(text)
    # Wherever a deployment keeps its state, this one keeps it here.
    (folder / "state_override.tf").write_text('terraform {\n  backend "local" {}\n}\n')
    workspace = Workspace(folder, environment)
    workspace.run("init", "-input=false")
    return workspace


def by_address(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["address"]: one["values"] for one in values["root_module"]["resources"]}


def of_kind(resources: dict[str, dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {name: one for name, one in resources.items() if name.startswith(f"{kind}.")}
