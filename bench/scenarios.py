"""The scenarios. Each returns its figures as JSON, which `bench.report` renders."""

import statistics
import time
from collections.abc import Callable
from typing import Any

from bench import fleet, runs
from bench.prompts import text
from bench.runs import Run
from bench.stand_ins import Cloud, Samples
from bench.wide_worker import storage_limits, thousand

LARGE, SMALL = 1_500_000, 2_000
LATENCY_S = 0.5
IN_FLIGHT = 64
# The number of prompts makes slow contenders run for 15 s, and fast ones for some seconds.
ROUNDS = 3
CONTENDERS = {"one_by_one": 192, "beam_gemini": 192, "asyncio_genai": 1536}
BEAMS_OWN = {"beam_rate_limiter": 192, "beam_gemini_64": 768, "beam_async_wrapper": 768}
OURS: dict[str, Callable[..., Run]] = {"backfill": runs.backfill, "stream": runs.stream}
PROMPTS = 2048

Figures = dict[str, Any]
Log = Callable[[str], None]


def comparison(cloud: Cloud, log: Log) -> Figures:
    """Run all contenders in turn, several times, so that other load affects all of them."""
    cloud.models(latency_s=LATENCY_S, canned_bytes=LARGE)
    rounds: list[Run] = []
    for _ in range(ROUNDS):
        for name, prompts in CONTENDERS.items():
            rounds.append(runs.contender(cloud, name, prompts, IN_FLIGHT))
            log(_line(rounds[-1]))
        for run in OURS.values():
            rounds.append(run(cloud, PROMPTS, IN_FLIGHT))
            log(_line(rounds[-1]))
    return {"runs": [run.to_json() for run in rounds]}


def beams_own(cloud: Cloud, log: Log, rounds: int = 1) -> Figures:
    """Run what Beam itself offers for slow calls, and ours in turn with each."""
    cloud.models(latency_s=LATENCY_S, canned_bytes=LARGE)
    results: list[Run] = []
    for _ in range(rounds):
        for name, prompts in BEAMS_OWN.items():
            results.append(runs.contender(cloud, name, prompts, IN_FLIGHT))
            log(_line(results[-1]))
            results.append(runs.backfill(cloud, prompts, IN_FLIGHT))
            log(_line(results[-1]))
    return {"runs": [run.to_json() for run in results]}


def scaling(cloud: Cloud, log: Log, few: int = 1_000, many: int = 20_000) -> Figures:
    """Measure time and memory for few and for many prompts; the few three times."""
    cloud.models(latency_s=LATENCY_S, canned_bytes=LARGE)
    results = []
    for run in OURS.values():
        for prompts in (few, many, few, few):
            results.append(run(cloud, prompts, IN_FLIGHT))
            log(_line(results[-1]))
    return {"few": few, "many": many, "runs": [run.to_json() for run in results]}


def wide(cloud: Cloud, log: Log, prompts: int = 10_000, in_flight: int = 256) -> Figures:
    """Measure small images with a window of 256."""
    cloud.models(latency_s=LATENCY_S, canned_bytes=SMALL)
    results = []
    for run in OURS.values():
        results.append(run(cloud, prompts, in_flight))
        log(_line(results[-1]))
    return {"in_flight": in_flight, "runs": [run.to_json() for run in results]}


def tail(cloud: Cloud, log: Log, prompts: int = 4_000) -> Figures:
    """Measure throughput when one call in a hundred takes 20 times as long."""
    results = []
    for run in OURS.values():
        for rate in (0.0, 0.01):
            cloud.models(latency_s=LATENCY_S, canned_bytes=LARGE, tail_rate=rate, tail_factor=20.0)
            results.append({"tail_rate": rate, **run(cloud, prompts, IN_FLIGHT).to_json()})
            log(f"tail {rate:.0%} {results[-1]['contender']}: {results[-1]['middle_per_s']}/s")
    cloud.models(tail_rate=0.0)
    return {"in_flight": IN_FLIGHT, "runs": results}


def quota(cloud: Cloud, log: Log, per_minute: float = 1_200.0) -> Figures:
    """Measure a stream under a quota it does not know, which is halved and restored meanwhile.

    The first phase is the longest: within 30 s, a single refused call would be 0.2 % of all.
    """
    phases = [(per_minute, 105.0), (per_minute / 2, 45.0), (per_minute, 45.0)]
    prompts = int(sum(rate / 60 * seconds for rate, seconds in phases) * 1.1)
    cloud.models(latency_s=LATENCY_S, canned_bytes=SMALL, quota_per_minute=per_minute)
    with runs.streaming(cloud, IN_FLIGHT) as (_, receiver), Samples(cloud) as samples:
        before = len(receiver.arrived)
        run = f"quota-{time.monotonic_ns()}"
        runs.publish([text(run, n) for n in range(prompts)])
        changes = []
        for rate, seconds in phases:
            cloud.models(quota_per_minute=rate)
            changes.append(time.monotonic())
            time.sleep(seconds)
        ended = time.monotonic()
        cloud.models(quota_per_minute=0.0)
        receiver.wait(before + prompts, 120.0)
        failed = len(receiver.failures())
    rows = [
        (round(at - changes[0], 2), counts["calls"], counts["refused_for_quota"])
        for at, counts in samples.rows
        if at <= ended
    ]
    results = {
        "per_minute": per_minute,
        "prompts": prompts,
        "failed": failed,
        "changes": [round(at - changes[0], 2) for at in changes],
        "until": round(ended - changes[0], 2),
        "rows": rows[::2],
    }
    log(f"quota: {failed} of {prompts} failed")
    return results


def latency(cloud: Cloud, log: Log, per_s: float = 2.0, seconds: float = 60.0) -> Figures:
    """Measure the latency that an idle stream adds to that of a slow model."""
    model_s = 10.0
    cloud.models(latency_s=model_s, canned_bytes=LARGE)
    published: dict[str, float] = {}
    with runs.streaming(cloud, IN_FLIGHT) as (_, receiver):
        before = len(receiver.arrived)
        began, run = time.monotonic(), f"latency-{time.monotonic_ns()}"
        for number in range(int(per_s * seconds)):
            time.sleep(max(0.0, began + number / per_s - time.monotonic()))
            prompt = text(run, number)
            published[prompt] = time.monotonic()
            runs.publish([prompt])
        receiver.wait(before + len(published), 60.0)
        added = sorted(
            at - published[message["prompt"]] - model_s for at, message in receiver.arrived[before:]
        )
    results = {
        "model_s": model_s,
        "prompts": len(added),
        "median_s": round(statistics.median(added), 3),
        "p99_s": round(added[int(len(added) * 0.99)], 3),
        "added_s": [round(seconds, 3) for seconds in added],
    }
    log(f"added latency: median {results['median_s']} s, 99th percentile {results['p99_s']} s")
    return results


def files(cloud: Cloud, log: Log, few: int = 10_000, many: int = 100_000) -> Figures:
    """Measure short prompts from files with a model without latency: the cost of the pipeline."""
    cloud.models(latency_s=0.0, canned_bytes=SMALL)
    results = []
    # Alternate, because the speed of a shared machine varies from minute to minute.
    for prompts in (few // 10, few, many, few, many, few):
        run = runs.backfill(cloud, prompts, IN_FLIGHT)
        results.append(run)
        log(_line(run))
    return {"few": few, "many": many, "runs": [run.to_json() for run in results]}


def cold(cloud: Cloud, log: Log, rounds: int = 3) -> Figures:
    """Measure the time from the start of a process to its first model call."""
    cloud.models(latency_s=0.0, canned_bytes=SMALL)
    results: dict[str, list[float]] = {name: [] for name in OURS}
    for _ in range(rounds):
        for name, run in OURS.items():
            results[name].append(
                run(cloud, 1, IN_FLIGHT).cold_start_s
                if run is runs.backfill
                else runs.cold_stream(cloud, IN_FLIGHT)
            )
    for name, seconds in results.items():
        log(f"cold start of {name}: {', '.join(f'{each:.1f} s' for each in seconds)}")
    return {"seconds": results}


def parsing(cloud: Cloud, log: Log, rounds: int = 5) -> Figures:
    """Measure how long the DAG files take to parse, without Airflow's own imports."""
    del cloud
    from bench import parsing as dags

    results = [dags.seconds() for _ in range(rounds)]
    log(f"parsing of all DAG files: {', '.join(f'{1000 * each:.0f} ms' for each in results)}")
    return {"seconds": results}


def _line(run: Run) -> str:
    return (
        f"{run.contender:14} {run.prompts:6} prompts  {run.per_s:6.1f}/s  {run.cpu_ms:5.1f} ms CPU"
        f"  {run.peak_mb:4.0f} MB  refused {run.refused}  paid twice {run.paid_twice}"
    )


SCENARIOS: dict[str, Callable[[Cloud, Log], Figures]] = {
    "comparison": comparison,
    "beams_own": beams_own,
    "scaling": scaling,
    "wide": wide,
    "thousand": thousand,
    "storage_limits": storage_limits,
    "tail": tail,
    "quota": quota,
    "shared": fleet.shared,
    "learned": fleet.learned,
    "budget": fleet.budget,
    "latency": latency,
    "files": files,
    "cold": cold,
    "parsing": parsing,
}
