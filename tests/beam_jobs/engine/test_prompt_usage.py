"""The recorded cost of a prompt."""

import time

from beam_jobs.engine.prompt_usage import PromptUsage
from beam_jobs.models.base import Image


def test_calls_images_bytes_and_waits_add_up():
    usage = PromptUsage()
    usage.add_call(throttled_s=0.5)
    usage.add_call(throttled_s=0.0)
    usage.add_refusal()
    usage.add_throttle(1.25)
    usage.add_images([Image(b"12345", "png", "image/png"), Image(b"123", "png", "image/png")])
    usage.add_images([])
    work = usage.work()
    assert (work.calls, work.quota_refusals, work.throttled_ms) == (2, 1, 1750)
    assert (work.images, work.bytes) == (2, 8)


def test_latency_runs_from_start_to_stop():
    usage = PromptUsage()
    time.sleep(0.3)
    before = time.monotonic()
    usage.start()
    time.sleep(0.02)
    usage.stop()
    most = (time.monotonic() - before) * 1000
    first = usage.work().latency_ms
    time.sleep(0.05)
    assert 20 <= first <= most
    assert usage.work().latency_ms == first
