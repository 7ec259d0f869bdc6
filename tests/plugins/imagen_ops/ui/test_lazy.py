"""The page is built when somebody looks, and not where others wait."""

import asyncio
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


def test_what_could_not_be_built_is_tried_again() -> None:
    broken = [ImportError("no such module")]

    def build() -> Any:
        if broken:
            raise broken.pop()
        return answer

    app = LazyApp(build)
    with pytest.raises(ImportError):
        ask(app, "/a")
    assert ask(app, "/a") == ["/a"]


def test_a_server_that_begins_has_it_built_before_anybody_looks(
    eventually: Callable[..., Any],
) -> None:
    built: list[threading.Thread] = []

    def build() -> Any:
        built.append(threading.current_thread())
        return answer

    app = LazyApp(build)
    assert app.begin(answer) is answer, "no request of Airflow's passes through anything of ours"
    eventually(lambda: built, within_s=30, what="the app")
    assert ask(app, "/a") == ["/a"]
    assert len(built) == 1
    assert built[0] is not threading.main_thread()


def test_what_could_not_be_built_at_the_beginning_is_built_by_who_looks(
    eventually: Callable[..., Any],
) -> None:
    broken = [ImportError("not yet")]

    def build() -> Any:
        if broken:
            raise broken.pop()
        return answer

    app = LazyApp(build)
    app.begin(answer)
    eventually(lambda: not broken, within_s=30, what="the first try")
    assert ask(app, "/a") == ["/a"]
