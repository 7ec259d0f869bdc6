"""The page's own HTML, styles, scripts and icon. Only these names are served."""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path

FOLDER = Path(__file__).parent / "assets"
PAGE = "index.html"

_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}


@dataclasses.dataclass(frozen=True)
class StaticFile:
    """A file as it is served.

    Attributes:
        content: the bytes to send.
        media_type: the value of `Content-Type`.
        etag: the value of `ETag`, including its quotes.
    """

    content: bytes
    media_type: str
    etag: str


def load_static_files(folder: Path = FOLDER) -> Mapping[str, StaticFile]:
    """Read every file in the folder that a browser can use.

    Returns:
        The files by name.
    """
    return {
        path.name: _load(path)
        for path in sorted(folder.iterdir())
        if path.is_file() and path.suffix in _MEDIA_TYPES
    }


def _load(path: Path) -> StaticFile:
    content = path.read_bytes()
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    return StaticFile(content, _MEDIA_TYPES[path.suffix], etag)
