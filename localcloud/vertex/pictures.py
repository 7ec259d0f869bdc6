"""Draws a picture for a prompt: a landscape under a sky, with the prompt as its caption.

On one machine the same request always gives the same bytes, so that tests can verify which prompt a
picture belongs to.
"""

import functools
import hashlib
import io
import math
import random
import struct
import textwrap
import zlib

from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps
from text_unidecode import unidecode

# Sky above, sky at the horizon, sun and nearest hill, for times of day and seasons.
_PALETTES = (
    ("#0b1d51", "#f4a261", "#ffe8b0", "#1d2d44"),  # dusk
    ("#4aa3df", "#e8f6ff", "#fff6c8", "#2f6f4f"),  # noon
    ("#3c1053", "#ad5389", "#ffd3e0", "#2a0a3b"),  # plum
    ("#134e5e", "#a8e6b0", "#fdfbd3", "#0f3d33"),  # spring
    ("#1a2a6c", "#fdbb2d", "#fff2c2", "#5b1a2b"),  # sunrise
    ("#bdc3c7", "#f5f7fa", "#ffffff", "#4b5d67"),  # mist
    ("#0f2027", "#4c7a8f", "#e6f3f7", "#0a1418"),  # night
    ("#c94b4b", "#ffd89b", "#fff4da", "#4b134f"),  # autumn
)
_LONG_SIDE = {"512": 512, "1K": 1024, "2K": 2048, "4K": 4096}
# Drawn small and then enlarged: a picture takes some 30 ms instead of 150, and looks soft.
_DRAWN_SIDE = 512
_CAPTION_CHARS = 220
_HUNG_SIDE = 128
_FONTS = (
    None,
    "DejaVuSans.ttf",
    "NotoSansCJK-Regular.ttc",
    "NotoSansDevanagari-Regular.ttf",
    "NotoSansArabic-Regular.ttf",
)


def draw(
    text: str,
    *,
    model: str,
    index: int = 0,
    seed: int | None = None,
    aspect_ratio: str = "1:1",
    image_size: str = "1K",
    references: tuple[bytes, ...] = (),
) -> bytes:
    """Draw a picture.

    Args:
        text: the prompt, which becomes the caption.
        model: the model's name, for the signature.
        index: the number of the picture among those for the same prompt.
        seed: replaces `index` in the signature.
        aspect_ratio: width to height, such as `16:9`.
        image_size: `1K`, `2K` or `4K`: 1,024, 2,048 or 4,096 pixels on the longer side.
        references: small pictures that the model was shown, which hang in a row at the top.

    Returns:
        A PNG.

    Raises:
        ValueError, ZeroDivisionError: the aspect ratio is invalid.
    """
    key = repr((text, model, index, seed)).encode("utf-8")
    chance = random.Random(hashlib.sha256(key).digest())  # noqa: S311 - a picture, not a secret
    across, down = (int(part) for part in aspect_ratio.split(":"))
    scale = _DRAWN_SIDE / max(across, down)
    small = (max(64, round(across * scale)), max(64, round(down * scale)))
    picture = _landscape(small, chance)
    factor = _LONG_SIDE.get(image_size, 1024) / _DRAWN_SIDE
    picture = picture.resize(
        (round(small[0] * factor), round(small[1] * factor)), Image.Resampling.BICUBIC
    )
    _hang(picture, references)
    _caption(picture, text, f"{model}, {index}" if seed is None else f"{model}, seed {seed}")
    out = io.BytesIO()
    picture.save(out, "PNG", compress_level=1)
    return out.getvalue()


def small(data: bytes) -> bytes:
    """Return a picture small enough to hang in another, as PNG.

    Raises:
        ValueError: `data` is no picture.
    """
    try:
        with Image.open(io.BytesIO(data)) as picture:
            picture.thumbnail((_HUNG_SIDE, _HUNG_SIDE))
            out = io.BytesIO()
            picture.convert("RGB").save(out, "PNG")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError("no picture") from error
    return out.getvalue()


def _hang(picture: Image.Image, references: tuple[bytes, ...]) -> None:
    gap = max(picture.size) // 40
    side = (picture.width - gap) // max(4, len(references)) - gap
    for number, data in enumerate(references):
        with Image.open(io.BytesIO(data)) as hung:
            framed = ImageOps.expand(ImageOps.fit(hung, (side, side)), gap // 6, "#ffffff")
        picture.paste(framed, (gap + number * (side + gap), gap))


def canned(size_bytes: int) -> bytes:
    """Return a valid PNG of exactly `size_bytes`, for load tests that drawing would slow down."""
    out = io.BytesIO()
    Image.new("RGB", (64, 64), "#4aa3df").save(out, "PNG")
    start, end = out.getvalue()[:-12], out.getvalue()[-12:]
    padding = random.Random(0).randbytes(max(0, size_bytes - len(start) - len(end) - 12))  # noqa: S311
    chunk = b"pdNG" + padding  # an ancillary, private chunk, which decoders ignore
    return (
        start + struct.pack(">I", len(padding)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + end
    )


def cut_jpeg() -> bytes:
    """Return the first half of a JPEG."""
    out = io.BytesIO()
    Image.new("RGB", (64, 64), "#4aa3df").save(out, "JPEG")
    return out.getvalue()[: out.tell() // 2]


def _landscape(size: tuple[int, int], chance: random.Random) -> Image.Image:
    width, height = size
    above, horizon, sun, near = chance.choice(_PALETTES)
    picture = Image.new("RGB", (1, 2))
    picture.putpixel((0, 0), _rgb(above))
    picture.putpixel((0, 1), _rgb(horizon))
    picture = picture.resize(size, Image.Resampling.BILINEAR)

    glow = Image.new("L", size, 0)
    radius = chance.uniform(0.06, 0.13) * min(size)
    x, y = chance.uniform(0.15, 0.85) * width, chance.uniform(0.15, 0.5) * height
    painter = ImageDraw.Draw(glow)
    painter.ellipse((x - 2 * radius, y - 2 * radius, x + 2 * radius, y + 2 * radius), fill=90)
    glow = glow.filter(ImageFilter.GaussianBlur(radius / 2))
    ImageDraw.Draw(glow).ellipse((x - radius, y - radius, x + radius, y + radius), fill=240)
    picture.paste(Image.new("RGB", size, sun), mask=glow)

    painter = ImageDraw.Draw(picture)
    layers = chance.randint(3, 5)
    for layer in range(layers):
        nearness = (layer + 1) / layers
        base = height * (0.45 + 0.4 * nearness)
        waves = [
            (chance.uniform(0.5, 3.5) * (layer + 1) / 2, chance.uniform(0, math.tau), share)
            for share in (0.6, 0.3, 0.1)
        ]
        swell = height * chance.uniform(0.06, 0.14)
        ridge = [
            (
                px,
                base
                + swell
                * sum(
                    share * math.sin(math.tau * cycles * px / width + phase)
                    for cycles, phase, share in waves
                ),
            )
            for px in range(0, width + 8, 8)
        ]
        painter.polygon([*ridge, (width, height), (0, height)], fill=_mix(horizon, near, nearness))
    return picture


def _caption(picture: Image.Image, text: str, signature: str) -> None:
    width, height = picture.size
    unit = min(width, height)
    text = " ".join(text.split())
    text = text if len(text) <= _CAPTION_CHARS else text[: _CAPTION_CHARS - 3] + "..."
    text, font = _legible(text, max(12, unit // 22))
    lines = textwrap.wrap(text, max(8, int(width * 0.9 / font.getlength("n")))) or [""]
    lines = lines[: max(1, int(height * 0.5 / (font.size * 1.35)))]
    line_height = int(font.size * 1.35)
    panel = line_height * len(lines) + unit // 12
    shade = Image.new("L", (1, panel))
    for row in range(panel):
        shade.putpixel((0, row), int(190 * min(1.0, row / (panel * 0.35))))
    picture.paste(
        Image.new("RGB", (width, panel), "#10131a"),
        (0, height - panel),
        shade.resize((width, panel)),
    )
    painter = ImageDraw.Draw(picture)
    top = height - line_height * len(lines) - unit // 22
    for row, line in enumerate(lines):
        painter.text((width * 0.05, top + row * line_height), line, font=font, fill="#ffffff")
    small = _font(None, max(9, unit // 50))
    painter.text((width * 0.05, height - unit // 30), signature, font=small, fill="#c8d0dc")


def _legible(text: str, size: int) -> tuple[str, ImageFont.FreeTypeFont]:
    """Return `text` and a font that has its letters; transliterate `text` if there is none.

    Pillow's own font covers ASCII. Which other fonts exist depends on the machine.
    """
    for name in _FONTS:
        try:
            font = _font(name, size)
        except OSError:
            continue
        if all(_has(font, letter) for letter in set(text)):
            return text, font
    return unidecode(text).strip() or "...", _font(None, size)


@functools.lru_cache(maxsize=10_000)
def _has(font: ImageFont.FreeTypeFont, letter: str) -> bool:
    # A missing letter is drawn as the same box as U+10FFFF, which is never a letter.
    return letter.isspace() or bytes(font.getmask(letter)) != bytes(font.getmask("\U0010ffff"))


@functools.lru_cache(maxsize=64)
def _font(name: str | None, size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.truetype(name, size) if name else ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _mix(far: str, near: str, nearness: float) -> tuple[int, int, int]:
    a, b = _rgb(far), _rgb(near)
    r, g, bl = (round(x + (y - x) * nearness**0.8) for x, y in zip(a, b, strict=True))
    return r, g, bl
