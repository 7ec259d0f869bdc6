#!/usr/bin/env bash
# apache-beam 2.77.0: GeminiModelHandler returns one result for a whole batch of prompts.
#
# The request functions that come with it send a batch as one generate_content call, and the
# handler pairs its one response with the first prompt.
#
# Seen: five prompts gave one request and one PredictionResult, without an error.
#
# Why it matters: Beam adapts the batch size, so a pipeline that works in a trial loses prompts
# under load.
#
# Instead: set max_batch_size=1, which makes one call at a time per thread, or write a
# ModelHandler that returns one result per prompt.
. "$(dirname "$0")/lib.sh"
packages "apache-beam==${1:-2.77.0}" google-genai==2.34.0 pillow==12.3.0

cd "$work"
echo "requests, results = [], []" >seen.py # a module, so Beam doesn't copy it with the steps
python - <<'PY'
import http.server
import json
import os
import threading

import apache_beam as beam
import seen
from apache_beam.ml.inference.base import RunInference
from apache_beam.ml.inference.gemini_inference import GeminiModelHandler, generate_from_string
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

BODY = json.dumps(
    {"candidates": [{"content": {"role": "model", "parts": [{"text": "done"}]}}]}
).encode()


class Model(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        seen.requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Model)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ["GOOGLE_GEMINI_BASE_URL"] = f"http://127.0.0.1:{server.server_port}"
handler = GeminiModelHandler(
    model_name="any",
    request_fn=generate_from_string,
    api_key="none",
    min_batch_size=5,
    max_batch_size=5,
)
prompts = [f"fox {number}" for number in range(5)]
with beam.Pipeline(runner=FnApiRunner()) as pipeline:
    (
        pipeline
        | beam.Create(prompts, reshuffle=False)
        | RunInference(handler)
        | beam.Map(lambda result: seen.results.append(result.example))
    )
if len(seen.requests) != 1 or seen.results != prompts[:1]:
    raise SystemExit(f"Changed: {len(seen.requests)} requests, results for {seen.results}.")
print(f"Still so: {len(prompts)} prompts, 1 request, results for {seen.results}.")
PY
