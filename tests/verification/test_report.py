"""The report: what differs comes first, and nothing breaks the table."""

from datetime import UTC, datetime
from pathlib import Path

from tests.verification.test_checks import DEPLOYMENT
from tests.verification.test_runner import check
from verification.check import Ending, Result
from verification.report import as_json, as_markdown, write

AT = datetime(2026, 11, 30, 8, tzinfo=UTC)


def made() -> dict[str, object]:
    results = [
        Result(check("fine"), Ending.HOLDS, "as believed", 2.04, 0.0336, {"x": 1}),
        Result(check("odd"), Ending.DIFFERS, "a | b", 1.0),
        Result(check("off"), Ending.NOT_ASKED, "it is off"),
    ]
    return as_json(results, DEPLOYMENT, version="v1", at=AT, stand_ins=False)


def test_the_json_has_each_check_and_the_counts() -> None:
    report = made()
    assert report["counts"] == {"holds": 1, "differs": 1, "not asked": 1}
    assert (report["cost_usd"], report["on"]) == (0.0336, "Google Cloud")
    assert report["checks"][0] == {  # type: ignore[index]
        "name": "fine",
        "believed": "It is so.",
        "where": "composer.tf",
        "expected": "it is so",
        "ending": "holds",
        "seen": "as believed",
        "seconds": 2.0,
        "cost_usd": 0.0336,
        "facts": {"x": 1},
    }


def test_the_page_begins_with_what_differs_and_its_cells_are_whole() -> None:
    page = as_markdown(made())  # type: ignore[arg-type]
    headings = [line for line in page.splitlines() if line.startswith("#")]
    assert headings == [
        "# Verified on Google Cloud, 2026-11-30",
        "## What differs",
        "## What is not confirmed",
        "## What holds",
    ]
    assert "a \\| b" in page
    assert "Expected: it is so." in page


def test_both_are_written_beside_each_other(tmp_path: Path) -> None:
    paths = write(made(), tmp_path / "new" / "verification.json")  # type: ignore[arg-type]
    assert [path.name for path in paths] == ["verification.json", "verification.md"]
    assert all(path.read_text() for path in paths)
