"""`python -m bench.page_bytes`: what a browser loads of the page with 300 images in storage.

The page's app and the stand-in for Cloud Storage run beside a headless Chromium with an empty
cache, 1440 by 1100. The images are PNGs of 1024 by 1024 pixels, all of them different, and the
jobs' code makes their thumbnails. Prints a line of JSON: the bytes of a first visit, and those
after all images were shown and seen. To measure another version, run this file in its folder, with
`--without-thumbnails` if it has none.
"""

import argparse
import io
import json
import os
import shutil
import sys
import tempfile
import threading
import time
import types
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from PIL import Image

from beam_jobs.images import recent_index
from beam_jobs.images.location import PREDICTIONS, Location
from beam_jobs.outcomes import Prediction
from localcloud import __main__ as localcloud_cli
from localcloud.resources import Names
from localcloud.storage import ObjectStore

NAMES = Names()
IMAGES = 300
SIDE = 1024


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--without-thumbnails", action="store_true")
    with_thumbnails = not parser.parse_args().without_thumbnails
    with tempfile.TemporaryDirectory(prefix="imagen-bench-") as folder:
        store = ObjectStore(Path(folder, "storage"))
        store.create_bucket(NAMES.bucket)
        sizes = fill(store, with_thumbnails)
        store.close()
        options = ["--state", folder]
        if localcloud_cli.main([*options, "up", "--detach"]):
            return 1
        try:
            cloud = localcloud_cli.environment_of(Path(folder)) or {}
            os.environ |= environment(cloud["STORAGE_EMULATOR_HOST"])
            print(json.dumps({**sizes, **visit(serve())}), flush=True)
        finally:
            localcloud_cli.main([*options, "down"])
    return 0


def picture(n: int) -> bytes:
    """Return a PNG that compresses as badly as a photograph does."""
    noise = Image.effect_noise((SIDE, SIDE), 18 + n % 9)
    small = Image.effect_noise((8, 8), 200).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    image = Image.merge("RGB", (noise, small, Image.blend(noise, small, 0.8)))
    content = io.BytesIO()
    image.save(content, "PNG", compress_level=1)
    return content.getvalue()


def fill(store: ObjectStore, with_thumbnails: bool) -> dict[str, int]:
    """Store images as a job does; return the mean sizes of an image and of a thumbnail."""
    now, location = datetime.now(UTC), Location(NAMES.bucket, "images/")
    total = small = 0
    for n in range(IMAGES):
        at, digest = now - timedelta(seconds=IMAGES - n), f"{n * 2654435761 % 2**32:08x}{n:024x}"
        data, name = picture(n), f"{location.stem(digest)}-0.png"
        store.write(NAMES.bucket, name, data)
        total += len(data)
        if with_thumbnails:
            from beam_jobs.images.thumbnails import thumbnail_of

            thumbnail = thumbnail_of(data)
            small += len(thumbnail)
            store.write(NAMES.bucket, location.thumbnail(digest, 0), thumbnail)
        url = (location.url(name),)
        entry = recent_index.index_entry(
            Prediction(digest, "", digest, f"prompt {n}", url, "m", "stream", False, "", 4_200)
        ) | {"at": at.isoformat(timespec="milliseconds")}
        line = f"{9_999_999_999_999 - int(at.timestamp() * 1000):013d}-{'0' * 8}.jsonl"
        content = f"{json.dumps(entry)}\n".encode()
        store.write(NAMES.bucket, f"{location.index(PREDICTIONS)}{line}", content)
    return {"image_bytes": total // IMAGES, "thumbnail_bytes": small // IMAGES}


def environment(storage_url: str) -> dict[str, str]:
    """Return what the page's app needs to know of a deployment."""
    extra = {"project": NAMES.project, "is_anonymous": True}
    connection = {"conn_type": "google_cloud_platform", "extra": extra}
    return {
        "STORAGE_EMULATOR_HOST": storage_url,
        "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": json.dumps(connection),
        "IMAGEN_PROJECT": NAMES.project,
        "IMAGEN_REGION": "us-central1",
        "IMAGEN_BUCKET": NAMES.bucket,
        "IMAGEN_STREAM_TEMPLATE": f"gs://{NAMES.bucket}/templates/stream.json",
        "IMAGEN_BACKFILL_TEMPLATE": f"gs://{NAMES.bucket}/templates/backfill.json",
    }


def serve() -> str:
    """Serve the page to everybody on this machine until the process ends; return its address."""
    import uvicorn
    from fastapi import FastAPI

    from imagen_ops.ui.app import build
    from imagen_ops.ui.storage import Storage

    async def everybody(request: Any) -> Any:
        return types.SimpleNamespace(get_id=lambda: "ada", get_name=lambda: "ada")

    around = FastAPI()
    around.mount("/imagen", build(Storage(), everybody))
    server = uvicorn.Server(uvicorn.Config(around, port=0, log_level="warning"))
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.01)
    host, port = server.servers[0].sockets[0].getsockname()[:2]
    return f"http://{host}:{port}/imagen/"


def visit(url: str) -> dict[str, int]:
    """Return the bytes that a browser received, by what it had loaded."""
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        page = browser.new_context(viewport={"width": 1440, "height": 1100}).new_page()
        received: list[float] = []
        network = page.context.new_cdp_session(page)
        network.on("Network.loadingFinished", lambda e: received.append(e["encodedDataLength"]))
        network.send("Network.enable")
        page.goto(url)
        page.locator(".tile").first.wait_for()
        page.wait_for_load_state("networkidle")
        first = sum(received)
        shown = page.locator(".tile").count()
        while page.locator("#more").is_visible():
            before = page.locator(".tile").count()
            page.locator("#more").click()
            page.locator(".tile").nth(before).wait_for()
        for tile in page.locator(".tile").all():
            tile.scroll_into_view_if_needed()
        page.wait_for_load_state("networkidle")
        page.evaluate(
            "Promise.all([...document.images].map((i) => i.complete || i.decode().catch(() => 0)))"
        )
        result = {"first_visit": int(first), "tiles": shown, "all_seen": int(sum(received))}
        browser.close()
    return result


if __name__ == "__main__":
    sys.exit(main())
