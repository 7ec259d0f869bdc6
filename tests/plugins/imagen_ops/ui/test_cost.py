"""What the page costs in requests, time and memory, with as much in storage as there may be."""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from beam_jobs.outcomes import Reason
from tests.conftest import ROOT
from tests.interpreters import python
from tests.plugins.imagen_ops.ui import (
    test_backfills,
    test_dead_letters,
    test_health_history,
    test_images,
)
from tests.plugins.imagen_ops.ui.conftest import Page, Stored

# About scale: what two weeks of data cost.
pytestmark = [pytest.mark.slow, pytest.mark.full]

PANELS = ("stream", "plots", "images", "backfills", "dead-letters", "done")
MAX_MB = 100


def fill(stored: Stored, images: int = 20_000, runs: int = 500, failures: int = 2_000) -> None:
    """Store what two busy weeks leave in the bucket."""
    now = datetime.now(UTC)
    for n in range(images):
        at = now - timedelta(seconds=images - n)
        stored.lines("predictions", at, test_images.line(n, prompt="p" * 500))
    for n in range(failures):
        reason = list(Reason)[n % len(Reason)]
        body = b"p" * 500
        stored.lines(
            "failures", now - timedelta(seconds=30 * n), test_dead_letters.line(n, reason, body)
        )
    days = [
        test_backfills.run(f"run-{n}") | {"at": (now - timedelta(days=14 * n / runs)).isoformat()}
        for n in range(runs)
    ]
    stored.records("backfills", *days)
    checks = [
        test_health_history.record(prompts=n, images=n, failures_BLOCKED=n) for n in range(2 * 288)
    ]
    for n, check in enumerate(checks):
        check["at"] = (now - timedelta(minutes=5 * (2 * 288 - n))).isoformat()
    stored.records("health", *checks)


@pytest.mark.usefixtures("long_timeouts")
def test_with_two_weeks_of_data_the_panels_cost_little(page: Page, stored: Stored) -> None:
    fill(stored)
    page.panel("actions")

    def ask() -> float:
        started = time.monotonic()
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(page.data, PANELS))
        return time.monotonic() - started

    cold, cost = ask(), len(stored.requests)
    stored.requests.clear()
    warm, none = ask(), len(stored.requests)
    print(f"all panels: cold {cold:.2f} s, {cost} requests; warm {warm:.3f} s, {none} requests")
    assert cost <= sum(
        [
            3 + 3,  # the stream: listings of health checks, actions, runs; two or three days
            2 + 3,  # plots: listings of health checks and actions, and the same days
            2,  # what was done: listings of actions and runs
            1 + 49,  # images: as many objects as images shown, if each has one image
            1 + 15,  # backfills: the days of two weeks
            1 + 100 + 2 + 3,  # dead letters: the most ever read, replays, and health checks
        ]
    )
    assert none == 0
    assert len(page.data("images")["images"]) == 48
    assert len(page.data("backfills")["runs"]) == 50
    assert len(page.data("plots")["points"]) >= 287


@pytest.mark.usefixtures("long_timeouts")
def test_ten_open_pages_cost_as_much_as_one(page: Page, stored: Stored) -> None:
    fill(stored, images=100, runs=20, failures=20)
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(page.data, PANELS))
        one = len(stored.requests)
        stored.requests.clear()
        list(threads.map(page.data, PANELS * 10))
    assert one > 0
    assert stored.requests == []


_PROGRAM = """
import json, time
from airflow.api_fastapi.app import create_app
create_app(apps="core")
import imagen_ops.jobs.links

def resident_mb():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024

before = resident_mb()
from imagen_ops.ui.app import build
from imagen_ops.ui.storage import Storage
from tests.plugins.imagen_ops.ui.conftest import everybody
from starlette.testclient import TestClient
began = time.monotonic()
http = TestClient(build(Storage(), everybody))

def read(path):
    # Again after a time-out, like the page: a busy machine may be slow.
    while "has not answered" in str((answer := http.get(f"/api/{path}").json())["error"]):
        time.sleep(0.1)
    assert answer["error"] is None, answer
    return answer["data"]

for panel in PANELS:
    read(panel)
cold = time.monotonic() - began
first = resident_mb()
cursor = ""
for _ in range(40):
    cursor = "&before=" + read("images?limit=200" + cursor)["next"]
print(json.dumps([before, first, resident_mb(), cold]))
"""


def test_the_page_costs_the_api_server_little_memory(stored: Stored) -> None:
    fill(stored, images=9_000)
    variables = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("IMAGEN_", "AIRFLOW_CONN_"))
    }
    output: Any = python(
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\nPANELS = {PANELS!r}\n" + _PROGRAM,
        plugins=True,
        **variables,
    )
    before, first, after, cold = json.loads(output)
    print(
        f"an API server of {before:.0f} MB: the page adds {first - before:.0f} MB, and "
        f"{after - before:.0f} MB after showing 8,000 images; first load {cold:.2f} s"
    )
    assert after - before < MAX_MB
