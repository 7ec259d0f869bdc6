"""The page in a headless Chromium, over a server that answers as a test tells it to."""

import zlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser import WATCH, Watched, browser, watched
from tests.ui.site import Site

__all__ = ["browser", "watched"]

# Lets the page refresh only when it is told to: a busy machine may take longer for a test than the
# page waits before it does so by itself.
STILL = """
const wait = window.setTimeout;
window.setTimeout = (work, ms, ...given) => ms > 10_000 ? 0 : wait(work, ms, ...given);
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


@pytest.fixture(scope="module")
def _site() -> Iterator[Site]:
    site = Site(_png())
    site.start()
    yield site
    site.stop()


@pytest.fixture
def site(_site: Site) -> Site:
    """The page's server, under load and well at the start of each test."""
    _site.reset()
    return _site


def _context(browser: Browser, **options: Any) -> BrowserContext:
    context = browser.new_context(timezone_id="Europe/Berlin", locale="en-GB", **options)
    context.set_default_timeout(120_000)
    context.add_init_script(WATCH)
    return context


@pytest.fixture(scope="module")
def _tab(browser: Browser) -> Iterator[Page]:
    """A tab that is kept: most of a visit's time is the start of a process for a new one."""
    context = _context(browser)
    yield context.new_page()
    context.close()


@pytest.fixture
def visit(
    request: pytest.FixtureRequest, browser: Browser, site: Site, watched: Watched
) -> Iterator[Callable[..., Page]]:
    """Open the page and wait until every panel has been answered.

    The first visit of a test is to a tab that others had before: it holds nothing of theirs but
    what the browser has cached. One of its own, with nothing cached, is opened for every other
    visit, for one that is `alone`, or with a clock, scripts or options that a tab cannot be rid of
    again. `still` is a page that does not refresh by itself.
    """
    kept: list[Page] = []
    own: list[BrowserContext] = []

    def new_page(**options: Any) -> Page:
        context = _context(browser, **options)
        own.append(context)
        watched.contexts.append(context)
        return context.new_page()

    def kept_page() -> Page:
        page: Page = request.getfixturevalue("_tab")
        kept.append(page)
        watched.contexts.append(page.context)
        page.mouse.move(0, 0)
        return page

    def open_page(
        *, width: int = 1280, height: int = 900, dark: bool = False, path: str = "/imagen/",
        wait: bool = True, clock: bool = False, still: bool = False, alone: bool = False,
        **options: Any,
    ) -> Page:  # fmt: skip
        anew = alone or clock or still or options or kept
        page = new_page(**options) if anew else kept_page()
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme="dark" if dark else "light")
        watched.watch(page)
        if still:
            page.add_init_script(STILL)
        if clock:
            # It goes on until it stands, and a clock is never set back.
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
        for context in own:
            context.close()
        for page in kept:
            watched.leave(page)
            for other in page.context.pages:
                if other is not page:
                    other.close()
            page.context.set_offline(False)
            page.goto("about:blank")  # which ends its timers
