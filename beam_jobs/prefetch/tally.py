"""What an import has counted, and its report. Pure."""

import collections
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from beam_jobs.outcomes import NANO_PER_USD, known_usd
from beam_jobs.prefetch.output_row import RowEnd

IMPORT_SCHEMA = "imagen.prefetch_import/1"
# Sentences that a report has, and at most so many about rows that ended alike.
MAX_PROBLEMS = 20
PROBLEMS_ALIKE = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Tally:
    """Counts of rows, and what is worth saying about some of them.

    Attributes:
        counts: by name; `rows.END` counts the rows that ended so, `failed.CODE` those that failed
            with a code, `tokens.KIND` tokens. Costs are in billionths of a US dollar.
        problems: each with what became of its row.
    """

    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    problems: tuple[tuple[RowEnd, str], ...] = ()

    @classmethod
    def of_row(cls, end: RowEnd, problem: str) -> "Tally":
        """Return the tally of one row whose image is not known."""
        return cls({f"rows.{end}": 1}, ((end, problem),))


def added(tallies: Iterable[Tally]) -> Tally:
    """Return the sum of tallies, with a few problems of each kind."""
    counts: collections.Counter[str] = collections.Counter()
    problems: dict[RowEnd, list[str]] = {}
    for tally in tallies:
        counts.update(tally.counts)
        for end, problem in tally.problems:
            problems.setdefault(end, []).append(problem)
    # Sorted, so that another try of the same import says the same.
    few = tuple(
        (end, problem)
        for end in sorted(problems)
        for problem in sorted(problems[end])[:PROBLEMS_ALIKE]
    )
    return Tally(dict(counts), few)


def rendered(tally: Tally, *, run: str, parts: int, ordered: int) -> dict[str, Any]:
    """Return the import's report as it is written to JSON.

    `images` are those that batch inference was paid for. `recorded_cost_usd` is what image records
    tell of the cost, so that the backfill's own job tells it again.

    Args:
        tally: of all rows.
        run: the run, `backfill:RUN`.
        parts: how many parts were imported.
        ordered: how many images they ordered.
    """
    counts = tally.counts
    ends = {end.value: counts.get(f"rows.{end}", 0) for end in RowEnd}
    missing = max(0, ordered - counts.get("images_answered", 0))
    nano_usd, unpriced = counts.get("nano_usd", 0), counts.get("unpriced_rows", 0)
    return {
        "schema": IMPORT_SCHEMA,
        "run": run,
        "parts": parts,
        "ordered": ordered,
        "rows": {**ends, "missing": missing},
        "failed_by_code": {
            name.removeprefix("failed."): count
            for name, count in sorted(counts.items())
            if name.startswith("failed.")
        },
        **{name: counts.get(name, 0) for name in ("images", "bytes", "records")},
        "cost_usd": known_usd(nano_usd, unpriced),
        "recorded_cost_usd": counts.get("recorded_nano_usd", 0) / NANO_PER_USD,
        "tokens": {kind: counts.get(f"tokens.{kind}", 0) for kind in ("input", "text", "image")},
        "unpriced_rows": unpriced,
        "first_problems": _some_of_each(tally.problems)[:MAX_PROBLEMS],
    }


def _some_of_each(problems: Iterable[tuple[RowEnd, str]]) -> list[str]:
    """Return the problems, with the first one of each kind before the second ones."""
    seen: collections.Counter[RowEnd] = collections.Counter()
    ranked = []
    for end, problem in problems:
        ranked.append((seen[end], end, problem))
        seen[end] += 1
    return [problem for _, _, problem in sorted(ranked)]
