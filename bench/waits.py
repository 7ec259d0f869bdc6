"""How long an HTTP server's event loop keeps others waiting: asked every ten milliseconds."""

import http.client
import multiprocessing
import time
import urllib.parse
from typing import Any

EVERY_S = 0.01
# Airflow answers 405 on its event loop: no thread, no database and no login come into it.
METHOD, TARGET = "POST", "/api/v2/version"


class Waits:
    """Asks from a process of its own while the context lasts."""

    def __init__(self, url: str) -> None:
        spawning = multiprocessing.get_context("spawn")
        self._ours, theirs = spawning.Pipe()
        self._process = spawning.Process(target=_ask, args=(url, theirs), daemon=True)
        self._longest_s = 0.0

    def __enter__(self) -> "Waits":
        self._process.start()
        self._ours.recv()
        return self

    def __exit__(self, *_: object) -> None:
        self._ours.send(None)
        self._longest_s = self._ours.recv()
        self._process.join()

    def longest_ms(self) -> float:
        """The longest wait for an answer, ms."""
        return round(1000 * self._longest_s, 1)


def _ask(url: str, theirs: Any) -> None:
    at = urllib.parse.urlsplit(url)
    assert at.hostname
    connection = http.client.HTTPConnection(at.hostname, at.port, timeout=60)
    _once(connection)  # connected
    theirs.send(None)
    longest, took = 0.0, 0.0
    while not theirs.poll(max(0.0, EVERY_S - took)):
        took = _once(connection)
        longest = max(longest, took)
    theirs.send(longest)


def _once(connection: http.client.HTTPConnection) -> float:
    started = time.monotonic()
    connection.request(METHOD, TARGET)
    response = connection.getresponse()
    response.read()
    assert response.status == 405, response.status
    return time.monotonic() - started
