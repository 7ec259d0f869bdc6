"""`python -m bench.planning`: plans a backfill of 100,000 prompts in 1,000 files.

The local cloud's storage runs on the same cores. Prints one line of JSON for each state of the
images folder; in the last one, each prompt is looked up by itself, up to the limit. Memory is how
much the planning process grows after its imports, up to its peak.
"""

import sys
import time
from pathlib import Path
from typing import Any

from google.cloud import storage

from beam_jobs.catalog import DEFAULT_MODEL
from beam_jobs.prompts.defaults import prompt_defaults
from bench import states
from bench.states import GLOB, NAMES, ONE_BY_ONE, memory_mb

PLUGINS = Path(__file__).parents[1] / "plugins"


def measured(state: str) -> dict[str, Any]:
    sys.path.insert(0, str(PLUGINS))
    import airflow.sdk  # noqa: F401 - a task has imported it before planning

    from imagen_ops.backfill import planning, stored_records

    if state == ONE_BY_ONE:
        stored_records.PAGE_NAMES = 1
    client = storage.Client(project=NAMES.project)
    before = memory_mb("VmRSS")
    started, cpu = time.monotonic(), time.process_time()
    plan = planning.plan_backfill(
        client,
        GLOB,
        defaults=prompt_defaults(model=DEFAULT_MODEL, source="backfill:plan"),
        images_location=f"gs://{NAMES.bucket}/images",
    )
    seconds = time.monotonic() - started
    return {
        "prompts": plan.prompts,
        "files": plan.files,
        "already_stored": plan.already_stored.distinct,
        "exact": plan.already_stored.exact,
        "looked_up": plan.already_stored.looked_up,
        "seconds": round(seconds, 1),
        "cpu_s": round(time.process_time() - cpu, 1),
        "rows_per_s": round(plan.prompts / seconds),
        "memory_mb": round(memory_mb("VmHWM") - before),
    }


if __name__ == "__main__":
    sys.exit(states.main("bench.planning", __doc__, measured))
