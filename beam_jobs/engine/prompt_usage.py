"""Adds up what the work on one prompt costs."""

import time

from beam_jobs.images.receipt import Receipt
from beam_jobs.models.base import Image
from beam_jobs.models.bill import Bill
from beam_jobs.outcomes import Work


class PromptUsage:
    """The running totals of one prompt: calls, images, bytes and time.

    Attributes:
        model_version: the model that answered last, as its answer names it; empty if none does.
        paid_before: whether the prompt's own delivery has paid for the images that were found.
    """

    def __init__(self) -> None:
        self.calls = 0
        self._refusals = 0
        self._images = 0
        self._bytes = 0
        self._throttled_s = 0.0
        self._usd = 0.0
        self._unpriced_calls = 0
        self._tokens = [0, 0, 0]  # input, text, image
        self._tier = ""
        self._other_model = False
        self.model_version = ""
        self.paid_before = False
        self._started = time.monotonic()
        self._stopped: float | None = None

    def start(self) -> None:
        """Start the latency clock. Waiting before this is not part of the latency."""
        self._started = time.monotonic()

    def stop(self) -> None:
        """Stop the latency clock."""
        self._stopped = time.monotonic()

    def add_call(self, throttled_s: float) -> None:
        """Count a model call that waited `throttled_s` seconds for quota."""
        self.calls += 1
        self._throttled_s += throttled_s

    def add_refusal(self) -> None:
        """Count a model call that was refused for quota."""
        self._refusals += 1

    def add_throttle(self, seconds: float) -> None:
        """Add seconds that the prompt waits for quota."""
        self._throttled_s += seconds

    def add_bill(self, bill: Bill) -> None:
        """Add what a call cost."""
        self._usd += bill.usd or 0.0
        self._unpriced_calls += bill.usd is None
        for kind, tokens in enumerate((bill.input_tokens, bill.text_tokens, bill.image_tokens)):
            self._tokens[kind] += tokens
        self._tier = bill.tier or self._tier
        self.model_version = bill.model_version or self.model_version

    def add_receipt(self, receipt: Receipt | None, payer: str) -> None:
        """Add what the same delivery has paid before, and could not tell.

        An earlier try has, whose worker died; or batch inference, in the delivery's name.

        Args:
            receipt: of the images that were found; None if they have none.
            payer: the delivery.
        """
        if receipt is None or not payer or receipt.paid_by != payer:
            return
        self.paid_before = True
        paid = receipt.work
        self._usd += paid.cost_usd
        self._unpriced_calls += paid.unpriced_calls
        self._tier = self._tier or paid.tier
        for kind, tokens in enumerate((paid.input_tokens, paid.text_tokens, paid.image_tokens)):
            self._tokens[kind] += tokens

    def add_other_model(self) -> None:
        """Note that another model answered than the one that was asked."""
        self._other_model = True

    def add_images(self, images: list[Image]) -> None:
        """Count images that the model generated and charges for."""
        self._images += len(images)
        self._bytes += sum(len(image.data) for image in images)

    def work(self) -> Work:
        """Return the totals so far."""
        input_tokens, text_tokens, image_tokens = self._tokens
        return Work(
            cost_usd=self._usd,
            unpriced_calls=self._unpriced_calls,
            input_tokens=input_tokens,
            text_tokens=text_tokens,
            image_tokens=image_tokens,
            tier=self._tier,
            other_model=self._other_model,
            images=self._images,
            bytes=self._bytes,
            calls=self.calls,
            quota_refusals=self._refusals,
            throttled_ms=int(self._throttled_s * 1000),
            latency_ms=int(((self._stopped or time.monotonic()) - self._started) * 1000),
        )
