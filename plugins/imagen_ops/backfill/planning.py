"""Making a backfill's plan: its files, prompts, images, what is already stored, and the cost.

It reads every file and pays for nothing. It reads several files at a time, in the order of their
names, and keeps only counts and digests of them.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from beam_jobs.prompts.globs import PromptGlob, refuse_if_ambiguous
from beam_jobs.prompts.listing import ListedFile, list_files
from beam_jobs.shown import shown
from imagen_ops.backfill.distinct import PARTS, Digests
from imagen_ops.backfill.file_count import SHOWN_ROWS, FileCount, PriceGroup, count_file
from imagen_ops.backfill.listing import Fingerprint
from imagen_ops.backfill.plan import Plan, PlannedFile
from imagen_ops.backfill.plan_limits import PlanLimits
from imagen_ops.backfill.plan_totals import GroupCount, already_stored, model_costs
from imagen_ops.backfill.planned_references import MAX_LOOKED_UP, reference_problem
from imagen_ops.backfill.stored_records import StoredRecords

if TYPE_CHECKING:
    from google.cloud.storage import Client

    from beam_jobs.prompts.defaults import PromptDefaults

# Google's client keeps 10 connections open; more threads would open a new one for each request.
THREADS = 8
# They take half a minute at most, and a sample of this size is accurate to 1% (two standard
# deviations).
MAX_LOOKUPS = 10_000
SHOWN_FILES = 100
SHOWN_PROBLEMS = 100

T = TypeVar("T")
R = TypeVar("R")


def plan_backfill(
    client: "Client",
    glob: str,
    *,
    defaults: "PromptDefaults",
    images_location: str,
    request_tier: str = "standard",
    preprocess: str = "",
    model_location: str | None = None,
    max_lookups: int = MAX_LOOKUPS,
    threads: int = THREADS,
    limits: PlanLimits | None = None,
    note_file: Callable[[ListedFile], object] = lambda _: None,
) -> Plan:
    """Return what a backfill over `glob` would do and cost. The caller checks it against a budget.

    Args:
        client: must be allowed to list and read prompts and images.
        glob: gs://BUCKET/PATTERN, the job's --prompts.
        defaults: what the job's options set for its prompts, by `beam_jobs.prompts.limits`.
        images_location: gs://BUCKET/FOLDER, the job's --images_output_location.
        request_tier: "standard", or "flex" for half the price.
        preprocess: the custom function that changes the prompts in the job. What it makes of them
            is not known, so nothing is looked up, and all count as new. Empty: there is none.
        model_location: the job's --model_location, which also decides what batch inference can
            make; None: the default.
        max_lookups: how many requests to spend on finding what is already stored. If they do not
            suffice, that number is an estimate.
        threads: how many files, or lookups, to work on at the same time.
        limits: of the plan; None: none.
        note_file: gets each planned file, in the order of the names.

    Raises:
        PlanLimitError: the files are more than `limits` allow; nothing more is read.
        GlobError: `glob` is malformed, or ambiguous.
        ValueError: `images_location` is malformed.
        google.api_core.exceptions.GoogleAPICallError, google.auth.exceptions.GoogleAuthError,
        OSError: Cloud Storage refuses, or does not answer after the client's own retries.
            `NotFound` means that there is no such bucket.
    """
    from beam_jobs.catalog import prices_as_of
    from beam_jobs.images.location import Location
    from beam_jobs.prompts.template_folder import TemplateFolder

    prompt_glob = PromptGlob.parse(glob)
    try:
        location = Location.parse(images_location)
    except ValueError as error:
        raise ValueError(f"images location: {error}") from None
    bucket = client.bucket(prompt_glob.bucket)
    refuse_if_ambiguous(
        prompt_glob.url,
        lambda other: (
            prompt_glob.object_url(file.name)
            for file in list_files(client, PromptGlob.parse(other))
        ),
    )
    totals = _Totals(prompt_glob)
    limits = limits or PlanLimits()
    templates = TemplateFolder(lambda: client, location.bucket)
    with ThreadPoolExecutor(threads, thread_name_prefix="plan") as pool:
        for count in _in_order(
            pool,
            lambda file: count_file(
                bucket,
                file,
                prompt_glob.object_url(file.name),
                defaults,
                limits,
                templates.find,
                model_location,
            ),
            list_files(client, prompt_glob),
            ahead=2 * threads,
        ):
            totals.add(count)
            note_file(count.file)
        for problem in _in_order(
            pool,
            lambda path: reference_problem(client, path),
            totals.references,
            ahead=2 * threads,
        ):
            totals.add_problem(problem)
        records = None if preprocess else StoredRecords(client, location, max_lookups)
        counts = _merged(
            _in_order(
                pool,
                lambda part: _count_part(totals.digests, part, records, limits),
                PARTS,
                ahead=2 * threads,
            )
        )
    return Plan(
        glob=prompt_glob.url,
        request_tier=request_tier,
        files=totals.files,
        bytes=totals.bytes,
        first_files=tuple(totals.first_files),
        prompts=totals.prompts,
        distinct=sum(count.distinct for count in counts.values()),
        invalid=totals.invalid,
        first_invalid=tuple(totals.first_invalid),
        problems=totals.problems,
        first_problems=tuple(totals.first_problems),
        already_stored=already_stored(counts),
        models=tuple(model_costs(counts, request_tier=request_tier)),
        prices_as_of=prices_as_of(),
        fingerprint=str(totals.fingerprint),
        preprocess=preprocess,
    )


class _Totals:
    """The totals of all files, and the first ones of what a plan shows."""

    def __init__(self, glob: PromptGlob) -> None:
        self._glob = glob
        self.files = self.bytes = self.prompts = self.invalid = self.problems = 0
        self.first_files: list[PlannedFile] = []
        self.first_invalid: list[str] = []
        self.first_problems: list[str] = []
        self.digests = Digests()
        self.fingerprint = Fingerprint()
        self.references: dict[str, None] = {}

    def add(self, count: FileCount) -> None:
        self.files += 1
        self.fingerprint.add(count.file)
        self.bytes += count.file.size
        self.prompts += count.prompts
        self.invalid += count.invalid
        for group, digests in count.digests.items():
            self.digests.add(group, digests)
        self.first_invalid += count.first_invalid[: SHOWN_ROWS - len(self.first_invalid)]
        if len(self.first_files) < SHOWN_FILES:
            updated = count.file.updated
            self.first_files.append(
                PlannedFile(
                    path=shown(self._glob.object_url(count.file.name)),
                    bytes=count.file.size,
                    generation=count.file.generation,
                    updated=updated.isoformat(timespec="milliseconds") if updated else None,
                    rows=count.rows,
                )
            )
        for path in count.references:
            if len(self.references) < MAX_LOOKED_UP:
                self.references[path] = None
        self.add_problem(count.problem)

    def add_problem(self, problem: str | None) -> None:
        if problem is not None:
            self.problems += 1
            if len(self.first_problems) < SHOWN_PROBLEMS:
                self.first_problems.append(problem)


def _count_part(
    digests: Digests, part: int, records: StoredRecords | None, limits: PlanLimits
) -> dict[PriceGroup, GroupCount]:
    """Count the prompts of one part, and look up as many as the remaining requests allow.

    SHA-256 spreads prompts at random. So the parts, and the beginnings of parts, that are looked up
    before the requests run out are a random sample, whatever order the prompts had.
    """
    limits.check_time("the lookup of what is already stored")
    counts: dict[PriceGroup, GroupCount] = {}
    entries = digests.distinct(part)
    for _, group in entries:
        counts.setdefault(group, GroupCount()).distinct += 1
    answers = records.stored([digest for digest, _ in entries]) if records else ()
    for (_, group), is_stored in zip(entries, answers, strict=False):
        counts[group].looked_up += 1
        counts[group].stored += is_stored
    return counts


def _merged(parts: Iterable[dict[PriceGroup, GroupCount]]) -> dict[PriceGroup, GroupCount]:
    totals: dict[PriceGroup, GroupCount] = {}
    for part in parts:
        for group, count in part.items():
            total = totals.setdefault(group, GroupCount())
            total.distinct += count.distinct
            total.looked_up += count.looked_up
            total.stored += count.stored
    return totals


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[T], R], items: Iterable[T], *, ahead: int
) -> Iterator[R]:
    """Yield the result of `work` for each item, in order, with at most `ahead` items under way."""
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
        # After an error, nobody needs the other results.
        for future in under_way:
            future.cancel()
