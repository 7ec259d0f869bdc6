#!/usr/bin/env bash
# google-cloud-aiplatform 1.165.1, transport rest_asyncio: a call with `retry=None` is sent three times.
#
# The transport's session, AsyncAuthorizedSession of google-auth 2.62.2, makes up to three
# attempts when the answer is 408, 429, 500, 503, or 504, for a POST too, whatever the caller's
# `retry` says.
#
# Seen: predict(retry=None) on a server that answers 503 made three requests, and one over the
# synchronous REST transport.
#
# Why it matters: an overloaded service gets three times the calls, each of which might cost
# money, and limits that count calls are off by that factor.
#
# Instead: subclass the transport to give it a session whose request() passes total_attempts=1.
# There is no setting for it.
. "$(dirname "$0")/lib.sh"
packages "google-cloud-aiplatform==${1:-1.165.1}" "google-api-core[async_rest]==2.44.0" \
  "google-auth[aiohttp]==2.62.2"

python - <<'PY'
import asyncio
import http.server
import json
import threading

from google.api_core.exceptions import ServiceUnavailable
from google.auth.aio.credentials import StaticCredentials
from google.auth.credentials import AnonymousCredentials
from google.cloud.aiplatform_v1 import PredictionServiceAsyncClient, PredictionServiceClient
from google.cloud.aiplatform_v1.services.prediction_service.transports import (
    PredictionServiceRestTransport,
)
from google.cloud.aiplatform_v1.services.prediction_service.transports.rest_asyncio import (
    AsyncPredictionServiceRestTransport,
)

CALL = {"endpoint": "projects/demo-project/locations/us-central1/endpoints/1", "instances": []}
BODY = json.dumps({"error": {"code": 503, "status": "UNAVAILABLE", "message": "busy"}}).encode()
came = []


class Busy(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        came.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(503)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Busy)
threading.Thread(target=server.serve_forever, daemon=True).start()
place = {"host": f"127.0.0.1:{server.server_port}", "url_scheme": "http"}


def requests_of(call):
    came.clear()
    try:
        call()
    except ServiceUnavailable:
        return len(came)
    raise SystemExit("Changed: a 503 no longer raises ServiceUnavailable.")


def synchronous():
    transport = PredictionServiceRestTransport(credentials=AnonymousCredentials(), **place)
    PredictionServiceClient(transport=transport).predict(**CALL, retry=None)


async def asynchronous():
    transport = AsyncPredictionServiceRestTransport(credentials=StaticCredentials("any"), **place)
    async with PredictionServiceAsyncClient(transport=transport) as client:
        await client.predict(**CALL, retry=None)


seen = (requests_of(synchronous), requests_of(lambda: asyncio.run(asynchronous())))
if seen != (1, 3):
    raise SystemExit(f"Changed: synchronous and asynchronous requests per call are {seen}.")
print(f"Still so: with retry=None, synchronous and asynchronous requests per call are {seen}.")
PY
