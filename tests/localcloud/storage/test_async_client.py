"""gcloud-aio-storage, the client of the streaming job, against the server."""

import asyncio
import os
import time

import aiohttp
import pytest
from aiohttp import web
from gcloud.aio.storage import Storage

pytestmark = [pytest.mark.slow, pytest.mark.asyncio]


async def test_an_upload_comes_back(aio):
    data = os.urandom(1_500_000)
    stored = await aio.upload("pictures", "images/a b/1.png", data, content_type="image/png")
    assert (stored["size"], stored["contentType"]) == ("1500000", "image/png")
    assert await aio.download("pictures", "images/a b/1.png") == data
    meta = await aio.download_metadata("pictures", "images/a b/1.png")
    assert meta["generation"] == stored["generation"]


@pytest.mark.parametrize("size", [0, 1000, 1_500_000])
async def test_metadata_travels_with_the_content(aio, size):
    data = os.urandom(size)
    metadata = {"Cache-Control": "no-store", "metadata": {"prompt": "naïve 🎨"}}
    await aio.upload("pictures", "a", data, metadata=metadata, content_type="image/png")
    meta = await aio.download_metadata("pictures", "a")
    assert meta["metadata"] == {"prompt": "naïve 🎨"}
    assert (meta["cacheControl"], meta["contentType"]) == ("no-store", "image/png")
    assert await aio.download("pictures", "a") == data


async def test_large_and_forced_resumable_uploads(aio):
    data = os.urandom(7_000_000)
    stored = await aio.upload("pictures", "big", data)
    assert stored["size"] == "7000000"
    await aio.upload("pictures", "small", b"abc", force_resumable_upload=True)
    assert await aio.download("pictures", "big") == data
    assert await aio.download("pictures", "small") == b"abc"


async def test_of_fifty_concurrent_writers_exactly_one_wins(aio):
    async def write(writer: int) -> int:
        data = bytes([writer]) * 200_000
        try:
            await aio.upload("pictures", "one", data, parameters={"ifGenerationMatch": "0"})
        except aiohttp.ClientResponseError as error:
            return error.status
        return 200

    statuses = await asyncio.gather(*(write(writer) for writer in range(50)))
    assert sorted(statuses) == [200] + [412] * 49
    content = await aio.download("pictures", "one")
    assert content == bytes([statuses.index(200)]) * 200_000


async def test_a_reader_gets_one_version_while_writers_overwrite(aio):
    size = 1_000_000
    await aio.upload("pictures", "a", bytes(size))
    done = asyncio.Event()

    async def read() -> int:
        reads = 0
        while not done.is_set():
            content = await aio.download("pictures", "a")
            assert len(content) == size
            assert content.count(content[:1]) == size
            reads += 1
        return reads

    readers = [asyncio.create_task(read()) for _ in range(4)]
    for version in range(1, 60):
        await aio.upload("pictures", "a", bytes([version]) * size)
    done.set()
    assert sum(await asyncio.gather(*readers)) > 10


async def test_the_whole_body_under_no_range_is_refused_as_by_cloud_storage(serve, monkeypatch):
    """What the client does when a resumable upload fails; ours makes none."""
    pause = asyncio.sleep
    # The client's pauses between its tries, 15 s in all, are not what this is about.
    monkeypatch.setattr("gcloud.aio.storage.storage.sleep", lambda _s: pause(0))
    failures = iter([True])

    async def fail_once(request: web.Request) -> web.StreamResponse | None:
        failed = request.method == "PUT" and next(failures, False)
        return web.Response(status=503) if failed else None

    server = serve(fail_once)
    server.store.create_bucket("pictures")
    data = os.urandom(500_000)
    async with aiohttp.ClientSession() as session:
        client = Storage(session=session)
        with pytest.raises(aiohttp.ClientResponseError) as failure:
            await client.upload("pictures", "a", data, force_resumable_upload=True)
    assert failure.value.status == 400
    assert next(failures, None) is None


async def test_missing_objects_are_404(aio):
    for call in (aio.download, aio.download_metadata, aio.delete):
        with pytest.raises(aiohttp.ClientResponseError) as failure:
            await call("pictures", "nope")
        assert failure.value.status == 404


async def test_a_stream_reads_in_pieces(aio):
    data = os.urandom(1_000_000)
    await aio.upload("pictures", "a", data)
    stream = await aio.download_stream("pictures", "a")
    pieces = []
    while piece := await stream.read(65536):
        pieces.append(piece)
    assert b"".join(pieces) == data


async def test_zipped_uploads_are_unzipped_on_the_way_out(aio):
    text = b"prompt\n" * 1000
    await aio.upload("pictures", "a.txt", text, zipped=True)
    assert await aio.download("pictures", "a.txt") == text
    zipped = await aio.download("pictures", "a.txt", headers={"Accept-Encoding": "gzip"})
    assert zipped[:2] == b"\x1f\x8b"


async def test_the_rest_of_the_clients_calls(aio):
    for number in range(3):
        await aio.upload("pictures", f"p/{number}", str(number).encode())
    listed = await aio.list_objects("pictures", params={"prefix": "p/"})
    assert [item["name"] for item in listed["items"]] == ["p/0", "p/1", "p/2"]
    assert [bucket.name for bucket in await aio.list_buckets("demo-project")] == ["pictures"]
    copied = await aio.copy("pictures", "p/0", "pictures", new_name="q/0")
    assert copied["done"] is True
    await aio.compose("pictures", "whole", ["p/0", "p/1", "p/2"], content_type="text/plain")
    assert await aio.download("pictures", "whole") == b"012"
    await aio.patch_metadata("pictures", "whole", {"metadata": {"k": "v"}})
    assert (await aio.download_metadata("pictures", "whole"))["metadata"] == {"k": "v"}
    await aio.delete("pictures", "whole")
    assert (await aio.get_bucket_metadata("pictures"))["name"] == "pictures"


async def test_an_upload_that_breaks_off_leaves_nothing(aio, server, tmp_path):
    async def broken():
        yield b"x" * 300_000
        raise ConnectionError("the client stops")

    url = f"{server.url}/upload/storage/v1/b/pictures/o?uploadType=media&name=a"
    async with aiohttp.ClientSession() as session:
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await session.post(url, data=broken())
    deadline = time.monotonic() + 60
    while list((tmp_path / "state" / "contents").glob("*/*")):
        assert time.monotonic() < deadline, "the content of the broken upload was not removed"
        await asyncio.sleep(0.01)
    assert (await aio.list_objects("pictures")).get("items") is None


@pytest.mark.parametrize("body", [b"", b"--b\r\n", b"--b\r\n\r\n{}\r\n--b\r\n\r\nmedia", b"--b--"])
async def test_a_malformed_multipart_body_is_a_bad_request(server, aio, body):
    url = f"{server.url}/upload/storage/v1/b/pictures/o?uploadType=multipart&name=a"
    async with aiohttp.ClientSession() as session:
        for content_type in ("multipart/related; boundary=b", "multipart/related", "text/plain"):
            answer = await session.post(url, data=body, headers={"Content-Type": content_type})
            assert answer.status == 400
            assert "multipart" in (await answer.json())["error"]["message"]
    assert (await aio.list_objects("pictures")).get("items") is None


@pytest.mark.parametrize("piece", [1, 7, 1000])
async def test_multipart_boundaries_may_fall_anywhere(server, aio, piece):
    media = b"\r\n--b" * 50 + b"\r\n--" + os.urandom(100) + b"\r"
    head = b'--bb\r\nContent-Type: application/json\r\n\r\n{"name": "a"}\r\n--bb\r\n'
    body = head + b"content-type: image/png\r\n\r\n" + media + b"\r\n--bb--\r\n"

    async def pieces():
        for at in range(0, len(body), piece):
            yield body[at : at + piece]
            await asyncio.sleep(0)

    url = f"{server.url}/upload/storage/v1/b/pictures/o?uploadType=multipart"
    headers = {"Content-Type": 'multipart/related; boundary="bb"'}
    async with aiohttp.ClientSession() as session:
        answer = await session.post(url, data=pieces(), headers=headers)
        assert answer.status == 200, await answer.text()
    assert await aio.download("pictures", "a") == media
