"""A server that answers as documents say Google's APIs and Airflow's do: where no stand-in is."""

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any


class Answers:
    """What is answered at each path, and to whom.

    Attributes:
        url: where it answers.
        at: the answers, by path without query: a status, and JSON, bytes, or text.
        open_paths: those that need no login.
    """

    def __init__(self) -> None:
        self.url = ""
        self.at: dict[str, tuple[int, Any]] = {}
        self.open_paths: set[str] = set()

    def respond(self, path: str, authorized: bool) -> tuple[int, str, bytes]:
        if not authorized and path not in self.open_paths:
            return 401, "application/json", b'{"detail": "not logged in"}'
        status, content = self.at.get(path, (404, {"error": {"code": 404, "message": path}}))
        if isinstance(content, bytes):
            return status, "image/png", content
        if isinstance(content, str):
            return status, "text/html", content.encode()
        return status, "application/json", json.dumps(content).encode()


@contextlib.contextmanager
def answering() -> Iterator[Answers]:
    """Yield a server; it knows nothing at first."""
    answers = Answers()

    class Handler(http.server.BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            authorized = self.headers.get("authorization", "").startswith("Bearer ")
            status, kind, body = answers.respond(self.path.partition("?")[0], authorized)
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = _answer  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    answers.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield answers
    finally:
        server.shutdown()
        server.server_close()
