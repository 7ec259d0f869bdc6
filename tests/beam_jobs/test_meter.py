"""What a prompt is said to have cost."""

import time

from beam_jobs.meter import Meter
from beam_jobs.models.base import Image


def test_calls_images_bytes_and_waits_add_up():
    meter = Meter()
    meter.called(throttled_s=0.5)
    meter.called(throttled_s=0.0)
    meter.refused()
    meter.throttled(1.25)
    meter.made([Image(b"12345", "png", "image/png"), Image(b"123", "png", "image/png")])
    meter.made([])
    work = meter.work()
    assert (work.calls, work.quota_refusals, work.throttled_ms) == (2, 1, 1750)
    assert (work.images, work.bytes) == (2, 8)


def test_latency_runs_from_the_prompts_turn_to_its_end():
    meter = Meter()
    time.sleep(0.3)
    before = time.monotonic()
    meter.start()
    time.sleep(0.02)
    meter.stop()
    most = (time.monotonic() - before) * 1000
    first = meter.work().latency_ms
    time.sleep(0.05)
    assert 20 <= first <= most
    assert meter.work().latency_ms == first
