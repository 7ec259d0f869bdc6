"""A headless Chromium, watched: nothing may leave the page's server, fail, or be blocked."""

import dataclasses
import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Error,
    Page,
    Request,
    expect,
    sync_playwright,
)

from tests.conftest import eventually

CHROMIUM = shutil.which("chromium")
# Other tests may share the machine.
expect.set_options(timeout=120_000)
WATCH = """
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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for a module, and gone with it: its event loop would be in the way of other tests."""
    if CHROMIUM is None:
        pytest.skip("there is no chromium on PATH (Debian: apt-get install chromium)")
    # On what it takes for a slow connection, it fetches pictures from much further below.
    flags = ["--force-effective-connection-type=4G"]
    # Its sandbox wants a user that is not root.
    flags += ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags, timeout=120_000)
        yield browser
        browser.close()


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

    def watch(self, page: Page, *, listen: bool = True) -> None:
        """Watch a page; `listen` also to what it says of itself, as to a page that is ours."""
        page.on("request", self._asks)
        page.on("dialog", self._dialog)
        if listen:
            page.on("console", self._tells)
            page.on("pageerror", self._throws)

    def leave(self, page: Page) -> None:
        """Watch it no more: what comes from now on is another test's."""
        page.remove_listener("request", self._asks)
        page.remove_listener("console", self._tells)
        page.remove_listener("pageerror", self._throws)
        page.remove_listener("dialog", self._dialog)

    def _asks(self, request: Request) -> None:
        self.requests.append(request.url)

    def _tells(self, message: ConsoleMessage) -> None:
        self._says(message.text)

    def _throws(self, error: Error) -> None:
        self.said.append(f"uncaught: {error}")

    def _dialog(self, dialog: Dialog) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

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
        away = [url for url in self.requests if not url.startswith((origin, "data:", "blob:"))]
        assert away == [], "requests to other hosts"


@pytest.fixture
def watched() -> Watched:
    return Watched()


def resize(page: Page, width: int, height: int = 900) -> None:
    """Give the page another size, and wait until it and its plots are drawn in that."""
    page.set_viewport_size({"width": width, "height": height})
    eventually(lambda: page.evaluate("innerWidth") == width, what=f"a width of {width} px")
    # What looks at sizes is told of a new one between two frames.
    page.evaluate(
        "() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))"
    )


def overflow(page: Page) -> Any:
    """What reaches beyond the page's right edge, if anything makes it scroll sideways."""
    return page.evaluate(
        """() => {
            const root = document.documentElement;
            if (root.scrollWidth <= root.clientWidth) return [];
            const wide = [...document.querySelectorAll("body *")]
                .filter((node) => node.getBoundingClientRect().right > root.clientWidth + 1)
                .map((node) => `${node.nodeName}.${node.className}`)
            // Text may reach beyond its box, and then no box is too wide.
            return [`${root.scrollWidth} of ${root.clientWidth} px`, ...wide.slice(0, 5)]
        }"""
    )


def faults(page: Page, **options: Any) -> list[str]:
    """What axe finds that is serious or critical, as the page looks now."""
    given = {"resultTypes": ["violations"], **options}
    found = Axe().run(page, options=given).response["violations"]
    return [
        f"{one['impact']} {one['id']}: {node['target']} {node.get('failureSummary', '')[:300]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]
