"""The table of rights against what composer.tf grants."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TERRAFORM = (ROOT / "composer.tf").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")

_GRANT = re.compile(r"\{ member = local\.(\w+), role = \"?([\w./]+?)\"?(?:, on = \"([\w-]+)\")? \}")
_ALONE = re.compile(
    r"resource \"(\w+)_iam_member\" \"\w+\" \{[^}]*member += local\.(\w+)[^}]*role += \"([\w./]+)\""
)
_ROW = re.compile(r"^\| (\w+) \| `([\w./]+)` \| ([^|]+) \|", re.MULTILINE)


def granted() -> list[tuple[str, str, str]]:
    """What composer.tf grants: to whom, which role, on what."""
    found = []
    for section in ("project", "bucket", "topics", "subscriptions"):
        block = TERRAFORM.partition(f"  on_{section} = {{")[2].partition("\n  }")[0]
        for who, role, on in _GRANT.findall(block):
            role = "imagen_predictor" if "predictor" in role else role
            found.append((who, role, on or section))
    for kind, who, role in _ALONE.findall(TERRAFORM):
        on = "images of containers" if "artifact" in kind else "the worker's account"
        found.append((who, role, on))
    return sorted(found)


def test_every_right_that_is_granted_has_a_row_and_every_row_is_granted():
    assert len(granted()) > 25
    assert sorted((who, role, on.strip()) for who, role, on in _ROW.findall(PAGE)) == granted()


def test_every_row_says_which_calls_need_it():
    rows = [line for line in PAGE.splitlines() if _ROW.match(line)]
    assert all(len(line.strip("|").split("|")[3].strip()) > 8 for line in rows)
