#!/usr/bin/env bash
# google-genai 2.34.0: a batch job on Vertex AI that succeeded in part is never done.
#
# Seen: a job in JOB_STATE_PARTIALLY_SUCCEEDED, which it never leaves, has `done` False. The list of
# ended states has SUCCEEDED, FAILED, CANCELLED, and EXPIRED.
#
# Why it matters: `while not job.done` waits for ever for a job whose output is complete and paid
# for.
#
# Instead: compare `job.state` with the ended states yourself, JOB_STATE_PARTIALLY_SUCCEEDED among
# them, and have a deadline.
. "$(dirname "$0")/lib.sh"
packages "google-genai==${1:-2.34.0}"

python - <<'PY'
import http.server
import json
import threading

from google import genai
from google.genai import types
from google.oauth2.credentials import Credentials

NAME = "projects/p/locations/global/batchPredictionJobs/1234567890123456789"
STATES = ("SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED", "PARTIALLY_SUCCEEDED")
state = ""


class Jobs(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"name": NAME, "state": f"JOB_STATE_{state}"}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Jobs)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = genai.Client(
    vertexai=True,
    project="p",
    location="global",
    credentials=Credentials("none"),
    http_options=types.HttpOptions(base_url=f"http://127.0.0.1:{server.server_port}"),
)
done = {}
for state in STATES:
    done[state] = client.batches.get(name=NAME).done
never = [each for each, is_done in done.items() if not is_done]
if never != ["PARTIALLY_SUCCEEDED"]:
    raise SystemExit(f"Changed: of ended jobs, these are not done: {never}.")
print("Still so: a job in JOB_STATE_PARTIALLY_SUCCEEDED is not done.")
PY
