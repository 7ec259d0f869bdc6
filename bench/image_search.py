"""`python -m bench.image_search`: how fast the page's search answers, and what it costs.

A process that serves the page alone runs beside the stand-in for Cloud Storage, with the index
by day of as many images as asked for. Meanwhile a task measures how long the event loop keeps it
waiting. Prints a line of JSON for each number of images.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
import types
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import psutil

from beam_jobs.images import recent_index
from beam_jobs.images.location import countdown, day_folder
from beam_jobs.outcomes import Prediction
from bench.event_loop_probe import ended, longest_wait
from bench.page_bytes import environment
from bench.sample_data import NAMES
from localcloud import __main__ as localcloud_cli
from localcloud.storage import ObjectStore

PER_OBJECT = 120  # of a worker that makes one image a second
WORDS = (
    "a",
    "fox",
    "in",
    "the",
    "snow",
    "lighthouse",
    "at",
    "dawn",
    "watercolor",
    "brass",
    "storm",
)
SEARCHES = {
    "no word matches": {"q": "a word that nobody wrote"},
    "one image matches": {"q": "order-777"},
    "all match": {"q": "a"},
    "words and filters": {"q": "fox SNOW", "source": "stream", "attribute": "tenant=acme"},
    "regular expression signs": {"q": ".*[("},
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, nargs="+", default=[20_000, 100_000])
    parser.add_argument("--times", type=int, default=9, help="of each search (default: 9)")
    arguments = parser.parse_args()
    for count in arguments.images:
        with tempfile.TemporaryDirectory(prefix="imagen-bench-") as folder:
            store = ObjectStore(Path(folder, "storage"))
            store.create_bucket(NAMES.bucket)
            fill(store, count)
            store.close()
            options = ["--state", folder]
            if localcloud_cli.main([*options, "up", "--detach"]):
                return 1
            try:
                cloud = localcloud_cli.environment_of(Path(folder)) or {}
                os.environ |= environment(cloud["STORAGE_EMULATOR_HOST"])
                figures = asyncio.run(measured(count, arguments.times))
            finally:
                localcloud_cli.main([*options, "down"])
        print(json.dumps({"images": count, **figures}), flush=True)
    return 0


def fill(store: ObjectStore, count: int) -> None:
    """Store the index by day of one image a second until now, each of a prompt of 30 words."""
    now = datetime.now(UTC)
    lines: list[str] = []
    for n in range(count):
        at = now - timedelta(seconds=count - n)
        lines.append(json.dumps(entry(n) | {"at": at.isoformat(timespec="milliseconds")}) + "\n")
        if len(lines) == PER_OBJECT or n == count - 1:
            name = f"{day_folder(at.date())}{countdown(int(at.timestamp() * 1000))}-{'0' * 8}.jsonl"
            store.write(NAMES.bucket, f"images/{name}", "".join(lines).encode())
            lines = []


def entry(n: int) -> dict[str, Any]:
    digest = f"{n * 2654435761 % 2**32:08x}{n:024x}"
    words = " ".join(WORDS[(n * (k + 3) + k * k) % len(WORDS)] for k in range(30))
    outcome = Prediction(
        f"order-{n}",
        "",
        digest,
        words,
        (f"gs://{NAMES.bucket}/images/{digest[:2]}/{digest}-0.png",),
        "gemini-3-pro-image",
        "stream" if n % 3 else "backfill:scheduled__2026-11-19T00:00:00+00:00",
        False,
        "",
        4_200,
        attributes={"tenant": "acme" if n % 7 else "other"},
        parameters={"aspect_ratio": "16:9", "seed": n},
    )
    return recent_index.index_entry(outcome)


async def measured(count: int, times: int) -> dict[str, Any]:
    from imagen_ops.ui.app import build
    from imagen_ops.ui.storage import Storage

    async def everybody(request: Any) -> Any:
        return types.SimpleNamespace(get_id=lambda: "ada", get_name=lambda: "ada")

    storage = Storage()
    storage.warm_up()
    app = build(storage, everybody)
    process = psutil.Process()
    before = process.memory_full_info()
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="http://airflow"
    ) as client:
        started, cpu = time.monotonic(), time.process_time()
        with_load = asyncio.create_task(longest_wait())
        while not (answer := await search(client, q="x"))["searched"]["complete"]:
            pass  # each waits for a second
        figures: dict[str, Any] = {
            "first_pass_s": round(time.monotonic() - started, 1),
            "first_pass_cpu_s": round(time.process_time() - cpu, 1),
            "searched": answer["searched"]["prompts"],
            "longest_wait_while_reading_ms": await ended(with_load),
        }
        waits = asyncio.create_task(longest_wait())
        for name, asked in SEARCHES.items():
            figures[name] = await timed(client, asked, times)
        figures["longest_wait_while_searching_ms"] = await ended(waits)
    after = process.memory_full_info()
    figures["memory_growth_mb"] = round((after.uss - before.uss) / 2**20)
    figures["disk_mb"] = round(sum(each.stat().st_size for each in files()) / 2**20)
    return figures


async def search(client: httpx.AsyncClient, **asked: str) -> dict[str, Any]:
    # Another cost each time, because an answer is cached for a few seconds.
    limits = {"max_usd": str(1000 + time.monotonic())}
    response = await client.get(f"/api/search?{urlencode({**asked, **limits})}")
    data = response.raise_for_status().json()["data"]
    return dict(data)


async def timed(client: httpx.AsyncClient, asked: dict[str, str], times: int) -> dict[str, Any]:
    """Return the median and the maximum of the milliseconds that a search takes."""
    seconds = []
    for _ in range(times):
        started = time.monotonic()
        answer = await search(client, **asked)
        seconds.append(time.monotonic() - started)
    return {
        "found": answer["found"]["images"],
        "median_ms": round(1000 * statistics.median(seconds)),
        "max_ms": round(1000 * max(seconds)),
    }


def files() -> Iterator[Path]:
    yield from Path(tempfile.gettempdir()).glob("imagen-ui-*/*")


if __name__ == "__main__":
    sys.exit(main())
