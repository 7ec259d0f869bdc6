#!/usr/bin/env bash
# google-genai 2.34.0: with aiohttp, an error whose body is no JSON becomes a JSONDecodeError.
#
# Seen: the server answered 503 with `Content-Type: application/json` and a body that is no JSON,
# as a proxy in front of a service may. Over httpx, the client raises errors.ServerError with code
# 503 and the body as its message. Over aiohttp, which the asynchronous client takes where it is
# installed, it raises a json.JSONDecodeError, without a code. A body of another content type, such
# as text/html, is fine.
#
# Why it matters: code that retries errors.APIError lets a short outage end the program, and
# nobody can tell a 503, which will pass, from a 400, which won't.
#
# Instead: catch ValueError (JSONDecodeError is one) beside errors.APIError around each call, and
# treat it as an outage.
. "$(dirname "$0")/lib.sh"
packages "google-genai==${1:-2.34.0}" aiohttp==3.14.5

python - <<'PY'
import asyncio
import http.server
import threading

import aiohttp
import httpx
from google import genai
from google.genai import types


class Proxy(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b"upstream connect error"
        self.send_response(503)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
threading.Thread(target=server.serve_forever, daemon=True).start()


async def raised(**transport):
    client = genai.Client(
        api_key="none",
        http_options=types.HttpOptions(
            base_url=f"http://127.0.0.1:{server.server_port}", **transport
        ),
    )
    try:
        await client.aio.models.generate_content(model="any", contents="a fox")
    except Exception as error:
        return f"{type(error).__name__} (code {getattr(error, 'code', 'unknown')})"


async def main():
    async with aiohttp.ClientSession() as session, httpx.AsyncClient() as client:
        return [
            await raised(httpx_async_client=client),
            await raised(aiohttp_client=session),
            await raised(),
        ]


found = asyncio.run(main())
over_aiohttp = "JSONDecodeError (code unknown)"
expected = ["ServerError (code 503)", over_aiohttp, over_aiohttp]
if found != expected:
    raise SystemExit(f"Changed: over httpx, aiohttp, the default: {found}, not {expected}.")
print(f"Still so: the same 503 over httpx, aiohttp, the default: {found}.")
PY
