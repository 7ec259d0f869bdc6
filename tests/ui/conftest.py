"""A headless Chromium on the page, watched: nothing may leave its server, fail, or be blocked."""

import dataclasses
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.ui.site import Site

CHROMIUM = shutil.which("chromium")
_WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
new MutationObserver((all, self) => {
  if (!document.body || document.querySelector("[aria-busy]")) return;
  if (!document.getElementById("dead-letters")) return;
  window.completeAt = performance.now();
  self.disconnect();
}).observe(document, { subtree: true, childList: true, attributes: true });
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
def browser() -> Iterator[Browser]:
    """One for a module, and gone with it: its event loop would be in the way of other tests."""
    if CHROMIUM is None:
        pytest.skip("there is no chromium on PATH (Debian: apt-get install chromium)")
    # Its sandbox wants a user that is not root.
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


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


@dataclasses.dataclass
class Watched:
    """What happened on the pages of a test.

    `may_fail`: whether requests that are answered with an error are what the test is about.
    """

    requests: list[str] = dataclasses.field(default_factory=list)
    said: list[str] = dataclasses.field(default_factory=list)
    dialogs: list[str] = dataclasses.field(default_factory=list)
    contexts: list[BrowserContext] = dataclasses.field(default_factory=list)
    may_fail: bool = False

    def watch(self, page: Page) -> None:
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self._says(message.text))
        page.on("pageerror", lambda error: self.said.append(f"uncaught: {error}"))
        page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))

    def _says(self, text: str) -> None:
        # Said by the browser itself: of every answer that is an error, and of Airflow's frame.
        expected = ["An iframe which has both allow-scripts and allow-same-origin"]
        if self.may_fail:
            expected.append("Failed to load resource")
        if not text.startswith(tuple(expected)):
            self.said.append(text)

    def settle(self, origin: str) -> None:
        """Assert that nothing happened that should not."""
        violations = []
        for context in self.contexts:
            for page in context.pages:
                for frame in page.frames:
                    violations += frame.evaluate("window.violations ?? []")
                    assert frame.evaluate("window.pwned") is None, "a prompt was run as a script"
        assert violations == []
        assert self.said == []
        assert self.dialogs == []
        away = [url for url in self.requests if not url.startswith((origin, "data:"))]
        assert away == [], "requests to other hosts"


@pytest.fixture
def watched() -> Watched:
    return Watched()


@pytest.fixture
def visit(browser: Browser, site: Site, watched: Watched) -> Iterator[Callable[..., Page]]:
    """Open the page and wait until every panel has been answered."""

    def open_page(
        *, width: int = 1280, height: int = 900, dark: bool = False, path: str = "/imagen/",
        wait: bool = True, clock: bool = False, **options: Any,
    ) -> Page:  # fmt: skip
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            timezone_id="Europe/Berlin",
            locale="en-GB",
            **options,
        )
        context.set_default_timeout(10_000)
        context.add_init_script(_WATCH)
        watched.contexts.append(context)
        page = context.new_page()
        watched.watch(page)
        if clock:
            page.clock.install(time=site.now)
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
        for context in watched.contexts:
            context.close()
