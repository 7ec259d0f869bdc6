"""The page's app is built late, once, and not on the event loop."""

import asyncio
import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest

from imagen_ops.ui.lazy import LazyApp


async def answer(scope: Any, receive: Any, send: Any) -> None:
    await send(scope["path"])


def ask(app: LazyApp, *paths: str) -> list[str]:
    sent: list[str] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def all_of_them() -> None:
        await asyncio.gather(*(app({"path": path}, None, send) for path in paths))  # type: ignore[arg-type]

    asyncio.run(all_of_them())
    return sent


def test_it_is_built_once_by_the_first_request_in_a_thread() -> None:
    built: list[threading.Thread] = []

    def build() -> Any:
        built.append(threading.current_thread())
        return answer

    app = LazyApp(build)
    assert built == []
    assert sorted(ask(app, "/a", "/b", "/c")) == ["/a", "/b", "/c"]
    assert ask(app, "/d") == ["/d"]
    assert len(built) == 1
    assert built[0] is not threading.main_thread()


def test_what_is_there_by_then_is_no_longer_looked_at_by_collections() -> None:
    before = gc.get_freeze_count()
    there = [[n] for n in range(2000)]
    ask(LazyApp(lambda: answer), "/a")
    assert gc.get_freeze_count() >= before + len(there)


def test_a_failed_build_is_retried() -> None:
    broken = [ImportError("no such module")]

    def build() -> Any:
        if broken:
            raise broken.pop()
        return answer

    app = LazyApp(build)
    with pytest.raises(ImportError):
        ask(app, "/a")
    assert ask(app, "/a") == ["/a"]


def test_it_is_built_when_the_server_starts_before_any_request(
    eventually: Callable[..., Any],
) -> None:
    built: list[threading.Thread] = []

    def build() -> Any:
        built.append(threading.current_thread())
        return answer

    app = LazyApp(build)
    assert app.begin(answer) is answer, "none of Airflow's requests passes through our code"
    eventually(lambda: built, within_s=30, what="the app")
    assert ask(app, "/a") == ["/a"]
    assert len(built) == 1
    assert built[0] is not threading.main_thread()


def test_a_build_that_failed_at_server_start_is_retried_by_a_request(
    eventually: Callable[..., Any],
) -> None:
    broken = [ImportError("not yet")]

    def build() -> Any:
        if broken:
            raise broken.pop()
        return answer

    app = LazyApp(build)
    app.begin(answer)
    eventually(lambda: not broken, within_s=30, what="the first build")
    assert ask(app, "/a") == ["/a"]
