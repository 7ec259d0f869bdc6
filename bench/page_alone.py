"""`python -m bench.page_alone`: by how much the page itself makes an event loop late.

A process of its own serves the page alone, beside the stand-in for Cloud Storage with the records
of 20,000 images, 500 backfills, 2,000 dead letters, and two days of health. All that a first visit
asks for is asked for at once: cold once in each of several processes, and warm after the caches
have expired. Google's clients are imported first, as any of Airflow's own tasks or pages does.
Prints a line of JSON for each process.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import types
from pathlib import Path
from typing import Any

from bench import sample_data
from bench.event_loop_probe import ended, longest_wait
from bench.page_bytes import environment
from localcloud import __main__ as localcloud_cli

PATHS = (
    "/",
    "/assets/page.js",
    "/assets/page.css",
    "/api/stream",
    "/api/plots?hours=1",
    "/api/backfills",
    "/api/dead-letters",
    "/api/done",
    "/api/money",
    "/api/images",
    "/api/search?q=fox",
)
CACHE_EXPIRED_S = 16.0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, default=5)
    parser.add_argument("--visits", type=int, default=2, help="warm ones of each process")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        print(json.dumps(asyncio.run(measured(arguments.visits))), flush=True)
        return 0
    with tempfile.TemporaryDirectory(prefix="imagen-bench-") as folder:
        sample_data.fill(Path(folder, "storage"), images=20_000, backfills=500, failures=2_000)
        options = ["--state", folder]
        if localcloud_cli.main([*options, "up", "--detach"]):
            return 1
        try:
            cloud = localcloud_cli.environment_of(Path(folder)) or {}
            variables = os.environ | environment(cloud["STORAGE_EMULATOR_HOST"])
            command = [sys.executable, "-m", "bench.page_alone", "--serve"]
            for _ in range(arguments.processes):
                subprocess.run(
                    [*command, "--visits", str(arguments.visits)], env=variables, check=True
                )
        finally:
            localcloud_cli.main([*options, "down"])
    return 0


async def measured(warm: int) -> dict[str, Any]:
    """Return the longest waits for the event loop, in ms, of a cold visit and of warm ones."""
    import google.cloud.storage  # noqa: F401
    import httpx
    from airflow.providers.google.cloud.hooks.gcs import GCSHook  # noqa: F401

    from imagen_ops.ui.app import build
    from imagen_ops.ui.lazy import LazyApp
    from imagen_ops.ui.storage import Storage

    async def everybody(request: Any) -> Any:
        return types.SimpleNamespace(get_id=lambda: "ada", get_name=lambda: "ada")

    def built() -> Any:
        storage = Storage()
        storage.warm_up()
        return build(storage, everybody)

    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=LazyApp(built)), base_url="http://airflow"
    ) as client:
        await client.get("/assets/page.css")  # builds it

        async def visit() -> tuple[float, float]:
            waits, started = asyncio.create_task(longest_wait()), time.monotonic()
            for answer in await asyncio.gather(*(client.get(path) for path in PATHS)):
                answer.raise_for_status()
            return await ended(waits), round(1000 * (time.monotonic() - started))

        wait, total = await visit()
        figures: dict[str, Any] = {"cold_wait_ms": wait, "cold_total_ms": total, "warm_wait_ms": []}
        for _ in range(warm):
            await asyncio.sleep(CACHE_EXPIRED_S)
            figures["warm_wait_ms"].append((await visit())[0])
    return figures


if __name__ == "__main__":
    sys.exit(main())
