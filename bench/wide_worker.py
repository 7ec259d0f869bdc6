"""A worker with a thousand calls in flight, and what storage can do to it."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from bench import runs
from bench.interpreter import ROOT
from bench.runs import Run
from bench.stand_ins import Cloud

IN_FLIGHT = 1024
LATENCY_S = 10.0
LARGE, SMALL = 1_500_000, 2_000
# Beside the thousand, at the width that jobs have by default.
USUAL_IN_FLIGHT, USUAL_LATENCY_S, USUAL_PROMPTS = 64, 0.5, 2048
# Six to seven requests a prompt: a minute.
STORAGE_PER_S, SLOW_PROMPTS = 50.0, 450
_SAMPLE_EVERY_S = 0.25
HANG_S = 60.0

Figures = dict[str, Any]
Log = Callable[[str], None]


def thousand(cloud: Cloud, log: Log, prompts: int = 4 * IN_FLIGHT, rounds: int = 3) -> Figures:
    """Measure a thousand calls in flight and the usual number, in turn with another build."""
    builds = {"this": ROOT} | ({"other": cloud.against} if cloud.against else {})
    results: list[Figures] = []

    def measure(name: str, number: int, in_flight: int, latency_s: float) -> None:
        cloud.models(latency_s=latency_s, canned_bytes=LARGE)
        run = runs.backfill(cloud, number, in_flight, builds[name])
        results.append({"build": name, "in_flight": in_flight, "latency_s": latency_s})
        results[-1] |= run.to_json()
        log(f"{name:5} {in_flight:5} in flight  {_line(run, in_flight / latency_s)}")

    for name in builds:
        measure(name, prompts, IN_FLIGHT, LATENCY_S)
    for _ in range(rounds):
        for name in builds:
            measure(name, USUAL_PROMPTS, USUAL_IN_FLIGHT, USUAL_LATENCY_S)
    return {"runs": results}


def storage_limits(cloud: Cloud, log: Log, prompts: int = 2 * IN_FLIGHT) -> Figures:
    """Measure a thousand calls in flight while storage is less than it usually is."""
    cloud.models(latency_s=LATENCY_S, canned_bytes=SMALL)
    results: list[Figures] = []

    def measure(name: str, number: int, **settings: float) -> None:
        cloud.storage(**settings)
        try:
            with _StorageUse(cloud) as use:
                run = runs.backfill(cloud, number, IN_FLIGHT)
        finally:
            cloud.storage(**dict.fromkeys(settings, 0.0))
        results.append({"storage": name, **use.figures(), **run.to_json()})
        log(f"{name:20} {_line(run, IN_FLIGHT / LATENCY_S)}")

    measure("as usual", prompts)
    measure("1,000 connections", prompts, connections=1000)
    # Short calls, because storage has nothing to do while all prompts wait for the model.
    cloud.models(latency_s=1.0)
    measure("50 requests/s", SLOW_PROMPTS, calls_per_s=STORAGE_PER_S)
    cloud.models(latency_s=LATENCY_S)
    with _hanging(cloud, after_images=prompts // 4):
        measure("hangs for 60 s", prompts)
    return {"per_s": STORAGE_PER_S, "hang_s": HANG_S, "runs": results}


class _StorageUse:
    """Samples how many requests storage gets, and for how long it gets any."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._before = cloud.storage()["calls"]
        self._seen = [(time.monotonic(), self._before)]
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "_StorageUse":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def figures(self) -> dict[str, float]:
        """Return the requests, and the seconds from the first of them to the last."""
        (first, _), (last, calls) = self._seen[0], self._seen[-1]
        return {"storage_calls": calls - self._before, "storage_s": round(last - first, 2)}

    def _run(self) -> None:
        while not self._done.wait(_SAMPLE_EVERY_S):
            now, calls = time.monotonic(), self._cloud.storage()["calls"]
            if calls == self._before:
                self._seen[0] = (now, calls)  # there was none until now
            elif calls != self._seen[-1][1]:
                self._seen.append((now, calls))


@contextlib.contextmanager
def _hanging(cloud: Cloud, after_images: int) -> Iterator[None]:
    """Let storage hang for a minute, once the models have made so many images."""
    target = cloud.models()["images"] + after_images
    done = threading.Event()

    def hang() -> None:
        while cloud.models()["images"] < target:
            if done.wait(0.2):
                return
        cloud.storage(hang_rate=1.0)
        done.wait(HANG_S)
        cloud.storage(hang_rate=0.0)

    thread = threading.Thread(target=hang, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _line(run: Run, possible_per_s: float) -> str:
    middle = (run.middle_per_s or 0.0) / possible_per_s
    return (
        f"{run.prompts:5} prompts in {run.seconds:5.1f} s: {run.per_s / possible_per_s:.2f} of "
        f"what is possible, {middle:.2f} in the middle; {run.cpu_ms:.1f} ms CPU, "
        f"{run.peak_mb:.0f} MB, {run.most_sockets} sockets, paid twice {run.paid_twice}"
    )
