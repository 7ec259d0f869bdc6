"""`python -m bench.page`: how fast the page in Airflow loads, and what it costs the API server.

A real Airflow and the local cloud run beside a headless Chromium on the same cores, with the data
of 20,000 images and 500 backfills in storage. A cold visit is the first one to an API server that
has just started. A warm visit comes after the panels' caches have expired. The browser's cache is
empty in both cases. Prints a line of JSON for each kind of visit.
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

from bench import sample_data
from bench.event_loop_probe import EventLoopProbe
from localcloud import __main__ as localcloud_cli
from localcloud.airflow import Airflow

PAGE, FRAMED, OTHER = "/imagen/", "/plugin/imagen", "/dags"
# Longer than the panels cache what they have read.
CACHE_EXPIRED_S = 16.0
IDLE_S = 8.0
# Runs in the page, and records when no part of it is busy any more.
RECORD_COMPLETION = """
new MutationObserver((all, self) => {
  if (!document.getElementById("dead-letters") || document.querySelector("[aria-busy]")) return;
  window.completeAt = performance.now();
  self.disconnect();
}).observe(document, { subtree: true, childList: true, attributes: true });
"""
# Both in milliseconds since the window's navigation, also if the page is in a frame.
READ_TIMES = """() => {
  const paint = performance.getEntriesByName("first-contentful-paint")[0];
  if (!window.completeAt || !paint) return null;
  const since = performance.timeOrigin - window.top.performance.timeOrigin;
  return [since + paint.startTime, since + window.completeAt];
}"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (("images", 20_000), ("backfills", 500), ("failures", 2_000)):
        parser.add_argument(
            f"--{name}", type=int, default=default, help=f"{name} in storage (default: {default})"
        )
    parser.add_argument(
        "--visits", type=int, default=7, help="visits of each kind (default: %(default)s)"
    )
    arguments = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        print(
            "error: no `chromium` on PATH; install it (Debian package: chromium)", file=sys.stderr
        )
        return 1
    with tempfile.TemporaryDirectory(prefix="imagen-bench-") as folder:
        state = Path(folder)
        sample_data.fill(
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
    """Run an Airflow with a local cloud of its own. The health DAG is not scheduled."""
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
        restart_api_server(running)
        with EventLoopProbe(running.url) as probe:
            time.sleep(IDLE_S)
        yield {"without the page": "idle", "longest_wait_ms": probe.longest_ms()}
        warm_without = [visit(running, browser, token, OTHER) for _ in range(visits)]
        yield {"without the page": f"warm, {OTHER}", **summary(warm_without)}
        before = memory_mb(running)
    cold = [first_visit(running, browser, token, PAGE) for _ in range(visits)]
    yield {"visits": f"cold, {PAGE}", **summary(cold)}
    cold = [first_visit(running, browser, token, FRAMED) for _ in range(visits)]
    yield {"visits": f"cold, {FRAMED}", **summary(cold)}
    restart_api_server(running)
    for _ in range(visits):
        load(browser, running.url, token, OTHER)
    yield {"memory": "before the first visit", **growth(before, memory_mb(running))}
    for path in (PAGE, FRAMED):
        warm = [visit(running, browser, token, path, CACHE_EXPIRED_S) for _ in range(visits)]
        yield {"visits": f"warm, {path}", **summary(warm)}
    yield {"memory": "after all visits", **growth(before, memory_mb(running))}


@contextlib.contextmanager
def without_the_page(running: Airflow) -> Iterator[None]:
    """Use an API server without plugins, to measure Airflow by itself."""
    started = running.home.started()
    assert started is not None
    with tempfile.TemporaryDirectory() as empty:
        bare = started.environment | {"AIRFLOW__CORE__PLUGINS_FOLDER": empty}
        running.home.note_start(dataclasses.replace(started, environment=bare))
        yield
    current = running.home.started()
    assert current is not None
    running.home.note_start(dataclasses.replace(current, environment=started.environment))


def first_visit(running: Airflow, browser: Any, token: str, path: str) -> dict[str, float]:
    restart_api_server(running)
    return visit(running, browser, token, path)


def visit(
    running: Airflow, browser: Any, token: str, path: str, pause_s: float = 0.0
) -> dict[str, float]:
    """Load a page once, and measure the longest wait for the server's event loop meanwhile.

    Args:
        running: the Airflow.
        browser: a Playwright browser.
        token: an API token, for the login cookie.
        path: the page's path.
        pause_s: seconds to wait before the visit.
    """
    time.sleep(pause_s)
    with EventLoopProbe(running.url) as probe:
        paint, complete = load(browser, running.url, token, path)
    return {
        "first_paint_ms": paint,
        "panels_shown_ms": complete,
        "longest_wait_ms": probe.longest_ms(),
    }


def load(browser: Any, url: str, token: str, path: str) -> tuple[float, float]:
    """Return when a page was first painted, and when all panels were shown, in ms."""
    context = browser.new_context(viewport={"width": 1440, "height": 1100})
    try:
        context.add_cookies([{"name": "_token", "value": token, "url": url}])
        context.add_init_script(RECORD_COMPLETION)
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
            if frames and (times := frames[0].evaluate(READ_TIMES)):
                return times[0], times[1]
            page.wait_for_timeout(20)
        raise SystemExit(f"error: {path} did not load within 60 s")
    finally:
        context.close()


def restart_api_server(running: Airflow) -> None:
    """Restart the API server, and wait until it serves and is idle."""
    running.restart("api-server")
    running.wait_until_ready()
    server = psutil.Process(running.components()["api-server"])
    while cpu_seconds(server) > 0.02:
        pass


def cpu_seconds(process: psutil.Process) -> float:
    """Return the CPU seconds that a process and its children use in half a second."""

    def used() -> float:
        times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
        return float(sum(each.user + each.system for each in times))

    before = used()
    time.sleep(0.5)
    return used() - before


def memory_mb(running: Airflow) -> dict[str, float]:
    """Return the resident set size (RSS) and proportional set size (PSS) of the API server."""
    server = psutil.Process(running.components()["api-server"])
    full = [each.memory_full_info() for each in (server, *server.children(recursive=True))]
    return {
        "rss_mb": sum(each.rss for each in full) / 2**20,
        "pss_mb": sum(each.pss for each in full) / 2**20,
    }


def growth(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    differences = {name: round(after[name] - before[name]) for name in after}
    return {**differences, "of_pss_mb": round(after["pss_mb"])}


def login(running: Airflow) -> str:
    body = {"username": "admin", "password": running.home.passwords()["admin"]}
    answer = httpx.post(f"{running.url}/auth/token", json=body, timeout=30)
    return str(answer.raise_for_status().json()["access_token"])


def summary(visits: list[dict[str, float]]) -> dict[str, list[int]]:
    """Return the median, minimum and maximum of each figure."""
    functions: tuple[Callable[[list[float]], float], ...] = (statistics.median, min, max)
    return {
        name: [round(function([each[name] for each in visits])) for function in functions]
        for name in visits[0]
    }


if __name__ == "__main__":
    sys.exit(main())
