"""Holds back what would be paid for while storage refuses every write.

An image that cannot be stored is paid for in vain, unless storage accepts it in time. So while
nothing is accepted, no further call to a model starts; prompts wait, as backlog.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

_log = logging.getLogger(__name__)

# An accepted write shows for so many seconds that storage accepts writes. With a share of errors
# among many writes, another one is accepted meanwhile.
QUIET_S = 1.0
# A gate that is closed for so many seconds is worth a line in the log; an error that a retry
# survives is not.
LOG_AFTER_S = 5.0
# Seconds between two attempts to write, while the gate is closed and somebody waits.
PROBE_EVERY_S = 5.0


class WriteGate:
    """Whether storage accepts writes now. Use it from one event loop only.

    Args:
        probe: tries to write something, and notes the outcome here. Raises nothing.
    """

    def __init__(self, probe: Callable[[], Awaitable[None]]) -> None:
        self._probe = probe
        self._probing = asyncio.Lock()
        self._open = asyncio.Event()
        self._open.set()
        self._accepted_at = float("-inf")
        self._closed_at = 0.0
        self._reported = False

    @property
    def closed(self) -> bool:
        """Whether storage refuses every write, as far as is known."""
        return not self._open.is_set()

    @property
    def proven(self) -> bool:
        """Whether storage accepted a write just now."""
        return time.monotonic() - self._accepted_at < QUIET_S

    def accepted(self) -> None:
        """Note that storage accepted a write."""
        self._accepted_at = time.monotonic()
        self._open.set()
        if self._reported:
            self._reported = False
            closed_s = self._accepted_at - self._closed_at
            _log.warning("storage accepts writes again, after %.0f s", closed_s)

    def refused(self, why: str) -> None:
        """Note that storage refused a write, or did not answer it.

        Args:
            why: the error, for the log.
        """
        now = time.monotonic()
        if not self.closed and not self.proven:
            self._open.clear()
            self._closed_at = now
        if self.closed and not self._reported and now - self._closed_at >= LOG_AFTER_S:
            self._reported = True
            _log.warning(
                "storage has refused every write for %.0f s: %s. Until it accepts one, nothing "
                "more is paid for, and prompts wait; images that are paid for are tried again",
                now - self._closed_at,
                why.rstrip(". "),
            )

    async def wait(self) -> None:
        """Wait until storage accepts writes. Of those who wait, one tries now and then."""
        while self.closed:
            async with self._probing:
                try:
                    async with asyncio.timeout(PROBE_EVERY_S):
                        await self._open.wait()
                except TimeoutError:
                    await self._probe()
