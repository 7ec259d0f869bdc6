"""The runbook as a page, so that every word in capitals can lead to its section."""

import contextlib
import dataclasses
import functools
import html
import re
from pathlib import Path

from imagen_ops.ui.sharing import ReadError
from imagen_ops.ui.storage import Storage

# A link to docs/runbook.md: composer.tf uploads what it leads to.
FILE = Path(__file__).parent / "runbook.md"
_PAGE = """<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title>Runbook · Imagen</title>
  <link rel="icon" type="image/svg+xml" href="assets/icon.svg">
  <link rel="stylesheet" href="assets/page.css">
</head>
<body>
<main class="document">
{body}
</main>
</body>
</html>
"""
_HEADING = re.compile(r"<(h[1-6])>(.*?)</\1>", re.DOTALL)
_TAGS = re.compile(r"<[^>]*>")
_NOT_IN_ANCHORS = re.compile(r"[^\w\- ]")
# Other documents are not here.
_LINK_ELSEWHERE = re.compile(r'<a href="(?!#|https?:)[^"]*">(.*?)</a>', re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Runbook:
    """Where people read the runbook: at an address of the deployment's, or on a page of its own."""

    url: str | None = None
    page: str = ""


def read_runbook(storage: Storage) -> Runbook:
    """Return the runbook. Without settings, too: then it is needed most."""
    with contextlib.suppress(ReadError):
        if url := storage.settings().runbook_url:
            return Runbook(url)
    return Runbook(page=runbook_page())


@functools.cache
def runbook_page() -> str:
    """Return the runbook as HTML. Each heading has the anchor that GitHub gives it."""
    from markdown_it import MarkdownIt

    # The text is the project's own, so the anchors in it may be HTML.
    body = MarkdownIt("commonmark").enable("table").render(FILE.read_text(encoding="utf-8"))
    body = _LINK_ELSEWHERE.sub(r"\1", _HEADING.sub(_with_anchor, body))
    return _PAGE.replace("{body}", body)


def _with_anchor(heading: re.Match[str]) -> str:
    tag, content = heading.groups()
    text = html.unescape(_TAGS.sub("", content))
    anchor = _NOT_IN_ANCHORS.sub("", text.strip().lower()).replace(" ", "-")
    return f'<{tag} id="{anchor}">{content}</{tag}>'
