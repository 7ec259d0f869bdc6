#!/usr/bin/env bash
# aiohttp 3.14.5: a body given as `io.BytesIO` is copied whole before it is sent, and once more in
# pieces.
#
# An `io.BytesIO` shares the bytes that it was made of until somebody asks for its buffer. aiohttp
# does that to learn the length, so Python makes a copy that the stream keeps. Then it reads pieces
# of 256 KiB, each another copy.
#
# Seen: io.BytesIO(8 MB) took no memory; making the request's body of it took another 8 MB. It was
# written in 31 pieces. The same bytes, given as they are, took no memory and one write.
#
# Why it matters: aiohttp warns about large bodies of bytes, and advises to pass an io.BytesIO; and
# gcloud-aio-storage makes one of any bytes. For uploads of 1.5 MB, both copies were a tenth of a
# process's CPU.
#
# Instead: for bytes that are in memory anyway, register a payload of your own, with
# `aiohttp.payload.payload_type`, that writes views of them.
. "$(dirname "$0")/lib.sh"
packages "aiohttp==${1:-3.14.5}"

python -W ignore::ResourceWarning - <<'PY'
import asyncio
import gc
import io
import tracemalloc

from aiohttp import payload

SIZE = 8_000_000


class Writer:
    """Counts what is written, and keeps nothing."""

    def __init__(self):
        self.writes = self.bytes = 0

    async def write(self, chunk):
        self.writes += 1
        self.bytes += len(chunk)


def added(make):
    """What `make` returns, and how many bytes of memory it keeps."""
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    made = make()
    return made, tracemalloc.get_traced_memory()[0] - before


def writes_of(body):
    writer = Writer()
    asyncio.run(body.write_with_length(writer, SIZE))
    assert writer.bytes == SIZE
    return writer.writes


tracemalloc.start()
content = bytes(SIZE)
stream, of_stream = added(lambda: io.BytesIO(content))
from_stream, of_body = added(lambda: payload.get_payload(stream))
from_bytes, of_bytes = added(lambda: payload.get_payload(content))
kept = [round(each / SIZE, 1) for each in (of_stream, of_body, of_bytes)]
writes = [writes_of(from_stream), writes_of(from_bytes)]
found = (
    f"in sizes of the content, a stream keeps {kept[0]}, a body of it {kept[1]}, and a body of bytes "
    f"{kept[2]}; written in {writes[0]} and {writes[1]} pieces"
)
if kept != [0.0, 1.0, 0.0] or writes != [31, 1]:
    raise SystemExit(f"Changed: {found}.")
print(f"Still so: {found}.")
PY
