"""The decision records: short, complete, and in the index."""

import re
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, headings, links, text_of

FOLDER = ROOT / "docs" / "decisions"
RECORDS = sorted(FOLDER.glob("[0-9]*.md"))
MAX_WORDS = 350  # half a page


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_record_is_short_and_says_what_was_rejected(path: Path) -> None:
    text = text_of(path)
    (_, title), *others = headings(text)
    assert title.startswith(f"{int(path.stem[:4])}. ")
    assert others == [(2, name) for name in ("Context", "Decision", "Rejected", "Consequences")]
    assert len(text.split()) <= MAX_WORDS


def test_the_index_has_every_record_in_order() -> None:
    index = text_of(FOLDER / "README.md")
    assert [link for link in links(index) if re.match(r"\d", link)] == [one.name for one in RECORDS]
    assert [int(path.stem[:4]) for path in RECORDS] == list(range(1, len(RECORDS) + 1))


def test_the_page_on_architecture_leads_to_every_record() -> None:
    found = links(text_of(ROOT / "docs" / "architecture.md"))
    assert {f"decisions/{path.name}" for path in RECORDS} <= set(found)
