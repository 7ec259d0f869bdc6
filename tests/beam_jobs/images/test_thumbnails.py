"""Thumbnails: what they look like, of what there are none, and that nothing waits for them."""

import io
import logging
import threading
import zlib
from types import SimpleNamespace

import pytest
from PIL import Image

from beam_jobs.images import thumbnails
from beam_jobs.images.location import Location
from beam_jobs.images.thumbnails import NoThumbnailError, Thumbnails, thumbnail_of

DIGEST = "ab" * 16


def picture(size=(400, 300), kind="PNG", mode="RGB", **options):
    content = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert(mode).save(content, kind, **options)
    return content.getvalue()


def opened(data):
    image = Image.open(io.BytesIO(data))
    image.load()
    assert image.format == "WEBP"
    return image


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize(
    ("size", "small"),
    [((1024, 1024), (320, 320)), ((1600, 400), (320, 80)), ((3, 3000), (1, 320)), ((9, 9), (9, 9))],
)
def test_a_thumbnail_is_a_small_webp_of_the_same_shape(kind, size, small):
    assert opened(thumbnail_of(picture(size, kind))).size == small


@pytest.mark.parametrize(
    ("mode", "result"),
    [("RGBA", "RGBA"), ("LA", "RGBA"), ("P", "RGB"), ("1", "RGB"), ("I;16", "RGB"), ("L", "RGB")],
)
def test_every_kind_of_png_has_one(mode, result):
    image = opened(thumbnail_of(picture(mode=mode)))
    # WebP leaves out an alpha channel that says nothing.
    assert image.mode in (result, "RGB")


def claiming(width, height):
    """A PNG of a few bytes that claims to be of that size."""
    data = bytearray(picture((1, 1)))
    data[16:24] = width.to_bytes(4) + height.to_bytes(4)
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not a whole image"),
        (b"GIF89a" + b"\0" * 99, "not a whole image"),
        (picture()[:500], "not a whole image"),
        (claiming(5000, 5000), "5000 by 5000 pixels, over 20,971,520"),
        (claiming(2**31 - 1, 2**31 - 1), "far over"),
        (picture(kind="BMP"), "not a whole image"),
    ],
)
def test_of_anything_else_there_is_none(data, why):
    with pytest.raises(NoThumbnailError, match=why):
        thumbnail_of(data)


@pytest.fixture
def maker(lane):
    location = Location.parse(lane.images_location)
    made = Thumbnails(location)
    yield made
    made.close(30)


def add(maker, lane, data, index=0):
    lane.put(f"images/ab/{DIGEST}-{index}.png", data)
    maker.add(DIGEST, index, f"{lane.name}/images/ab/{DIGEST}-{index}.png")


def test_an_image_gets_its_thumbnail_beside_it_and_a_broken_one_is_counted(lane, maker, caplog):
    secret = b"a fox that nobody may read of in a log"
    add(maker, lane, picture())
    add(maker, lane, secret, 1)
    add(maker, lane, picture(), 0)  # once more
    maker.add(DIGEST, 2, f"{lane.name}/images/ab/{DIGEST}-2.png")  # deleted since
    add(maker, lane, picture(), 3)
    maker.close(60)
    assert maker.counted() == {"thumbnails_made": 3, "thumbnails_missed": 2}
    assert maker.counted() == {}
    assert sorted(lane.objects("images/thumbnails/")) == [
        f"images/thumbnails/ab/{DIGEST}-{index}.webp" for index in (0, 3)
    ]
    (record,) = [record for record in caplog.records if record.name == thumbnails.__name__]
    assert record.levelno == logging.WARNING
    assert secret.decode() not in caplog.text


def test_nothing_waits_for_a_maker_that_hangs_and_what_waits_is_bounded(monkeypatch):
    hang, hung = threading.Event(), threading.Event()

    def make(*_):
        hung.set()
        hang.wait(60)

    monkeypatch.setattr(Thumbnails, "_make", make)
    monkeypatch.setattr(thumbnails, "MAX_WAITING", 5)
    maker = Thumbnails(Location("b", "images/"))
    maker.add(DIGEST, 0, "first")
    assert hung.wait(60)
    for _ in range(20):
        maker.add(DIGEST, 0, "image")
    assert maker.counted() == {"thumbnails_missed": 15}
    maker.close(0.01)
    assert not maker._waiting
    hang.set()
    maker._thread.join(60)
    assert not maker._thread.is_alive()


def test_a_thread_that_cannot_start_fails_no_prompt(monkeypatch, caplog):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    Thumbnails(Location("b", "images/")).add(DIGEST, 0, "image")
    assert "can't start new thread" in caplog.text


class Clocks:
    """Those of a process whose other threads compute for a share of the time.

    Args:
        busy: that share, of one core.
    """

    def __init__(self, busy):
        self._busy = busy
        self.passed = self.thread = self.process = 10.0

    def pass_by(self, seconds, computing=False):
        self.passed += seconds
        self.process += seconds * (self._busy + computing)
        self.thread += seconds * computing


@pytest.mark.parametrize(
    ("busy", "requests_s", "max_share", "takes_s"),
    [
        (0.0, 0.0, 0.25, 2.0),
        (0.0, 0.7, 0.25, 2.0),
        (0.0, 9.0, 0.25, 9.5),
        (0.5, 0.0, 0.25, 4.0),
        (0.9, 0.0, 0.25, 20.0),
        (1.7, 0.0, 0.25, 50.0),
        (1.7, 0.0, 1.0, 0.5),
    ],
    ids=[
        "a quarter of the time",
        "requests count",
        "slow requests leave enough",
        "a quarter of what is left",
        "less if there is less",
        "a hundredth if nothing is left",
        "an import never rests",
    ],
)
def test_half_a_second_of_computing_takes_as_long_as_prompts_need(
    monkeypatch, busy, requests_s, max_share, takes_s
):
    clocks, done = Clocks(busy), threading.Event()
    maker = Thumbnails(Location("b", "images/"), max_share=max_share)

    def make(*_):
        if done.is_set():
            return
        done.set()
        clocks.pass_by(0.5, computing=True)
        clocks.pass_by(requests_s)

    monkeypatch.setattr(Thumbnails, "_make", make)
    monkeypatch.setattr(maker._closing, "wait", clocks.pass_by)
    monkeypatch.setattr(
        thumbnails,
        "time",
        SimpleNamespace(
            monotonic=lambda: clocks.passed,
            process_time=lambda: clocks.process,
            thread_time=lambda: clocks.thread,
        ),
    )
    maker.add(DIGEST, 0, "image")
    assert done.wait(60)
    maker.wait(60)
    maker.close(60)
    assert clocks.passed - 10.0 == pytest.approx(takes_s, abs=thumbnails._LOOK_EVERY_S)
