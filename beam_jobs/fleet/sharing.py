"""Shares a rate of calls among those who can use it. Pure.

Nobody gets more than it can use while others want more, and all who want more get the same
(max-min fairness: Bertsekas and Gallager, Data Networks, section 6.5.2). So one number says what
everybody gets, however many they are.
"""

import dataclasses
from collections.abc import Iterable

# This share of a rate is kept for workers that have just become busy. They start with a little of
# it, and get their part within seconds.
RESERVE = 0.01


@dataclasses.dataclass(frozen=True, slots=True)
class Level:
    """What everybody gets of a rate, in calls per second.

    Args:
        most: nobody gets more of what others want too.
        spare: what everybody gets besides, because nobody wants it; also what a newcomer gets.
    """

    most: float
    spare: float

    def share(self, wants: float | None) -> float:
        """Return a worker's share, in calls per second.

        Args:
            wants: calls that it could start per second; None: it has not been heard yet.
        """
        return self.spare if wants is None else min(wants, self.most) + self.spare


def share(total: float, wants: Iterable[float]) -> Level:
    """Share a rate.

    Args:
        total: calls per second that all may start together.
        wants: calls per second that each could start, at least 0; infinity is allowed.

    Returns:
        What everybody gets. All shares, and that of one newcomer, together are `total`.
    """
    ascending = sorted(wants)
    left = total * (1 - RESERVE)
    for number, each in enumerate(ascending):
        most = left / (len(ascending) - number)
        if each > most:
            return Level(most, total * RESERVE / (len(ascending) + 1))
        left -= each
    spare = (left + total * RESERVE) / (len(ascending) + 1)
    return Level(ascending[-1] if ascending else 0.0, spare)
