"""What prompt files would cost, and how long they would take: counted here, without any service."""

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterator

from beam_jobs.catalog import BATCH_TIER, Tier, prices_as_of
from beam_jobs.cli.progress import counted, duration
from beam_jobs.cli.prompt_rows import rows_of
from beam_jobs.outcomes import Failure
from beam_jobs.prefetch.batchable import batch_locations, why_not_prompt
from beam_jobs.prompts.defaults import PromptDefaults
from beam_jobs.prompts.likely_cost import likely_micro_usd
from beam_jobs.prompts.parse import Prompt, parse
from beam_jobs.prompts.templates import FindTemplate, no_templates

# Shown of a file with many.
MAX_INVALID = 20
_MICRO_PER_USD = 1_000_000


@dataclasses.dataclass(frozen=True, slots=True)
class Pace:
    """How fast a job calls the model.

    Args:
        at_once: calls at the same time, over all workers.
        call_s: how many seconds a call takes.
        per_minute: calls per minute that the quota, or an option, allows; None: no limit.
    """

    at_once: int
    call_s: float
    per_minute: float | None

    def seconds(self, calls: int) -> float:
        """Return about how long some calls take."""
        rate = self.at_once / self.call_s
        if self.per_minute is not None:
            rate = min(rate, self.per_minute / 60)
        return max(calls / rate, self.call_s if calls else 0.0)


class Estimate:
    """Counts the rows of prompt files as a backfill reads them; a prompt that repeats counts once.

    Args:
        defaults: what prompts are parsed with.
        tier: in which the model is called.
        find_template: returns the template of a name. By default, there is none.
    """

    def __init__(
        self, defaults: PromptDefaults, tier: Tier, find_template: FindTemplate = no_templates
    ) -> None:
        self._defaults = defaults
        self._tier = tier
        self._find_template = find_template
        self._digests: set[bytes] = set()
        self._micro_usd: Counter[str] = Counter()
        self._unpriced: set[str] = set()
        # Of what batch inference can make: images, and millionths of a US dollar.
        self._batch_images = self._batch_micro_usd = self._saved_micro_usd = 0
        self.files = self.prompts = self.invalid = 0
        self.images: Counter[str] = Counter()
        self.first_invalid: list[str] = []

    def add_file(self, path: str, *, read: Callable[[], None] = lambda: None) -> None:
        """Count a file.

        Args:
            path: a local path or `gs://` URL.
            read: called after each row.
        """
        self.files += 1
        before = self.prompts + self.invalid
        templated = self._defaults.template is not None
        for row in rows_of(path, source=self._defaults.source, templated=templated):
            if isinstance(row, Failure):
                self._refuse(row.detail)
            else:
                item = parse(
                    row.body,
                    row.attributes,
                    origin=row.origin,
                    defaults=self._defaults,
                    find_template=self._find_template,
                )
                if isinstance(item, Prompt):
                    self._add(item)
                elif isinstance(item, Failure):
                    self._refuse(f"{row.origin}: {item.detail}")
            read()
        if self.prompts + self.invalid == before:
            self._refuse(f"{path}: has no prompts")

    def _add(self, prompt: Prompt) -> None:
        self.prompts += 1
        digest = bytes.fromhex(prompt.digest)
        if digest in self._digests:
            return
        self._digests.add(digest)
        self.images[prompt.model] += prompt.images
        micro_usd = likely_micro_usd(prompt, self._tier, images=prompt.images)
        if micro_usd is None:
            self._unpriced.add(prompt.model)
        else:
            self._micro_usd[prompt.model] += micro_usd
            self._add_to_batch(prompt, micro_usd)

    def _add_to_batch(self, prompt: Prompt, online_micro_usd: int) -> None:
        micro_usd = likely_micro_usd(prompt, BATCH_TIER, images=prompt.images)
        if micro_usd is not None and why_not_prompt(prompt, batch_locations(None)) is None:
            self._batch_images += prompt.images
            self._batch_micro_usd += micro_usd
            self._saved_micro_usd += online_micro_usd - micro_usd

    def _refuse(self, detail: str) -> None:
        self.invalid += 1
        if len(self.first_invalid) < MAX_INVALID:
            self.first_invalid.append(detail)

    def lines(self, pace: Pace) -> Iterator[str]:
        """Yield the result for people.

        Args:
            pace: how fast the model is called.
        """
        repeated = self.prompts - len(self._digests)
        yield (
            f"{counted(self.files, 'file')}: {counted(self.prompts, 'prompt')}"
            + (f", {counted(repeated, 'duplicate')} of them" if repeated else "")
            + f"; {counted(self.invalid, 'invalid row')}"
        )
        total = self.images.total()
        for model, images in sorted(self.images.items()):
            yield f"  {model}: {counted(images, 'image')}, {self._price(model)}"
        usd = sum(self._micro_usd.values()) / _MICRO_PER_USD
        at_least = "at least " if self._unpriced else ""
        yield (
            f"cost: {at_least}{usd:,.2f} USD for {counted(total, 'image')} ({self._tier} tier, "
            f"prices of {prices_as_of()}); images that are stored already cost nothing"
        )
        if self._batch_images:
            yield (
                f"by batch inference: {counted(self._batch_images, 'image')} of these for "
                f"{self._batch_micro_usd / _MICRO_PER_USD:,.2f} USD, which saves "
                f"{self._saved_micro_usd / _MICRO_PER_USD:,.2f} USD and can take hours"
            )
        limit = "" if pace.per_minute is None else f", at most {pace.per_minute:g} per minute"
        yield (
            f"time: about {duration(math.ceil(pace.seconds(total)))} (h:mm:ss or m:ss), with "
            f"{pace.at_once} calls at once of {pace.call_s:g} s each{limit}"
        )

    def _price(self, model: str) -> str:
        if model in self._unpriced:
            return "no known price"
        return f"{self._micro_usd[model] / _MICRO_PER_USD:,.2f} USD"
