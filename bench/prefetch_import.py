"""`python -m bench.prefetch_import`: how fast a batch's output is imported, and in what memory.

The storage is a process of its own on the same cores, which makes the output as it is read and
forgets the images. `floor` does no more than it has to: it reads the same ranges with the same
client, cuts them into rows, decodes each as the import does, and stores the images, with as much
at once; it checks nothing, records nothing, and knows no Beam. `orjson` is the same with a plain
`orjson.loads`. `import` is the job, from its options to its end. They take turns. `beam` only
reads, with Beam's own `ReadAllFromText`, and of fewer rows.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
import orjson
from gcloud.aio.storage import Storage
from google.cloud import storage

from beam_jobs.engine.process_memory import bound_arenas
from beam_jobs.models.answer_json import decode_around_pictures
from beam_jobs.models.pictures import decode_base64
from beam_jobs.prefetch.importer import IMAGES_AT_ONCE, RANGES_AT_ONCE
from beam_jobs.prefetch.line_ranges import FileRange, lines_in, ranges_of
from beam_jobs.prefetch.request_row import label_of
from bench.batch_output import BUCKET, FILE_ROWS, FOLDER, IMAGES, Output
from bench.local_cloud import local_cloud
from bench.processes import cpu_s, peak_mb
from localcloud.resources import Names

# One file: at its pace, more would take minutes.
READ_BY_BEAM = FILE_ROWS


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000, help="default: %(default)s")
    parser.add_argument("--image-bytes", type=int, default=2_000_000, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--orjson", action="store_true", help="measure the floor with orjson too")
    parser.add_argument("--beam", action="store_true", help="measure Beam's own reading too")
    parser.add_argument("--run", choices=WAYS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        started, cpu = time.monotonic(), time.process_time()
        WAYS[given.run](given)
        seconds = time.monotonic() - started
        rows = min(given.rows, READ_BY_BEAM) if given.run == "beam" else given.rows
        figures = {
            "way": given.run,
            "rows_per_s": round(rows / seconds, 1),
            "cpu_ms_per_row": round(1000 * (time.process_time() - cpu) / rows, 1),
            "peak_mb": round(peak_mb(os.getpid())),
        }
        print(json.dumps(figures), flush=True)
        return 0
    with local_cloud():
        put_order(Output(given.rows, given.image_bytes))
        with made_output(given) as (url, pid):
            measure(given, url, pid)
    return 0


def put_order(output: Output) -> None:
    """Write what a prefetch has ordered, as its task does."""
    bucket = storage.Client(project=Names.project).bucket(BUCKET)
    name = FOLDER.parts.removeprefix(f"gs://{BUCKET}/")
    bucket.blob(name).upload_from_string(output.prepared())
    manifest = FOLDER.part("try", 0).manifest.removeprefix(f"gs://{BUCKET}/")
    with bucket.blob(manifest).open("wb") as file:
        for line in output.manifest():
            file.write(line)


@contextmanager
def made_output(given: argparse.Namespace) -> Iterator[tuple[str, int]]:
    """Run the storage that makes the output; yield its URL and its process id."""
    command = [sys.executable, "-m", "bench.batch_output", f"--rows={given.rows}"]
    command += [f"--image-bytes={given.image_bytes}"]
    command += [f"--upstream={os.environ['STORAGE_EMULATOR_HOST']}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        yield process.stdout.readline().strip(), process.pid
    finally:
        process.terminate()
        process.wait()


def measure(given: argparse.Namespace, url: str, server: int) -> None:
    """Let the ways take turns, and print their figures and how they compare."""
    shares = []
    for number in range(given.rounds):
        # Each begins as often as the other.
        ways = ["floor", "import"] if number % 2 == 0 else ["import", "floor"]
        figures = {way: measured(way, given, url, server) for way in ways}
        shares.append(figures["import"]["rows_per_s"] / figures["floor"]["rows_per_s"])
    for way in ("orjson", "beam"):
        if getattr(given, way):
            measured(way, given, url, server)
    shown = ", ".join(f"{share:.2f}" for share in shares)
    print(f"import compared with floor: {statistics.median(shares):.2f} (median of {shown})")


def measured(way: str, given: argparse.Namespace, url: str, server: int) -> dict[str, Any]:
    """Run one way in a process of its own, print its figures, and return them."""
    before = cpu_s(server)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "bench.prefetch_import", f"--run={way}"),
            *(f"--rows={given.rows}", f"--image-bytes={given.image_bytes}"),
        ],
        env={**os.environ, "STORAGE_EMULATOR_HOST": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    line = json.loads(done.stdout.splitlines()[-1])
    line["storage_cpu_s"] = round(cpu_s(server) - before, 1)
    print(json.dumps(line), flush=True)
    return dict(line)


def run_import(_: argparse.Namespace) -> None:
    from beam_jobs import prefetch_import

    options = [f"--prefetch={FOLDER.url}", f"--images_output_location={IMAGES}"]
    options += ["--thumbnails=off", f"--project={Names.project}"]
    if prefetch_import.main(options):
        raise SystemExit("the import failed")


def run_floor(given: argparse.Namespace) -> None:
    bound_arenas()
    asyncio.run(floor(Output(given.rows, given.image_bytes), decode_around_pictures))


def run_orjson(given: argparse.Namespace) -> None:
    bound_arenas()
    asyncio.run(floor(Output(given.rows, given.image_bytes), orjson.loads))


async def floor(output: Output, decode: Callable[[bytes], Any]) -> None:
    ranges, images = asyncio.Semaphore(RANGES_AT_ONCE), asyncio.Semaphore(IMAGES_AT_ONCE)
    uploads = asyncio.Semaphore(16)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        client = Storage(session=session)

        async def store(name: str, data: bytes) -> None:
            async with uploads:
                await client.upload(
                    BUCKET,
                    f"bench/images/{name[:2]}/{name}.png",
                    data,
                    content_type="image/png",
                    parameters={"ifGenerationMatch": "0"},
                    timeout=60,
                    force_resumable_upload=False,
                )
            images.release()

        async def take(name: str, part: FileRange) -> None:
            async def read(start: int, end: int) -> bytes:
                headers = {"Range": f"bytes={start}-{end - 1}"}
                return bytes(await client.download(BUCKET, name, headers=headers, timeout=60))

            async with ranges, asyncio.TaskGroup() as storing:
                async for line in lines_in(part, read):
                    assert line.data is not None
                    row = decode(line.data)
                    inline = row["response"]["candidates"][0]["content"]["parts"][0]["inlineData"]
                    data = decode_base64(inline["data"])
                    await images.acquire()
                    storing.create_task(store(label_of(row["request"]) or "", data))

        async with asyncio.TaskGroup() as taking:
            for name, size in output.sizes().items():
                for part in ranges_of(f"gs://{BUCKET}/{name}", size):
                    taking.create_task(take(name, part))


def run_beam(given: argparse.Namespace) -> None:
    """Count lines with Beam's own reading, which is the least that could be built on it."""
    import apache_beam as beam
    from apache_beam.coders import BytesCoder
    from apache_beam.io.textio import ReadAllFromText
    from apache_beam.testing.util import assert_that, equal_to

    output = Output(min(given.rows, READ_BY_BEAM), given.image_bytes)
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        lengths = (
            pipeline
            | beam.Create([f"gs://{BUCKET}/{name}" for name in output.sizes()])
            | ReadAllFromText(coder=BytesCoder(), desired_bundle_size=128 << 20)
            | beam.Map(len)
            | beam.CombineGlobally(sum)
        )
        expected = sum(output.sizes().values()) - output.rows
        assert_that(lengths, equal_to([expected]))


WAYS = {"floor": run_floor, "orjson": run_orjson, "import": run_import, "beam": run_beam}

if __name__ == "__main__":
    sys.exit(main())
