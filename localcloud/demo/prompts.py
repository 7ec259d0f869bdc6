"""The prompts that the demo sends: valid ones in many scripts, and every kind of invalid one."""

import gzip
from collections.abc import Iterator
from importlib import resources

# The local models take these words as requests for a fault.
_FAULTS = (
    "Trouble that passes: fault:unavailable-once",
    "Quota that runs out: fault:quota-once",
    "An answer without an image, at first: fault:empty-once",
    "A prompt that is refused: fault:blocked",
    "An image that is withheld: fault:blocked-image",
    "A request that the model does not take: fault:invalid",
)
# This prompt requests no fault: it is sent while the model returns no images to anybody.
_DURING_OUTAGE = "A comet above an orchard in bloom"
_MALFORMED = (
    b"\xff\xfe not UTF-8",
    b""" {"prompt": "An unknown field", "imagse": 2}""",
    b"""{"prompt": "Too many", "images": 9}""",
    b"""{"prompt": "A model that is not allowed", "model": "imagen-3.0-generate-002"}""",
    b"""{"prompt": """,
    b"   ",
)


def stream_bodies() -> Iterator[bytes]:
    """Yield the message bodies for the stream."""
    yield from _sample("stream.txt").splitlines()
    yield from _sample("structured.jsonl").splitlines()
    yield from _sample("edits.jsonl").splitlines()
    for text in _FAULTS:
        yield text.encode("utf-8")
    yield from _MALFORMED


def outage_body() -> bytes:
    """Return the message body that fails during the model's outage and succeeds afterwards."""
    return _DURING_OUTAGE.encode("utf-8")


def backfill_files() -> dict[str, bytes]:
    """Return the prompt files of one night, one of every format, by name."""
    names = ("markets.txt", "animals.csv", "harbours.jsonl", "products.csv")
    files = {name: _sample(name) for name in names}
    files["gardens.txt.gz"] = gzip.compress(_sample("gardens.txt"))
    return files


def template_files() -> dict[str, bytes]:
    """Return the prompt templates that the prompt files name, by name of the file."""
    return {"studio.txt": _sample("studio.txt")}


def _sample(name: str) -> bytes:
    return (resources.files("localcloud.demo") / "samples" / name).read_bytes()
