"""What is left after a restart, and after the server is killed in the middle of its work."""

import asyncio
import itertools
import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest
from gcloud.aio.storage import Storage

from localcloud.storage import ObjectStore

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
SERVER = """
import asyncio, sys
from pathlib import Path
from localcloud.http import HttpServer
from localcloud.storage import ObjectStore, storage_app

async def main():
    store = ObjectStore(Path(sys.argv[1]))
    if not store.buckets():
        store.create_bucket("pictures")
    print(await HttpServer(storage_app(store)).start(), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def contents(root: Path) -> list[Path]:
    return list((root / "contents").glob("*/*"))


def test_a_restart_keeps_buckets_objects_and_generations(serve, server, bucket):
    blob = bucket.blob("images/a")
    blob.metadata = {"k": "v"}
    blob.upload_from_string(b"one")
    server = serve()
    stored = server.store.get("pictures", "images/a")
    assert server.store.read("pictures", "images/a") == b"one"
    assert (stored.generation, stored.attributes["metadata"]) == (blob.generation, {"k": "v"})
    assert server.store.write("pictures", "images/a", b"two").generation > blob.generation


def test_generations_grow_even_when_the_clock_was_set_back(tmp_path, monkeypatch):
    store = ObjectStore(tmp_path)
    store.create_bucket("pictures")
    first = store.write("pictures", "a", b"")
    store.close()
    monkeypatch.setattr("localcloud.storage.store.time.time_ns", lambda: 10**15)
    store = ObjectStore(tmp_path)
    assert store.write("pictures", "a", b"").generation == first.generation + 1
    store.close()


def test_an_overwrite_a_delete_and_a_refusal_leave_no_content_behind(server, bucket, tmp_path):
    store = server.store
    store.write("pictures", "a", b"1")
    store.write("pictures", "a", b"2")
    assert len(contents(tmp_path / "state")) == 1
    with pytest.raises(Exception, match="does not exist"):
        store.write("nope", "a", b"3")
    store.copy(_source("a"), "pictures", "b")
    store.compose("pictures", "c", [_source("a"), _source("b")])
    assert len(contents(tmp_path / "state")) == 3
    for name in "abc":
        store.delete("pictures", name)
    assert contents(tmp_path / "state") == []


def _source(name: str):
    from localcloud.storage.store import Source

    return Source("pictures", name)


def test_what_was_never_committed_is_swept_at_the_start(tmp_path):
    store = ObjectStore(tmp_path)
    store.create_bucket("pictures")
    store.write("pictures", "a", b"kept")
    orphan = store.new_content()
    orphan.append([b"never committed"])
    foreign = tmp_path / "contents" / "00" / "README"
    foreign.write_text("not ours")
    store.close()
    store = ObjectStore(tmp_path)
    assert foreign.exists()
    assert len(contents(tmp_path)) == 2
    assert store.read("pictures", "a") == b"kept"
    store.close()


def test_an_open_content_outlives_its_object(tmp_path):
    store = ObjectStore(tmp_path)
    store.create_bucket("pictures")
    store.write("pictures", "a", b"old")
    stored, file = store.open("pictures", "a")
    store.write("pictures", "a", b"new")
    with file:
        assert file.read() == b"old"
    assert stored.content.size == 3
    store.close()


def test_two_servers_cannot_share_a_folder(tmp_path):
    store = ObjectStore(tmp_path)
    with pytest.raises(RuntimeError, match="stop the other process"):
        ObjectStore(tmp_path)
    store.close()


class Subprocess:
    """The server as a process of its own, to be killed."""

    def __init__(self, root: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(root)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()


def body(name: str, version: int) -> bytes:
    """Content that says of itself which object and version it is, at both ends."""
    generator = random.Random(f"{name}/{version}")
    return generator.randbytes(generator.choice([1000, 100_000, 1_500_000, 3_000_000]))


async def write_until_killed(
    client: Storage,
    names: list[str],
    sent: dict[str, int],
    confirmed: dict[str, int],
    enough: asyncio.Event,
    goal: int,
) -> None:
    """Upload new versions, keeping count; `enough` is set once `goal` were confirmed."""
    for uploads, name in enumerate(itertools.cycle(names), start=1):
        sent[name] += 1
        try:
            await client.upload("pictures", name, body(name, sent[name]))
        except (aiohttp.ClientError, ConnectionError):
            return
        confirmed[name] = sent[name]
        if uploads == goal:
            enough.set()


@pytest.mark.slow
@pytest.mark.asyncio
async def test_a_killed_server_has_whole_objects_only(tmp_path):
    """Killed five times amid uploads and overwrites: every answer it gave was kept, and no object
    is a mixture or a part of what was sent."""
    names = [f"images/{number:02}.png" for number in range(40)]
    confirmed = dict.fromkeys(names, -1)
    sent = dict.fromkeys(names, -1)
    swept = 0

    for kill in range(5):
        server = Subprocess(tmp_path)
        async with aiohttp.ClientSession() as session:
            client = Storage(session=session, api_root=server.url)
            found = 0
            for name in names:
                try:
                    content = await client.download("pictures", name)
                except aiohttp.ClientResponseError as error:
                    if error.status != 404 or confirmed[name] != -1:
                        raise
                    continue
                found += 1
                possible = range(max(confirmed[name], 0), sent[name] + 1)
                assert content in [body(name, version) for version in possible], name
            assert len(contents(tmp_path)) == found, "orphans were not swept"

            enough = asyncio.Event()
            writers = [
                asyncio.create_task(
                    write_until_killed(client, names[at::8], sent, confirmed, enough, 8 + kill)
                )
                for at in range(8)
            ]
            async with asyncio.timeout(60):
                await enough.wait()
            server.kill()
            await asyncio.gather(*writers)
        index = {row[0] for row in _contents_in_index(tmp_path)}
        swept += sum(path.name not in index for path in contents(tmp_path))
    assert swept, "no kill hit an upload: the test has shown nothing"


def _contents_in_index(root: Path) -> list[tuple[str]]:
    connection = sqlite3.connect(root / "index.sqlite")
    try:
        return connection.execute("SELECT content FROM objects").fetchall()
    finally:
        connection.close()


@pytest.mark.slow
def test_a_resumable_upload_outlives_a_kill(tmp_path):
    import requests

    server = Subprocess(tmp_path)
    data = os.urandom(1_000_000)
    path = "/upload/storage/v1/b/pictures/o"
    started = requests.post(server.url + path, params={"uploadType": "resumable", "name": "a"})
    session = started.headers["Location"].removeprefix(server.url)
    part = {"Content-Range": "bytes 0-599999/1000000"}
    assert requests.put(server.url + session, data=data[:600_000], headers=part).status_code == 308
    server.kill()

    server = Subprocess(tmp_path)
    asked = requests.put(server.url + session, headers={"Content-Range": "bytes */1000000"})
    assert asked.headers["Range"] == "bytes=0-599999"
    rest = {"Content-Range": "bytes 600000-999999/1000000"}
    assert requests.put(server.url + session, data=data[600_000:], headers=rest).status_code == 200
    assert requests.get(f"{server.url}/pictures/a").content == data
    server.kill()
