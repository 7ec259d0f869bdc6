"""Every page: its links lead somewhere, its commands are there, and somebody finds it."""

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, anchors, links, pages, prose, targets, text_of

ALL = [pytest.param(path, id=str(path.relative_to(ROOT))) for path in pages()]
# The changelog repeats its headings with each version, and names what is no longer there.
TIMELESS = [page for page in ALL if page.id != "CHANGELOG.md"]


def _is_outside(link: str) -> bool:
    return re.match(r"[a-z]+:", link) is not None


@pytest.mark.parametrize("page", ALL)
def test_every_link_leads_to_a_file_and_a_heading_that_are_there(page: Path) -> None:
    for link in links(text_of(page)):
        if _is_outside(link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        if anchor:
            assert anchor in anchors(text_of(target)), link


@pytest.mark.parametrize("page", TIMELESS)
def test_no_anchor_is_there_twice(page: Path) -> None:
    assert [name for name, times in Counter(anchors(text_of(page))).items() if times > 1] == []


@pytest.mark.parametrize("page", ALL)
def test_every_make_target_that_is_named_is_one(page: Path) -> None:
    text = text_of(page)
    named = set(re.findall(r"`make ([a-z-]+)", text))
    named |= set(re.findall(r"(?m)^\$ make ([a-z-]+)", text))
    assert named - targets() == set()


@pytest.mark.parametrize("page", ALL)
def test_every_script_and_module_of_a_command_is_there(page: Path) -> None:
    text = text_of(page)
    for script in set(re.findall(r"\bscripts/\w+\.sh", text)):
        assert (ROOT / script).is_file(), script
    for module in set(re.findall(r"python -m ((?:beam_jobs|localcloud|bench|tests)[\w.]*)", text)):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module


@pytest.mark.parametrize("page", TIMELESS)
def test_every_file_between_backticks_is_there(page: Path) -> None:
    rooms = r"plugins|beam_jobs|dags|scripts|localcloud|docs|tests|bench"
    for path in set(re.findall(rf"`((?:{rooms})/[\w./-]*)`", prose(text_of(page)))):
        assert (ROOT / path).exists(), path


def test_every_page_is_found_from_the_readme() -> None:
    seen: set[Path] = set()
    todo = [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page in seen:
            continue
        seen.add(page)
        todo += [
            target
            for link in links(text_of(page))
            if not _is_outside(link)
            and (target := (page.parent / link.partition("#")[0]).resolve()).suffix == ".md"
        ]
    assert {page for page in pages() if ".github" not in page.parts} - seen == set()


@pytest.mark.parametrize("page", ALL)
def test_every_picture_is_described(page: Path) -> None:
    for words, _ in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", text_of(page)):
        assert len(words) > 15
