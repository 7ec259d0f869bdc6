"""Reads the project's Markdown: headings, anchors, links, code blocks and tables."""

import functools
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def pages() -> list[Path]:
    """Return every Markdown file of the project."""
    folders = (ROOT, ROOT / ".github", ROOT / "docs", ROOT / "findings")
    found = [path for folder in folders[:1] for path in folder.glob("*.md")]
    found += [path for folder in folders[1:] for path in folder.rglob("*.md")]
    return sorted(found)


@functools.cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def prose(text: str) -> str:
    """Return a text without its code blocks."""
    return _FENCE.sub("", text)


def blocks(text: str, language: str) -> list[str]:
    """Return the code blocks of a language, in their order."""
    return [block for name, block in _FENCE.findall(text) if name == language]


def slug(heading: str) -> str:
    """As GitHub makes anchors: lower case, no punctuation but hyphens and underscores."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def headings(text: str) -> list[tuple[int, str]]:
    return [(len(marks), title) for marks, title in re.findall(r"(?m)^(#+) (.+)$", prose(text))]


def anchors(text: str) -> list[str]:
    """Return what links within a page can lead to."""
    named = re.findall(r'<a id="([^"]+)"></a>', prose(text))
    return [slug(title) for _, title in headings(text)] + named


def links(text: str) -> list[str]:
    """Return where the links and pictures of a page lead to."""
    return re.findall(r"\]\(([^)\s]+)\)", prose(text))


def section(text: str, title: str) -> str:
    """Return what stands below a heading, up to the next one of its level or above."""
    (level,) = {level for level, found in headings(text) if found == title}
    after = re.split(rf"(?m)^#{{{level}}} {re.escape(title)}$", text)[1]
    return re.split(rf"(?m)^#{{1,{level}}} ", after)[0]


def first_cells(text: str) -> list[str]:
    """Return the first column of the tables in a text, without their heads."""
    rows = re.findall(r"(?m)^\| *([^|]*?) *\|", text)
    rules = [index for index, cell in enumerate(rows) if re.fullmatch(r":?-+:?", cell)]
    heads = {index - 1 for index in rules} | set(rules)
    return [cell for index, cell in enumerate(rows) if index not in heads]


def names_in_first_cells(text: str) -> list[str]:
    """Return what stands between backticks in the first column of the tables in a text."""
    return [name for cell in first_cells(text) for name in re.findall(r"`([^`]+)`", cell)]


def targets() -> set[str]:
    """Return the targets of the Makefile."""
    return set(re.findall(r"(?m)^([a-z-]+):(?!=)", text_of(ROOT / "Makefile")))
