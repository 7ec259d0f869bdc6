"""How the stand-ins write what outlives them, or what others read: whole, or not at all."""

import json
import os
from pathlib import Path


def write_json(path: Path, content: object, *, mode: int = 0o666) -> None:
    """Replace a file, made if need be, in one step: no reader ever finds a part of it.

    Args:
        path: of the file; beside it there is, for a moment, one that ends in `.part`.
        content: what JSON can say.
        mode: of a new file, less what the process's umask takes away.
    """
    part = path.with_name(f"{path.name}.part")
    with open(
        os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8"
    ) as out:
        json.dump(content, out)
    os.replace(part, path)
