#!/usr/bin/env bash
# gcloud-aio-storage 9.6.5: retrying a resumable upload sends a request that Cloud Storage rejects.
#
# For more than 5 MB, upload() opens a resumable session. When the PUT of the content fails, the
# client repeats it with `Content-Range: bytes */*` and the whole body. That header asks how much
# has arrived, and needs an empty body; Cloud Storage answers 400 (talkiq/gcloud-aio issue 1116),
# which also hides the first error.
#
# Seen: after a 503, the second PUT had that header and all 6,000,000 bytes.
#
# Why it matters: large uploads don't survive a short outage that small ones do.
#
# Instead: call upload(…, force_resumable_upload=False) and retry around it, with
# ifGenerationMatch.
. "$(dirname "$0")/lib.sh"
packages "gcloud-aio-storage==${1:-9.6.5}" gcloud-aio-auth==5.6.0 aiohttp==3.14.5

python - <<'PY'
import asyncio
import os

from aiohttp import web

SIZE = 6_000_000
puts = []


async def begin(request):
    return web.Response(headers={"Location": f"http://{request.host}/session"})


async def content(request):
    puts.append((request.headers.get("Content-Range"), len(await request.read())))
    return web.json_response({"name": "fox.png"}, status=503 if len(puts) == 1 else 200)


async def main():
    app = web.Application(client_max_size=10 * SIZE)
    app.router.add_post("/upload/storage/v1/b/pictures/o", begin)
    app.router.add_put("/session", content)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    os.environ["STORAGE_EMULATOR_HOST"] = f"http://127.0.0.1:{runner.addresses[0][1]}"

    from gcloud.aio.storage import Storage

    async with Storage() as storage:
        await storage.upload("pictures", "fox.png", bytes(SIZE))
    await runner.cleanup()


asyncio.run(main())
expected = [(None, SIZE), ("bytes */*", SIZE)]
if puts != expected:
    raise SystemExit(f"Changed: Content-Range and body of each PUT are {puts}, not {expected}.")
print(f"Still so: Content-Range and body of each PUT are {puts}.")
PY
