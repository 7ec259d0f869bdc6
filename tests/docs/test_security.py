"""The table of rights against what composer.tf grants."""

import re
from pathlib import Path

from tests.grants import grants

ROOT = Path(__file__).parents[2]
TERRAFORM = (ROOT / "composer.tf").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")

_GRANT = re.compile(r"\{ member = local\.(\w+), role = \"?([\w./]+?)\"?(?:, on = \"([\w-]+)\")? \}")
_ALONE = re.compile(
    r"resource \"(\w+)_iam_member\" \"(\w+)\" \{[^}]*member += local\.(\w+)"
    r"[^}]*role += \"?([\w./\[\]]+)\"?"
)
_OF_OPERATORS = re.compile(r"\{ role = \"?([\w./]+?)\"?(?:, on = \"([\w-]+)\")? \}")
_OF_EACH_OPERATOR = re.compile(
    r"resource \"(\w+)_iam_member\" \"\w+\" \{[^}]*member += each.key[^}]*role += \"([\w./]+)\""
)
# What a grant is on that stands alone, by a part of its kind.
_ALONE_ON = {
    "artifact": "images of containers",
    "bucket": "bucket",
    "service_account": "the worker's account",
    "bigquery_dataset": "dataset",
    "pubsub_topic": "bigquery-rejects",
    "pubsub_subscription": "both subscriptions to BigQuery",
}
_ALONE_NAMED = {
    "composer_keeps_snapshots": "snapshots",
    "composer_orders_batches": "project",
    "vertex_works_on_batches": "prefetch/",
}
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
    for kind, name, who, role in _ALONE.findall(TERRAFORM):
        found.append((who, _named(role), _ALONE_NAMED.get(name) or _on(kind)))
    found += [(grant.who, grant.role, grant.below) for grant in grants()]
    for kind, role in _OF_EACH_OPERATOR.findall(TERRAFORM):
        found.append(("operators", role, _on(kind)))
    return sorted(found)


def _map(name: str) -> str:
    return TERRAFORM.partition(f"  {name} = {{")[2].partition("\n  }")[0]


def _named(role: str) -> str:
    """A role of our own as it is called in the project."""
    own = re.fullmatch(r"google_project_iam_custom_role\.(\w+)(?:\[0\])?\.id", role)
    return f"imagen_{own[1]}" if own else role


def _on(kind: str) -> str:
    for part, what in _ALONE_ON.items():
        if part in kind:
            return what
    raise LookupError(kind)


def test_every_right_that_is_granted_has_a_row_and_every_row_is_granted():
    assert len(granted()) > 35
    rows = [(who, role, on.strip(" `")) for who, role, on in _ROW.findall(PAGE)]
    assert sorted(rows) == granted()


def test_every_row_says_which_calls_need_it():
    rows = [line for line in PAGE.splitlines() if _ROW.match(line)]
    assert all(len(line.strip("|").split("|")[3].strip()) > 8 for line in rows)


REACH = PAGE.partition("## What each can reach")[2].partition("\n## ")[0]
_REACH = re.compile(r"^\|([^|]+)\|([^|]*)\|([^|]*)\| `([^`]+)` \|$", re.MULTILINE)


def is_shown_by(what: str) -> bool:
    """Whether a test, or a resource of composer.tf, exists."""
    path, _, test = what.partition("::")
    if test:
        file = ROOT / path
        return file.is_file() and f"def {test}(" in file.read_text(encoding="utf-8")
    kind, _, name = what.partition(".")
    return f'resource "{kind}" "{name}" {{' in TERRAFORM


def test_what_each_can_reach_names_what_shows_it():
    rows = _REACH.findall(REACH)
    assert len(rows) == REACH.count("\n| ") - 1, "a row has another form"
    assert [row for row in rows if not is_shown_by(row[3])] == []
    assert [row for row in rows if not (row[1] + row[2]).strip()] == []
    first = {who.partition(":")[0].strip() for who, *_ in rows}
    wanted = ("publisher", "viewer", "operator", "compromised worker", "compromised DAG")
    assert {f"a{'n' if who[0] == 'o' else ''} {who}" for who in wanted} <= first


def test_a_test_and_a_resource_that_are_not_there_are_found():
    assert not is_shown_by("tests/docs/test_security.py::test_that_nobody_wrote")
    assert not is_shown_by("tests/docs/test_insecurity.py::test_that_nobody_wrote")
    assert not is_shown_by("google_project_iam_member.nobody")
