"""`python -m bench.preparing`: prepares a prefetch of 100,000 prompts in 1,000 files.

The local cloud's storage runs on the same cores. Prints one line of JSON for each state of the
images folder: empty; with the images of every fifth prompt; and with these, where each page of a
listing answers for one prompt, as among millions of other images. Memory is the process's peak,
without Airflow, and how much it grows.
"""

import sys
import time
from typing import Any

from google.cloud import storage

from beam_jobs.catalog import DEFAULT_MODEL
from beam_jobs.images import stored_digests
from beam_jobs.prefetch.folder import PrefetchFolder
from beam_jobs.prefetch.prepare import Order, prepare
from beam_jobs.prompts.defaults import prompt_defaults
from beam_jobs.prompts.globs import PromptGlob
from beam_jobs.prompts.limits import FileLimits
from beam_jobs.prompts.listing import list_files
from beam_jobs.prompts.plan_file import line_of
from bench import states
from bench.states import GLOB, NAMES, ONE_BY_ONE, memory_mb

PLAN = "jobs/bench/plan.jsonl"


def put_plan() -> None:
    client = storage.Client(project=NAMES.project)
    lines = map(line_of, list_files(client, PromptGlob.parse(GLOB)))
    client.bucket(NAMES.bucket).blob(PLAN).upload_from_string(b"".join(lines))


def measured(state: str) -> dict[str, Any]:
    if state == ONE_BY_ONE:
        stored_digests.PAGE_NAMES = stored_digests._FEW_NAMES = 2
    client = storage.Client(project=NAMES.project)
    before = memory_mb("VmRSS")
    started, cpu = time.monotonic(), time.process_time()
    prepared = prepare(
        client,
        PrefetchFolder.of(NAMES.bucket, state.replace(" ", "-")),
        Order(
            plan=f"gs://{NAMES.bucket}/{PLAN}",
            prompts=GLOB,
            defaults=prompt_defaults(model=DEFAULT_MODEL, source="backfill:bench"),
            limits=FileLimits(),
            images_location=f"gs://{NAMES.bucket}/images",
            model_location=None,
            max_images=10**9,
        ),
    )
    seconds = time.monotonic() - started
    return {
        "rows": prepared.images,
        "parts": len(prepared.parts),
        "megabytes": round(sum(part.bytes for part in prepared.parts) / 1e6),
        "left_out": {name: count for name, count in prepared.left_out.items() if count},
        "seconds": round(seconds, 1),
        "cpu_s": round(time.process_time() - cpu, 1),
        "peak_mb": round(memory_mb("VmHWM")),
        "growth_mb": round(memory_mb("VmHWM") - before),
    }


if __name__ == "__main__":
    sys.exit(states.main("bench.preparing", __doc__, measured, put_plan))
