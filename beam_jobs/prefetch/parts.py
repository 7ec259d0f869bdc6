"""What a run's prefetch orders: its parts, and what was left for the backfill's job. Pure.

A part has one model, one file of requests, and one batch job.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from beam_jobs.prefetch.folder import PartFolder

PARTS_SCHEMA = "imagen.prefetch_parts/1"


class PartsError(ValueError):
    """An object is not what a prefetch has prepared. Says what is wrong, and what to do."""


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """One batch job's requests.

    Attributes:
        folder: where they are.
        model: the model that is asked.
        location: where the batch job is created.
        rows: requests, each for one image.
        bytes: of the requests.
        prompts: that the images are for.
        likely_micro_usd: what they are likely to cost, in millionths of a US dollar.
    """

    folder: PartFolder
    model: str
    location: str
    rows: int
    bytes: int
    prompts: int
    likely_micro_usd: int

    @property
    def name(self) -> str:
        """Its name in the run, `part-00000`."""
        return self.folder.url.rstrip("/").rpartition("/")[2]


@dataclasses.dataclass(frozen=True, slots=True)
class Prepared:
    """What a run's prefetch orders.

    Attributes:
        run: the run, as the outcomes of its job name it: `backfill:RUN`.
        parts: what is ordered; none if nothing is worth it.
        left_out: rows of the prompt files that the batch leaves to the backfill's job, by reason.
    """

    run: str
    parts: tuple[Part, ...]
    left_out: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def images(self) -> int:
        """How many images are ordered."""
        return sum(part.rows for part in self.parts)

    @property
    def prompts(self) -> int:
        """How many different prompts they are for."""
        return sum(part.prompts for part in self.parts)

    @property
    def likely_micro_usd(self) -> int:
        """What they are likely to cost, in millionths of a US dollar."""
        return sum(part.likely_micro_usd for part in self.parts)

    def to_json(self) -> dict[str, Any]:
        """Return the content of `parts.json`."""
        return {
            "schema": PARTS_SCHEMA,
            "run": self.run,
            "parts": [
                {**dataclasses.asdict(part), "folder": part.folder.url} for part in self.parts
            ],
            "left_out": dict(self.left_out),
        }

    @classmethod
    def from_json(cls, content: Any) -> "Prepared":
        """Return what a decoded `parts.json` says.

        Raises:
            PartsError: it is none.
        """
        try:
            if content["schema"] != PARTS_SCHEMA:
                raise PartsError(f"schema: expected {PARTS_SCHEMA}, got {content['schema']!r:.80}")
            parts = tuple(
                Part(
                    folder=PartFolder(str(each["folder"])),
                    model=str(each["model"]),
                    location=str(each["location"]),
                    rows=int(each["rows"]),
                    bytes=int(each["bytes"]),
                    prompts=int(each["prompts"]),
                    likely_micro_usd=int(each["likely_micro_usd"]),
                )
                for each in content["parts"]
            )
            left_out = {str(name): int(count) for name, count in content["left_out"].items()}
            return cls(run=str(content["run"]), parts=parts, left_out=left_out)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, PartsError):
                raise
            raise PartsError(f"expected what a prefetch has prepared: {error!r:.200}") from None

    @classmethod
    def parse(cls, content: bytes) -> "Prepared":
        """Return what the bytes of a `parts.json` say.

        Raises:
            PartsError: they are none.
        """
        try:
            decoded = json.loads(content)
        except ValueError as error:
            raise PartsError(f"expected JSON: {error}") from None
        return cls.from_json(decoded)
