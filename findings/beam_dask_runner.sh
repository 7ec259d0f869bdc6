#!/usr/bin/env bash
# apache-beam 2.77.0, DaskRunner (dask 2026.8.0): pipelines succeed without doing their work.
#
# Seen, with five elements, where the FnApiRunner gets all of these right:
# * Output of `finish_bundle` is dropped: 0 elements instead of 5.
# * A tagged output contains every element, whatever its tag: 5 even numbers instead of 3.
# * Of two branches, only the one added last runs: 0 and 5 elements instead of 5 and 5.
#
# Why it matters: BatchElements, and therefore RunInference, emits batches in finish_bundle, and a
# pipeline with two sinks writes only one of them. The state is DONE, and there is no error.
#
# Instead: use another runner, and compare the counts of inputs and outputs when a job has ended.
. "$(dirname "$0")/lib.sh"
packages "apache-beam[dask]==${1:-2.77.0}" dask==2026.8.0 distributed==2026.8.0

cd "$work"
cat >check.py <<'PY' # a file that Dask's worker processes can import
import pathlib

import apache_beam as beam
from apache_beam.runners.dask.dask_runner import DaskRunner
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.window import GlobalWindows


class Gather(beam.DoFn):
    def start_bundle(self):
        self.gathered = []

    def process(self, number):
        self.gathered.append(number)

    def finish_bundle(self):
        for number in self.gathered:
            yield GlobalWindows.windowed_value(number)


class Part(beam.DoFn):
    def process(self, number):
        yield beam.pvalue.TaggedOutput("odd", number) if number % 2 else number


class Note(beam.DoFn):
    def __init__(self, name):
        self.name = name

    def process(self, number):
        with open(self.name, "a") as file:
            file.write(f"{number}\n")
        yield number


def finish_bundle(given):
    given | beam.ParDo(Gather()) | beam.ParDo(Note("gathered"))


def tagged(given):
    parts = given | beam.ParDo(Part()).with_outputs("odd", main="even")
    parts.even | beam.ParDo(Note("even"))


def branches(given):
    given | "First" >> beam.ParDo(Note("first"))
    given | "Last" >> beam.ParDo(Note("last"))


def counts(runner):
    for add in (finish_bundle, tagged, branches):
        with beam.Pipeline(runner=runner()) as pipeline:
            add(pipeline | beam.Create([0, 1, 2, 3, 4]))
    counted = {}
    for name in ("gathered", "even", "first", "last"):
        file = pathlib.Path(name)
        counted[name] = len(file.read_text().split()) if file.exists() else 0
        file.unlink(missing_ok=True)
    return counted


if __name__ == "__main__":
    right, seen = counts(FnApiRunner), counts(DaskRunner)
    if right != {"gathered": 5, "even": 3, "first": 5, "last": 5}:
        raise SystemExit(f"This check is broken: FnApiRunner gives {right}.")
    if seen != {"gathered": 0, "even": 5, "first": 0, "last": 5}:
        raise SystemExit(f"Changed: DaskRunner gives {seen}.")
    print(f"Still so: DaskRunner gives {seen}, FnApiRunner {right}.")
PY
python check.py 2>log || {
  grep -E "^(Changed|This check|[A-Za-z.]+Error)" log >&2
  exit 1
}
