"""`python -m bench.many_workers`: a thousand workers learn a quota together, in virtual time.

It runs the real limiter, quota, and fleet of each worker, on an event loop whose clock jumps to the
next timer, against a simulated model and a simulated bucket. Nothing is measured of this machine:
the same options give the same figures. A thousand workers for five minutes take some minutes of one
core.

    python -m bench.many_workers --workers 8 100 1000 --prompts-a-day 10000000
"""

import argparse
import asyncio
import dataclasses
import random
import sys
import time

from tests import virtual_time
from tests.beam_jobs.fleet.simulation import Bucket, Service, Worker

DAY_S = 86_400
LATENCY_S = 10.0
# Calls in flight of all workers, for each that the quota allows: so they could use twice as much.
ROOM = 2.0
# Half of the workers arrive later, as autoscaling adds them.
ARRIVE_S = 60.0
# US dollars of a request to Cloud Storage: a write or a listing, and a read
# (https://cloud.google.com/storage/pricing#price-tables, of a region, looked up in November 2026).
WRITE_USD, READ_USD = 5.0e-6, 0.4e-6


@dataclasses.dataclass(frozen=True)
class Figures:
    """What some workers did with a quota that none of them knew.

    Attributes:
        used: the used share of the quota, once it had settled.
        refused: the share of calls that was refused in that time.
        settled_s: seconds until two windows in three, and the first two, used within 10% of it.
        after_loss: the used share from 30 s after a third of the workers had died.
        requests_per_s: to storage, by kind, of all workers together.
    """

    used: float
    refused: float
    settled_s: float | None
    after_loss: float
    requests_per_s: dict[str, float]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, nargs="+", default=[8, 100, 1000])
    parser.add_argument("--prompts-a-day", type=int, default=10_000_000)
    parser.add_argument("--seconds", type=float, default=300.0)
    options = parser.parse_args()
    print(
        "| workers | quota used | refused | settled | after a third died | reports/s | reads/s "
        "| listings/s | $ per worker and hour |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for workers in options.workers:
        began = time.monotonic()
        figures = simulated(workers, options.prompts_a_day / DAY_S, options.seconds)
        kinds = figures.requests_per_s
        usd = (
            3600
            / workers
            * sum(
                per_s * (READ_USD if kind == "read" else WRITE_USD) for kind, per_s in kinds.items()
            )
        )
        settled = "never" if figures.settled_s is None else f"{figures.settled_s:.0f} s"
        print(
            f"| {workers:,} | {figures.used:.1%} | {figures.refused:.1%} | {settled} "
            f"| {figures.after_loss:.1%} | {kinds.get('report', 0):.0f} "
            f"| {kinds.get('read', 0):.0f} | {kinds.get('list', 0):.1f} | {usd:.4f} |",
            flush=True,
        )
        print(f"({time.monotonic() - began:.0f} s)", file=sys.stderr)
    return 0


def simulated(workers: int, per_second: float, seconds: float) -> Figures:
    """Let workers share a quota of calls per second for some seconds, and return the figures."""
    return virtual_time.run(_simulated(workers, per_second, seconds))


async def _simulated(workers: int, per_second: float, seconds: float) -> Figures:
    # Jitter of shared quotas comes from here.
    random.seed(1)
    service = Service(lambda _: per_second, latency_s=LATENCY_S)
    bucket = Bucket()
    in_flight = max(2, round(ROOM * per_second * LATENCY_S / workers))
    fleet = [
        Worker(f"worker-{number}", service, bucket, workers=workers, in_flight=in_flight)
        for number in range(workers)
    ]
    for number, worker in enumerate(fleet):
        worker.start().busy.set()
        if number >= workers // 2:
            await asyncio.sleep(ARRIVE_S / workers)
    settled_s = 0.4 * seconds
    await asyncio.sleep(seconds - asyncio.get_running_loop().time())
    before = dict(bucket.requests)
    for worker in fleet[::3]:
        worker.kill()
    await asyncio.sleep(90.0)
    return Figures(
        used=service.rate(settled_s, seconds) / per_second,
        refused=service.refused(settled_s, seconds),
        settled_s=_settled_s(service, per_second, seconds),
        after_loss=service.rate(seconds + 30, seconds + 90) / per_second,
        requests_per_s={kind: count / seconds for kind, count in before.items()},
    )


def _settled_s(service: Service, per_second: float, seconds: float) -> float | None:
    window_s = 5.0
    windows = [window_s * number for number in range(int(seconds / window_s))]
    within = [
        abs(service.rate(begin, begin + window_s) / per_second - 1) <= 0.1 for begin in windows
    ]
    for number, begin in enumerate(windows):
        rest = within[number:]
        if all(rest[:2]) and sum(rest) >= 2 / 3 * len(rest):
            return begin + window_s
    return None


if __name__ == "__main__":
    sys.exit(main())
