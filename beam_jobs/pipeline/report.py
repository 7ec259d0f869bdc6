"""A backfill's counts, as one JSON file that appears only when everything has been published.

Prompts are counted where they are parsed and outcomes where they are published, so that the two
can be held against each other.
"""

import json
from collections.abc import Iterable
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.pvalue import AsIter, AsSingleton, PCollection

from beam_jobs.outcomes import Failure, Outcome

REPORT_SCHEMA = "imagen.report/1"


class WriteReport(beam.PTransform):
    """Counts what came in and how it ended, and writes that to `path`."""

    def __init__(self, path: str, source: str, published: tuple[PCollection[Any], ...]) -> None:
        super().__init__()
        self._path = path
        self._source = source
        self._published = published

    def expand(self, outcomes: Any) -> PCollection[Any]:
        """Wire counting of `Outcomes`, and a wait for the publishing, which the side inputs are."""
        # Each is summed up where it comes about: one sum for both would first collect their parts.
        prompts = outcomes.parsed | "Count prompts" >> beam.combiners.Count.Globally()
        ended = (
            outcomes.ended
            | "Tally outcomes" >> beam.Map(tally)
            | "Sum" >> beam.CombineGlobally(_add)
        )
        return (
            ended.pipeline
            | beam.Create([self._path])
            | "Write"
            >> beam.Map(
                _write,
                self._source,
                AsSingleton(prompts),
                AsSingleton(ended),
                *(AsIter(write) for write in self._published),
            )
        )


def tally(outcome: Outcome) -> dict[str, int]:
    """Return what one outcome adds to the report."""
    counts = {
        "images": outcome.work.images,
        "bytes": outcome.work.bytes,
        "model_calls": outcome.work.calls,
    }
    if isinstance(outcome, Failure):
        counts["failures"] = 1
        counts[f"failures.{outcome.reason.value}"] = 1
    else:
        counts["predictions"] = 1
        counts["reused"] = int(outcome.reused)
    return counts


def render(counts: dict[str, int], source: str) -> dict[str, Any]:
    """Return the report as JSON has it."""
    return {
        "schema": REPORT_SCHEMA,
        "source": source,
        **{
            name: counts.get(name, 0)
            for name in (
                "prompts",
                "predictions",
                "reused",
                "failures",
                "images",
                "bytes",
                "model_calls",
            )
        },
        "failures_by_reason": {
            name.removeprefix("failures."): count
            for name, count in sorted(counts.items())
            if name.startswith("failures.")
        },
    }


def _add(tallies: Iterable[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for one in tallies:
        for name, count in one.items():
            total[name] = total.get(name, 0) + count
    return total


def _write(
    path: str, source: str, prompts: int, counts: dict[str, int], *published: Iterable[Any]
) -> str:
    del published  # here only so that this runs after them
    content = json.dumps(render({"prompts": prompts, **counts}, source), indent=2).encode("utf-8")
    with FileSystems.create(path, mime_type="application/json") as file:
        file.write(content)
    return path
