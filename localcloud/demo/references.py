"""The pictures that the demo's edits show the model: plain shapes, easy to find in a landscape."""

import io
from collections.abc import Callable

from PIL import Image, ImageDraw

# The picture that is uploaded only after the prompt that shows it has failed.
LATE = "late.png"
_SIDE = 256


def reference_files() -> dict[str, bytes]:
    """Return the pictures that are there from the beginning, by name."""
    return {"ball.png": _png(_ball), "kite.png": _png(_kite), "stripes.png": _png(_stripes)}


def late_file() -> bytes:
    """Return the picture that comes too late."""
    return _png(_ring)


def _png(draw: Callable[[ImageDraw.ImageDraw], None]) -> bytes:
    picture = Image.new("RGB", (_SIDE, _SIDE), "#f2efe6")
    draw(ImageDraw.Draw(picture))
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def _ball(draw: ImageDraw.ImageDraw) -> None:
    draw.ellipse((40, 40, 216, 216), fill="#d62828")
    draw.ellipse((80, 70, 120, 110), fill="#f7a8a8")


def _kite(draw: ImageDraw.ImageDraw) -> None:
    draw.polygon([(128, 16), (212, 108), (128, 200), (44, 108)], fill="#f9c80e")
    draw.line([(128, 200), (100, 225), (140, 250)], fill="#33415c", width=8)


def _stripes(draw: ImageDraw.ImageDraw) -> None:
    for left in range(0, _SIDE, 64):
        draw.rectangle((left, 0, left + 31, _SIDE), fill="#1d4e89")


def _ring(draw: ImageDraw.ImageDraw) -> None:
    draw.ellipse((40, 40, 216, 216), outline="#2a9d4a", width=36)
