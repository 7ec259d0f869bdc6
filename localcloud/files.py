"""Atomic writes, for files that outlive the process or that other processes read."""

import json
import os
from pathlib import Path


def write_json(path: Path, content: object, *, mode: int = 0o666) -> None:
    """Create or replace a JSON file atomically: no reader ever sees a part of it.

    Args:
        path: the file. A file beside it that ends in `.part` exists during the write.
        content: anything that JSON can represent.
        mode: permission bits of the file, reduced by the process's umask.
    """
    part = path.with_name(f"{path.name}.part")
    with open(
        os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8"
    ) as out:
        json.dump(content, out)
    os.replace(part, path)
