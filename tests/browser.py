"""A headless Chromium that tests watch: no request may go to another host, fail or be blocked."""

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin

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
# Generous, because other tests may share the machine.
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


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A browser. Its event loop, in this thread, disturbs tests of asyncio as long as it runs."""
    if CHROMIUM is None:
        pytest.skip("no chromium on PATH: install it (on Debian: apt-get install chromium)")
    # If Chromium takes the connection for slow, it loads images from much further below the fold.
    flags = ["--force-effective-connection-type=4G"]
    # Chromium's sandbox does not run as root.
    flags += ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags, timeout=120_000)
        yield browser
        browser.close()


@dataclasses.dataclass
class Watched:
    """What happened on the pages of a test.

    Attributes:
        requests: addresses of all requests.
        messages: on the console, and uncaught errors.
        dialogs: messages of the dialogs that opened.
        contexts: the browser contexts to check.
        may_fail: whether the test provokes requests that fail.
    """

    requests: list[str] = dataclasses.field(default_factory=list)
    messages: list[str] = dataclasses.field(default_factory=list)
    dialogs: list[str] = dataclasses.field(default_factory=list)
    contexts: list[BrowserContext] = dataclasses.field(default_factory=list)
    may_fail: bool = False

    def watch(self, page: Page, *, listen: bool = True) -> None:
        """Watch a page.

        Args:
            page: the page.
            listen: also record its console, which makes sense for pages that are ours.
        """
        page.on("request", self._on_request)
        page.on("dialog", self._on_dialog)
        if listen:
            page.on("console", self._on_console)
            page.on("pageerror", self._on_error)

    def leave(self, page: Page) -> None:
        """Stop watching a page, which another test will use."""
        page.remove_listener("request", self._on_request)
        page.remove_listener("console", self._on_console)
        page.remove_listener("pageerror", self._on_error)
        page.remove_listener("dialog", self._on_dialog)

    def _on_request(self, request: Request) -> None:
        self.requests.append(request.url)

    def _on_console(self, message: ConsoleMessage) -> None:
        self._record(message.text)

    def _on_error(self, error: Error) -> None:
        self.messages.append(f"uncaught: {error}")

    def _on_dialog(self, dialog: Dialog) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def _record(self, text: str) -> None:
        # The browser's own messages: about failed requests, and about Airflow's iframe.
        expected = ["An iframe which has both allow-scripts and allow-same-origin"]
        if self.may_fail:
            expected.append("Failed to load resource")
        if not text.startswith(tuple(expected)):
            self.messages.append(text)

    def settle(self, origin: str) -> None:
        """Assert that no prompt ran as a script, and nothing failed or left the server."""
        violations = []
        for context in self.contexts:
            for page in context.pages:
                for frame in page.frames:
                    violations += frame.evaluate("window.violations ?? []")
                    assert frame.evaluate("window.pwned") is None, "a prompt ran as a script"
        assert violations == []
        assert self.messages == []
        assert self.dialogs == []
        elsewhere = self.elsewhere(origin)
        assert elsewhere == [], f"requests to elsewhere: {elsewhere}"

    def elsewhere(self, origin: str) -> list[str]:
        """Return what was asked for that is not below `origin`: a server, or a path on it."""
        # Airflow's own UI asks for its version beside the path that Airflow is served under.
        version = urljoin(origin, "/api/v2/version")
        within = (origin, "data:", "blob:")
        return [url for url in self.requests if url != version and not url.startswith(within)]


@pytest.fixture
def watched() -> Watched:
    return Watched()


def resize(page: Page, width: int, height: int = 900) -> None:
    """Resize the page, and wait until it and its plots are redrawn."""
    page.set_viewport_size({"width": width, "height": height})
    eventually(lambda: page.evaluate("innerWidth") == width, what=f"a width of {width} px")
    # Resize observers run between two frames.
    page.evaluate(
        "() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))"
    )


def overflow(page: Page) -> Any:
    """Return what makes the page scroll sideways: elements beyond its right edge."""
    return page.evaluate(
        """() => {
            const root = document.documentElement;
            if (root.scrollWidth <= root.clientWidth) return [];
            const wide = [...document.querySelectorAll("body *")]
                .filter((node) => node.getBoundingClientRect().right > root.clientWidth + 1)
                .map((node) => `${node.nodeName}.${node.className}`)
            // Text may overflow its box, and then no box is too wide.
            return [`${root.scrollWidth} of ${root.clientWidth} px`, ...wide.slice(0, 5)]
        }"""
    )


def faults(page: Page, **options: Any) -> list[str]:
    """Return the serious and critical faults that axe finds on the page as it is now."""
    axe_options = {"resultTypes": ["violations"], **options}
    violations = Axe().run(page, options=axe_options).response["violations"]
    return [
        f"{rule['impact']} {rule['id']}: {node['target']} {node.get('failureSummary', '')[:300]}"
        for rule in violations
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]
