#!/usr/bin/env bash
# google-genai 2.34.0 with aiohttp: a call whose connection breaks is sent again without being asked to.
#
# Without `retry_options`, the client doesn't retry, with one exception: if aiohttp is installed,
# the asynchronous client uses it, and when the server closes the connection without an answer, it
# sends the POST again after 1 to 10 s.
#
# Seen: two requests for one generate_content. With HttpRetryOptions(attempts=1) it was one.
#
# Why it matters: the first request might have been processed, so a generated image is paid for
# twice, and a retry layer of your own counts one attempt instead of two.
#
# Instead: always pass HttpRetryOptions, with attempts=1 for no retries.
. "$(dirname "$0")/lib.sh"
packages "google-genai==${1:-2.34.0}" aiohttp==3.14.5

python - <<'PY'
import asyncio

from aiohttp import ServerDisconnectedError, web
from google import genai
from google.genai import types

DONE = {"candidates": [{"content": {"role": "model", "parts": [{"text": "done"}]}}]}


async def requests_of_one_call(retry_options):
    came = []

    async def answer(request):
        came.append(await request.read())
        if len(came) == 1:
            request.transport.close()  # as when a proxy or server restarts
        return web.json_response(DONE)

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    client = genai.Client(
        api_key="none",
        http_options=types.HttpOptions(
            base_url=f"http://127.0.0.1:{port}", retry_options=retry_options
        ),
    )
    try:
        await client.aio.models.generate_content(model="any", contents="a fox")
    except ServerDisconnectedError:
        pass
    finally:
        await client.aio.aclose()
        await runner.cleanup()
    return len(came)


untold = asyncio.run(requests_of_one_call(None))
told = asyncio.run(requests_of_one_call(types.HttpRetryOptions(attempts=1)))
seen = f"{untold} requests without retry_options, {told} with attempts=1"
if (untold, told) != (2, 1):
    raise SystemExit(f"Changed: {seen}; it was 2 and 1.")
print(f"Still so: {seen}.")
PY
