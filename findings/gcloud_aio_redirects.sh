#!/usr/bin/env bash
# gcloud-aio-auth 5.6.0 (under gcloud-aio-storage 9.6.5): a 304 or 308 counts as success.
#
# The session raises only for a status from 400 on. aiohttp follows redirects that have a
# `Location`, so what is left are 304 (not modified) and 308 without a `Location`, which is Cloud
# Storage's "Resume Incomplete": some or all of an upload is missing.
#
# Seen: the server answered 308 to the content of a resumable upload, and upload() returned as if
# the object were stored. It answered 304 to a read with `If-None-Match`, and download() returned
# an empty object.
#
# Why it matters: an upload that never ended, and a read of nothing, look like success.
#
# Instead: after an upload, check that the answer has the `name`, `size` or `md5Hash` that you
# sent. Don't pass conditional headers to download(), or handle the 304 in a session of your own.
. "$(dirname "$0")/lib.sh"
packages "gcloud-aio-storage==${1:-9.6.5}" gcloud-aio-auth==5.6.0 aiohttp==3.14.5

python - <<'PY'
import asyncio
import os

from aiohttp import web


async def begin(request):
    return web.Response(headers={"Location": f"http://{request.host}/session"})


async def incomplete(request):
    await request.read()
    # Half of it has arrived.
    return web.json_response({}, status=308, headers={"Range": "bytes=0-499"})


async def not_modified(request):
    return web.Response(status=304)


async def main():
    app = web.Application()
    app.router.add_post("/upload/storage/v1/b/pictures/o", begin)
    app.router.add_put("/session", incomplete)
    app.router.add_get("/storage/v1/b/pictures/o/fox.png", not_modified)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    os.environ["STORAGE_EMULATOR_HOST"] = f"http://127.0.0.1:{runner.addresses[0][1]}"

    from gcloud.aio.storage import Storage

    async with Storage() as storage:
        found = []
        for call in (
            lambda: storage.upload("pictures", "fox.png", bytes(1000), force_resumable_upload=True),
            lambda: storage.download("pictures", "fox.png", headers={"If-None-Match": '"1"'}),
        ):
            try:
                found.append(f"returned {await call()!r}")
            except Exception as error:
                found.append(f"raised {type(error).__name__}")
    await runner.cleanup()
    return found


found = asyncio.run(main())
expected = ["returned {}", "returned b''"]
if found != expected:
    raise SystemExit(f"Changed: upload (308) and download (304) {found}, not {expected}.")
print(f"Still so: upload (308) and download (304) {found}.")
PY
