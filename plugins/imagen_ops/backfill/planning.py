"""The plan of a backfill: which files, how many prompts and images, what is made, what it may cost.

Reads every file and pays for nothing. Files are read several at a time, in the order of their
names, and only counts and digests are kept of them.
"""

import itertools
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from imagen_ops.backfill.already_made import Folder, StoredRecords
from imagen_ops.backfill.costs import GroupCount, already_made, costs
from imagen_ops.backfill.distinct import PARTS, Digests
from imagen_ops.backfill.globs import PromptGlob
from imagen_ops.backfill.listing import Fingerprint, list_files
from imagen_ops.backfill.plan import Plan, PlannedFile
from imagen_ops.backfill.prompt_files import SHOWN_ROWS, FileCount, PriceGroup, count_file

if TYPE_CHECKING:
    from google.cloud.storage import Client

# Google's client keeps 10 connections open; more threads would open one for each request.
THREADS = 8
# Half a minute at the most, and as a sample good to 1 % (two standard deviations).
MAX_LOOKUPS = 10_000
SHOWN_FILES = 100
SHOWN_PROBLEMS = 100

T = TypeVar("T")
R = TypeVar("R")


def plan_backfill(
    client: "Client",
    glob: str,
    *,
    model: str,
    images_location: str,
    allowed_models: Collection[str] | None = None,
    request_tier: str = "standard",
    most_lookups: int = MAX_LOOKUPS,
    threads: int = THREADS,
) -> Plan:
    """Look at what a backfill over `glob` would do. Whether it may is the caller's to decide.

    Args:
        client: must be able to list and read prompts and images.
        glob: gs://BUCKET/PATTERN, as the job's --prompts.
        model: of prompts that name none, as the job's --model.
        images_location: gs://BUCKET/FOLDER, as the job's --images_output_location.
        allowed_models: that prompts may name, as the job's --allowed_models; None: its default.
        request_tier: "standard", or "flex" for half the price.
        most_lookups: requests to spend on what is already made, beyond which that is an estimate.
        threads: how many files, or look-ups, at a time.

    Raises:
        ValueError: `glob` or `images_location` is malformed.
        google.api_core.exceptions.GoogleAPICallError, google.auth.exceptions.GoogleAuthError,
        OSError: storage refuses, or does not answer after the client's own retries. `NotFound` is
            a bucket that is not there.
    """
    from beam_jobs.catalog import PRICES_AS_OF
    from beam_jobs.prompts.parse import PromptDefaults

    prompt_glob = PromptGlob.parse(glob)
    folder = Folder.parse(images_location)
    defaults = PromptDefaults(
        model=model, allowed_models=_allowed(allowed_models) | {model}, source="backfill:plan"
    )
    bucket = client.bucket(prompt_glob.bucket)
    sums = _Sums(prompt_glob)
    with ThreadPoolExecutor(threads, thread_name_prefix="plan") as pool:
        for one in _in_order(
            pool,
            lambda file: count_file(bucket, file, prompt_glob.url_of(file.name), defaults),
            list_files(client, prompt_glob),
            ahead=2 * threads,
        ):
            sums.add(one)
        records = StoredRecords(client, folder, most_lookups)
        counts = _counts(
            _in_order(
                pool, lambda part: _look(sums.digests, part, records), PARTS, ahead=2 * threads
            )
        )
    return Plan(
        glob=prompt_glob.url,
        request_tier=request_tier,
        files=sums.files,
        bytes=sums.bytes,
        first_files=tuple(sums.first_files),
        prompts=sums.prompts,
        distinct=sum(count.distinct for count in counts.values()),
        invalid=sums.invalid,
        first_invalid=tuple(sums.first_invalid),
        problems=sums.problems,
        first_problems=tuple(sums.first_problems),
        made=already_made(counts),
        models=tuple(costs(counts, request_tier=request_tier)),
        prices_as_of=PRICES_AS_OF,
        fingerprint=str(sums.fingerprint),
    )


class _Sums:
    """What all files come to."""

    def __init__(self, glob: PromptGlob) -> None:
        self._glob = glob
        self.files = self.bytes = self.prompts = self.invalid = self.problems = 0
        self.first_files: list[PlannedFile] = []
        self.first_invalid: list[str] = []
        self.first_problems: list[str] = []
        self.digests = Digests()
        self.fingerprint = Fingerprint()

    def add(self, one: FileCount) -> None:
        self.files += 1
        self.fingerprint.add(one.file)
        self.bytes += one.file.size
        self.prompts += one.prompts
        self.invalid += one.invalid
        for kind, digests in one.digests.items():
            self.digests.add(kind, digests)
        self.first_invalid += one.first_invalid[: SHOWN_ROWS - len(self.first_invalid)]
        if len(self.first_files) < SHOWN_FILES:
            updated = one.file.updated
            self.first_files.append(
                PlannedFile(
                    path=self._glob.url_of(one.file.name),
                    bytes=one.file.size,
                    generation=one.file.generation,
                    updated=updated.isoformat(timespec="milliseconds") if updated else None,
                    rows=one.rows,
                )
            )
        if one.problem is not None:
            self.problems += 1
            if len(self.first_problems) < SHOWN_PROBLEMS:
                self.first_problems.append(one.problem)


def _look(digests: Digests, part: int, records: StoredRecords) -> dict[PriceGroup, GroupCount]:
    """Count a part's prompts, and as many of those that are made as there are requests left for.

    A SHA-256 is as good as a die: the parts, and beginnings of parts, that come before the
    requests are spent are a random sample, whatever order the prompts had.
    """
    counts: dict[PriceGroup, GroupCount] = {}
    entries = digests.distinct(part)
    for _, kind in entries:
        counts.setdefault(kind, GroupCount()).distinct += 1
    made = records.stored([digest for digest, _ in entries])
    for (_, kind), there in zip(entries, made, strict=False):
        counts[kind].looked_up += 1
        counts[kind].made += there
    return counts


def _counts(parts: Iterable[dict[PriceGroup, GroupCount]]) -> dict[PriceGroup, GroupCount]:
    total: dict[PriceGroup, GroupCount] = {}
    for part in parts:
        for kind, count in part.items():
            into = total.setdefault(kind, GroupCount())
            into.distinct += count.distinct
            into.looked_up += count.looked_up
            into.made += count.made
    return total


def _allowed(given: Collection[str] | None) -> frozenset[str]:
    """Return the models that prompts may name; by default those that the job allows by default."""
    from beam_jobs.catalog import KNOWN_MODELS, Family, family_of

    if given:
        return frozenset(given)
    return frozenset(name for name in KNOWN_MODELS if family_of(name) is Family.GEMINI)


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[T], R], items: Iterable[T], *, ahead: int
) -> Iterator[R]:
    """Yield the work on each of `items` in their order, with at most `ahead` of them under way."""
    under_way: deque[Future[R]] = deque()
    remaining = iter(items)
    try:
        while True:
            for item in itertools.islice(remaining, ahead - len(under_way)):
                under_way.append(pool.submit(work, item))
            if not under_way:
                return
            yield under_way.popleft().result()
    finally:
        # After an error nobody waits for the others.
        for future in under_way:
            future.cancel()
