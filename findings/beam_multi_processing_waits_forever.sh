#!/usr/bin/env bash
# apache-beam 2.77.0, FnApiRunner: a worker process that dies is waited for forever.
#
# Seen, with --direct_running_mode=multi_processing and two workers, one of which is killed while it
# works: the runner logs nothing about it, and has not ended 60 s later. The other worker has long
# finished its half of the elements, and gets none of the dead one's.
#
# Why it matters: a job on one machine hangs where Dataflow retries the bundle on another worker.
#
# Instead: give out small bundles, watch the connections of the workers, and retry a bundle of one
# that is lost.
. "$(dirname "$0")/lib.sh"
packages "apache-beam==${1:-2.77.0}"

cd "$work"
cat >job.py <<'PY'
import os
import time

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions


def work(number):
    time.sleep(0.2)
    with open(f"done.{os.getpid()}", "a") as file:
        file.write(f"{number}\n")


options = PipelineOptions(
    ["--runner=FnApiRunner", "--direct_running_mode=multi_processing", "--direct_num_workers=2"],
    save_main_session=True,
)
if __name__ == "__main__":
    with beam.Pipeline(options=options) as pipeline:
        pipeline | beam.Create(range(100)) | beam.Reshuffle() | beam.Map(work)
PY
PYTHONPATH=. python - <<'PY'
import glob
import os
import pathlib
import signal
import subprocess
import sys
import time

job = subprocess.Popen(
    [sys.executable, "job.py"], start_new_session=True, stderr=pathlib.Path("log").open("w")
)
try:
    deadline = time.monotonic() + 120
    while len(glob.glob("done.*")) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    workers = sorted(int(path.rpartition(".")[2]) for path in glob.glob("done.*"))
    if len(workers) != 2:
        raise SystemExit(f"This check is broken: expected two workers at work, found {workers}.")
    os.kill(workers[0], signal.SIGKILL)
    time.sleep(60)
    done = [len(pathlib.Path(f"done.{pid}").read_text().split()) for pid in workers]
    code = job.poll()
finally:
    os.killpg(job.pid, signal.SIGKILL)
what = f"of 100 elements, the killed worker did {done[0]}, the other {done[1]}"
if code is not None:
    raise SystemExit(f"Changed: the job ended with exit code {code}; {what}.")
print(f"Still so: the job has not ended 60 s later; {what}.")
PY
