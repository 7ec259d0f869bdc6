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
_OF_OPERATORS = re.compile(r"\{ role = \"?([\w./]+?)\"?(?:, on = \"([\w-]+)\")? \}")
_OF_EACH_OPERATOR = re.compile(
    r"resource \"(\w+)_iam_member\" \"\w+\" \{[^}]*member += each.key[^}]*role += \"([\w./]+)\""
)
_ROW = re.compile(r"^\| (\w+) \| `([\w./]+)` \| ([^|]+) \|", re.MULTILINE)


def granted() -> list[tuple[str, str, str]]:
    """What composer.tf grants: to whom, which role, on what."""
    found = []
    for section in ("project", "bucket", "topics", "subscriptions"):
        for who, role, on in _GRANT.findall(_map(f"on_{section}")):
            found.append((who, _named(role), on or section))
    for section in ("project", "subscriptions"):
        for role, on in _OF_OPERATORS.findall(_map(f"operators_on_{section}")):
            found.append(("operators", _named(role), on or section))
    for kind, who, role in _ALONE.findall(TERRAFORM):
        found.append((who, role, _on(kind)))
    for kind, role in _OF_EACH_OPERATOR.findall(TERRAFORM):
        found.append(("operators", role, _on(kind)))
    return sorted(found)


def _map(name: str) -> str:
    return TERRAFORM.partition(f"  {name} = {{")[2].partition("\n  }")[0]


def _named(role: str) -> str:
    """A role of our own as it is called in the project."""
    own = re.fullmatch(r"google_project_iam_custom_role\.(\w+)\.id", role)
    return f"imagen_{own[1]}" if own else role


def _on(kind: str) -> str:
    if "artifact" in kind:
        return "images of containers"
    return "bucket" if "bucket" in kind else "the worker's account"


def test_every_right_that_is_granted_has_a_row_and_every_row_is_granted():
    assert len(granted()) > 35
    assert sorted((who, role, on.strip()) for who, role, on in _ROW.findall(PAGE)) == granted()


def test_every_row_says_which_calls_need_it():
    rows = [line for line in PAGE.splitlines() if _ROW.match(line)]
    assert all(len(line.strip("|").split("|")[3].strip()) > 8 for line in rows)
