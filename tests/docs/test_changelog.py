"""The changelog: releases take their notes from it, and moved modules are where it says."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, text_of

TEXT = text_of(ROOT / "CHANGELOG.md")
SCRIPT = ROOT / ".github" / "release_notes.sh"
_KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def _path(module: str) -> Path:
    root = ROOT / "plugins" if module.startswith("imagen_ops") else ROOT
    return root / module.replace(".", "/")


def test_versions_and_kinds_of_change_are_those_of_keep_a_changelog() -> None:
    versions = re.findall(r"(?m)^## (.+)$", TEXT)
    assert versions[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", one) for one in versions[1:])
    assert set(re.findall(r"(?m)^### (.+)$", TEXT)) <= _KINDS


def test_every_moved_module_is_where_it_says() -> None:
    checked = 0
    for cells in re.findall(r"(?m)^\| (`.+) \| (`.+) \|$", TEXT):
        old, new = ([_full(names, at) for at in range(len(names))] for names in map(_names, cells))
        for module in new:
            path = _path(module)
            assert path.with_suffix(".py").is_file() or path.is_dir(), module
        for module in set(old) - set(new):
            assert not _path(module).with_suffix(".py").is_file(), module
        checked += len(new)
    assert checked > 40


def _names(cell: str) -> list[str]:
    return re.findall(r"`([\w.]+)`", cell)


def _full(names: list[str], at: int) -> str:
    """Return a name that may be short for a neighbor of the last full one, as in `a.b`, `.c`."""
    if not names[at].startswith("."):
        return names[at]
    (*_, full) = (name for name in names[:at] if not name.startswith("."))
    return full.rpartition(".")[0] + names[at]


def _notes(version: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SCRIPT, version], cwd=folder, capture_output=True, text=True)


def test_the_notes_of_a_release_are_its_section(tmp_path: Path) -> None:
    (tmp_path / "CHANGELOG.md").write_text(
        "# Changelog\n\n## [Unreleased]\n\n## [1.2.0] - 2026-12-01\n\n### Fixed\n\n- a thing\n\n"
        "## [1.1.0] - 2026-11-30\n\n- another\n",
        encoding="utf-8",
    )
    done = _notes("v1.2.0", tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, "### Fixed\n\n- a thing")


@pytest.mark.parametrize("version", ["v9.9.9", "v1.2"])
def test_a_release_without_a_section_is_an_error_that_says_what_to_do(version: str) -> None:
    done = _notes(version, ROOT)
    assert done.returncode == 1
    assert f'no section "## [{version[1:]}]"' in done.stderr
