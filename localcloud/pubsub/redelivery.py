"""The redelivery decision: what happens to a message whose lease ends without an acknowledgement.

A dead-letter policy limits the attempts, and a retry policy delays them:
https://cloud.google.com/pubsub/docs/handling-failures. A message with an ordering key is delivered
again without delay, because the messages behind it wait for it.
"""

from localcloud.pubsub.entry import Entry, State
from localcloud.pubsub.settings import SubscriptionSettings


def after_lease(entry: Entry, settings: SubscriptionSettings) -> tuple[State, float]:
    """Return the message's next state, and the seconds until it is READY, 0 unless `DELAYED`."""
    dead_letter, retry = settings.dead_letter, settings.retry
    if dead_letter is not None and entry.attempts >= dead_letter.max_attempts:
        return State.EXHAUSTED, 0.0
    if retry is not None and not (settings.ordered and entry.message.ordering_key):
        return State.DELAYED, retry.delay_s(entry.attempts)
    return State.READY, 0.0
