"""The page itself, its styles, scripts and icons: read once, and no name but theirs is served."""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path

FOLDER = Path(__file__).parent / "assets"
PAGE = "index.html"

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}


@dataclasses.dataclass(frozen=True)
class File:
    """What is served under a name. `etag` with its quotes, as the header has it."""

    content: bytes
    media_type: str
    etag: str


def files(folder: Path = FOLDER) -> Mapping[str, File]:
    """Return the page and what it loads, by name: all of the folder that a browser can use."""
    return {
        path.name: _file(path)
        for path in sorted(folder.iterdir())
        if path.is_file() and path.suffix in _TYPES
    }


def _file(path: Path) -> File:
    content = path.read_bytes()
    return File(content, _TYPES[path.suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"')
