#!/usr/bin/env bash
# google-genai 2.34.0: retries ignore what the service says about when to come back.
#
# Seen: the server answered 429 with `Retry-After: 5` and a google.rpc.RetryInfo of 5 s. The
# client, configured for two attempts, came back after 0.1 s. Only the delays in HttpRetryOptions
# count.
#
# Why it matters: a service that asks for time gets more load instead, and the attempts are used
# up before it has recovered.
#
# Instead: don't set `retry_options`. Catch errors.APIError, take the delay from
# `error.response.headers` or `error.details`, and wait that long before you call again.
. "$(dirname "$0")/lib.sh"
packages "google-genai==${1:-2.34.0}"

python - <<'PY'
import http.server
import json
import threading
import time

from google import genai
from google.genai import types

WAIT_S = 5
BUSY = {
    "error": {
        "code": 429,
        "status": "RESOURCE_EXHAUSTED",
        "message": "Quota exceeded.",
        "details": [
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{WAIT_S}s"}
        ],
    }
}
DONE = {"candidates": [{"content": {"role": "model", "parts": [{"text": "done"}]}}]}
came = []


class Model(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        came.append(time.monotonic())
        body = json.dumps(BUSY if len(came) == 1 else DONE).encode()
        self.send_response(429 if len(came) == 1 else 200)
        if len(came) == 1:
            self.send_header("Retry-After", str(WAIT_S))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Model)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = genai.Client(
    api_key="none",
    http_options=types.HttpOptions(
        base_url=f"http://127.0.0.1:{server.server_port}",
        retry_options=types.HttpRetryOptions(attempts=2, initial_delay=0.1, jitter=0),
    ),
)
client.models.generate_content(model="any", contents="a fox")
waited = came[1] - came[0]
if waited >= WAIT_S:
    raise SystemExit(f"Changed: asked to wait {WAIT_S} s, the client waited {waited:.1f} s.")
print(f"Still so: asked to wait {WAIT_S} s, the client was back after {waited:.1f} s.")
PY
