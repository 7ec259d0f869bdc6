"""What every contender is told, and the prompts that it works on."""

import argparse
import dataclasses
from pathlib import Path

from bench.prompts import text

MODEL = "gemini-3.1-flash-image"
# What a Dataflow worker runs where nobody says otherwise.
THREADS = 12


@dataclasses.dataclass(frozen=True)
class Task:
    """How many images, of which run, how many at once where that can be said, and where to."""

    prompts: list[str]
    in_flight: int
    folder: Path


def task(description: str | None) -> Task:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--prompts", type=int, required=True)
    parser.add_argument("--run", required=True)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--folder", type=Path, required=True)
    given = parser.parse_args()
    return Task([text(given.run, n) for n in range(given.prompts)], given.in_flight, given.folder)
