"""Scenarios of several workers on one subscription: quotas that they share, and a budget.

Each worker is a process of its own, as on Dataflow, and is killed as machines are.
"""

import contextlib
import json
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

from google.cloud import storage

from beam_jobs.names import FLEETS_FOLDER, LEDGERS_FOLDER
from bench import runs
from bench.processes import Process
from bench.prompts import text
from bench.receiver import Receiver
from bench.stand_ins import NAMES, Cloud, Samples

Figures = dict[str, Any]
Log = Callable[[str], None]

# What a change of shares may take.
SETTLED_S = 30.0
_SMALL = 2_000
_START_WITHIN_S = 90.0


class Workers:
    """The workers of one streaming job.

    Args:
        cloud: the local cloud.
        options: of the job.
    """

    def __init__(self, cloud: Cloud, *options: str) -> None:
        self._cloud = cloud
        self._options = options
        self._started = 0
        self.running: list[Process] = []

    def start(self, count: int) -> None:
        """Start workers, without waiting for them."""
        for _ in range(count):
            self._started += 1
            log = self._cloud.folder / f"worker-{self._started}.log"
            arguments = [*runs.stream_arguments(64), *self._options]
            self.running.append(Process(arguments, self._cloud.environment, log))

    def kill(self) -> None:
        """Kill the one that has run for the longest."""
        self.running.pop(0).kill()


@contextlib.contextmanager
def workers(cloud: Cloud, *options: str) -> Iterator[Workers]:
    """Yield the workers of a job, and kill those that are left."""
    running = Workers(cloud, *options)
    try:
        yield running
    finally:
        while running.running:
            running.kill()
        cloud.models(quota_per_minute=0.0)


def shared(cloud: Cloud, log: Log, per_minute: float = 1_200.0, seconds: float = 90.0) -> Figures:
    """Measure a job's rate over four workers: one is busy, then all are, then one dies."""
    cloud.models(latency_s=2.0, canned_bytes=_SMALL, quota_per_minute=per_minute)
    options = f"--max_requests_per_minute={per_minute:g}", "--max_num_workers=4"
    changes: list[float] = []
    with workers(cloud, *options) as job, Samples(cloud) as samples:
        _publish(int(per_minute / 60 * 3 * seconds * 1.3))
        job.start(1)
        _wait_for_calls(samples)
        changes.append(time.monotonic())
        time.sleep(seconds)
        job.start(3)
        changes.append(time.monotonic())
        time.sleep(seconds)
        job.kill()
        changes.append(time.monotonic())
        time.sleep(seconds)
        figures = _figures(samples, changes, per_minute)
    _log(log, "one rate over four workers", figures)
    return figures


def learned(cloud: Cloud, log: Log, per_minute: float = 1_200.0, seconds: float = 150.0) -> Figures:
    """Measure a quota that eight workers don't know, with twice as many prompts as it allows."""
    cloud.models(latency_s=5.0, canned_bytes=_SMALL, quota_per_minute=per_minute)
    per_second = int(2 * per_minute / 60)
    with workers(cloud, "--max_num_workers=8") as job, Samples(cloud) as samples:
        job.start(8)
        _publish(8 * 64)  # as many as all can have in flight at first
        _wait_for_calls(samples)
        began = time.monotonic()
        busy = []
        for second in range(round(seconds)):
            # By and by: whoever pulls first would take all that are there, and others none.
            _publish(per_second)
            busy.append(_busy())
            time.sleep(max(0.0, began + second + 1 - time.monotonic()))
        figures = _figures(samples, [began], per_minute)
    figures["busy"] = statistics.median(busy[int(SETTLED_S) :])
    _log(log, f"an unknown quota, {figures['busy']:g} busy workers", figures)
    return figures


def budget(cloud: Cloud, log: Log, images: int = 10_000, kills: int = 10) -> Figures:
    """Measure how exact a budget is over four workers of which ten are killed."""
    cloud.models(latency_s=0.3, canned_bytes=_SMALL)
    before = cloud.models()["images"]
    in_flight: list[int] = []
    options = f"--max_images_per_day={images}", "--max_num_workers=4", "--max_in_flight=16"
    _empty(LEDGERS_FOLDER)
    receiver = Receiver()
    with contextlib.closing(receiver), workers(cloud, *options) as job:
        prompts = int(images * 1.1)
        _publish(prompts)
        job.start(4)
        for number in range(kills):
            enough = before + (number + 1) * images / (kills + 2)
            _wait_until(lambda enough=enough: cloud.models()["images"] > enough)
            in_flight.append(cloud.models()["in_flight"])
            job.kill()
            job.start(1)
        # What a killed worker had published is published again, so that outcomes are too many.
        receiver.wait(prompts, 600.0)
        _wait_until(lambda: cloud.models()["in_flight"] == 0)
        paid = cloud.models()["images"] - before
        leased = _leased()
    figures = {
        "budget": images,
        "kills": kills,
        "paid": paid,
        "leased": leased,
        # Of all four workers: at most a part of these calls were those of the killed one.
        "in_flight": sum(in_flight),
    }
    log(f"budget: {paid:,} of {images:,} paid, {leased:,} in the ledger, {figures['in_flight']}")
    return figures


def _figures(samples: Samples, changes: list[float], per_minute: float) -> Figures:
    began = changes[0]
    rows = [
        (round(at - began, 2), counts["calls"], counts["refused_for_quota"])
        for at, counts in samples.rows
    ]
    return {
        "per_minute": per_minute,
        "changes": [round(at - began, 2) for at in changes],
        "until": rows[-1][0],
        "rows": rows[::2],
    }


def _publish(prompts: int) -> None:
    run = f"fleet-{time.monotonic_ns()}"
    runs.publish([text(run, number) for number in range(prompts)])


def _wait_for_calls(samples: Samples) -> None:
    _wait_until(lambda: samples.first_call() is not None)


def _wait_until(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _START_WITHIN_S
    while not there():
        if time.monotonic() > deadline:
            raise RuntimeError("the workers make no calls; see their logs")
        time.sleep(0.05)


def _empty(folder: str) -> None:
    client = storage.Client(project=NAMES.project)
    for blob in client.list_blobs(NAMES.bucket, prefix=f"{folder}/"):
        blob.delete()


def _busy() -> int:
    """How many workers say in the bucket what they do."""
    client = storage.Client(project=NAMES.project)
    blobs = client.list_blobs(NAMES.bucket, prefix=f"{FLEETS_FOLDER}/")
    return sum("/workers/" in blob.name for blob in blobs)


def _leased() -> int:
    client = storage.Client(project=NAMES.project)
    total = 0
    for blob in client.list_blobs(NAMES.bucket, prefix=f"{LEDGERS_FOLDER}/"):
        if blob.name.endswith(".json"):
            shares = json.loads(blob.download_as_bytes())["shares"]
            total += sum(share["leased"] for share in shares.values())
    return total


def _log(log: Log, what: str, figures: Figures) -> None:
    log(f"{what}: {len(figures['rows'])} samples, changes at {figures['changes']}")
