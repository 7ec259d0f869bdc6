#!/usr/bin/env bash
# apache-beam 2.77.0: FileSystems.match(…, limits=[1]) still lists the whole bucket.
#
# The limit counts matches, and is only checked at the next match. `*` doesn't match a slash, but
# the listing behind it has no delimiter, so gs://BUCKET/* lists every object in every folder.
#
# Seen: with one file at the top of a bucket and 12 pages of objects in folders, all 12 pages were
# read, with the limit and without.
#
# Why it matters: asking whether there is any file at all takes minutes, and money, in a bucket of
# millions.
#
# Instead: use google-cloud-storage, list_blobs(prefix=…, delimiter="/", max_results=1).
. "$(dirname "$0")/lib.sh"
packages "apache-beam==${1:-2.77.0}" google-cloud-storage==3.17.1

export NO_GCE_CHECK=true DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA=true
python - <<'PY'
import http.server
import json
import logging
import os
import threading
import urllib.parse

PAGES = 12
logging.disable(logging.WARNING)  # about missing credentials
asked = []


class Storage(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        address = urllib.parse.urlsplit(self.path)
        page = int(urllib.parse.parse_qs(address.query).get("pageToken", ["0"])[0])
        asked.append(page)
        names = ["a.txt"] if page == 0 else []
        names += [f"images/{page:02}-{number}.png" for number in range(3)]
        listing = {
            "items": [
                {"name": name, "bucket": "b", "size": "1", "updated": "2026-01-01T00:00:00Z"}
                for name in names
            ]
        }
        if page < PAGES - 1:
            listing["nextPageToken"] = str(page + 1)
        body = json.dumps(listing).encode()
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

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

FileSystems.set_options(PipelineOptions(["--no_auth", "--project=demo-project"]))


def pages_read(limits):
    asked.clear()
    found = FileSystems.match(["gs://b/*"], limits)[0].metadata_list
    return [file.path for file in found], len(asked)


limited, unlimited = pages_read([1]), pages_read(None)
if limited != unlimited or unlimited != (["gs://b/a.txt"], PAGES):
    raise SystemExit(f"Changed: limits=[1] gives {limited}, without {unlimited} (files, pages).")
print(f"Still so: limits=[1] gives {limited}, without {unlimited} (files, pages).")
PY
