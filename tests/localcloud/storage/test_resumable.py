"""Resumable uploads: in chunks, broken off, resumed, cancelled, and across a restart."""

import base64
import concurrent.futures
import hashlib
import http.client
import io
import os
import socket
import sqlite3
import threading

import pytest
import requests
from aiohttp import web
from google.api_core import exceptions

CHUNK = 256 * 1024


def begin(server, name="a", **params) -> str:
    """Start an upload by hand; return its URL."""
    answer = requests.post(
        f"{server.url}/upload/storage/v1/b/pictures/o",
        params={"uploadType": "resumable", "name": name, **params},
        headers={"X-Upload-Content-Type": "image/png"},
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    return answer.headers["Location"]


def send(url: str, content_range: str, data: bytes = b"", **headers) -> requests.Response:
    headers = {"Content-Range": content_range, **headers}
    return requests.put(url, data=data, headers=headers, timeout=60)


def received(url: str) -> int:
    """How many bytes the server says it has."""
    answer = send(url, "bytes */*")
    assert answer.status_code == 308, answer.text
    span = answer.headers.get("Range")
    return 0 if span is None else int(span.removeprefix("bytes=0-")) + 1


@pytest.mark.parametrize("size", [0, 1, CHUNK, CHUNK + 1, 3 * CHUNK, 20 * CHUNK + 7])
def test_the_client_uploads_in_chunks(bucket, size):
    data = os.urandom(size)
    blob = bucket.blob("a", chunk_size=CHUNK)
    blob.metadata = {"k": "v"}
    blob.upload_from_string(data, content_type="image/png")
    found = bucket.get_blob("a")
    assert found.download_as_bytes() == data
    assert (found.content_type, found.metadata) == ("image/png", {"k": "v"})
    assert found.md5_hash


def test_a_stream_of_unknown_length_can_be_uploaded(bucket):
    data = os.urandom(3 * CHUNK + 5)
    with bucket.blob("a").open("wb", chunk_size=CHUNK) as file:
        for at in range(0, len(data), 1000):
            file.write(data[at : at + 1000])
    assert bucket.blob("a").download_as_bytes() == data


def test_nothing_is_visible_before_the_last_byte(server, bucket):
    url = begin(server)
    assert send(url, f"bytes 0-{CHUNK - 1}/{2 * CHUNK}", b"x" * CHUNK).status_code == 308
    assert not bucket.blob("a").exists()
    done = send(url, f"bytes {CHUNK}-{2 * CHUNK - 1}/{2 * CHUNK}", b"y" * CHUNK)
    assert done.status_code == 200
    assert done.json()["contentType"] == "image/png"
    assert bucket.blob("a").download_as_bytes() == b"x" * CHUNK + b"y" * CHUNK


def test_a_connection_lost_in_a_chunk_is_resumed_where_it_broke(server, bucket):
    data = os.urandom(4 * CHUNK)
    url = begin(server)
    sent = CHUNK + 12345
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        path = url.removeprefix(server.url)
        head = (
            f"PUT {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
            f"Content-Length: {len(data)}\r\nContent-Range: bytes 0-{len(data) - 1}/{len(data)}"
        )
        connection.sendall(f"{head}\r\n\r\n".encode() + data[:sent])
    # Asking takes the session over, so bytes of the lost connection that are still on their way
    # may or may not count; whichever, the answer is where to go on.
    kept = received(url)
    assert kept <= sent
    assert send(url, f"bytes {kept}-{len(data) - 1}/{len(data)}", data[kept:]).status_code == 200
    assert bucket.blob("a").download_as_bytes(checksum="md5") == data


def test_a_resuming_client_takes_over_from_a_hanging_connection(server, bucket):
    data = os.urandom(2 * CHUNK)
    url = begin(server)
    hanging = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    hanging.putrequest("PUT", url.removeprefix(server.url))
    hanging.putheader("Content-Length", str(len(data)))
    hanging.putheader("Content-Range", f"bytes 0-{len(data) - 1}/{len(data)}")
    hanging.endheaders()
    hanging.send(data[:1000])
    assert send(url, f"bytes 0-{len(data) - 1}/{len(data)}", data).status_code == 200
    hanging.send(data[1000:])
    assert hanging.getresponse().status == 503
    hanging.close()
    assert bucket.blob("a").download_as_bytes(checksum="md5") == data


@pytest.mark.slow
def test_the_client_recovers_from_a_failed_chunk_by_itself(serve):
    failures = iter([False, False, True, False, True])

    async def fail_some(request: web.Request) -> web.StreamResponse | None:
        if request.method == "PUT" and next(failures, False):
            return web.Response(status=503)
        return None

    server = serve(fail_some)
    bucket = _client_bucket(server)
    data = os.urandom(6 * CHUNK + 3)
    bucket.blob("a", chunk_size=CHUNK).upload_from_file(io.BytesIO(data), if_generation_match=0)
    assert bucket.blob("a").download_as_bytes(checksum="md5") == data
    assert next(failures, None) is None


def _client_bucket(server):
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    server.store.create_bucket("pictures")
    client = storage.Client(project="demo-project", credentials=AnonymousCredentials())
    return client.bucket("pictures")


def test_bytes_that_came_before_are_skipped(server, bucket):
    url = begin(server)
    send(url, "bytes 0-9/20", b"0123456789")
    assert send(url, "bytes 5-19/20", b"56789abcdefghij").status_code == 200
    assert bucket.blob("a").download_as_bytes() == b"0123456789abcdefghij"


def test_a_gap_is_refused(server):
    url = begin(server)
    send(url, "bytes 0-9/30", b"0123456789")
    answer = send(url, "bytes 20-29/30", b"0123456789")
    assert answer.status_code == 400
    assert "has 10 bytes" in answer.json()["error"]["message"]
    assert received(url) == 10


def test_an_upload_is_resumed_after_a_restart(serve, server):
    data = os.urandom(3 * CHUNK)
    path = begin(server, ifGenerationMatch=0).removeprefix(server.url)
    send(server.url + path, f"bytes 0-{CHUNK - 1}/*", data[:CHUNK])
    server = serve()
    url = server.url + path
    assert received(url) == CHUNK
    answer = send(url, f"bytes {CHUNK}-{len(data) - 1}/{len(data)}", data[CHUNK:])
    assert answer.status_code == 200
    assert server.store.read("pictures", "a") == data
    again = serve()
    assert send(again.url + path, "bytes */*").json()["md5Hash"] == answer.json()["md5Hash"]
    assert again.store.read("pictures", "a") == data


def test_an_upload_that_only_lacks_its_end_is_ended_after_a_restart(serve, server):
    path = begin(server).removeprefix(server.url)
    send(server.url + path, "bytes 0-99999/*", b"x" * 100_000)
    server = serve()
    answer = send(server.url + path, "bytes */100000", **{"X-Goog-Hash": "crc32c=AAAAAA=="})
    assert answer.status_code == 400

    path = begin(server).removeprefix(server.url)
    send(server.url + path, "bytes 0-99999/*", b"x" * 100_000)
    server = serve()
    md5 = base64.b64encode(hashlib.md5(b"x" * 100_000).digest()).decode()
    answer = send(server.url + path, "bytes */100000", **{"X-Goog-Hash": f"md5={md5}"})
    assert (answer.status_code, answer.json()["md5Hash"]) == (200, md5)


def test_a_client_that_missed_the_final_response_can_request_it_again(server):
    url = begin(server)
    first = send(url, "bytes 0-2/3", b"abc")
    again = send(url, "bytes */3")
    assert (again.status_code, again.json()) == (200, first.json())


def full_disk(*_) -> None:
    raise sqlite3.OperationalError("database or disk is full")


@pytest.mark.parametrize("rest", [b"def", b""], ids=["the-last-chunk", "nothing"])
def test_an_upload_whose_commit_failed_can_be_finished_once_the_disk_works(
    server, bucket, monkeypatch, rest
):
    url = begin(server)
    send(url, "bytes 0-2/6", b"abc")
    with monkeypatch.context() as broken:
        for change in ("put_object", "delete_upload"):
            broken.setattr(server.store._index, change, full_disk)
        answer = send(url, "bytes 3-5/6", b"def")
        assert answer.status_code == 503
        assert "disk is full" in answer.json()["error"]["message"]
    answer = send(url, "bytes 3-5/6" if rest else "bytes */6", rest)
    assert answer.status_code == 200, answer.text
    assert bucket.blob("a").download_as_bytes(checksum="md5") == b"abcdef"


def test_a_refused_upload_that_the_index_cannot_forget_is_refused_again(
    server, bucket, monkeypatch, tmp_path
):
    url = begin(server, ifGenerationMatch=0)
    server.store.write("pictures", "a", b"in between")
    with monkeypatch.context() as broken:
        broken.setattr(server.store._index, "delete_upload", full_disk)
        assert send(url, "bytes 0-2/3", b"abc").status_code == 503
    assert send(url, "bytes */3").status_code == 412
    assert send(url, "bytes */3").status_code == 404
    assert bucket.blob("a").download_as_bytes() == b"in between"
    assert len(list((tmp_path / "state" / "contents").glob("*/*"))) == 1


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_an_upload_that_is_just_being_ended_is_not_ended_again(serve, server, monkeypatch, method):
    path = begin(server).removeprefix(server.url)
    data = os.urandom(4 * CHUNK)
    send(server.url + path, f"bytes 0-{len(data) - 1}/*", data)
    # Over a restart, so that there is something to digest, away from the event loop.
    server = serve()
    committing, go_on = threading.Event(), threading.Event()
    put = server.store.put

    def wait(*args):
        if not committing.is_set():
            committing.set()
            assert go_on.wait(60)
        return put(*args)

    monkeypatch.setattr(server.store, "put", wait)
    ask = {"Content-Range": f"bytes */{len(data)}"}
    with concurrent.futures.ThreadPoolExecutor() as pool:
        first = pool.submit(requests.put, server.url + path, headers=ask, timeout=60)
        assert committing.wait(60)
        again = requests.request(method, server.url + path, headers=ask, timeout=60)
        go_on.set()
        assert first.result(60).status_code == 200
    assert again.status_code == 503
    assert server.store.read("pictures", "a") == data
    assert requests.put(server.url + path, headers=ask, timeout=60).json() == first.result().json()


def test_a_cancelled_upload_is_gone(server, bucket):
    url = begin(server)
    send(url, "bytes 0-9/20", b"0123456789")
    assert requests.delete(url, timeout=60).status_code == 499
    assert send(url, "bytes */20").status_code == 404
    assert not bucket.blob("a").exists()


def test_the_precondition_is_checked_when_the_upload_ends(server, bucket):
    url = begin(server, ifGenerationMatch=0)
    bucket.blob("a").upload_from_string(b"in between")
    assert send(url, "bytes 0-2/3", b"abc").status_code == 412
    assert bucket.blob("a").download_as_bytes() == b"in between"
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("a").create_resumable_upload_session(if_generation_match=0)


def test_a_wrong_checksum_at_the_end_ends_the_upload(server, bucket, tmp_path):
    url = begin(server)
    answer = send(url, "bytes 0-2/3", b"abc", **{"X-Goog-Hash": "crc32c=AAAAAA=="})
    assert answer.status_code == 400
    assert send(url, "bytes */3").status_code == 404
    assert not bucket.blob("a").exists()
    assert list((tmp_path / "state" / "contents").glob("*/*")) == []


@pytest.mark.parametrize("content_range", ["bytes 0-2", "items 0-2/3", "bytes a-b/3", ""])
def test_a_malformed_range_is_a_bad_request(server, content_range):
    answer = send(begin(server), content_range, b"abc")
    assert answer.status_code == 400
    assert "Content-Range" in answer.json()["error"]["message"]
