"""How long to wait before a failed request is made again."""

import random

# Seconds of exponential backoff with full jitter: https://aws.amazon.com/blogs/architecture/
# exponential-backoff-and-jitter/. The maximum is about the time that one image takes.
BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 30.0


def backoff(attempts: int, retry_after_s: float | None, remaining_s: float) -> float | None:
    """Return the seconds to wait before the next attempt; None if the time for retries is over.

    The last attempt starts at the very end of that time, and not before the time that the service
    asked for. Like any call, it may then wait for a slot; with little quota, that takes longer.

    Args:
        attempts: how many attempts failed before this one.
        retry_after_s: how many seconds the service asks to wait, if it says so.
        remaining_s: seconds until the time for retries is over.
    """
    requested_s = retry_after_s or 0.0
    if remaining_s <= 0 or requested_s > remaining_s:
        return None
    max_pause_s = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2 ** min(attempts, 16))
    return min(remaining_s, max(random.uniform(0, max_pause_s), requested_s))  # noqa: S311 - jitter
