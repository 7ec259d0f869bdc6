"""What a prompt showed the model: each reference of its record, with a picture where there is one.

Paths come from prompts. Only what is in the deployment's own folders of references and of images is
looked up, and only names without anything special in them are served.
"""

import re
from collections.abc import Mapping
from typing import IO, Any

from beam_jobs.prompts.references import content_of, recorded_references
from imagen_ops.ui.panels.images import read_file, with_url
from imagen_ops.ui.storage import Deadline, Storage

# In the bucket; composer.tf grants roles on it.
FOLDER = "references/"
# Folders and a name of ASCII letters, digits, and . _ -, none of which begins with a dot.
_NAME = re.compile(r"(?:[\w-][\w.-]*/){0,8}[\w-][\w.-]*", re.ASCII)
_MAX_NAME_CHARS = 250
_MISSING = "It is no longer there."
_REPLACED = "It was replaced: the model saw another picture."
# What browsers show, by the first bytes. Those of a file with another beginning are not sent.
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_START_BYTES = 12


def is_served(path: str) -> bool:
    """Return whether `path`, relative to the folder of references, may be asked for."""
    return len(path) <= _MAX_NAME_CHARS and _NAME.fullmatch(path) is not None


def references_in(
    storage: Storage, record: Mapping[str, Any], deadline: Deadline
) -> list[dict[str, Any]]:
    """Return what the page shows of the references in a record.

    Args:
        storage: the deployment's.
        record: of a prompt, of any form.
        deadline: of the panel.

    Returns:
        For each: `path`; `role`, or None; `url` of its picture on this page, None where there is
        none to show; `problem`, a sentence if it isn't what the model saw or cannot be looked up.
    """
    settings = storage.settings()
    own, images = f"gs://{settings.bucket}/", f"{settings.images_location}/"
    references = recorded_references(record.get("references"))
    looked_up = [
        each.path.removeprefix(own)
        for each in references
        if each.path.startswith((f"{own}{FOLDER}", images))
    ]
    found = dict(zip(looked_up, storage.find(looked_up, deadline), strict=True))
    shown = []
    for each in references:
        name = each.path.removeprefix(own)
        problem = _problem(each.path, each.content, found[name]) if name in found else None
        url = None
        if name in found and problem is None:
            url = with_url({"path": each.path}, settings.images_location)["url"]
            if name.startswith(FOLDER) and is_served(name.removeprefix(FOLDER)):
                url = name
        shown.append({"path": each.path, "role": each.role, "url": url, "problem": problem})
    return shown


def read_reference(storage: Storage, path: str) -> tuple[IO[bytes], str] | None:
    """Read a reference.

    Args:
        storage: the deployment's.
        path: relative to the folder of references; `is_served` has allowed it.

    Returns:
        The picture as an open file, positioned at its end, and its media type by its first bytes;
        None if there is none, or it is no PNG, JPEG or WebP.

    Raises:
        ReadError: it cannot be read.
    """
    file = read_file(storage, f"{FOLDER}{path}") if is_served(path) else None
    if file is None:
        return None
    file.seek(0)
    media_type = _media_type(file.read(_START_BYTES))
    if media_type is None:
        file.close()
        return None
    file.seek(0, 2)
    return file, media_type


def _media_type(start: bytes) -> str | None:
    if start.startswith(_PNG):
        return "image/png"
    if start.startswith(_JPEG):
        return "image/jpeg"
    return "image/webp" if start[:4] == b"RIFF" and start[8:12] == b"WEBP" else None


def _problem(path: str, content: str | None, found: Any) -> str | None:
    if found is None:
        return _MISSING
    if isinstance(found, Exception):
        return f"It cannot be looked up: {found}"
    now = content_of(
        path,
        size=found.size,
        md5=found.md5_hash,
        crc32c=found.crc32c,
        generation=found.generation,
    )
    return _REPLACED if content and now != content else None
