"""The roles of docs/security.md, each asked of an Airflow with FAB."""

import pytest

from tests.conftest import ROOT
from tests.docs.markdown import section, text_of
from tests.fab.home import PASSWORD, FabHome

# Makes a database, and starts Airflow four times.
pytestmark = [pytest.mark.full, pytest.mark.timeout(1800)]


def documented() -> dict[str, dict[str, bool]]:
    """Return the table: of each role, of each column, whether it says yes."""
    text = section(text_of(ROOT / "docs" / "security.md"), "Who may do what in Airflow")
    lines = [line for line in text.partition("\n\nRuns are")[0].splitlines() if line[:2] == "| "]
    rows = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in lines]
    columns, roles = rows[0][1:], rows[1:]
    return {
        row[0]: {c: v.startswith("yes") for c, v in zip(columns, row[1:], strict=True)}
        for row in roles
    }


def test_each_role_may_do_what_the_table_says(fab: FabHome) -> None:
    table = documented()
    assert len(table) == 8
    assert fab.run("tests.fab.what_each_may", PASSWORD, *table) == table
