"""A backfill's counts, as one JSON file that is written only once everything has been published.

Prompts are counted where they are parsed and outcomes where they are published, so that the two
counts can be compared.
"""

import json
from collections.abc import Iterable
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.pvalue import AsIter, AsSingleton, PCollection

from beam_jobs.outcomes import REPORT_SCHEMA, Failure, Outcome, known_usd


class WriteReport(beam.PTransform):
    """Counts prompts and their outcomes, and writes the counts to a file.

    Args:
        path: the file, local or `gs://`.
        source: the source to state in the report, `backfill:RUN`.
        published: the outputs of the publishing transforms, which the report waits for.
        rows: what was read, if a preprocess function may have made more prompts of it; None: as
            many as there are prompts.
    """

    def __init__(
        self,
        path: str,
        source: str,
        published: tuple[PCollection[Any], ...],
        rows: PCollection[Any] | None = None,
    ) -> None:
        super().__init__()
        self._path = path
        self._source = source
        self._published = published
        self._rows = rows

    def expand(self, processed: Any) -> PCollection[Any]:
        """Count, then write the report. Its side inputs make it wait for publishing."""
        # Each is counted where it arises. A single sum over both would first collect their parts.
        prompts = processed.parsed | "Count prompts" >> beam.combiners.Count.Globally()
        rows = (
            prompts
            if self._rows is None
            else self._rows | "Count rows" >> beam.combiners.Count.Globally()
        )
        outcomes = (
            processed.outcomes
            | "Tally outcomes" >> beam.Map(counts_of)
            | "Sum" >> beam.CombineGlobally(_add)
        )
        return (
            outcomes.pipeline
            | beam.Create([self._path])
            | "Write"
            >> beam.Map(
                _write,
                self._source,
                AsSingleton(rows),
                AsSingleton(prompts),
                AsSingleton(outcomes),
                *(AsIter(write) for write in self._published),
            )
        )


def counts_of(outcome: Outcome) -> dict[str, int]:
    """Return the counts that one outcome adds to the report."""
    counts = {
        "images": outcome.work.images,
        "bytes": outcome.work.bytes,
        "model_calls": outcome.work.calls,
        "nano_usd": outcome.work.nano_usd,
        "unpriced_calls": outcome.work.unpriced_calls,
        "tokens.input": outcome.work.input_tokens,
        "tokens.text": outcome.work.text_tokens,
        "tokens.image": outcome.work.image_tokens,
    }
    if isinstance(outcome, Failure):
        counts["failures"] = 1
        counts[f"failures.{outcome.reason.value}"] = 1
    else:
        counts["predictions"] = 1
        counts["reused"] = int(outcome.reused)
    return counts


def render(counts: dict[str, int], source: str) -> dict[str, Any]:
    """Return the report as it is written to JSON.

    Args:
        counts: by name; `failures.REASON` counts the failures with a reason, `tokens.KIND` the
            tokens of a kind.
        source: the source to state, `backfill:RUN`.
    """
    return {
        "schema": REPORT_SCHEMA,
        "source": source,
        **{
            name: counts.get(name, 0)
            for name in (
                "rows",
                "prompts",
                "predictions",
                "reused",
                "failures",
                "images",
                "bytes",
                "model_calls",
                "unpriced_calls",
            )
        },
        "cost_usd": known_usd(counts.get("nano_usd", 0), counts.get("unpriced_calls", 0)),
        "tokens": _below("tokens.", counts),
        "failures_by_reason": _below("failures.", counts),
    }


def unaccounted(path: str) -> str | None:
    """Return what is wrong with the sums of a report; None if every prompt has an outcome.

    Args:
        path: the report of a job that has ended.
    """
    try:
        with FileSystems.open(path) as file:
            report = json.loads(file.read())
        prompts, outcomes = report["prompts"], report["predictions"] + report["failures"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return (
            f"the job has ended, but its report {path} cannot be read ({type(error).__name__}: "
            f"{str(error)[:200]}); whether every prompt has an outcome is not known"
        )
    if prompts == outcomes:
        return None
    return (
        f"the sums in {path} do not add up: {prompts:,} prompts, but {outcomes:,} outcomes; the "
        "others were lost by the runner, so run the job again on another one"
    )


def _below(prefix: str, counts: dict[str, int]) -> dict[str, int]:
    return {
        name.removeprefix(prefix): count
        for name, count in sorted(counts.items())
        if name.startswith(prefix)
    }


def _add(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in counts:
        for name, count in part.items():
            total[name] = total.get(name, 0) + count
    return total


def _write(
    path: str,
    source: str,
    rows: int,
    prompts: int,
    counts: dict[str, int],
    *published: Iterable[Any],
) -> str:
    del published  # a parameter only so that this runs after publishing
    content = json.dumps(
        render({"rows": rows, "prompts": prompts, **counts}, source), indent=2
    ).encode("utf-8")
    with FileSystems.create(path, mime_type="application/json") as file:
        file.write(content)
    return path
