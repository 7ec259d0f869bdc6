"""The images of one prompt: those that are stored, and those that are made because they are not."""

import asyncio
import datetime
import time
from collections.abc import Callable
from typing import Any

from beam_jobs.engine.claims import Claims, Wait
from beam_jobs.engine.hold import Gates, HeldError
from beam_jobs.engine.image_maker import ImageMaker
from beam_jobs.engine.image_set import (
    AnsweredByAnotherModelError,
    ImageSet,
    call_ranges,
    raise_deciding,
)
from beam_jobs.engine.persist import Persist
from beam_jobs.engine.prompt_usage import PromptUsage
from beam_jobs.engine.routes import RoutedModel
from beam_jobs.images.receipt import Receipt, payer_of
from beam_jobs.images.store import Found, ImageStore
from beam_jobs.models.base import ImageModel
from beam_jobs.prompts.parse import Prompt


class ImageSource:
    """Looks images up, and has them made if they are not there. Use it from one event loop only.

    Args:
        store: where images are looked up, and their records stored.
        persist: sends the requests to it.
        claims: keep others from paying for the same images.
        maker: makes the images.
        model_of: returns the adapter for a model's name, or the routes to it.
        gates: hold prompts back while a model refuses all of them.
        source: the source that records name.
        run: the stream, or the run of a backfill, whose deliveries these are.
    """

    def __init__(
        self,
        *,
        store: ImageStore,
        persist: Persist,
        claims: Claims,
        maker: ImageMaker,
        model_of: Callable[[str], ImageModel | RoutedModel],
        gates: Gates,
        source: str,
        run: str,
    ) -> None:
        self._store = store
        self._persist = persist
        self._claims = claims
        self._maker = maker
        self._model_of = model_of
        self._gates = gates
        self._source = source
        self._run = run

    async def images(
        self, prompt: Prompt, usage: PromptUsage, wait: Wait, *, may_call: bool
    ) -> ImageSet:
        """Return a prompt's images.

        Args:
            prompt: the prompt.
            usage: adds up what they cost.
            wait: what is known of whoever makes them now.
            may_call: whether the model may be called even while its gate is closed.

        Raises:
            ClaimedError: somebody else makes them now.
            HeldError: the model refuses every prompt now.
            AnsweredByAnotherModelError: the images are stored as those of another model.
            CallError: the model makes no image.
            StoreError: storage fails.
        """
        await self._maker.ready()
        looked_at = time.monotonic()
        stored = await self._persist(lambda: self._store.find(prompt.digest), paid=False)
        if stored.record is not None:
            return self._known(prompt, usage, stored.record)
        if not _missing(prompt, stored):
            return await self._generate(prompt, usage, stored)
        gate = self._gates.of(prompt.model)
        if gate.hold and not may_call:
            raise HeldError(gate.hold)
        look_again = await self._claims.claim(
            prompt.digest, self._payer(prompt), stored.claim, wait=wait, looked_at=looked_at
        )
        try:
            if look_again:
                stored = await self._persist(lambda: self._store.find(prompt.digest), paid=False)
            if stored.record is not None:
                images = self._known(prompt, usage, stored.record)
            else:
                images = await self._generate(prompt, usage, stored)
        except BaseException:
            await self._claims.release(prompt.digest)
            raise
        self._claims.keep(prompt.digest)
        return images

    def _payer(self, prompt: Prompt) -> str:
        return payer_of(self._run, prompt.origin)

    def _known(self, prompt: Prompt, usage: PromptUsage, record: dict[str, Any]) -> ImageSet:
        """Return the images that a record names."""
        known, receipt = list(record["images"]), Receipt.parse(record)
        usage.add_receipt(receipt, self._payer(prompt))
        return ImageSet(known, prompt.digest, prompt.model, reused=True, receipt=receipt)

    async def _generate(self, prompt: Prompt, usage: PromptUsage, stored: Found) -> ImageSet:
        """Make the images that are missing, and write the record."""
        paths = {i: path for i, path in stored.images.items() if i < prompt.images}
        missing = _missing(prompt, stored)
        model = self._model_of(prompt.model)
        results = await asyncio.gather(
            *(
                self._maker.make(model, prompt, group, usage, paths)
                for group in call_ranges(missing, model.images_per_call)
            ),
            return_exceptions=True,
        )
        errors = [result for result in results if result is not None]
        for error in errors:
            if isinstance(error, AnsweredByAnotherModelError):
                raise error
        raise_deciding(errors, stored=len(paths), wanted=prompt.images)
        images = [paths[i] for i in sorted(paths)]
        created_at = utc_now()
        receipt = Receipt(self._payer(prompt), usage.work(), self._source)
        record = await self._persist(
            lambda: self._store.put_record(
                prompt.digest,
                images,
                deciding=prompt.deciding,
                created_at=created_at,
                receipt=receipt,
            )
        )
        recorded = list(record["images"])
        return ImageSet(recorded, prompt.digest, prompt.model, not missing, receipt)


def _missing(prompt: Prompt, stored: Found) -> list[int]:
    return [index for index in range(prompt.images) if index not in stored.images]


def utc_now() -> str:
    """Return the time that records and messages have: UTC, in ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
