"""python -m tests.faults.table FOLDER PAGE: what runs of the fault suite left, as a page.

FOLDER has a folder for each seed that was run, with the row of each test.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_HEAD = """# What was broken on purpose, and what it cost

`make test-faults` writes this page. It runs the real jobs against `localcloud`, injects faults, and
counts:

- **Lost**: prompts that got neither a prediction nor a dead letter.
- **Paid twice**: images that the model returned beyond one of each that was asked for.
- **Unanswered**: calls that hung, were cut off, or were in progress in a process that was killed. A
  service may charge for them, and their images are lost.
- **Published twice**: messages beyond the first for a prompt, which Pub/Sub's at-least-once
  delivery allows.
"""


def page(runs: dict[str, dict[str, dict[str, Any]]]) -> Iterator[str]:
    """Yield the page's lines.

    Args:
        runs: by seed, by test: its row.
    """
    yield from _HEAD.splitlines()
    yield ""
    tests = {test for rows in runs.values() for test in rows}
    told = ", ".join(_told(seed, rows, len(tests)) for seed, rows in runs.items())
    yield f"Runs: {len(runs)}, by seed: {told}. Where they differ,"
    yield "the table shows the largest figure. What was done is from the last run."
    yield ""
    yield "| fault | how much | lost | paid twice | unanswered | published twice |"
    yield "|---|---|---:|---:|---:|---:|"
    for test in sorted(tests):
        rows = [rows[test] for rows in runs.values() if test in rows]
        names = ("lost", "paid_twice", "unanswered", "said_twice")
        figures = (_most(rows, name) for name in names)
        yield f"| {rows[-1]['fault']} | {rows[-1]['done']} | {' | '.join(figures)} |"


def _told(seed: str, rows: dict[str, dict[str, Any]], tests: int) -> str:
    share = max(row["share"] for row in rows.values())
    size = "at full size" if share == 1 else f"at {share:g} of the full size"
    return (
        f"{seed} ({size})"
        if len(rows) == tests
        else f"{seed} ({size}, {len(rows)} of {tests} faults)"
    )


def _most(rows: list[dict[str, Any]], name: str) -> str:
    found = [row[name] for row in rows if name in row]
    return f"{max(found):,}" if found else ""


def _runs(folder: Path) -> dict[str, dict[str, dict[str, Any]]]:
    seeds = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)
    return {
        seed.name: {path.stem: json.loads(path.read_text()) for path in seed.glob("*.json")}
        for seed in seeds
    }


if __name__ == "__main__":
    Path(sys.argv[2]).write_text("\n".join(page(_runs(Path(sys.argv[1])))) + "\n")
