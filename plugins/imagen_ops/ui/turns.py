"""Whose read is next: bounded reads at once, a bounded queue before them, and a share per user.

Beyond the bounds a request is refused at once, because a refusal costs nothing: one user with
thousands of requests must stop neither the page of the others nor Airflow's API server.
"""

import contextlib
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, Self, TypeVar

RETRY_AFTER_S = 3

_T = TypeVar("_T")


class Busy(Exception):  # noqa: N818 - a state, not a fault
    """There is no place for a request. The message says why, and when to try again."""

    @classmethod
    def after(cls, seconds: float) -> Self:
        """Return the refusal of a read that has not ended in time."""
        return cls(
            f"this and the reads before it have taken {seconds:g} s: try again in {RETRY_AFTER_S} s"
        )


class Place(Generic[_T]):
    """A read's place in the queue, and then among the reads under way.

    Attributes:
        future: the read's result. Cancelling it before the read begins gives up the place.
    """

    def __init__(self, turns: "Turns", user: str, read: Callable[[], _T], held: bool) -> None:
        self.future: Future[_T] = Future()
        self._turns = turns
        self._user = user
        self._read = read
        self._held = held
        self.future.add_done_callback(self._ended)

    def leave(self) -> None:
        """Give up the place, also of a read that has begun: then when it ends."""
        self._held = False
        if not self.future.cancel() and self.future.done():
            self._turns._vacate(self)

    def _begin(self) -> None:
        try:
            result = self._read()
        except BaseException as error:
            self._held = False
            self.future.set_exception(error)
        else:
            self.future.set_result(result)

    def _ended(self, future: Future[_T]) -> None:
        self._turns._read_ended(self)


class Turns:
    """Threads for reads, and the queue in front of them. Users take turns.

    Args:
        name: prefix of the threads' names.
        threads: maximum number of reads at once.
        waiting: maximum number of reads in the queue.
        user_threads: maximum number of one user's reads at once.
        user_waiting: maximum number of one user's reads in the queue.
    """

    def __init__(
        self, name: str, *, threads: int, waiting: int, user_threads: int, user_waiting: int
    ) -> None:
        self._pool = start_thread_pool(threads, name)
        self._threads, self._waiting = threads, waiting
        self._user_threads, self._user_waiting = user_threads, user_waiting
        self._lock = threading.Lock()
        # In the order of their turns: whoever got a place goes to the end.
        self._queues: OrderedDict[str, deque[Place[Any]]] = OrderedDict()
        self._under_way: dict[Place[Any], str] = {}
        self._per_user: Counter[str] = Counter()

    def take(self, user: str, read: Callable[[], _T], *, held: bool = False) -> Place[_T]:
        """Put a read into the queue.

        Args:
            user: who asks for it.
            read: runs in a thread.
            held: whether its place stays taken after the read, until `leave`. A read that fails
                or is cancelled gives up its place in any case.

        Raises:
            Busy: the queue is full, or the user's share of it is.
        """
        place = Place(self, user, read, held)
        with self._lock:
            queue = self._queues.get(user, ())
            if len(queue) >= self._user_waiting:
                raise Busy(
                    f"{len(queue)} of your requests are waiting already, the most that one user "
                    f"can have: try again in {RETRY_AFTER_S} s"
                )
            if sum(map(len, self._queues.values())) >= self._waiting:
                raise Busy(
                    f"the page has no place for another request: try again in {RETRY_AFTER_S} s"
                )
            self._queues.setdefault(user, deque()).append(place)
        self._begin_next()
        return place

    def _begin_next(self) -> None:
        with self._lock:
            for place in self._next_places():
                self._pool.submit(place._begin)

    def _next_places(self) -> Iterator[Place[Any]]:
        while len(self._under_way) < self._threads:
            user = next(
                (user for user in self._queues if self._per_user[user] < self._user_threads), None
            )
            if user is None:
                return
            place = self._queues[user].popleft()
            self._queues.move_to_end(user)
            if not self._queues[user]:
                del self._queues[user]
            if place.future.set_running_or_notify_cancel():
                self._under_way[place] = user
                self._per_user[user] += 1
                yield place

    def _read_ended(self, place: Place[Any]) -> None:
        """Note that a read ended, or was cancelled before it began."""
        with self._lock:
            queue = self._queues.get(place._user)
            if queue is not None:
                with contextlib.suppress(ValueError):
                    queue.remove(place)
                if not queue:
                    del self._queues[place._user]
        if not place._held:
            self._vacate(place)

    def _vacate(self, place: Place[Any]) -> None:
        with self._lock:
            user = self._under_way.pop(place, None)
            if user is not None:
                self._per_user[user] -= 1
                if not self._per_user[user]:
                    del self._per_user[user]
        self._begin_next()


def start_thread_pool(count: int, name: str) -> ThreadPoolExecutor:
    """Return a pool whose threads are already running.

    A pool starts threads when work is submitted, and the submitter waits for each start. Here the
    submitter would be the event loop.

    Args:
        count: number of threads.
        name: prefix of their names.
    """
    pool = ThreadPoolExecutor(count, thread_name_prefix=name)
    barrier = threading.Barrier(count)
    for future in [pool.submit(barrier.wait) for _ in range(count)]:
        future.result()
    return pool
