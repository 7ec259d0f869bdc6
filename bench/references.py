"""`python -m bench.references`: a backfill's memory, with and without references.

Runs the same prompts in turn without references and with four of 5 MB each, 64 in flight, against
the local cloud on the same cores. The model's stand-in reads each reference in full; the job looks
it up. Prints one line of JSON for each run, and one with the medians. The exit code is 1 if the
peak with references is above 1.15 times that without.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from google.cloud import storage

from localcloud import __main__ as localcloud_cli
from localcloud.resources import Names
from localcloud.vertex.pictures import canned

NAMES = Names()
MOST = 1.15
PER_PROMPT = 4
REFERENCE_BYTES = 5_000_000
IMAGE_BYTES = 1_500_000
# Each prompt shows another four of these.
POOL = 100


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--prompts", type=int, default=1000, help="number of prompts (default: %(default)s)"
    )
    parser.add_argument(
        "--rounds", type=int, default=3, help="runs of each kind (default: %(default)s)"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="imagen-bench-") as folder:
        state = ["--state", folder]
        settings = ["--set", "latency_s=0.5", "--set", f"canned_bytes={IMAGE_BYTES}"]
        if localcloud_cli.main([*state, "up", "--detach", *settings]):
            return 1
        os.environ.update(localcloud_cli.environment_of(Path(folder)) or {})
        try:
            put_references()
            peaks: dict[int, list[float]] = {0: [], PER_PROMPT: []}
            for _ in range(arguments.rounds):
                for references, found in peaks.items():
                    result = run(arguments.prompts, references, Path(folder))
                    found.append(result["peak_mb"])
                    print(json.dumps(result), flush=True)
        finally:
            localcloud_cli.main([*state, "down"])
    without, with_them = (round(statistics.median(found), 1) for found in peaks.values())
    ratio = round(with_them / without, 3)
    print(json.dumps({"without_mb": without, "with_mb": with_them, "ratio": ratio}))
    return int(ratio > MOST)


def put_references() -> None:
    bucket = storage.Client(project=NAMES.project).bucket(NAMES.bucket)
    for number in range(POOL):
        # Each of another size, and so of another content.
        data = canned(REFERENCE_BYTES + number)
        bucket.blob(path(number)).upload_from_string(data, content_type="image/png")


def path(number: int) -> str:
    return f"references/bench/{number:03}.png"


def run(prompts: int, references: int, folder: Path) -> dict[str, float]:
    """Run a backfill, and return its figures.

    Args:
        prompts: the number of prompts.
        references: how many each prompt shows.
        folder: for the report and the log.

    Raises:
        RuntimeError: a prompt got no image, or cost more than one.
    """
    name = uuid.uuid4().hex[:8]
    put_prompts(name, prompts, references)
    report = folder / f"{name}.json"
    topics = f"projects/{NAMES.project}/topics"
    command = [
        *(sys.executable, "-m", "beam_jobs.backfill"),
        f"--project={NAMES.project}",
        f"--prompts=gs://{NAMES.bucket}/prompts/{name}/*",
        f"--responses_topic={topics}/predictions",
        f"--dead_letter_topic={topics}/dead-letters",
        f"--images_output_location=gs://{NAMES.bucket}/images",
        *("--max_in_flight=64", f"--report={report}", f"--source=backfill:{name}"),
        "--thumbnails=off",
    ]
    began = time.monotonic()
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    counts = json.loads(report.read_text()) if report.exists() else {}
    if process.returncode or {counts.get("predictions"), counts.get("images")} != {prompts}:
        tail = (folder / f"{name}.log").read_text(errors="replace")[-3000:]
        raise RuntimeError(f"exit code {process.returncode}, report {counts}:\n{tail}")
    # Images of a run take more room than anything else.
    for content in (folder / "storage/contents").glob("**/*"):
        if content.is_file() and content.stat().st_size == IMAGE_BYTES:
            content.unlink()
    return {
        "references": references,
        "prompts": prompts,
        "seconds": round(time.monotonic() - began, 1),
        "cpu_s": round(used.ru_utime + used.ru_stime, 1),
        "peak_mb": round(used.ru_maxrss / 1024, 1),
    }


def put_prompts(name: str, prompts: int, references: int) -> None:
    bucket = storage.Client(project=NAMES.project).bucket(NAMES.bucket)
    rows = []
    for number in range(prompts):
        shown = [(number * PER_PROMPT + each) % POOL for each in range(references)]
        paths = [f"gs://{NAMES.bucket}/{path(each)}" for each in shown]
        rows.append(json.dumps({"prompt": f"A shoe, {number} of {name}", "references": paths}))
    bucket.blob(f"prompts/{name}/p.jsonl").upload_from_string("\n".join(rows))


if __name__ == "__main__":
    sys.exit(main())
