"""What is measured with 100,000 prompts in 1,000 files, in each state of the images folder.

The states: empty; with the images of every fifth prompt; and with these, while listing the folder
answers for one prompt at a time, as among millions of other images.
"""

import argparse
import concurrent.futures
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from google.cloud import storage

from beam_jobs.catalog import DEFAULT_MODEL, KNOWN_MODELS
from beam_jobs.prompts.defaults import PromptDefaults
from beam_jobs.prompts.parse import Prompt, parse
from bench.local_cloud import local_cloud, measured_alone
from localcloud.resources import Names

NAMES = Names()
GLOB = f"gs://{NAMES.bucket}/prompts/bench/*"
ONE_BY_ONE = "one by one"
STATES = ("empty", "some made", ONE_BY_ONE)
MADE_EVERY = 5


def main(
    module: str,
    description: str | None,
    measured: Callable[[str], dict[str, Any]],
    prepare: Callable[[], object] = lambda: None,
) -> int:
    """Measure in each state, in a process of its own, and print a line of JSON for each.

    Args:
        module: the caller's, as `python -m` takes it.
        description: of the caller, for `--help`.
        measured: measures in a state, and returns the figures.
        prepare: does what else has to be there, once the files are.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=int, default=100_000, help="default: %(default)s")
    parser.add_argument("--files", type=int, default=1000, help="default: %(default)s")
    parser.add_argument("--state", choices=STATES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.state:
        print(json.dumps({"images": given.state, **measured(given.state)}), flush=True)
        return 0
    with local_cloud():
        put_files(given.prompts, given.files)
        prepare()
        for state in STATES:
            if state == "some made":
                put_records(given.prompts)
            print(json.dumps(measured_alone(module, "--state", state)), flush=True)
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


def memory_mb(field: str) -> float:
    """Return a field of /proc/self/status in MB."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024
