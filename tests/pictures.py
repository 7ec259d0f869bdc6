"""Small pictures that are whole, for tests that read or store them."""

import io
import struct
import zlib

from PIL import Image


def png(text: bytes = b"") -> bytes:
    """Return a whole PNG; `text` tells it from others."""
    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"tEXt", text), (b"IDAT", zlib.compress(b"\0\0")), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def encoded(kind: str, **options: object) -> bytes:
    """Return a whole picture in a format that Pillow writes."""
    out = io.BytesIO()
    Image.effect_noise((64, 48), 60).convert("RGB").save(out, kind, **options)
    return out.getvalue()
