#!/usr/bin/env bash
# apache-beam 2.77.0, FnApiRunner: nothing gets past a Flatten until all of its inputs are complete.
#
# Consecutive steps are fused: an element goes through all of them before the next one starts. A
# Flatten of two branches ends that, even if one of them is empty.
#
# Seen: a chain gave work 1, publish 1, work 2, publish 2, and so on. With a Flatten in between it
# was work 1, work 2, work 3, publish 1, publish 2, publish 3.
#
# Why it matters: if a step is slow, such as a call to a model, nothing is written until the last
# element is done. All results are held in memory until then, and an error in the last one loses
# them all.
#
# Instead: keep failures in the main output, and separate them from results only where both are
# written.
. "$(dirname "$0")/lib.sh"
packages "apache-beam==${1:-2.77.0}"

cd "$work"
echo "events = []" >seen.py # a module, so Beam doesn't copy it with the steps
python - <<'PY'
import apache_beam as beam
import seen
from apache_beam.runners.portability.fn_api_runner import FnApiRunner


class Work(beam.DoFn):
    def process(self, number):
        seen.events.append(f"work {number}")
        if number < 0:
            yield beam.pvalue.TaggedOutput("failures", number)
        else:
            yield number


def publish(number):
    seen.events.append(f"publish {number}")


def order(flattened):
    seen.events.clear()
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        done = (
            pipeline
            | beam.Create([1, 2, 3], reshuffle=False)
            | beam.ParDo(Work()).with_outputs("failures", main="results")
        )
        ended = (done.results, done.failures) | beam.Flatten() if flattened else done.results
        ended | beam.Map(publish)
    return list(seen.events)


chain, behind_a_flatten = order(False), order(True)
by_element = [f"{step} {number}" for number in (1, 2, 3) for step in ("work", "publish")]
by_step = [f"{step} {number}" for step in ("work", "publish") for number in (1, 2, 3)]
if chain != by_element or behind_a_flatten != by_step:
    raise SystemExit(f"Changed: a chain gives {chain}, a Flatten {behind_a_flatten}.")
print(f"Still so: a chain gives {chain}, a Flatten {behind_a_flatten}.")
PY
