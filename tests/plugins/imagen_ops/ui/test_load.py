"""One user with thousands of requests stops neither the page of the others nor the shell."""

import contextlib
import http.client
import json
import random
import threading
import time
import types
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.conftest import eventually
from tests.interpreters import python
from tests.plugins.imagen_ops.ui import test_images
from tests.plugins.imagen_ops.ui.conftest import Stored

PANELS = ("stream", "plots", "images?limit=48", "backfills", "dead-letters")
FIRST_OLDER = 7_000_000_000_000
REQUESTS = 2_000

# One user, all of whose requests are different. It tries again when it is told to.
FLOOD = """
import asyncio, collections, json, os, random
import aiohttp

async def main():
    counts = collections.Counter()
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        async def one(n):
            while True:
                digest = f"{random.getrandbits(128):032x}"
                image = f"images/{digest[:2]}/{digest}-0.png"
                cursor = f"{FIRST_OLDER + n}-{digest[:8]}.{n % 7}"
                older = f"api/images?limit={1 + n % 200}&before={cursor}"
                path = image if n % 2 else older
                async with session.get(f"{URL}/{path}", headers={"X-User": "mallory"}) as response:
                    await response.read()
                    counts[response.status] += 1
                    if response.status == 503:
                        wait = float(response.headers["Retry-After"])
                        await asyncio.sleep(wait * random.uniform(1, 1.5))
        tasks = [asyncio.create_task(one(n)) for n in range(REQUESTS)]
        done, _ = await asyncio.wait(tasks, timeout=SECONDS)
        for task in done:
            task.result()
        print(json.dumps(counts), flush=True)
        os._exit(0)

asyncio.run(main())
"""


async def by_header(request: Any) -> Any:
    """Admit everybody, as the user that a header names."""
    name = request.headers.get("x-user", "ada")
    return types.SimpleNamespace(get_id=lambda: name, get_name=lambda: name)


@pytest.fixture
def server(storage: Any) -> Iterator[str]:
    """The page behind a real server; its address."""
    import uvicorn

    from imagen_ops.ui.app import build

    config = uvicorn.Config(
        build(storage, by_header), port=0, log_level="error", timeout_graceful_shutdown=2
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    eventually(lambda: server.started, what="a server")
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


def get(server: str, path: str, user: str = "ada") -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(server.removeprefix("http://"), timeout=120)
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"X-User": user})
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()


def established(server: str) -> int:
    """Return how many connections the server has."""
    import psutil

    port = int(server.rpartition(":")[2])
    found = psutil.Process().net_connections()
    return sum(each.laddr.port == port and each.status == "ESTABLISHED" for each in found)


def storage_takes(path: str) -> float:
    """Return how slow storage is: 0.2 s for what the panels read, up to 2 s for the rest."""
    chosen_by_a_user = f"%2F{FIRST_OLDER // 10**9}" in path or "-0.png" in path
    return random.uniform(0.2, 2.0) if chosen_by_a_user else 0.2


@pytest.mark.slow
def test_two_thousand_requests_of_one_user_do_not_delay_another_users_panels(
    server: str, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imagen_ops.ui.sharing import SharedReads

    # So that the panels read storage again and again meanwhile.
    uncached = SharedReads.get
    monkeypatch.setattr(
        SharedReads, "get", lambda self, key, _, *how: uncached(self, key, 0.5, *how)
    )
    now = datetime.now(UTC)
    stored.lines("predictions", now, *(test_images.line(n) for n in range(60)))
    for panel in PANELS:  # imports and connections are nobody's doing
        get(server, f"/api/{panel}")
    stored.delay_s = storage_takes
    latencies: dict[str, float] = dict.fromkeys(PANELS, 0.0)
    seconds = 6.0

    def measured(panel: str) -> None:
        began = time.monotonic()
        status, _, body = get(server, f"/api/{panel}")
        assert status == 200, body
        assert json.loads(body)["error"] is None
        latencies[panel] = max(latencies[panel], time.monotonic() - began)

    program = f"URL = {server!r}\nSECONDS = {seconds}\nREQUESTS = {REQUESTS}\n"
    program += f"FIRST_OLDER = {FIRST_OLDER}\n{FLOOD}"
    with ThreadPoolExecutor(8) as threads:
        flood = threads.submit(python, program, plugins=False)
        eventually(lambda: len(stored.requests) > 20, within_s=60, what="the flood")
        while not flood.done():
            list(threads.map(measured, PANELS))
            assert get(server, "/")[0] == 200
            time.sleep(0.25)
    counts = json.loads(flood.result())
    print(f"answers to the flood: {counts}; slowest panels: {latencies}")
    assert counts["503"] > REQUESTS / 2
    # In a queue with the flood, panels would wait until its end.
    assert max(latencies.values()) < seconds / 2


@pytest.mark.slow
def test_reads_of_a_client_that_went_away_are_dropped(server: str, stored: Stored) -> None:
    stored.hang()
    address = server.removeprefix("http://")
    connections = [http.client.HTTPConnection(address, timeout=120) for _ in range(20)]
    for n, connection in enumerate(connections):
        path = f"/images/{test_images.path(n)}"
        connection.request("GET", path, headers={"X-User": "mallory"})
    eventually(lambda: len(stored.requests) == 4, what="as many reads as one user may have")
    for connection in connections:
        connection.close()
    eventually(lambda: not established(server), what="the server's end of the connections")
    stored.go_on()
    assert get(server, f"/images/{test_images.path(99)}", "mallory")[0] == 404
    assert len([path for path in stored.requests if "-0.png" in path]) == 4 + 1
