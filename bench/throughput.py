"""`python -m bench.throughput`: prompts a second, CPU and memory of both jobs, on this machine.

The stand-ins run beside the job on the same cores; the models answer from encoded bytes, so that
drawing is not what is measured. Prints one line of JSON per job.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from google.cloud import storage

from beam_jobs.cli import watch
from beam_jobs.cli.publish import publish
from localcloud import __main__ as localcloud_cli
from localcloud.resources import Names

NAMES = Names()
P = f"projects/{NAMES.project}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=2000)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--latency", type=float, default=0.5, help="of the models, seconds")
    parser.add_argument("--image-bytes", type=int, default=1_500_000)
    parser.add_argument("--jobs", nargs="+", default=["stream", "backfill"])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="imagen-bench-") as folder:
        state = ["--state", folder]
        settings = [f"latency_s={arguments.latency}", f"canned_bytes={arguments.image_bytes}"]
        if localcloud_cli.main(
            [*state, "up", "--detach", "--set", settings[0], "--set", settings[1]]
        ):
            return 1
        os.environ.update(localcloud_cli.environment_of(Path(folder)) or {})
        try:
            for job in arguments.jobs:
                run = stream if job == "stream" else backfill
                figures = run(arguments.prompts, arguments.in_flight, Path(folder))
                print(json.dumps({"job": job, **vars(arguments), **figures}), flush=True)
        finally:
            localcloud_cli.main([*state, "down"])
    return 0


def stream(prompts: int, in_flight: int, folder: Path) -> dict[str, Any]:
    """From the first prompt published to the last prediction received."""
    with watch.watching(NAMES.project, ["predictions", "dead-letters"]) as arrived:
        job = start(
            "stream",
            in_flight,
            folder,
            f"--messages_subscription={P}/subscriptions/prompts-sub",
            "--runner=localcloud.runner.MicroBatchRunner",
        )
        try:
            publish(f"{P}/topics/prompts", iter([b"warm up"]), {})
            list(watch.arrivals(arrived, count=1, seconds=60))
            cpu = cpu_seconds(job.pid)
            started = time.monotonic()
            bodies = (f"A stream of pictures, number {n}".encode() for n in range(prompts))
            publish(f"{P}/topics/prompts", bodies, {})
            ended = list(watch.arrivals(arrived, count=prompts, seconds=600))
            seconds = time.monotonic() - started
            used, peak = cpu_seconds(job.pid) - cpu, peak_mb(job.pid)
        finally:
            job.send_signal(signal.SIGTERM)
            job.wait(60)
    failures = sum("reason" in message for message in ended)
    return figures(len(ended) - failures, failures, seconds, used, peak)


def backfill(prompts: int, in_flight: int, folder: Path) -> dict[str, Any]:
    """The whole job, from the start of its process to its report."""
    bucket = storage.Client(project=NAMES.project).bucket(NAMES.bucket)
    lines = "\n".join(f"A night of pictures, number {n}" for n in range(prompts))
    bucket.blob("prompts/bench.txt").upload_from_string(lines)
    report = folder / "report.json"
    started = time.monotonic()
    job = start(
        "backfill",
        in_flight,
        folder,
        f"--prompts=gs://{NAMES.bucket}/prompts/bench.txt",
        f"--report={report}",
    )
    peak = used = 0.0
    while job.poll() is None:
        peak, used = peak_mb(job.pid) or peak, cpu_seconds(job.pid) or used
        time.sleep(0.1)
    counts = json.loads(report.read_text())
    return figures(
        counts["predictions"], counts["failures"], time.monotonic() - started, used, peak
    )


def figures(
    predictions: int, failures: int, seconds: float, cpu_s: float, peak: float
) -> dict[str, Any]:
    return {
        "predictions": predictions,
        "failures": failures,
        "seconds": round(seconds, 1),
        "prompts_per_s": round(predictions / seconds, 1),
        "cpu_ms_per_prompt": round(1000 * cpu_s / max(1, predictions), 1),
        "peak_mb": round(peak),
    }


def start(job: str, in_flight: int, folder: Path, *options: str) -> "subprocess.Popen[bytes]":
    command = [
        *(sys.executable, "-m", f"beam_jobs.{job}"),
        f"--project={NAMES.project}",
        f"--responses_topic={P}/topics/predictions",
        f"--dead_letter_topic={P}/topics/dead-letters",
        f"--images_output_location=gs://{NAMES.bucket}/images",
        f"--max_in_flight={in_flight}",
        *options,
    ]
    with (folder / f"{job}.log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far; 0 once it has gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mb(pid: int) -> float:
    """Largest resident size of a process so far, MB; 0 once it has gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    line = next((line for line in status.splitlines() if line.startswith("VmHWM")), None)
    return int(line.split()[1]) / 1024 if line else 0.0


if __name__ == "__main__":
    sys.exit(main())
