#!/usr/bin/env bash
# gcp-storage-emulator 2026.7.19: ifGenerationMatch is ignored, so a create-only upload overwrites.
#
# Cloud Storage answers 412 to an upload with if_generation_match=0 if the object exists.
#
# Seen: the emulator accepted a second such upload, and the content of the first was gone.
#
# Why it matters: code that relies on preconditions, such as a lock, passes its tests while both
# writers believe that they were first.
#
# Instead: test such code against a server that enforces preconditions.
. "$(dirname "$0")/lib.sh"
packages "gcp-storage-emulator==${1:-2026.7.19}" google-cloud-storage==3.17.1

cd "$work"
python - <<'PY'
import os
import socket

from gcp_storage_emulator.server import create_server
from google.api_core.exceptions import PreconditionFailed
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
server = create_server("127.0.0.1", port, in_memory=True, default_bucket="pictures")
server.start()
os.environ["STORAGE_EMULATOR_HOST"] = f"http://127.0.0.1:{port}"
try:
    blob = storage.Client("demo-project", AnonymousCredentials()).bucket("pictures").blob("lock")
    blob.upload_from_string("the first", if_generation_match=0)
    try:
        blob.upload_from_string("the second", if_generation_match=0)
    except PreconditionFailed:
        raise SystemExit("Changed: the second upload was refused, as Cloud Storage does.") from None
    there = blob.download_as_text()
finally:
    server.stop()
if there != "the second":
    raise SystemExit(f"Changed: there is {there!r}.")
print("Still so: the second upload with if_generation_match=0 overwrote the first.")
PY
