"""Reads take turns: bounded, in a fair order, and not for those who have gone."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from imagen_ops.ui.turns import Busy, Place, Turns
from tests.conftest import eventually


@pytest.fixture
def turns() -> Turns:
    return Turns("test", threads=2, user_threads=1, waiting=4, user_waiting=2)


class Slow:
    """Reads that wait until they are told to end."""

    def __init__(self, turns: Turns) -> None:
        self.began: list[str] = []
        self._turns = turns
        self._go = threading.Event()

    def take(self, user: str, name: str = "", **how: Any) -> Place[str]:
        return self._turns.take(user, self.read(name or user), **how)

    def read(self, name: str) -> Callable[[], str]:
        def read() -> str:
            self.began.append(name)
            self._go.wait(60)
            return name

        return read

    def end(self) -> None:
        self._go.set()


@pytest.fixture
def slow(turns: Turns) -> Iterator[Slow]:
    slow = Slow(turns)
    yield slow
    slow.end()


def test_one_user_has_only_a_share_of_the_threads(slow: Slow) -> None:
    slow.take("a", "a1")
    slow.take("a", "a2")
    slow.take("b")
    eventually(lambda: slow.began == ["a1", "b"])


def test_one_user_has_only_a_share_of_the_queue(slow: Slow) -> None:
    for n in range(3):
        slow.take("a", f"a{n}")
    with pytest.raises(Busy, match=r"2 of your requests are waiting already.*try again in 3 s"):
        slow.take("a")
    slow.take("b")


def test_a_full_queue_refuses_everybody(slow: Slow) -> None:
    for user in "aaabbb":
        slow.take(user)
    with pytest.raises(Busy, match="no place for another request: try again in 3 s"):
        slow.take("c")


def test_users_take_turns(slow: Slow, turns: Turns) -> None:
    names = ("a0", "b0", "a1", "a2", "b1", "c1")
    places = [turns.take(name[0], slow.read(name)) for name in names]
    slow.end()
    for place in places:
        place.future.result(60)
    assert slow.began[-1] == "a2", "a's second read in the queue comes after everybody's first"


def test_a_read_that_is_cancelled_before_it_began_leaves_the_queue(slow: Slow) -> None:
    slow.take("a", "first")
    waiting = [slow.take("a", f"a{n}") for n in range(2)]
    for place in waiting:
        assert place.future.cancel()
    kept = slow.take("a", "kept")
    slow.end()
    assert kept.future.result(60) == "kept"
    assert slow.began == ["first", "kept"]


def test_a_held_place_is_taken_until_it_is_left(turns: Turns) -> None:
    held = turns.take("a", lambda: "image", held=True)
    assert held.future.result(60) == "image"
    following = turns.take("a", lambda: "next")
    assert turns.take("b", lambda: "another user").future.result(60) == "another user"
    assert not following.future.done()
    held.leave()
    assert following.future.result(60) == "next"


def test_a_place_that_is_left_during_its_read_is_free_when_the_read_ends(
    slow: Slow, turns: Turns
) -> None:
    left = slow.take("a", held=True)
    eventually(lambda: slow.began == ["a"])
    left.leave()
    following = turns.take("a", lambda: "next")
    assert not following.future.done(), "its thread is still busy"
    slow.end()
    assert following.future.result(60) == "next"


def test_a_read_that_fails_gives_up_its_place(turns: Turns) -> None:
    for _ in range(3):
        failing = turns.take("a", lambda: 1 / 0, held=True)
        with pytest.raises(ZeroDivisionError):
            failing.future.result(60)
