"""The plan of a backfill as a file: which objects its job reads, each in which generation.

One JSON object per line, sorted by name, as Cloud Storage lists them. So both sides of a comparison
are read side by side, in bounded memory. Pure.
"""

import json
from collections.abc import Iterable, Iterator

from beam_jobs.outcomes import Failure
from beam_jobs.prompts.listing import ListedFile
from beam_jobs.prompts.parse import invalid

_SHOWN_CHARS = 300
_MAX_ATTRIBUTE_CHARS = 250  # of at most four bytes each: 1,024 bytes are allowed


def line_of(file: ListedFile) -> bytes:
    """Return a file's line of the plan."""
    # As a text: a generation may be larger than what a number of JSON holds exactly.
    fields = {"name": file.name, "generation": str(file.generation), "size": file.size}
    return json.dumps(fields, ensure_ascii=False).encode() + b"\n"


def planned_files(lines: Iterable[bytes | None]) -> Iterator[ListedFile]:
    """Yield the files of a plan.

    Raises:
        ValueError: it is no plan; nothing may be read by it.
    """
    last = ""
    for number, line in enumerate(lines, start=1):
        try:
            fields = json.loads(line or b"")
            name, size = str(fields["name"]), int(fields["size"])
            file = ListedFile(name, size, int(fields["generation"]))
        except (ValueError, LookupError, TypeError) as error:
            raise ValueError(
                f"line {number} is not a file of a plan ({type(error).__name__}: {error}); run the "
                "backfill again, which writes a new plan"
            ) from None
        if name <= last:
            raise ValueError(f"line {number} is not sorted by name; run the backfill again")
        last = name
        yield file


def as_planned(
    planned: Iterable[ListedFile], found: Iterable[ListedFile], *, bucket: str, source: str
) -> Iterator[ListedFile | Failure]:
    """Yield the planned files that are still there, and a failure for each other file.

    Args:
        planned: the files of the plan, sorted by name.
        found: what is there now, sorted by name.
        bucket: where they are.
        source: the source that the failures name, `backfill:RUN`.
    """
    remaining = iter(found)
    now = next(remaining, None)
    for file in planned:
        while now is not None and now.name < file.name:
            yield _not_planned(now, bucket, source)
            now = next(remaining, None)
        if now is None or now.name != file.name:
            yield _gone(file, bucket, source)
            continue
        yield file if now.generation == file.generation else _replaced(file, now, bucket, source)
        now = next(remaining, None)
    while now is not None:
        yield _not_planned(now, bucket, source)
        now = next(remaining, None)


def _gone(file: ListedFile, bucket: str, source: str) -> Failure:
    text = (
        f"was planned in generation {file.generation}, and is gone: it was deleted after the plan, "
        "so nothing of it is read or paid for; if it is wanted, upload it again, and run the "
        "backfill again"
    )
    return _failure(file, text, bucket, source)


def _replaced(file: ListedFile, now: ListedFile, bucket: str, source: str) -> Failure:
    text = (
        f"was planned in generation {file.generation}, and is in generation {now.generation} now: "
        "it was replaced after the plan, so nothing of it is read or paid for; run the backfill "
        "again"
    )
    return _failure(file, text, bucket, source)


def _not_planned(now: ListedFile, bucket: str, source: str) -> Failure:
    text = (
        f"was not planned: it is in generation {now.generation}, and was added after the plan, so "
        "nothing of it is read or paid for; run the backfill again"
    )
    return _failure(now, text, bucket, source)


def _failure(file: ListedFile, text: str, bucket: str, source: str) -> Failure:
    path = f"gs://{bucket}/{file.name}"
    # A name may have line ends and marks in it, which could pass for something else in a log.
    shown = repr(path)[1:-1][-_SHOWN_CHARS:]
    attributes = {"file": path[-_MAX_ATTRIBUTE_CHARS:]}
    return invalid(f"{shown}: {text}", b"", attributes, origin=shown, source=source)
