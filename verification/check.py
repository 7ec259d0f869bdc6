"""What a check is, and how it ends."""

import dataclasses
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from verification.visit import Visit


class Ending(StrEnum):
    """How a check ended."""

    HOLDS = "holds"
    DIFFERS = "differs"
    NOT_ASKED = "not asked"


@dataclasses.dataclass(frozen=True)
class Seen:
    """What a check saw that is as believed.

    Args:
        text: for people, in a sentence or less.
        usd: what it cost in US dollars, as far as models' answers tell.
        facts: what other tools can read in the report.
    """

    text: str
    usd: float = 0.0
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)


class DiffersError(Exception):
    """What a check saw that is not as believed.

    Args:
        text: for people, in a sentence or less.
        usd: what it cost in US dollars.
    """

    def __init__(self, text: str, *, usd: float = 0.0) -> None:
        super().__init__(text)
        self.usd = usd


@dataclasses.dataclass(frozen=True)
class Check:
    """One belief, and how to ask Google Cloud about it.

    Args:
        name: what people select it by: lower case, with spaces.
        believed: the belief, in a sentence.
        where: the file that rests on it.
        expected: what is seen if it is true.
        ask: asks. Raises `DiffersError`, `NotAskedError`, or an error of Google's clients, which
            counts as a difference.
        begin: starts what takes minutes, before any check asks.
        needs: names of checks without which there is nothing to ask.
        usd: what it costs at most, in US dollars.
        limit_s: how long it may take, in seconds.
        by_name_only: whether it runs only if somebody names it: it takes longer than the others
            leave, or costs more.
    """

    name: str
    believed: str
    where: str
    expected: str
    ask: Callable[[Visit], Seen]
    begin: Callable[[Visit], None] | None = None
    needs: tuple[str, ...] = ()
    usd: float = 0.0
    limit_s: float = 60.0
    by_name_only: bool = False


@dataclasses.dataclass(frozen=True)
class Result:
    """A check, how it ended, and what it took."""

    check: Check
    ending: Ending
    seen: str
    seconds: float = 0.0
    usd: float = 0.0
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
