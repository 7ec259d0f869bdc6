"""Runs checks one after the other, within a budget and a time, and cleans up."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from fnmatch import fnmatchcase

from beam_jobs.cli.remedies import shortened
from beam_jobs.shown import shown
from verification.access import NotAskedError
from verification.check import Check, DiffersError, Ending, Result, Seen
from verification.visit import Visit

# How much longer than its limit a check gets before it is left alone: time for one last request.
_GRACE_S = 45.0
# A check that would start with less time than this is not asked.
_SHORTEST_S = 10.0
_MAX_CHARS = 500

CLEAN_UP = "clean up"


def selected(checks: Iterable[Check], only: Iterable[str]) -> list[Check]:
    """Return the checks that somebody names, with those that they need; else the usual ones.

    Args:
        checks: all, in their order.
        only: names or patterns such as `role *`; empty for the usual ones.

    Raises:
        ValueError: a name is no check's; the message lists all.
    """
    every = list(checks)
    patterns = list(only)
    if not patterns:
        return [check for check in every if not check.by_name_only]
    for pattern in patterns:
        if not any(fnmatchcase(check.name, pattern) for check in every):
            names = ", ".join(check.name for check in every)
            raise ValueError(f"no check is called {pattern!r}; expected one of: {names}")
    wanted = {c.name for c in every if any(fnmatchcase(c.name, each) for each in patterns)}
    while more := {need for c in every if c.name in wanted for need in c.needs} - wanted:
        wanted |= more
    return [check for check in every if check.name in wanted]


def run(
    checks: list[Check],
    visit: Visit,
    *,
    budget_usd: float,
    seconds: float,
    done: Callable[[Result], None] = lambda _: None,
) -> Iterator[Result]:
    """Yield the result of each check, in order, and then that of cleaning up.

    A check that differs, hangs, or breaks costs its own result and those of checks that need it.

    Args:
        checks: in the order in which they need each other.
        visit: what they share.
        budget_usd: a check that could exceed it is not asked.
        seconds: a check that would start after that is not asked.
        done: called with each result.
    """
    end = time.monotonic() + seconds
    results: dict[str, Result] = {}
    begun: dict[str, Exception | None] = {}
    promised = 0.0
    try:
        for check in checks:
            if check.begin and promised + check.usd <= budget_usd:
                promised += check.usd
                begun[check.name] = _attempt(check.begin, visit)
        # What has begun may cost what it may cost.
        spent = {check.name: check.usd for check in checks if check.name in begun}
        for check in checks:
            why = _not_asked(check, results, spent, budget_usd, end, begun)
            if why:
                result = Result(check, Ending.NOT_ASKED, why)
            else:
                result = _asked(check, visit, end, begun.get(check.name))
                # A check that broke may have spent all that it can.
                spent[check.name] = result.usd if result.ending is Ending.HOLDS else check.usd
            results[check.name] = result
            done(result)
            yield result
    finally:
        result = _clean_up(visit)
        done(result)
    yield result


def _not_asked(
    check: Check,
    results: dict[str, Result],
    spent: dict[str, float],
    budget_usd: float,
    end: float,
    begun: dict[str, Exception | None],
) -> str:
    """Return why a check is not asked; empty if it is."""
    for need in check.needs:
        if need in results and results[need].ending is not Ending.HOLDS:
            verb = "differs" if results[need].ending is Ending.DIFFERS else "was not asked"
            return f"it needs the check {need!r}, which {verb}"
    if check.begin and check.name not in begun:
        return f"it can cost {check.usd:.2f} USD, more than is left of the budget"
    already = sum(usd for name, usd in spent.items() if name != check.name)
    if already + check.usd > budget_usd:
        return f"it can cost {check.usd:.2f} USD, and {budget_usd - already:.2f} are left"
    if end - time.monotonic() < _SHORTEST_S:
        return "there was no time left"
    return ""


def _attempt(begin: Callable[[Visit], None], visit: Visit) -> Exception | None:
    try:
        begin(visit)
    except Exception as error:  # of any library: it is this check's result
        return error
    return None


def _asked(check: Check, visit: Visit, end: float, failed: Exception | None) -> Result:
    started = time.monotonic()
    visit.until = min(started + check.limit_s, end)
    try:
        if failed:
            raise failed
        seen = _within(visit.until - started + _GRACE_S, check.ask, visit)
        ending, text, usd, facts = Ending.HOLDS, seen.text, seen.usd, seen.facts
    except NotAskedError as error:
        ending, text, usd, facts = Ending.NOT_ASKED, str(error), 0.0, {}
    except DiffersError as error:
        ending, text, usd, facts = Ending.DIFFERS, str(error), error.usd, {}
    except Exception as error:
        ending, text, usd, facts = Ending.DIFFERS, shortened(error), 0.0, {}
    seconds = time.monotonic() - started
    return Result(check, ending, shown(text, _MAX_CHARS), seconds, usd, facts)


def _within(seconds: float, ask: Callable[[Visit], Seen], visit: Visit) -> Seen:
    """Ask in a thread that doesn't keep the process alive: a client may never return."""
    future: Future[Seen] = Future()

    def work() -> None:
        try:
            future.set_result(ask(visit))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        return future.result(seconds)
    except TimeoutError:
        if future.done():
            raise
        raise DiffersError(f"no answer within {seconds:.0f} s") from None


def _clean_up(visit: Visit) -> Result:
    """Undo what checks have made, the last first; each alone."""
    started = time.monotonic()
    left = []
    # A clean-up may wait for what it ends.
    visit.until = started + 600.0
    for what, do in reversed(visit.clean_ups):
        try:
            do()
        except Exception as error:
            left.append(f"{what} ({shortened(error)})")
    check = Check(
        name=CLEAN_UP,
        believed="What the checks made can be taken away again.",
        where="verification/runner.py",
        expected="nothing is left but images, their records, and the outcomes of prompts",
        ask=lambda _: Seen(""),
    )
    text = (
        f"left, please see to it: {'; '.join(left)}" if left else f"{len(visit.clean_ups)} things"
    )
    visit.clean_ups.clear()
    ending = Ending.DIFFERS if left else Ending.HOLDS
    return Result(check, ending, shown(text, _MAX_CHARS), time.monotonic() - started)
