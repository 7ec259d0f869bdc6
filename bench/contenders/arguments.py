"""The command-line arguments of all contenders, and their prompts."""

import argparse
import dataclasses
from pathlib import Path

from beam_jobs.catalog import DEFAULT_MODEL
from bench.prompts import text

MODEL = DEFAULT_MODEL
# The default number of threads of a Dataflow worker.
THREADS = 12


@dataclasses.dataclass(frozen=True)
class Task:
    """The run's name, its prompts, the maximum of calls in flight, and the folder for images."""

    run: str
    prompts: list[str]
    in_flight: int
    folder: Path


def parse_task(description: str | None) -> Task:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--prompts", type=int, required=True)
    parser.add_argument("--run", required=True)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    prompts = [text(options.run, n) for n in range(options.prompts)]
    return Task(options.run, prompts, options.in_flight, options.folder)
