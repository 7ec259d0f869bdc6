"""What a model embeds in an image, such as C2PA's manifest, is stored as it came."""

import base64
import io
import random
import struct
import zlib
from typing import Any

import pytest
from aiohttp import web
from PIL import Image

from beam_jobs.images.thumbnails import thumbnail_of
from beam_jobs.models.gemini import GeminiModel
from beam_jobs.outcomes import Prediction
from tests.beam_jobs.engine import test_generate
from tests.pictures import encoded, png

pytestmark = pytest.mark.asyncio
generator = test_generate.generator

# A box of JUMBF, which C2PA's manifests are made of: its length, `jumb`, and a description.
MANIFEST = b"\0\3\0\0jumb\0\0\0\x1ejumdc2pa" + random.Random(1).randbytes(0x30000 - 18)
# https://spec.c2pa.org/specifications/specifications/2.2/specs/C2PA_Specification.html#_embedding_manifests_into_jpeg
# and ISO 19566-5, D.2: each segment has at most 65,533 bytes, and begins with the box's head.
SEGMENT_BYTES = 60_000


def png_with_manifest() -> bytes:
    """Return a PNG whose chunk `caBX`, as C2PA places it, stands before the pixels."""
    plain = png(b"a fox")
    at = plain.index(b"IDAT") - 4
    chunk = b"caBX" + MANIFEST
    return (
        plain[:at]
        + struct.pack(">I", len(MANIFEST))
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + plain[at:]
    )


def jpeg_with_manifest() -> bytes:
    """Return a JPEG with the manifest in segments of APP11 behind its beginning."""
    segments = b""
    for number, start in enumerate(range(8, len(MANIFEST), SEGMENT_BYTES), 1):
        content = b"JP" + struct.pack(">HI", 1, number) + MANIFEST[:8]
        content += MANIFEST[start : start + SEGMENT_BYTES]
        segments += b"\xff\xeb" + struct.pack(">H", len(content) + 2) + content
    plain = encoded("JPEG")
    return plain[:2] + segments + plain[2:]


IMAGES = {"png": png_with_manifest(), "jpg": jpeg_with_manifest()}
both = pytest.mark.parametrize("kind", IMAGES)


@pytest.fixture
def model_that_answers(cloud, session, serve, monkeypatch, predict_model):
    """Return a function that gives a model whose answers are one image, by its protocol."""

    async def make(protocol: str, data: bytes) -> Any:
        text = base64.b64encode(data).decode()
        inline = {"inlineData": {"mimeType": "image/png", "data": text}}
        content = {"content": {"parts": [inline]}, "finishReason": "STOP"}
        answers = {
            "gemini": {"candidates": [content]},
            "predict": {"predictions": [{"bytesBase64Encoded": text, "mimeType": "image/png"}]},
        }

        async def handler(_: web.Request) -> web.Response:
            return web.json_response(answers[protocol])

        url = await serve(handler)
        if protocol == "predict":
            return predict_model(url)
        monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", url)
        name = "gemini-3.1-flash-image"
        return GeminiModel(session, model=name, project="p", location="global", timeout_s=60)

    return make


@both
@pytest.mark.parametrize("protocol", ["gemini", "predict"])
async def test_the_stored_object_has_the_bytes_that_the_model_sent(
    generator, lane, prompt_of, model_that_answers, kind, protocol
):
    sent = IMAGES[kind]
    model = await model_that_answers(protocol, sent)
    outcome = await generator(model).outcome(prompt_of("a fox"))
    assert isinstance(outcome, Prediction), outcome
    (stored,) = [data for name, data in lane.objects("images/").items() if name.endswith(kind)]
    assert stored == sent


@both
async def test_a_thumbnail_has_none_of_it(kind):
    assert b"jumb" in IMAGES[kind]
    small = thumbnail_of(IMAGES[kind])
    assert b"jumb" not in small
    assert b"C2PA" not in small
    with Image.open(io.BytesIO(small)) as image:
        image.load()
