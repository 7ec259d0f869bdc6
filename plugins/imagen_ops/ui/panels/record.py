"""The record of a prompt: all that decided its images, and which images belong together."""

import io
from typing import Any

from imagen_ops.ui.panels.images import folder_of, with_url
from imagen_ops.ui.panels.references import references_in
from imagen_ops.ui.prompt_parameters import prompt_parameters
from imagen_ops.ui.storage import Deadline, Storage
from imagen_ops.ui.untrusted import records, text, texts

DIGEST = r"^[0-9a-f]{32}$"
# A prompt has at most some thousand characters.
MAX_BYTES = 1 << 20
_SCHEMA = "imagen.record/1"


def read_record(storage: Storage, digest: str) -> dict[str, Any]:
    """Read the record of a prompt.

    Args:
        storage: the deployment's.
        digest: names it.

    Returns:
        `path` of the record; `problem`, a sentence if there is no record to show, else None; and of
        one: `prompt`, `model`, `created_at`, what `prompt_parameters` returns, `images`, with their
        addresses, and `references`, as `references_in` returns them.

    Raises:
        ReadError: it cannot be read.
    """
    deadline = Deadline()
    settings, name = storage.settings(), f"{folder_of(storage)}{digest[:2]}/{digest}.json"
    path = f"gs://{settings.bucket}/{name}"
    file = io.BytesIO()
    if not storage.download(name, file):
        return {"path": path, "problem": "There is no record: somebody has deleted it."}
    content = file.getvalue()
    # It may be laid out over several lines.
    whole = content if len(content) < MAX_BYTES else b""
    record = next(records(whole.replace(b"\n", b" ")), {})
    if record.get("schema") != _SCHEMA:
        return {"path": path, "problem": "The file is not a record that this version can read."}
    return {
        "path": path,
        "problem": None,
        "prompt": text(record.get("prompt")),
        "model": text(record.get("model")),
        "created_at": text(record.get("created_at")),
        **prompt_parameters(record),
        "images": [
            with_url({"path": path}, settings.images_location)
            for path in texts(record.get("images"))
        ],
        "references": references_in(storage, record, deadline),
    }
