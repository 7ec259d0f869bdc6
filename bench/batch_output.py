"""Output of batch inference, made as it is read: a storage that holds no byte of it.

Runs as `python -m bench.batch_output`, which prints its URL. It answers reads of any range of the
files, takes images and forgets them, and passes everything else on to the local cloud's storage.
"""

import argparse
import asyncio
import base64
import json
import urllib.parse
from collections.abc import Iterator

import aiohttp
from aiohttp import web

from beam_jobs.catalog import DEFAULT_MODEL
from beam_jobs.prefetch.folder import PartFolder, PrefetchFolder
from beam_jobs.prefetch.manifest import ManifestRow
from beam_jobs.prefetch.parts import Part, Prepared
from beam_jobs.prefetch.request_row import LABEL, contents_hash
from localcloud.resources import Names
from localcloud.vertex.pictures import canned

BUCKET = Names.bucket
RUN = "backfill:bench"
FOLDER = PrefetchFolder.of(BUCKET, "bench")
FILE_ROWS = 1000
IMAGES = f"gs://{BUCKET}/bench/images"
PROMPT = "A lighthouse at dusk in the style of a woodcut, with gulls, above a harbour full of boats"
_CONTENTS = {"contents": [{"role": "user", "parts": [{"text": PROMPT}]}]}
_PART = PartFolder(f"{FOLDER.url}try/part-00000/")


class Output:
    """Files of rows that are alike but for their labels.

    Args:
        rows: how many, over all files.
        image_bytes: of each image.
        file_rows: how many a file has.
    """

    def __init__(self, rows: int, image_bytes: int, file_rows: int = FILE_ROWS) -> None:
        self.rows = rows
        head, self._tail = _row(image_bytes).split(b"LABEL")
        self._head = head
        self.row_bytes = len(head) + len(label(0)) + len(self._tail)
        self._files = {
            f"{_PART.output}prediction-model-1/predictions_{number:05d}.jsonl".removeprefix(
                f"gs://{BUCKET}/"
            ): range(first, min(first + file_rows, rows))
            for number, first in enumerate(range(0, rows, file_rows))
        }

    def sizes(self) -> dict[str, int]:
        """Return the size of each file, by name."""
        return {name: len(rows) * self.row_bytes for name, rows in self._files.items()}

    def read(self, name: str, start: int, end: int) -> bytes:
        """Return the bytes of a file from `start` up to `end`."""
        rows = self._files[name]
        first = start // self.row_bytes
        several = b"".join(
            self._row(rows[number]) for number in range(first, -(-end // self.row_bytes))
        )
        skipped = start - first * self.row_bytes
        return several[skipped : skipped + end - start]

    def _row(self, number: int) -> bytes:
        return self._head + label(number).encode() + self._tail

    def manifest(self) -> Iterator[bytes]:
        """Yield the manifest's lines."""
        for number in range(self.rows):
            yield ManifestRow(
                image=label(number),
                images=1,
                model=DEFAULT_MODEL,
                deciding={"prompt": PROMPT, "model": DEFAULT_MODEL, "images": 1},
                references=(),
                request=contents_hash(_CONTENTS),
                payer="0" * 32,
            ).to_line()

    def prepared(self) -> bytes:
        """Return the content of `parts.json`."""
        part = Part(
            folder=_PART,
            model=DEFAULT_MODEL,
            location="global",
            rows=self.rows,
            bytes=0,
            prompts=self.rows,
            likely_micro_usd=0,
        )
        return json.dumps(Prepared(RUN, (part,)).to_json()).encode()


def label(number: int) -> str:
    return f"{number:032x}-0"


def _row(image_bytes: int) -> bytes:
    part = {"inlineData": {"mimeType": "image/png", "data": "DATA"}}
    row = {
        "status": "",
        "processed_time": "2026-11-01T02:03:04.567+00:00",
        "request": {**_CONTENTS, "labels": {LABEL: "LABEL"}},
        "response": {
            "candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": "STOP"}],
            "modelVersion": DEFAULT_MODEL,
            "usageMetadata": {
                "promptTokenCount": 20,
                "candidatesTokenCount": 1120,
                "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}],
            },
        },
    }
    data = base64.b64encode(canned(image_bytes))
    return json.dumps(row).encode().replace(b"DATA", data) + b"\n"


class _Storage:
    def __init__(self, output: Output, upstream: str) -> None:
        self._output = output
        self._sizes = output.sizes()
        self._upstream = upstream
        self._session: aiohttp.ClientSession | None = None
        self.images = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path = urllib.parse.unquote(request.rel_url.raw_path)
        name = path.partition("/o/")[2]
        if name in self._sizes and request.query.get("alt") == "media":
            first, _, last = request.headers["Range"].removeprefix("bytes=").partition("-")
            size = self._sizes[name]
            end = min(int(last) + 1, size)
            return web.Response(
                status=206,
                body=self._output.read(name, int(first), end),
                content_type="application/octet-stream",
                headers={"Content-Range": f"bytes {first}-{end - 1}/{size}"},
            )
        if name in self._sizes:
            return web.json_response(self._resource(name))
        prefix = request.query.get("prefix", "")
        is_listing = request.method == "GET" and path.endswith("/o")
        if is_listing and any(each.startswith(prefix) for each in self._sizes):
            found = [self._resource(each) for each in self._sizes if each.startswith(prefix)]
            return web.json_response({"items": found})
        uploaded = request.query.get("name", "")
        if request.method == "POST" and uploaded.startswith("bench/images/"):
            size = 0
            async for piece in request.content.iter_any():
                size += len(piece)
            self.images += uploaded.endswith(".png")
            return web.json_response({"name": uploaded, "size": str(size)})
        return await self._forward(request)

    def _resource(self, name: str) -> dict[str, str]:
        at = "2026-11-01T02:03:04.567Z"
        size = str(self._sizes[name])
        return {"name": name, "bucket": BUCKET, "size": size, "updated": at, "generation": "1"}

    async def _forward(self, request: web.Request) -> web.Response:
        self._session = self._session or aiohttp.ClientSession(auto_decompress=False)
        url = f"{self._upstream}{request.rel_url}"
        headers = {k: v for k, v in request.headers.items() if k.lower() != "host"}
        async with self._session.request(
            request.method, url, data=await request.read(), headers=headers
        ) as answer:
            kept = {
                k: v.replace(self._upstream, f"http://{request.host}")
                for k, v in answer.headers.items()
                if k.lower() not in ("transfer-encoding", "content-length", "connection")
            }
            return web.Response(status=answer.status, body=await answer.read(), headers=kept)


async def serve(rows: int, image_bytes: int, upstream: str) -> None:
    app = web.Application(client_max_size=64 << 20)
    app.router.add_route("*", "/{path:.*}", _Storage(Output(rows, image_bytes), upstream).handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(site.name, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--image-bytes", type=int, required=True)
    parser.add_argument("--upstream", required=True)
    given = parser.parse_args()
    asyncio.run(serve(given.rows, given.image_bytes, given.upstream))
