"""What arrives of an upload's body, over a real connection."""

import asyncio
import io

import aiohttp
import pytest
from aiohttp import payload, web

from beam_jobs.images.upload_body import FIRST_BYTES, PIECE_BYTES, UploadBody, UploadPayload
from tests.tls import certificate

SIZES = [
    0,
    1,
    FIRST_BYTES - 1,
    FIRST_BYTES,
    FIRST_BYTES + 1,
    FIRST_BYTES + PIECE_BYTES,
    FIRST_BYTES + 2 * PIECE_BYTES + 7,
    # More than a socket takes at once.
    8_000_000,
]


def content_of(size: int) -> bytes:
    """Bytes of which no two stretches are alike."""
    return b"".join(number.to_bytes(4) for number in range(size // 4 + 1))[:size]


@pytest.mark.asyncio
@pytest.mark.parametrize("size", SIZES)
async def test_a_body_arrives_whole_and_says_how_long_it_is(serve, size):
    arrived = []

    async def handler(request):
        arrived.append((await request.read(), request.headers))
        return web.Response()

    app = web.Application(client_max_size=2 * max(SIZES))
    app.router.add_post("/", handler)
    url = await serve(app)
    async with aiohttp.ClientSession() as session:
        await session.post(url, data=UploadBody(content_of(size)))
    ((content, headers),) = arrived
    assert content == content_of(size)
    assert headers["Content-Length"] == str(size)
    assert "Transfer-Encoding" not in headers


@pytest.mark.asyncio
async def test_a_body_arrives_whole_over_tls_while_another_is_given_up(tmp_path):
    arrived = []
    begun = asyncio.Event()

    async def handler(request):
        if request.path == "/slow":
            begun.set()
            await asyncio.sleep(3600)
        arrived.append(await request.read())
        return web.Response()

    app = web.Application(client_max_size=2 * max(SIZES))
    app.router.add_post("/{path}", handler)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=certificate(tmp_path)).start()
    url = f"https://127.0.0.1:{runner.addresses[0][1]}"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as session:
        given_up = asyncio.create_task(
            session.post(f"{url}/slow", data=UploadBody(content_of(max(SIZES))))
        )
        async with asyncio.timeout(60):
            await begun.wait()
            given_up.cancel()
            await asyncio.wait([given_up])
            for size in SIZES:
                await session.post(f"{url}/quick", data=UploadBody(content_of(size)))
    await runner.cleanup()
    assert given_up.cancelled()
    assert arrived == [content_of(size) for size in SIZES]


@pytest.mark.asyncio
async def test_a_body_is_sent_again_whole_to_where_a_redirect_leads(serve):
    arrived = []

    async def handler(request):
        arrived.append(await request.read())
        if request.path == "/here":
            raise web.HTTPTemporaryRedirect("/there")
        return web.Response()

    url = await serve(handler)
    async with aiohttp.ClientSession() as session:
        await session.post(f"{url}/here", data=UploadBody(content_of(100_000)))
    assert arrived == [content_of(100_000)] * 2


@pytest.mark.asyncio
async def test_no_more_is_sent_than_a_length_that_is_stated(serve):
    arrived = []

    async def handler(request):
        arrived.append(await request.read())
        return web.Response()

    url = await serve(handler)
    async with aiohttp.ClientSession() as session:
        for length in (10, FIRST_BYTES + 10):
            await session.post(
                url,
                data=UploadBody(content_of(FIRST_BYTES + 20)),
                headers={"Content-Length": str(length)},
            )
    assert list(map(len, arrived)) == [10, FIRST_BYTES + 10]


def test_nothing_is_copied_to_make_a_body():
    content = content_of(1_000_000)
    made = payload.get_payload(UploadBody(content))
    assert isinstance(made, UploadPayload)
    assert made._value is content
    assert made.size == len(content)
    # Another stream is sent as ever.
    assert type(payload.get_payload(io.BytesIO(content))) is payload.BytesIOPayload
