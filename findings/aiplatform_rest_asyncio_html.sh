#!/usr/bin/env bash
# google-cloud-aiplatform 1.165.1, transport rest_asyncio: an HTML error page becomes a JSONDecodeError.
#
# Proxies and load balancers answer 502 with an HTML page. The asynchronous transport parses the
# body as JSON before it raises for the status.
#
# Seen: the synchronous REST transport raised google.api_core's BadGateway, the asynchronous one
# json.JSONDecodeError.
#
# Why it matters: the status is lost, and neither `except GoogleAPICallError` nor a retry of
# google.api_core catches the error that most deserves a retry.
#
# Instead: treat a JSONDecodeError from this transport like an answer that never came.
. "$(dirname "$0")/lib.sh"
packages "google-cloud-aiplatform==${1:-1.165.1}" "google-api-core[async_rest]==2.44.0" \
  "google-auth[aiohttp]==2.62.2"

python - <<'PY'
import asyncio
import http.server
import threading

from google.auth.aio.credentials import StaticCredentials
from google.auth.credentials import AnonymousCredentials
from google.cloud.aiplatform_v1 import PredictionServiceAsyncClient, PredictionServiceClient
from google.cloud.aiplatform_v1.services.prediction_service.transports import (
    PredictionServiceRestTransport,
)
from google.cloud.aiplatform_v1.services.prediction_service.transports.rest_asyncio import (
    AsyncPredictionServiceRestTransport,
)

ENDPOINT = "projects/demo-project/locations/us-central1/endpoints/1"
PAGE = b"<html><body><h1>502 Bad Gateway</h1></body></html>"


class Proxy(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(502)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
threading.Thread(target=server.serve_forever, daemon=True).start()
place = {"host": f"127.0.0.1:{server.server_port}", "url_scheme": "http"}


def error_of(call):
    try:
        call()
    except Exception as error:
        return f"{type(error).__module__}.{type(error).__name__}"
    return "none"


def synchronous():
    transport = PredictionServiceRestTransport(credentials=AnonymousCredentials(), **place)
    PredictionServiceClient(transport=transport).predict(endpoint=ENDPOINT, instances=[])


async def asynchronous():
    transport = AsyncPredictionServiceRestTransport(credentials=StaticCredentials("any"), **place)
    async with PredictionServiceAsyncClient(transport=transport) as client:
        await client.predict(endpoint=ENDPOINT, instances=[])


seen = (error_of(synchronous), error_of(lambda: asyncio.run(asynchronous())))
expected = ("google.api_core.exceptions.BadGateway", "json.decoder.JSONDecodeError")
if seen != expected:
    raise SystemExit(f"Changed: synchronous and asynchronous raise {seen}, not {expected}.")
print(f"Still so: synchronous and asynchronous raise {seen}.")
PY
