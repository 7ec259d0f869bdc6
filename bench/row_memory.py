"""`python -m bench.row_memory`: the memory of rows that a backfill in one process has yet to do.

It runs the backfill's steps from the prompt files to the prompts, on the runner and with the parts
of a local run, without the model: Beam's FnApiRunner keeps all rows in memory until the step before
is done, which is where a backfill's memory grows. *One by one* is what the steps were before rows
travelled in blocks. Each run is a process of its own.

    python -m bench.row_memory --rows 10000 100000 1000000
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
from apache_beam.io import fileio
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.catalog import DEFAULT_MODEL
from beam_jobs.pipeline.blocks import SpreadRows, rows_of
from beam_jobs.pipeline.submit import LOCAL_PARTS
from beam_jobs.pipeline.transforms import ReadPromptFile
from beam_jobs.prompts.defaults import PromptDefaults
from beam_jobs.prompts.limits import NO_LIMITS
from bench.interpreter import ROOT, python
from bench.processes import cpu_s, peak_mb
from bench.prompts import text

ROWS_A_FILE = 1_000
WAYS = ("one by one", "in blocks")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--one", nargs=2, metavar=("WAY", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        spread(*options.one)
        return 0
    print("| rows | spread | seconds | CPU for each row | peak memory |", flush=True)
    print("|---|---|---|---|---|")
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as folder:
            put_files(Path(folder), rows)
            for way in WAYS:
                print(f"| {rows:,} | {way} | {measured(way, folder, rows)} |", flush=True)
    return 0


def put_files(folder: Path, rows: int) -> None:
    """Write files of prompts."""
    for first in range(0, rows, ROWS_A_FILE):
        numbers = range(first, min(rows, first + ROWS_A_FILE))
        lines = "\n".join(text("rows", number) for number in numbers)
        (folder / f"{first:09}.txt").write_text(lines)


def measured(way: str, folder: str, rows: int) -> str:
    """Run the steps in a process, and return its figures as cells of the table."""
    started = time.monotonic()
    process = subprocess.Popen(
        [str(python()), "-m", "bench.row_memory", "--one", way, folder], cwd=ROOT
    )
    cpu = peak = 0.0
    while process.poll() is None:
        cpu, peak = max(cpu, cpu_s(process.pid)), max(peak, peak_mb(process.pid))
        time.sleep(0.02)
    if process.returncode:
        raise RuntimeError(f"{way}: exit code {process.returncode}")
    return f"{time.monotonic() - started:.0f} | {1e6 * cpu / rows:.0f} µs | {peak:.0f} MB"


def spread(way: str, folder: str) -> None:
    """Run the steps, and check that every row arrives.

    Raises:
        RuntimeError: some did not.
    """
    counted = Path(folder) / "counted"
    options = PipelineOptions(
        runner="FnApiRunner", direct_running_mode="in_memory", direct_num_workers=LOCAL_PARTS
    )
    defaults = PromptDefaults(DEFAULT_MODEL, frozenset({DEFAULT_MODEL}), "backfill:rows")
    with beam.Pipeline(options=options) as pipeline:
        blocks = (
            pipeline
            | fileio.MatchFiles(f"{folder}/*.txt")
            | "Spread files" >> beam.Reshuffle()
            | beam.ParDo(ReadPromptFile(defaults, folder, NO_LIMITS))
        )
        rows = (
            blocks | "Spread" >> SpreadRows()
            if way == WAYS[1]
            else blocks | beam.FlatMap(rows_of) | "Spread" >> beam.Reshuffle()
        )
        count = rows | beam.combiners.Count.Globally()
        _ = count | beam.Map(lambda number: counted.write_text(str(number)))
    expected = sum(_lines(Path(folder)))
    if int(counted.read_text()) != expected:
        raise RuntimeError(f"{counted.read_text()} of {expected} rows arrived")


def _lines(folder: Path) -> Iterator[int]:
    for file in folder.glob("*.txt"):
        yield file.read_text().count("\n") + 1


if __name__ == "__main__":
    sys.exit(main())
