"""GitHub's files: they call what there is, and nothing of theirs may change under us."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.markdown import ROOT, targets, text_of

FOLDER = ROOT / ".github"
WORKFLOWS = sorted((FOLDER / "workflows").glob("*.yml"))


def _loaded(path: Path) -> dict[Any, Any]:
    found: dict[Any, Any] = yaml.safe_load(text_of(path))
    return found


@pytest.mark.parametrize("path", [*sorted(FOLDER.rglob("*.yml")), ROOT / ".pre-commit-config.yaml"])
def test_it_is_yaml(path: Path) -> None:
    assert _loaded(path)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_has_a_major_version_and_every_script_is_there(path: Path) -> None:
    steps = [step for job in _loaded(path)["jobs"].values() for step in job["steps"]]
    used = [step["uses"] for step in steps if "uses" in step]
    assert used
    assert [name for name in used if not re.fullmatch(r"[\w-]+/[\w-]+@v\d+", name)] == []
    for step in steps:
        for script in re.findall(r"(?m)^(?:run: )?(\.\w+/[\w.]+)", step.get("run", "")):
            assert (ROOT / script).stat().st_mode & 0o111, script


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_has_only_the_rights_that_it_names(path: Path) -> None:
    assert set(_loaded(path)["permissions"]) == {"contents"}


def test_pushes_and_pull_requests_run_what_runs_here() -> None:
    # YAML takes the key `on` for a truth value.
    assert set(_loaded(FOLDER / "workflows" / "ci.yml")[True]) == {"push", "pull_request"}
    assert "- run: .ci/run\n" in text_of(FOLDER / "workflows" / "ci.yml")


def test_before_a_commit_the_linters_of_make_lint_run() -> None:
    hooks = [
        hook
        for repository in _loaded(ROOT / ".pre-commit-config.yaml")["repos"]
        for hook in repository["hooks"]
    ]
    assert {hook["language"] for hook in hooks} == {"system"}, "versions are those of .venv"
    lint = text_of(ROOT / "Makefile").partition("\nlint:")[2].partition("\n\n")[0]
    assert {"lint"} <= targets()
    tools = {tool.rsplit("/", 1)[1] for tool in re.findall(r"\$\(VENV\)/bin/[\w-]+", lint)}
    used = {hook["entry"].split()[0].removeprefix(".venv/bin/") for hook in hooks}
    assert {"ruff", "mypy"} <= used <= tools
    (types,) = (hook["entry"] for hook in hooks if hook["id"] == "mypy")
    (same,) = re.findall(r"\$\(VENV\)/bin/mypy (.+)", lint)
    dags = " ".join(f"dags/{path.name}" for path in sorted((ROOT / "dags").glob("*.py")))
    wanted = same.replace("dags/*.py", dags).split()
    assert set(types.split()[1:]) == set(wanted)
