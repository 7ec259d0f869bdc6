"""The page in a headless Chromium, with a server whose answers the test decides."""

import zlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser import WATCH, Watched, chromium, watched
from tests.ui.site import Site

__all__ = ["watched"]

# Stops the page from refreshing by itself: on a busy machine a test may take longer than the page
# waits until its next refresh.
STILL = """
const wait = window.setTimeout;
window.setTimeout = (work, ms, ...args) => ms > 10_000 ? 0 : wait(work, ms, ...args);
"""


def _png(side: int = 64) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
        )

    rows = b"".join(
        b"\0" + b"".join(bytes((4 * x, 90, 255 - 4 * y)) for x in range(side)) for y in range(side)
    )
    header = side.to_bytes(4, "big") * 2 + bytes((8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One browser for all tests of this folder: a start costs seconds."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="package")
def _site() -> Iterator[Site]:
    site = Site(_png())
    site.start()
    yield site
    site.stop()


@pytest.fixture
def site(_site: Site) -> Site:
    """The page's server. Each test starts with a stream under load, and no errors."""
    _site.reset()
    return _site


def _context(browser: Browser, **options: Any) -> BrowserContext:
    context = browser.new_context(timezone_id="Europe/Berlin", locale="en-GB", **options)
    context.set_default_timeout(120_000)
    context.add_init_script(WATCH)
    return context


@pytest.fixture(scope="package")
def _tab(browser: Browser) -> Iterator[Page]:
    """A tab that tests share: most of a visit's time goes into the process of a new tab."""
    context = _context(browser)
    yield context.new_page()
    context.close()


@pytest.fixture
def visit(
    request: pytest.FixtureRequest, browser: Browser, site: Site, watched: Watched
) -> Iterator[Callable[..., Page]]:
    """Open the page and wait until every section has loaded.

    The first visit of a test uses a tab that earlier tests used too. Nothing of theirs remains in
    it except the browser's cache. A new tab with an empty cache is opened for every other visit,
    with `alone`, and with a clock, scripts or options, which a tab cannot get rid of again. With
    `still` the page does not refresh by itself.
    """
    shared_tabs: list[Page] = []
    own_contexts: list[BrowserContext] = []

    def new_page(**options: Any) -> Page:
        context = _context(browser, **options)
        own_contexts.append(context)
        watched.contexts.append(context)
        return context.new_page()

    def shared_tab() -> Page:
        page: Page = request.getfixturevalue("_tab")
        shared_tabs.append(page)
        watched.contexts.append(page.context)
        page.mouse.move(0, 0)
        return page

    def open_page(
        *, width: int = 1280, height: int = 900, dark: bool = False, path: str = "/imagen/",
        wait: bool = True, clock: bool = False, still: bool = False, alone: bool = False,
        **options: Any,
    ) -> Page:  # fmt: skip
        needs_new_tab = alone or clock or still or options or shared_tabs
        page = new_page(**options) if needs_new_tab else shared_tab()
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme="dark" if dark else "light")
        watched.watch(page)
        if still:
            page.add_init_script(STILL)
        if clock:
            # The clock runs until it is paused, and cannot be set back.
            page.clock.install(time=site.now - timedelta(hours=1))
            page.clock.pause_at(site.now + timedelta(seconds=1))
        page.goto(site.url + path)
        if wait:
            # Not wait_for_function: it evaluates strings, which the page's policy forbids.
            expect(page.locator("[aria-busy]")).to_have_count(0)
        return page

    yield open_page
    try:
        watched.settle(f"{urlsplit(site.url).scheme}://{urlsplit(site.url).netloc}/")
    finally:
        for context in own_contexts:
            context.close()
        for page in shared_tabs:
            watched.leave(page)
            for other in page.context.pages:
                if other is not page:
                    other.close()
            page.context.set_offline(False)
            page.goto("about:blank")  # ends its timers
