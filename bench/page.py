"""`python -m bench.page`: how soon the page in Airflow is there, and what it costs the API server.

A real Airflow and the local cloud run beside a headless Chromium on the same cores, with what
20,000 images and 500 backfills leave in storage. Cold is the first visit to an API server process
that has just started; warm visits come when what the panels had read is no longer kept. A browser
has nothing kept in either. Prints a line of JSON for each.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil

from bench import fortnight
from bench.waits import Waits
from localcloud import __main__ as localcloud_cli
from localcloud.airflow import Airflow

PAGE, FRAMED, OTHER = "/imagen/", "/plugin/imagen", "/dags"
# Longer than anything that a panel has read is kept.
FORGOTTEN_S = 16.0
IDLE_S = 8.0
# Told by the page itself: when nothing of it is busy any more.
WATCH = """
new MutationObserver((all, self) => {
  if (!document.getElementById("dead-letters") || document.querySelector("[aria-busy]")) return;
  window.completeAt = performance.now();
  self.disconnect();
}).observe(document, { subtree: true, childList: true, attributes: true });
"""
# In milliseconds since the navigation of the window, whichever frame they are of.
TOLD = """() => {
  const paint = performance.getEntriesByName("first-contentful-paint")[0];
  if (!window.completeAt || !paint) return null;
  const since = performance.timeOrigin - window.top.performance.timeOrigin;
  return [since + paint.startTime, since + window.completeAt];
}"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--backfills", type=int, default=500)
    parser.add_argument("--failures", type=int, default=2_000)
    parser.add_argument("--visits", type=int, default=7, help="of each kind")
    arguments = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        print("error: there is no chromium on PATH (Debian: chromium)", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="imagen-bench-") as folder:
        state = Path(folder)
        fortnight.fill(
            state / "storage",
            images=arguments.images,
            backfills=arguments.backfills,
            failures=arguments.failures,
        )
        with airflow(state) as running, browser(chromium) as visits:
            for figures in measured(running, visits, arguments.visits):
                print(json.dumps(figures), flush=True)
    return 0


@contextlib.contextmanager
def airflow(state: Path) -> Iterator[Airflow]:
    """An Airflow over a local cloud of its own. Health stays as it was put."""
    options = ["--state", str(state)]
    if localcloud_cli.main([*options, "up", "--detach"]):
        raise SystemExit(1)
    running = Airflow(state)
    try:
        cloud = localcloud_cli.environment_of(state)
        assert cloud is not None
        running.start(cloud, settings={"IMAGEN_HEALTH_SCHEDULE": "0 0 1 1 *"})
        running.wait_until_ready()
        yield running
    finally:
        running.stop()
        localcloud_cli.main([*options, "down"])


@contextlib.contextmanager
def browser(chromium: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=chromium, args=flags)


def measured(running: Airflow, browser: Any, visits: int) -> Iterator[dict[str, Any]]:
    token = login(running)
    with without_the_page(running):
        fresh(running)
        with Waits(running.url) as waits:
            time.sleep(IDLE_S)
        yield {"without the page": "idle", "longest_wait_ms": waits.longest_ms()}
        others = [once(running, browser, token, OTHER) for _ in range(visits)]
        yield {"without the page": f"warm, {OTHER}", **summary(others)}
        before = memory_mb(running)
    cold = [first_visit(running, browser, token, PAGE) for _ in range(visits)]
    yield {"visits": f"cold, {PAGE}", **summary(cold)}
    cold = [first_visit(running, browser, token, FRAMED) for _ in range(visits)]
    yield {"visits": f"cold, {FRAMED}", **summary(cold)}
    fresh(running)
    for _ in range(visits):
        look(browser, running.url, token, OTHER)
    yield {"memory": "before anybody looks", **grown(before, memory_mb(running))}
    for path in (PAGE, FRAMED):
        warm = [once(running, browser, token, path, FORGOTTEN_S) for _ in range(visits)]
        yield {"visits": f"warm, {path}", **summary(warm)}
    yield {"memory": "after all visits", **grown(before, memory_mb(running))}


@contextlib.contextmanager
def without_the_page(running: Airflow) -> Iterator[None]:
    """An API server without plugins, for what Airflow takes by itself."""
    started = running.home.started()
    assert started is not None
    with tempfile.TemporaryDirectory() as empty:
        bare = started.environment | {"AIRFLOW__CORE__PLUGINS_FOLDER": empty}
        running.home.note_start(dataclasses.replace(started, environment=bare))
        yield
    now = running.home.started()
    assert now is not None
    running.home.note_start(dataclasses.replace(now, environment=started.environment))


def first_visit(running: Airflow, browser: Any, token: str, path: str) -> dict[str, float]:
    fresh(running)
    return once(running, browser, token, path)


def once(
    running: Airflow, browser: Any, token: str, path: str, pause_s: float = 0.0
) -> dict[str, float]:
    """One visit, and the longest that the server's event loop let others wait meanwhile."""
    time.sleep(pause_s)
    with Waits(running.url) as waits:
        paint, complete = look(browser, running.url, token, path)
    return {
        "first_paint_ms": paint,
        "panels_shown_ms": complete,
        "longest_wait_ms": waits.longest_ms(),
    }


def look(browser: Any, url: str, token: str, path: str) -> tuple[float, float]:
    """When the first of the page was painted, and when all panels were shown, ms."""
    context = browser.new_context(viewport={"width": 1440, "height": 1100})
    try:
        context.add_cookies([{"name": "_token", "value": token, "url": url}])
        context.add_init_script(WATCH)
        page = context.new_page()
        page.goto(url + path)
        if path == OTHER:
            page.get_by_text("imagen_backfill").first.wait_for()
            paint = page.evaluate(
                "performance.getEntriesByName('first-contentful-paint')[0].startTime"
            )
            return paint, page.evaluate("performance.now()")
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            frames = [frame for frame in page.frames if frame.url.endswith(PAGE)]
            if frames and (told := frames[0].evaluate(TOLD)):
                return told[0], told[1]
            page.wait_for_timeout(20)
        raise SystemExit(f"error: {path} was not shown within 60 s")
    finally:
        context.close()


def fresh(running: Airflow) -> None:
    """Replace the API server, and wait until it serves and its start is over."""
    running.restart("api-server")
    running.wait_until_ready()
    busy = psutil.Process(running.components()["api-server"])
    while cpu_seconds(busy) > 0.02:
        pass


def cpu_seconds(process: psutil.Process) -> float:
    """What the process and its children use in half a second."""

    def used() -> float:
        times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
        return float(sum(each.user + each.system for each in times))

    before = used()
    time.sleep(0.5)
    return used() - before


def memory_mb(running: Airflow) -> dict[str, float]:
    """Of the API server's processes: what each has resident, and their share of what is shared."""
    server = psutil.Process(running.components()["api-server"])
    full = [each.memory_full_info() for each in (server, *server.children(recursive=True))]
    return {
        "rss_mb": sum(each.rss for each in full) / 2**20,
        "pss_mb": sum(each.pss for each in full) / 2**20,
    }


def grown(before: dict[str, float], now: dict[str, float]) -> dict[str, float]:
    told = {name: round(now[name] - before[name]) for name in now}
    return {**told, "of_pss_mb": round(now["pss_mb"])}


def login(running: Airflow) -> str:
    body = {"username": "admin", "password": running.home.passwords()["admin"]}
    answer = httpx.post(f"{running.url}/auth/token", json=body, timeout=30)
    return str(answer.raise_for_status().json()["access_token"])


def summary(visits: list[dict[str, float]]) -> dict[str, list[int]]:
    """Median, least and most of each figure."""
    ways: tuple[Callable[[list[float]], float], ...] = (statistics.median, min, max)
    return {
        name: [round(way([visit[name] for visit in visits])) for way in ways] for name in visits[0]
    }


if __name__ == "__main__":
    sys.exit(main())
