"""Prepares a prefetch: which images of a backfill batch inference is asked for, and with what.

An Airflow task runs this, so nothing here may import Beam, or Google's client when a DAG is parsed.
"""

import collections
import contextlib
import dataclasses
import itertools
import json
import logging
import secrets
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from beam_jobs.catalog import BATCH_TIER
from beam_jobs.images.location import Location
from beam_jobs.images.stored_digests import StoredDigests
from beam_jobs.prefetch.batchable import LeftOut, batch_locations, location_of, why_not_prompt
from beam_jobs.prefetch.candidates import Candidates
from beam_jobs.prefetch.folder import PrefetchFolder
from beam_jobs.prefetch.part_writer import PartsWriter
from beam_jobs.prefetch.parts import Prepared
from beam_jobs.prefetch.planned_prompts import PlannedPrompts
from beam_jobs.prefetch.reference_files import ReferenceFiles
from beam_jobs.prompts.defaults import PromptDefaults
from beam_jobs.prompts.likely_cost import likely_micro_usd
from beam_jobs.prompts.limits import FileLimits
from beam_jobs.prompts.parse import Prompt

if TYPE_CHECKING:
    from google.cloud.storage import Client

_log = logging.getLogger(__name__)

# Google's client keeps 10 connections open; more threads would open a new one for each request.
THREADS = 8
# Prompts whose references are looked up together.
_TOGETHER = 500


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    """What a run may order, and what for.

    Attributes:
        plan: gs:// path of the run's plan.
        prompts: gs:// path or glob of the files that were planned.
        defaults: what the job's options set for its prompts. Their source names the run.
        limits: how much of each file the job reads.
        images_location: gs:// path of the folder that the job stores images in.
        model_location: the job's option of that name; empty for the default.
        max_images: how many images may be ordered.
        max_micro_usd: what they may be likely to cost, in millionths of a US dollar; None: no
            limit.
    """

    plan: str
    prompts: str
    defaults: PromptDefaults
    limits: FileLimits
    images_location: str
    model_location: str | None
    max_images: int
    max_micro_usd: int | None = None


def prepare(client: "Client", folder: PrefetchFolder, order: Order) -> Prepared:
    """Write what batch inference is asked for to a run's folder, and return what that is.

    Only the first try of a run that gets to its end counts. Any other one returns what that has
    prepared, whatever has changed since: a batch job may work on it.

    Args:
        client: must be allowed to list and read prompt files, references and images, and to list,
            create and delete objects in the folder.
        folder: of the run.
        order: what may be ordered.

    Raises:
        ValueError: the plan, the glob or the images' location cannot be understood.
        PartsError: what an earlier try has prepared cannot be understood.
        google.api_core.exceptions.GoogleAPICallError, google.auth.exceptions.GoogleAuthError,
        OSError: Cloud Storage refuses, or does not answer after the client's own retries.
    """
    if earlier := _prepared(client, folder):
        return earlier
    of_try = secrets.token_hex(8)
    with ThreadPoolExecutor(THREADS, thread_name_prefix="prefetch") as pool:
        prepared = _Preparation(client, pool, order).write(folder, of_try)
    return _kept(client, folder, prepared, of_try)


class _Preparation:
    """The work of one try."""

    def __init__(self, client: "Client", pool: ThreadPoolExecutor, order: Order) -> None:
        self._client = client
        self._pool = pool
        self._order = order
        self._location = Location.parse(order.images_location)
        self._locations = batch_locations(order.model_location)
        self._left_out = collections.Counter[str]()

    def write(self, folder: PrefetchFolder, of_try: str) -> Prepared:
        """Write the parts, and return what they are."""
        run = self._order.defaults.source
        with Candidates() as candidates:
            for prompt in self._batchable():
                if not candidates.add(prompt):
                    self._left_out[LeftOut.EQUAL] += 1
            stored = self._stored(candidates)
            with PartsWriter(self._client, folder, of_try) as writer:
                for prompt, micro_usd in self._within_budget(candidates, stored):
                    location = location_of(prompt.model, self._locations)
                    assert location is not None, "`why_not_prompt` has seen to that"
                    writer.add(prompt, run, location=location, likely_micro_usd=micro_usd)
                parts = writer.finish()
        return Prepared(run, parts, {name.value: self._left_out[name] for name in LeftOut})

    def _batchable(self) -> Iterator[Prompt]:
        """Yield the prompts that batch inference can make, in the order of their rows."""
        planned = PlannedPrompts(
            self._client,
            plan=self._order.plan,
            prompts=self._order.prompts,
            defaults=self._order.defaults,
            limits=self._order.limits,
            templates_bucket=self._location.bucket,
        )
        references = ReferenceFiles(self._client, self._pool)
        for together in _batches(self._chosen(planned), _TOGETHER):
            for prompt in references.resolved(together):
                if prompt is None:
                    self._left_out[LeftOut.REFERENCES] += 1
                else:
                    yield prompt

    def _chosen(self, planned: PlannedPrompts) -> Iterator[Prompt]:
        for prompt in planned.items():
            if prompt is None:
                self._left_out[LeftOut.INVALID] += 1
            elif reason := why_not_prompt(
                prompt, self._locations, changed=self._order.defaults.changed
            ):
                self._left_out[reason] += 1
            else:
                yield prompt

    def _stored(self, candidates: Candidates) -> set[bytes]:
        """Return the digests of which anything is stored."""
        lookup = StoredDigests(self._client, self._location)
        found = self._pool.map(lookup.stored, candidates.digests())
        return {bytes.fromhex(digest) for digests in found for digest in digests}

    def _within_budget(
        self, candidates: Candidates, stored: set[bytes]
    ) -> Iterator[tuple[Prompt, int]]:
        """Yield the prompts to order, each with what it is likely to cost."""
        images, micro_usd = self._order.max_images, self._order.max_micro_usd
        for prompt in candidates.prompts():
            if bytes.fromhex(prompt.digest) in stored:
                self._left_out[LeftOut.STORED] += 1
                continue
            likely = likely_micro_usd(prompt, BATCH_TIER, images=prompt.images) or 0
            if prompt.images > images or (micro_usd is not None and likely > micro_usd):
                self._left_out[LeftOut.BUDGET] += 1
                continue
            images -= prompt.images
            micro_usd = None if micro_usd is None else micro_usd - likely
            yield prompt, likely


def _batches(prompts: Iterator[Prompt], size: int) -> Iterator[Sequence[Prompt]]:
    while batch := list(itertools.islice(prompts, size)):
        yield batch


def _prepared(client: "Client", folder: PrefetchFolder) -> Prepared | None:
    """Return what a run has prepared; None if nothing is."""
    from google.api_core.exceptions import NotFound

    try:
        content = client.bucket(folder.bucket).blob(_name(folder)).download_as_bytes()
    except NotFound:
        return None
    return Prepared.parse(content)


def _kept(client: "Client", folder: PrefetchFolder, prepared: Prepared, of_try: str) -> Prepared:
    """Make this try the one that counts, unless another one is; return what counts."""
    from google.api_core.exceptions import PreconditionFailed

    content = json.dumps(prepared.to_json(), indent=1)
    blob = client.bucket(folder.bucket).blob(_name(folder))
    # Another try, or this one, if the answer to its write was lost and the client repeated it.
    with contextlib.suppress(PreconditionFailed):
        blob.upload_from_string(content, "application/json", if_generation_match=0)
    counts = _prepared(client, folder)
    if counts is None:
        raise FileNotFoundError(f"{folder.parts} was deleted just now; try again")
    if counts == prepared:
        _delete_other_tries(client, folder, of_try)
    return counts


def _delete_other_tries(client: "Client", folder: PrefetchFolder, of_try: str) -> None:
    """Delete what tries have left that did not get to their end. It costs little if it stays."""
    from google.api_core.exceptions import GoogleAPICallError

    kept = (f"{folder.prefix}{of_try}/", _name(folder))
    try:
        for blob in client.list_blobs(folder.bucket, prefix=folder.prefix):
            if blob.name.endswith(("/requests.jsonl", "/manifest.jsonl")) and not (
                blob.name.startswith(kept)
            ):
                with contextlib.suppress(GoogleAPICallError):
                    blob.delete()
    except GoogleAPICallError as error:
        _log.warning("cannot delete the leftovers of other tries in %s: %s", folder.url, error)


def _name(folder: PrefetchFolder) -> str:
    return folder.parts.removeprefix(f"gs://{folder.bucket}/")
