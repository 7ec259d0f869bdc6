"""How checks are chosen and run: budget, time, needs, failures, and cleaning up."""

import time
from collections.abc import Callable

import pytest

from verification.access import Access, NotAskedError
from verification.check import Check, DiffersError, Ending, Result, Seen
from verification.deployment import Deployment
from verification.runner import CLEAN_UP, run, selected
from verification.visit import Visit


@pytest.fixture
def visit() -> Visit:
    where = Deployment(*["x"] * 9)
    return Visit(where, Access(where, {}), poll_s=0.01)


def seen(_: Visit) -> Seen:
    return Seen("as believed", usd=0.4)


def raising(error: Exception) -> Callable[[Visit], Seen]:
    def ask(_: Visit) -> Seen:
        raise error

    return ask


def check(name: str, ask: Callable[[Visit], Seen] = seen, **fields: object) -> Check:
    return Check(name, "It is so.", "composer.tf", "it is so", ask, **fields)  # type: ignore[arg-type]


def results(visit: Visit, *checks: Check, budget: float = 2.0, s: float = 60.0) -> list[Result]:
    return list(run(list(checks), visit, budget_usd=budget, seconds=s))


def endings(found: list[Result]) -> list[str]:
    return [result.ending.value for result in found]


def test_after_a_failure_the_others_are_asked_but_for_those_that_need_it(visit: Visit) -> None:
    found = results(
        visit,
        check("a", raising(DiffersError("not so", usd=0.1))),
        check("b", needs=("a",)),
        check("c", needs=("b",)),
        check("d", raising(ValueError("broken"))),
        check("e", raising(NotAskedError("nobody to ask"))),
        check("f"),
    )
    assert endings(found) == [
        *("differs", "not asked", "not asked", "differs", "not asked", "holds", "holds")
    ]
    assert found[0].usd == 0.1
    assert found[1].seen == "it needs the check 'a', which differs"
    assert found[3].seen == "ValueError: broken"
    assert found[-1].check.name == CLEAN_UP


def test_the_budget_is_never_exceeded(visit: Visit) -> None:
    asked = [check(name, usd=0.5) for name in "abcdef"]
    found = results(visit, *asked, budget=1.5)
    # What they cost counts, not what they could have cost.
    assert endings(found)[:6] == ["holds"] * 3 + ["not asked"] * 3
    assert sum(result.usd for result in found) <= 1.5


def test_what_breaks_counts_as_if_it_had_spent_all_that_it_may(visit: Visit) -> None:
    broken = check("a", raising(DiffersError("late")), usd=1.0)
    found = results(visit, broken, check("b", usd=0.6), budget=1.5)
    assert endings(found)[:2] == ["differs", "not asked"]


def test_what_begins_first_has_its_share_of_the_budget(visit: Visit) -> None:
    begun: list[str] = []
    first = check("late", usd=1.0, begin=lambda _: begun.append("late"))
    too_dear = check("dear", usd=0.7, begin=lambda _: begun.append("dear"))
    found = results(visit, check("a", usd=0.6), first, too_dear, budget=1.5)
    assert begun == ["late"]
    assert endings(found)[:3] == ["not asked", "holds", "not asked"]


def test_what_cannot_begin_is_that_check_s_result(visit: Visit) -> None:
    def begin(_: Visit) -> None:
        raise NotAskedError("it is off")

    (found, _) = results(visit, check("a", begin=begin))
    assert (found.ending, found.seen) == (Ending.NOT_ASKED, "it is off")


def test_no_check_begins_without_time(visit: Visit) -> None:
    assert endings(results(visit, check("a"), s=0.1)) == ["not asked", "holds"]


def test_a_check_that_hangs_is_left_alone(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("verification.runner._GRACE_S", 0.1)

    def hang(_: Visit) -> Seen:
        time.sleep(30)
        return Seen("")

    began = time.monotonic()
    found = results(visit, check("a", hang, limit_s=0.2), check("b"))
    assert endings(found)[:2] == ["differs", "holds"]
    assert time.monotonic() - began < 10


def test_what_was_made_is_cleaned_up_the_last_first_and_each_alone(visit: Visit) -> None:
    gone: list[str] = []

    def make(at: Visit) -> Seen:
        at.at_the_end("delete one", lambda: gone.append("one"))
        at.at_the_end("delete two by hand", lambda: 1 / 0)
        at.at_the_end("delete three", lambda: gone.append("three"))
        raise DiffersError("not so")

    found = results(visit, check("a", make))
    assert gone == ["three", "one"]
    assert found[-1].ending is Ending.DIFFERS
    assert "delete two by hand (ZeroDivisionError" in found[-1].seen


def test_what_was_made_is_cleaned_up_if_somebody_interrupts(visit: Visit) -> None:
    gone: list[str] = []

    def make(at: Visit) -> Seen:
        at.at_the_end("delete it", lambda: gone.append("it"))
        return Seen("made")

    told: list[Result] = []
    running = run([check("a", make), check("b")], visit, budget_usd=1, seconds=60, done=told.append)
    next(running)
    running.close()  # type: ignore[attr-defined]
    assert gone == ["it"]
    assert [result.check.name for result in told] == ["a", CLEAN_UP]


def test_names_and_patterns_choose_checks_and_what_they_need() -> None:
    every = [check("a"), check("role x", needs=("a",)), check("role y"), check("z")]
    every.append(check("long", by_name_only=True))
    assert [c.name for c in selected(every, [])] == ["a", "role x", "role y", "z"]
    assert [c.name for c in selected(every, ["role *"])] == ["a", "role x", "role y"]
    assert [c.name for c in selected(every, ["long"])] == ["long"]
    with pytest.raises(ValueError, match="no check is called 'role z'; expected one of: a, "):
        selected(every, ["role z"])
