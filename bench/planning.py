"""`python -m bench.planning`: plans a backfill of 100,000 prompts in 1,000 files.

The local cloud's storage runs on the same cores. Prints one line of JSON for each state of the
images folder: empty; with the images of every fifth prompt; and as if it had so many other images
that each prompt must be looked up by itself, up to the limit. Memory is how much the planning
process grows after its imports, up to its peak.
"""

import argparse
import concurrent.futures
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from google.cloud import storage

from beam_jobs.catalog import DEFAULT_MODEL, KNOWN_MODELS
from beam_jobs.prompts.defaults import PromptDefaults, prompt_defaults
from beam_jobs.prompts.parse import Prompt, parse
from localcloud import __main__ as localcloud_cli
from localcloud.resources import Names

NAMES = Names()
GLOB = f"gs://{NAMES.bucket}/prompts/bench/*"
STATES = ("empty", "some made", "one by one")
MADE_EVERY = 5
PLUGINS = Path(__file__).parents[1] / "plugins"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--prompts", type=int, default=100_000, help="number of prompts (default: %(default)s)"
    )
    parser.add_argument(
        "--files", type=int, default=1000, help="number of files (default: %(default)s)"
    )
    parser.add_argument("--state", choices=STATES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.state:
        print(json.dumps({"images": arguments.state, **measured(arguments.state)}), flush=True)
        return 0
    with tempfile.TemporaryDirectory(prefix="imagen-bench-") as folder:
        state = ["--state", folder]
        if localcloud_cli.main([*state, "up", "--detach"]):
            return 1
        os.environ.update(localcloud_cli.environment_of(Path(folder)) or {})
        try:
            put_files(arguments.prompts, arguments.files)
            for name in STATES:
                if name == "some made":
                    put_records(arguments.prompts)
                command = [sys.executable, "-m", "bench.planning", "--state", name]
                subprocess.run(command, check=True)
        finally:
            localcloud_cli.main([*state, "down"])
    return 0


def text(number: int) -> str:
    return f"A lighthouse at dusk in the style of a woodcut, with gulls, number {number}"


def put_files(prompts: int, files: int) -> None:
    bucket = storage.Client(project=NAMES.project).bucket(NAMES.bucket)
    each = -(-prompts // files)

    def put(file: int) -> None:
        numbers = range(file * each, min(prompts, (file + 1) * each))
        rows = (json.dumps({"prompt": text(number), "images": 1}) for number in numbers)
        bucket.blob(f"prompts/bench/{file:05}.jsonl").upload_from_string("\n".join(rows))

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(put, range(files)))


def put_records(prompts: int) -> None:
    """Store images and records for every fifth prompt."""
    bucket = storage.Client(project=NAMES.project).bucket(NAMES.bucket)
    defaults = PromptDefaults(DEFAULT_MODEL, frozenset(KNOWN_MODELS))

    def put(number: int) -> None:
        body = json.dumps({"prompt": text(number), "images": 1}).encode()
        prompt = parse(body, {}, origin="", defaults=defaults)
        assert isinstance(prompt, Prompt)
        stem = f"images/{prompt.digest[:2]}/{prompt.digest}"
        for name in (f"{stem}-0.png", f"{stem}.json"):
            bucket.blob(name).upload_from_string(b"{}")

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(put, range(0, prompts, MADE_EVERY)))


def measured(state: str) -> dict[str, Any]:
    sys.path.insert(0, str(PLUGINS))
    import airflow.sdk  # noqa: F401 - a task has imported it before planning

    from imagen_ops.backfill import planning, stored_records

    if state == "one by one":
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


def memory_mb(field: str) -> float:
    """Return a field of /proc/self/status in MB."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    sys.exit(main())
