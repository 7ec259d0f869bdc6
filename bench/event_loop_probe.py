"""Measures, every 10 ms, how late an event loop is: an HTTP server's, by requests, or one's own."""

import asyncio
import http.client
import multiprocessing
import time
import urllib.parse
from typing import Any

EVERY_S = 0.01
# Airflow answers this with 405 on its event loop, without a thread, the database or a login.
METHOD, TARGET = "POST", "/api/v2/version"


class EventLoopProbe:
    """Sends requests from a process of its own while the context lasts."""

    def __init__(self, url: str) -> None:
        spawning = multiprocessing.get_context("spawn")
        self._pipe, child_pipe = spawning.Pipe()
        self._process = spawning.Process(target=_probe, args=(url, child_pipe), daemon=True)
        self._longest_s = 0.0

    def __enter__(self) -> "EventLoopProbe":
        self._process.start()
        self._pipe.recv()
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.send(None)
        self._longest_s = self._pipe.recv()
        self._process.join()

    def longest_ms(self) -> float:
        """Return the longest wait for a response, in ms."""
        return round(1000 * self._longest_s, 1)


def _probe(url: str, pipe: Any) -> None:
    address = urllib.parse.urlsplit(url)
    assert address.hostname
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
    _request_seconds(connection)  # opens the connection
    pipe.send(None)
    longest, seconds = 0.0, 0.0
    while not pipe.poll(max(0.0, EVERY_S - seconds)):
        seconds = _request_seconds(connection)
        longest = max(longest, seconds)
    pipe.send(longest)


def _request_seconds(connection: http.client.HTTPConnection) -> float:
    started = time.monotonic()
    connection.request(METHOD, TARGET)
    response = connection.getresponse()
    response.read()
    assert response.status == 405, response.status
    return time.monotonic() - started


async def longest_wait() -> float:
    """Return by how much the event loop was late at most, in ms, until it is cancelled."""
    longest = 0.0
    try:
        while True:
            started = time.monotonic()
            await asyncio.sleep(EVERY_S)
            longest = max(longest, time.monotonic() - started - EVERY_S)
    except asyncio.CancelledError:
        return round(1000 * longest, 1)


async def ended(waits: "asyncio.Task[float]") -> float:
    waits.cancel()
    return await waits
