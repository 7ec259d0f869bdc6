#!/usr/bin/env bash
# apache-beam 2.77.0: AsyncWrapper loses one of two equal elements, and processes it nevertheless.
#
# It finds what is in progress by the element's value, so the second of two equal elements waits
# for the first. When that is done and emitted, the second is processed too. But what is removed
# from its state is every element that equals the first one, so the result is never emitted.
#
# Seen: of three elements with one key, two of which are equal, the wrapped DoFn processed three,
# and two came out. The pipeline succeeded.
#
# Why it matters: two users send the same prompt, or a file has a row twice. The second is paid for
# and has no answer, and nothing says so.
#
# Instead: make elements unique, for example by adding the message's id, and give their id as
# id_fn; or write a DoFn that keeps its own futures.
. "$(dirname "$0")/lib.sh"
packages "apache-beam==${1:-2.77.0}"

cd "$work"
echo "processed, results = [], []" >seen.py # a module, so Beam doesn't copy it with the steps
python - <<'PY' 2>"$work/log" || { cat "$work/log"; exit 1; }
import time

import apache_beam as beam
import seen
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.test_stream import TestStream
from apache_beam.transforms.async_dofn import AsyncWrapper

ELEMENTS = [("key", "fox"), ("key", "fox"), ("key", "hen")]


class Slow(beam.DoFn):
    def process(self, element):
        seen.processed.append(element)
        time.sleep(0.1)
        yield element


def without_pauses(element):
    """Let a second pass for a pause, in which AsyncWrapper processes what it has."""
    if element[1] != "pause":
        return [element]
    time.sleep(1)
    return []


# AsyncWrapper emits what is done when its timer fires. The clock of a TestStream is moved by hand.
stream = TestStream(coder=beam.coders.FastPrimitivesCoder()).add_elements(ELEMENTS)
stream.advance_processing_time(int(time.time()) + 100)
for _ in range(6):
    stream.add_elements([("key", "pause")]).advance_processing_time(100)
stream.advance_watermark_to_infinity()
options = PipelineOptions(streaming=True)
with beam.Pipeline(runner="BundleBasedDirectRunner", options=options) as pipeline:
    (
        pipeline
        | stream
        | beam.FlatMap(without_pauses).with_output_types(tuple[str, str])
        | beam.ParDo(AsyncWrapper(Slow(), parallelism=8, callback_frequency=1)).with_output_types(
            tuple[str, str]
        )
        | beam.Map(lambda result: seen.results.append(result))
    )
counts = f"{len(ELEMENTS)} elements, {len(seen.processed)} processed, {len(seen.results)} emitted"
if len(seen.processed) != 3 or sorted(seen.results) != [("key", "fox"), ("key", "hen")]:
    raise SystemExit(f"Changed: {counts}.")
print(f"Still so: {counts}.")
PY
