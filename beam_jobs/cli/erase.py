"""Finds and deletes what the bucket holds of a prompt or of a sender.

Images have names that follow from what was asked for, not from who asked. So the digests are found
in the index that the jobs write. What the index does not name any more is found by digest alone.
"""

import contextlib
import dataclasses
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from google.api_core import exceptions as api_exceptions
from google.cloud import storage

from beam_jobs.cli.gallery import PATIENCE
from beam_jobs.cli.progress import counted
from beam_jobs.images.location import CLAIM_SUFFIX, THUMBNAILS, Location
from beam_jobs.images.receipt import RAW_DIGEST
from beam_jobs.names import ARCHIVE_FOLDER
from beam_jobs.prompts.identity import made_id
from beam_jobs.shown import shown

_DIGEST = re.compile("[0-9a-f]{32}")
_DIGEST_OF_IMAGE = re.compile(r"/([0-9a-f]{32})-\d\.\w+")
# Folders of images are named by hex digits; whatever else is below the image folder comes after.
_AFTER_DIGESTS = "g"
_THREADS = 16
_AT_ONCE = 8 * _THREADS
_MAX_SHOWN = 20


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What to erase: one of these is given.

    Args:
        prompt_id: of outcomes.
        digest: of images.
        attribute: name and value of an attribute of messages.

    Raises:
        ValueError: the digest is none.
    """

    prompt_id: str | None = None
    digest: str | None = None
    attribute: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        if self.digest is not None and not _DIGEST.fullmatch(self.digest):
            raise ValueError(f"--digest: expected 32 hexadecimal digits, got {self.digest!r}")

    @property
    def digests(self) -> set[str]:
        """The digests that are known without looking."""
        made = (self.prompt_id or "").removeprefix("~")
        return {self.digest} if self.digest else {made} if _DIGEST.fullmatch(made) else set()

    def is_in(self, line: dict[str, Any]) -> bool:
        """Tell whether a line of the index or of the archive is about it."""
        letter = line.get("letter")
        about = letter if isinstance(letter, dict) else line
        if self.attribute:
            attributes = about.get("attributes")
            name, value = self.attribute
            return isinstance(attributes, dict) and attributes.get(name) == value
        if self.prompt_id:
            # One of several that a custom function has made has the id, # and its number.
            found = str(about.get("prompt_id"))
            return found == self.prompt_id or found.startswith(f"{self.prompt_id}#")
        return self.digest in digests_of(about) or about.get("prompt_id") == made_id(
            self.digest or ""
        )


@dataclasses.dataclass
class Traces:
    """What was found.

    Args:
        client: deletes it.
        objects: images, records, thumbnails, and claims.
        changed: the objects with lines about it, each with the lines to keep.
        index_lines: how many lines of the index are about it.
        archived: how many archived dead letters are.
        others: how many lines of the index name the same images, for other prompts.
        unknown: how many lines of the index don't say what attributes their message had.
    """

    client: storage.Client
    objects: list[storage.Blob] = dataclasses.field(default_factory=list)
    changed: list[tuple[storage.Blob, bytes]] = dataclasses.field(default_factory=list)
    index_lines: int = 0
    archived: int = 0
    others: int = 0
    unknown: int = 0

    def __bool__(self) -> bool:
        return bool(self.objects or self.changed)

    def lines(self) -> Iterator[str]:
        """Yield what was found, for people."""
        kinds = Counter(_kind(blob.name) for blob in self.objects)
        yield ", ".join(
            [
                *(counted(kinds[kind], kind) for kind in ("image", "record", "thumbnail")),
                *([counted(kinds["claim"], "claim")] if kinds["claim"] else []),
                counted(self.index_lines, "index entry", "index entries"),
                counted(self.archived, "archived dead letter"),
            ]
        )
        for blob in self.objects[:_MAX_SHOWN]:
            yield f"  {shown(f'gs://{blob.bucket.name}/{blob.name}')}"
        if (more := len(self.objects) - _MAX_SHOWN) > 0:
            yield f"  and {more:,} more"
        if self.others:
            yield (
                f"{counted(self.others, 'other index entry', 'other index entries')} "
                "of the same images: others have asked for the same, and would get new ones"
            )
        if self.unknown:
            yield (
                f"{counted(self.unknown, 'index entry', 'index entries')} of an older version, or "
                "of a message with too many, don't say what attributes there were: erase these by "
                "--prompt-id or --digest"
            )

    def erase(self) -> None:
        """Delete the objects, records first, and write the others without the lines about it.

        The lines come last: they lead to the objects, if this is interrupted and begun again.

        Raises:
            ValueError: an object was changed meanwhile.
            google.api_core.exceptions.GoogleAPIError: Cloud Storage refuses, or does not answer.
        """
        with ThreadPoolExecutor(_THREADS) as pool:
            for kind in ("record", "image", "thumbnail", "claim"):
                list(pool.map(_delete, [b for b in self.objects if _kind(b.name) == kind]))
            list(pool.map(lambda change: _rewrite(*change), self.changed))


def find(wanted: Wanted, location: Location, project: str) -> Traces:
    """Look for what the bucket holds.

    Args:
        wanted: what to look for.
        location: the image folder.
        project: the Google Cloud project.

    Raises:
        google.api_core.exceptions.GoogleAPIError: Cloud Storage refuses, or does not answer.
    """
    client = storage.Client(project=project)
    traces, digests, elsewhere = Traces(client), wanted.digests, Counter[str]()
    index = client.list_blobs(
        location.bucket,
        prefix=location.prefix,
        start_offset=f"{location.prefix}{_AFTER_DIGESTS}",
        **PATIENCE,
    )
    for blob, lines in _read(blob for blob in index if blob.name.endswith(".jsonl")):
        about, kept = _divided(wanted, lines)
        for line, entry in lines:
            if line in about:
                digests |= digests_of(entry)
            elsewhere.update(() if line in about else digests_of(entry))
            traces.unknown += bool(wanted.attribute and entry) and "attributes" not in entry
        traces.index_lines += len(about)
        if about:
            traces.changed.append((blob, kept))
    archive = client.list_blobs(location.bucket, prefix=f"{ARCHIVE_FOLDER}/", **PATIENCE)
    for blob, lines in _read(archive):
        about, kept = _divided(wanted, lines)
        traces.archived += len(about)
        if about:
            traces.changed.append((blob, kept))
    digests |= _raw_digests(client, location, digests)
    for digest in sorted(digests):
        for prefix in (
            location.stem(digest),
            f"{location.prefix}{THUMBNAILS}{digest[:2]}/{digest}",
        ):
            traces.objects += client.list_blobs(location.bucket, prefix=prefix, **PATIENCE)
        traces.others += elsewhere[digest]
    return traces


def _raw_digests(client: storage.Client, location: Location, digests: set[str]) -> set[str]:
    """Return the digests of what the images of others were made of, by their records."""

    def raw(digest: str) -> Any:
        blob = client.bucket(location.bucket).blob(location.record(digest))
        with contextlib.suppress(api_exceptions.NotFound):
            return _parsed(blob.download_as_bytes(**PATIENCE)).get(RAW_DIGEST)
        return None

    with ThreadPoolExecutor(_THREADS) as pool:
        found = pool.map(raw, sorted(digests))
        return {each for each in found if isinstance(each, str) and _DIGEST.fullmatch(each)}


def digests_of(entry: dict[str, Any]) -> set[str]:
    """Return the digests that an entry of the index names."""
    images = entry.get("images")
    paths = [path for path in images if isinstance(path, str)] if isinstance(images, list) else []
    found = {match[1] for path in paths if (match := _DIGEST_OF_IMAGE.search(path))}
    listed = entry.get("digests")  # of the prompts that a custom function has made
    given = [entry.get("digest"), *(listed if isinstance(listed, list) else ())]
    return found | {each for each in given if isinstance(each, str) and _DIGEST.fullmatch(each)}


def out_of_reach(wanted: Wanted, location: Location, project: str) -> Iterator[str]:
    """Yield what may hold copies that this program cannot delete."""
    yield "messages under way in the subscriptions, for up to 31 days, and in snapshots of these"
    yield "what consumers of predictions have kept: tables in BigQuery, their own stores"
    yield "the page in Airflow, for up to a day: restart Airflow's API server"
    yield "prompt files below prompts/: remove the rows there yourself"
    if not wanted.digest:
        yield "images that the index no longer names: erase these by --digest, from predictions"
    try:
        bucket = storage.Client(project=project).get_bucket(location.bucket, **PATIENCE)
        kept_s = bucket.soft_delete_policy.retention_duration_seconds or 0
    except (api_exceptions.GoogleAPIError, AttributeError, KeyError, TypeError):
        yield "deleted objects that the bucket keeps: whether it does is not known"
        return
    if kept_s:
        yield f"deleted objects, which the bucket keeps for {int(kept_s) / 86400:g} days"
    if bucket.versioning_enabled:
        yield "older versions of objects: the bucket keeps them"


def _kind(name: str) -> str:
    if f"/{THUMBNAILS}" in f"/{name}":
        return "thumbnail"
    if name.endswith(CLAIM_SUFFIX):
        return "claim"
    return "record" if name.endswith(".json") else "image"


Lines = list[tuple[bytes, dict[str, Any]]]


def _read(blobs: Iterable[storage.Blob]) -> Iterator[tuple[storage.Blob, Lines]]:
    """Yield objects with their lines; a line that is no JSON object counts as an empty one."""
    remaining = iter(blobs)
    with ThreadPoolExecutor(_THREADS) as pool:
        # Not all at once: a pool fetches whatever it is given, however much that is.
        while some := list(itertools.islice(remaining, _AT_ONCE)):
            for blob, content in pool.map(_content, some):
                yield blob, [(line, _parsed(line)) for line in content.splitlines(keepends=True)]


def _content(blob: storage.Blob) -> tuple[storage.Blob, bytes]:
    with contextlib.suppress(api_exceptions.NotFound):  # expired since the listing
        return blob, blob.download_as_bytes(if_generation_match=blob.generation, **PATIENCE)
    return blob, b""


def _parsed(line: bytes) -> dict[str, Any]:
    with contextlib.suppress(ValueError, RecursionError):
        content = json.loads(line)
        if isinstance(content, dict):
            return content
    return {}


def _divided(wanted: Wanted, lines: Lines) -> tuple[set[bytes], bytes]:
    """Return the lines that are about it, and the others together."""
    about = {line for line, entry in lines if wanted.is_in(entry)}
    return about, b"".join(line for line, _ in lines if line not in about)


def _delete(blob: storage.Blob) -> None:
    with contextlib.suppress(api_exceptions.NotFound):
        blob.delete(**PATIENCE)


def _rewrite(blob: storage.Blob, kept: bytes) -> None:
    try:
        if kept:
            blob.upload_from_string(
                kept,
                content_type=blob.content_type,
                if_generation_match=blob.generation,
                **PATIENCE,
            )
        else:
            blob.delete(if_generation_match=blob.generation, **PATIENCE)
    except api_exceptions.NotFound:
        pass
    except api_exceptions.PreconditionFailed:
        raise ValueError(
            f"gs://{blob.bucket.name}/{blob.name}: was changed meanwhile; run this again"
        ) from None
