"""What the work on one prompt costs, as it goes on."""

import time

from beam_jobs.models.base import Image
from beam_jobs.outcomes import Work


class PromptUsage:
    """Calls, images, bytes and time of one prompt."""

    def __init__(self) -> None:
        self.calls = 0
        self._refusals = 0
        self._images = 0
        self._bytes = 0
        self._throttled_s = 0.0
        self._started = time.monotonic()
        self._stopped: float | None = None

    def start(self) -> None:
        """The prompt's turn has come; waiting for it is not its latency."""
        self._started = time.monotonic()

    def stop(self) -> None:
        """The prompt is done."""
        self._stopped = time.monotonic()

    def add_call(self, throttled_s: float) -> None:
        """A model call begins, after quota held it up for `throttled_s`."""
        self.calls += 1
        self._throttled_s += throttled_s

    def add_refusal(self) -> None:
        """A model call was answered that there is no quota for it."""
        self._refusals += 1

    def add_throttle(self, seconds: float) -> None:
        """Quota holds the prompt up for so long."""
        self._throttled_s += seconds

    def add_images(self, images: list[Image]) -> None:
        """The model made, and charges for, `images`."""
        self._images += len(images)
        self._bytes += sum(len(image.data) for image in images)

    def work(self) -> Work:
        """Return the sums so far."""
        return Work(
            images=self._images,
            bytes=self._bytes,
            calls=self.calls,
            quota_refusals=self._refusals,
            throttled_ms=int(self._throttled_s * 1000),
            latency_ms=int(((self._stopped or time.monotonic()) - self._started) * 1000),
        )
