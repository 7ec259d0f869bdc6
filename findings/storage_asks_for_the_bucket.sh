#!/usr/bin/env bash
# google-cloud-storage 3.17.1: reading an object also requests the bucket's metadata.
#
# The first operation on a bucket starts a thread that sends `GET /storage/v1/b/BUCKET`, to get
# attributes for traces, even if tracing is off (googleapis/google-cloud-python issue 17650).
#
# Seen: one download made two requests.
#
# Why it matters: for an account that has access to objects only, the audit log shows a denied
# storage.buckets.get per client and bucket. Tests that count requests count one more.
#
# Instead: don't grant more rights, since the answer isn't needed. Set the environment variable
# DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA=true; with it, the download made one request.
. "$(dirname "$0")/lib.sh"
packages "google-cloud-storage==${1:-3.17.1}"

python - <<'PY'
import http.server
import os
import threading
import time

from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

BACKGROUND_S = 2  # for requests of other threads
asked = []


class Storage(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        asked.append(self.path.partition("?")[0])
        body = b"{}" if asked[-1].endswith("/b/pictures") else b"a fox"
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Storage)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ["STORAGE_EMULATOR_HOST"] = f"http://127.0.0.1:{server.server_port}"


def requests_of_one_download():
    asked.clear()
    client = storage.Client("demo-project", AnonymousCredentials())
    client.bucket("pictures").blob("fox.png").download_as_bytes(checksum=None)
    time.sleep(BACKGROUND_S)
    return sorted(asked)


usual = requests_of_one_download()
os.environ["DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA"] = "true"
turned_off = requests_of_one_download()
if len(usual) != 2 or "/storage/v1/b/pictures" not in usual or len(turned_off) != 1:
    raise SystemExit(f"Changed: one download asked for {usual}; turned off, for {turned_off}.")
print(f"Still so: one download asked for {usual}; turned off, for {turned_off}.")
PY
