"""What is measured: each scenario gives its figures as plain JSON, for `bench.report` to show."""

import statistics
import time
from collections.abc import Callable
from typing import Any

from bench import runs
from bench.runs import Run
from bench.stand_ins import Cloud, Samples

LARGE, SMALL = 1_500_000, 2_000
LATENCY_S = 0.5
IN_FLIGHT = 64
# Of the comparison: the slower ones run for a quarter of a minute, the faster ones some seconds.
ROUNDS = 3
CONTENDERS = {"one_by_one": 192, "beam_gemini": 192, "asyncio_genai": 1536}
OURS: dict[str, Callable[..., Run]] = {"backfill": runs.backfill, "stream": runs.stream}
PROMPTS = 2048

Figures = dict[str, Any]
Say = Callable[[str], None]


def comparison(cloud: Cloud, say: Say) -> Figures:
    """Everybody in turn, several times: whatever else the machine does happens to all of them."""
    cloud.models(latency_s=LATENCY_S, canned_bytes=LARGE)
    rounds: list[Run] = []
    for _ in range(ROUNDS):
        for name, prompts in CONTENDERS.items():
            rounds.append(runs.contender(cloud, name, prompts, IN_FLIGHT))
            say(_line(rounds[-1]))
        for run in OURS.values():
            rounds.append(run(cloud, PROMPTS, IN_FLIGHT))
            say(_line(rounds[-1]))
    return {"runs": [run.to_json() for run in rounds]}


def scaling(cloud: Cloud, say: Say, few: int = 1_000, many: int = 20_000) -> Figures:
    """Time and memory a prompt, few and many of them; the few thrice."""
    cloud.models(latency_s=LATENCY_S, canned_bytes=LARGE)
    found = []
    for run in OURS.values():
        for prompts in (few, many, few, few):
            found.append(run(cloud, prompts, IN_FLIGHT))
            say(_line(found[-1]))
    return {"few": few, "many": many, "runs": [run.to_json() for run in found]}


def wide(cloud: Cloud, say: Say, prompts: int = 10_000, in_flight: int = 256) -> Figures:
    """Small images, a window of 256."""
    cloud.models(latency_s=LATENCY_S, canned_bytes=SMALL)
    found = []
    for run in OURS.values():
        found.append(run(cloud, prompts, in_flight))
        say(_line(found[-1]))
    return {"in_flight": in_flight, "runs": [run.to_json() for run in found]}


def tail(cloud: Cloud, say: Say, prompts: int = 4_000) -> Figures:
    """One call in a hundred takes twenty times as long."""
    found = []
    for run in OURS.values():
        for rate in (0.0, 0.01):
            cloud.models(latency_s=LATENCY_S, canned_bytes=LARGE, tail_rate=rate, tail_factor=20.0)
            found.append({"tail_rate": rate, **run(cloud, prompts, IN_FLIGHT).to_json()})
            say(f"tail {rate:.0%} {found[-1]['contender']}: {found[-1]['middle_per_s']}/s")
    cloud.models(tail_rate=0.0)
    return {"in_flight": IN_FLIGHT, "runs": found}


def quota(cloud: Cloud, say: Say, per_minute: float = 1_200.0) -> Figures:
    """A stream that meets a quota it is not told of, which is halved and restored under way.

    The first phase is the longest: in half a minute one refused call more is 0.2 % of all.
    """
    phases = [(per_minute, 105.0), (per_minute / 2, 45.0), (per_minute, 45.0)]
    prompts = int(sum(rate / 60 * seconds for rate, seconds in phases) * 1.1)
    cloud.models(latency_s=LATENCY_S, canned_bytes=SMALL, quota_per_minute=per_minute)
    with runs.streaming(cloud, IN_FLIGHT) as (_, receiver), Samples(cloud) as samples:
        before = len(receiver.arrived)
        run = f"quota-{time.monotonic_ns()}"
        runs.publish([runs.text(run, n) for n in range(prompts)])
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
    found = {
        "per_minute": per_minute,
        "prompts": prompts,
        "failed": failed,
        "changes": [round(at - changes[0], 2) for at in changes],
        "until": round(ended - changes[0], 2),
        "rows": rows[::2],
    }
    say(f"quota: {failed} of {prompts} failed")
    return found


def latency(cloud: Cloud, say: Say, per_s: float = 2.0, seconds: float = 60.0) -> Figures:
    """A quiet stream and a slow model: what the way adds to the model's own time."""
    model_s = 10.0
    cloud.models(latency_s=model_s, canned_bytes=LARGE)
    published: dict[str, float] = {}
    with runs.streaming(cloud, IN_FLIGHT) as (_, receiver):
        before = len(receiver.arrived)
        began, run = time.monotonic(), f"latency-{time.monotonic_ns()}"
        for number in range(int(per_s * seconds)):
            time.sleep(max(0.0, began + number / per_s - time.monotonic()))
            prompt = runs.text(run, number)
            published[prompt] = time.monotonic()
            runs.publish([prompt])
        receiver.wait(before + len(published), 60.0)
        added = sorted(
            at - published[message["prompt"]] - model_s for at, message in receiver.arrived[before:]
        )
    found = {
        "model_s": model_s,
        "prompts": len(added),
        "median_s": round(statistics.median(added), 3),
        "p99_s": round(added[int(len(added) * 0.99)], 3),
        "added_s": [round(one, 3) for one in added],
    }
    say(f"latency: median {found['median_s']} s, p99 {found['p99_s']} s beyond the model's")
    return found


def files(cloud: Cloud, say: Say, few: int = 10_000, many: int = 100_000) -> Figures:
    """Short prompts from files, and a model that answers at once: what the way itself costs."""
    cloud.models(latency_s=0.0, canned_bytes=SMALL)
    found = []
    # In turns: a machine that others share is faster in one minute than in the next.
    for prompts in (few // 10, few, many, few, many, few):
        run = runs.backfill(cloud, prompts, IN_FLIGHT)
        found.append(run)
        say(_line(run))
    return {"few": few, "many": many, "runs": [run.to_json() for run in found]}


def cold(cloud: Cloud, say: Say, rounds: int = 3) -> Figures:
    """From the start of a process to its first model call."""
    cloud.models(latency_s=0.0, canned_bytes=SMALL)
    found: dict[str, list[float]] = {name: [] for name in OURS}
    for _ in range(rounds):
        for name, run in OURS.items():
            found[name].append(
                run(cloud, 1, IN_FLIGHT).cold_start_s
                if run is runs.backfill
                else runs.cold_stream(cloud, IN_FLIGHT)
            )
    say(f"cold start: {found}")
    return {"seconds": found}


def parsing(cloud: Cloud, say: Say, rounds: int = 5) -> Figures:
    """What the DAG files take to parse, beyond what Airflow itself imports."""
    del cloud
    from bench import parsing as dags

    found = [dags.seconds() for _ in range(rounds)]
    say(f"parsing: {found}")
    return {"seconds": found}


def _line(run: Run) -> str:
    return (
        f"{run.contender:14} {run.prompts:6} prompts  {run.per_s:6.1f}/s  {run.cpu_ms:5.1f} ms CPU"
        f"  {run.peak_mb:4.0f} MB  refused {run.refused}  paid twice {run.paid_twice}"
    )


SCENARIOS: dict[str, Callable[[Cloud, Say], Figures]] = {
    "comparison": comparison,
    "scaling": scaling,
    "wide": wide,
    "tail": tail,
    "quota": quota,
    "latency": latency,
    "files": files,
    "cold": cold,
    "parsing": parsing,
}
