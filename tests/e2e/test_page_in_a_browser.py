"""The page as operators use it: in a browser, in a real Airflow, with a working stream."""

import contextlib
import itertools
import os
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Frame, Page, expect

from tests.browser import WATCH, Watched, chromium, faults, overflow, resize, watched
from tests.conftest import eventually
from tests.e2e import deposits
from tests.e2e.conftest import Operated

__all__ = ["watched"]
# Two and a half minutes of CPU. What the page does, tests/ui shows in a browser; who may see it,
# test_page.py shows in a real Airflow.
pytestmark = [pytest.mark.full, pytest.mark.timeout(1800)]

# If it names a folder, the screenshots for the documentation are saved there.
PICTURES = os.environ.get("PICTURES")
SCRIPT = "<img src=x onerror='window.pwned=1'><script>window.pwned=1</script>"
_SUBJECTS = ("A lighthouse", "A red fox", "A sailing boat", "A stone bridge", "A mountain hut")
_WEATHERS = ("in the snow", "at dawn", "in the fog", "under a full moon", "in autumn", "at noon")
_STYLES = ("oil painting", *(f"woodcut in {colors} colors" for colors in range(2, 100)))
STORED = ("stream", "plots", "images", "backfills", "dead-letters", "done")
# They know of a start as soon as it begins.
EMPTY = ("plots", "images", "backfills", "dead-letters")
_VISIBLE_IMAGES_ARE_LOADED = """() => [...document.images]
  .filter((image) => image.getBoundingClientRect().top < window.innerHeight)
  .every((image) => image.complete && image.naturalWidth)"""
# The narrowest width, dark, and the widest, light.
LOOKS = ((360, "dark"), (2560, "light"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def logged_in(operated: Operated, browser: Browser, watched: Watched) -> Iterator[BrowserContext]:
    """A browser window in which the admin has logged in, with Airflow's own form."""
    context = browser.new_context(viewport={"width": 1440, "height": 1100})
    context.add_init_script(WATCH)
    context.set_default_timeout(120_000)
    watched.contexts.append(context)
    page = context.new_page()
    watched.watch(page, listen=False)
    page.goto(f"{operated.airflow.url}/plugin/imagen")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill(operated.airflow.home.passwords()["admin"])
    page.get_by_role("button", name=re.compile("sign in|log in", re.IGNORECASE)).click()
    page.wait_for_url(re.compile(r"^(?!.*/auth/)"))
    yield context
    # Cleaning up may need storage.
    operated.cloud.storage(down=0, hang_rate=0)
    try:
        watched.settle(f"{operated.airflow.url}/")
    finally:
        for each in watched.contexts:
            each.close()


@pytest.fixture
def page(operated: Operated, browser: Browser, logged_in: BrowserContext, watched: Watched) -> Page:
    """The page outside of the iframe, with a clock that the test can move forward."""
    state = logged_in.storage_state()
    context = browser.new_context(storage_state=state, viewport={"width": 1280, "height": 900})
    context.add_init_script(WATCH)
    context.set_default_timeout(120_000)
    context.clock.install()
    watched.contexts.append(context)
    page = context.new_page()
    watched.watch(page)
    return page


def test_an_operator_sees_the_page_empty_then_busy_then_without_storage_then_recovered(
    operated: Operated, page: Page, logged_in: BrowserContext, watched: Watched
) -> None:
    # Empty: nothing in storage yet, while the stream starts.
    start = operated.client.trigger("imagen_stream_start")
    deposits.nothing(operated)
    page.goto(f"{operated.airflow.url}/imagen/")
    each_becomes(page, "empty", EMPTY)
    for panel in EMPTY:
        expect(page.locator(f"#{panel} > .empty")).to_contain_text(re.compile("imagen_"))
    actions_are_there(page)
    well_made(page)

    # Busy: prompts keep arriving.
    operated.client.wait_for_run("imagen_stream_start", start, within_s=400)
    # For the documentation, pictures that the local models draw.
    operated.cloud.models(latency_s=0.2, **({"canned_bytes": 0} if PICTURES else {}))
    with prompts_that_keep_coming(operated):
        _, verdict, _ = operated.health()
        deposits.a_day_of_looks(operated)
        deposits.three_backfills(operated)
        each_becomes(page, "full")
        expect(page.locator(".badge .word")).to_have_text(verdict["status"])
        rows = page.locator("#backfills tbody tr")
        refreshed_until(page, lambda: rows.count() == 3, "the backfills")
        expect(page.locator("#plots path").first).to_be_visible()
        expect(page.get_by_text(SCRIPT).first).to_be_attached()
        newest = page.locator(".tile img").first.get_attribute("src")
        refreshed_until(
            page,
            lambda: page.locator(".tile img").first.get_attribute("src") != newest,
            "a new image",
        )
        well_made(page)
        framed = logged_in.pages[0]
        an_image_opens_in_the_frame(operated, framed)

    # Without storage: each section says so and keeps its data, and the trigger form still opens.
    watched.settle(f"{operated.airflow.url}/")  # the steps below leave the iframe and the page
    watched.may_fail = True
    operated.cloud.storage(down=1)
    a_button_leads_to_the_form(framed)
    each_says(page, "Cloud Storage answered 503 for gs://")
    for panel in STORED:
        expect(page.locator(f"#{panel}")).to_have_attribute("data-old", "")
        expect(page.locator(f"#{panel} .trouble")).to_contain_text("The data below is from")
        expect(page.locator(f"#{panel} .body")).to_be_visible()
    sections = page.locator("main > section").count()
    expect(page.locator("#refreshed")).to_contain_text(
        f"{sections - 1} of {sections} sections could not be loaded"
    )
    actions_are_there(page)
    watched.settle(f"{operated.airflow.url}/")
    page.reload()
    each_says(page, "Cloud Storage answered 503 for gs://")
    each_becomes(page, "unknown")
    actions_are_there(page)
    well_made(page)

    # Storage that never answers does not hold up Airflow.
    operated.cloud.storage(hang_rate=1, down=0)
    answered_first(page, f"{operated.airflow.url}/api/v2/monitor/health")
    each_says(page, "Cloud Storage has not answered within")
    actions_are_there(page)

    # Recovered: the page comes back by itself.
    operated.cloud.storage(hang_rate=0)

    def asked_again() -> bool:
        page.clock.fast_forward(31_000)
        settled(page)
        return all(state_of(page, panel) == "full" for panel in STORED)

    eventually(asked_again, what="every section, refreshed by the page itself")
    for panel in STORED:
        expect(page.locator(f"#{panel} .trouble")).to_be_empty()
    expect(page.locator("#refreshed")).to_have_text(re.compile(r"^Refreshed"))


@contextlib.contextmanager
def prompts_that_keep_coming(operated: Operated) -> Iterator[None]:
    """Publish five prompts a second, one of which is refused. At the end all are answered."""
    lane, over, published = operated.lane, threading.Event(), itertools.count(1)

    def publish() -> None:
        ideas = itertools.product(_STYLES, _WEATHERS, _SUBJECTS)
        for number, (style, weather, subject) in zip(published, ideas, strict=False):
            is_script = number % (40 if PICTURES else 10) == 5
            lane.publish(SCRIPT if is_script else f"{subject} {weather}, {style}")
            if over.wait(0.2):
                return

    lane.publish("fault:blocked and so refused")
    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        lane.predictions(next(published) - 1)
        lane.dead_letters(1)


def settled(page: Page) -> None:
    expect(page.locator("[aria-busy]")).to_have_count(0)


def state_of(page: Page, panel: str) -> str | None:
    return page.locator(f"#{panel}").get_attribute("data-state")


def refreshed_until(page: Page, condition: Callable[[], bool], what: str) -> None:
    """Press the button until the condition holds: answers are cached for up to 15 seconds."""

    def refreshed() -> bool:
        page.get_by_role("button", name="Refresh now").click()
        settled(page)
        return condition()

    settled(page)
    if not condition():
        eventually(refreshed, what=what)


def each_becomes(page: Page, state: str, panels: tuple[str, ...] = STORED) -> None:
    def all_are() -> bool:
        return all(state_of(page, panel) == state for panel in panels)

    refreshed_until(page, all_are, f"{state} in every section")


def each_says(page: Page, words: str) -> None:
    """Wait until the page says it once, for every section that needs storage."""

    def all_do() -> bool:
        told = [page.locator(f"#{panel} .trouble").text_content() or "" for panel in STORED]
        above = page.locator("#banner").text_content() or ""
        return words in above and all("see the top of the page" in text for text in told)

    refreshed_until(page, all_do, f"{words!r} above all sections")


def actions_are_there(page: Page) -> None:
    """The actions need Airflow only, and no storage."""
    expect(page.locator("#actions")).to_have_attribute("data-state", "full")
    expect(page.locator("#actions a.button")).to_have_count(5)
    expect(page.locator("#user")).to_have_text("Logged in as admin.")


def well_made(page: Page) -> None:
    """Assert that nothing scrolls sideways and axe finds no serious fault, light and dark."""
    before = page.viewport_size
    for width, scheme in LOOKS:
        resize(page, width)
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        assert overflow(page) == [], f"at {width} px"
        ground = page.locator("body").evaluate(
            "body => Number(getComputedStyle(body).backgroundColor.match(/[0-9]+/)[0])"
        )
        assert (ground < 100) == (scheme == "dark")
        assert faults(page) == [], f"at {width} px, {scheme}"
    assert before is not None
    page.set_viewport_size(before)


def an_image_opens_in_the_frame(operated: Operated, page: Page) -> None:
    page.goto(f"{operated.airflow.url}/plugin/imagen")
    frame = page.frame_locator("iframe")
    expect(frame.locator(".badge .word")).to_have_text(re.compile("HEALTHY|DEGRADED"))
    expect(frame.locator(".by-reason .chip").first).to_have_text("BLOCKED")
    expect(frame.locator("#plots path").first).to_be_visible()
    picture(page, "page.png")
    frame.locator("#images img").first.click()
    large = frame.locator("dialog img")
    expect(large).to_be_visible()
    eventually(lambda: large.evaluate("image => image.naturalWidth > 0"), what="the image")
    page.keyboard.press("Escape")
    expect(frame.locator("dialog")).to_be_hidden()


def a_button_leads_to_the_form(page: Page) -> None:
    frame = page.frame_locator("iframe")
    frame.locator("#actions a[href*='imagen_stream_start']").click()
    page.wait_for_url(re.compile("/dags/imagen_stream_start"))
    page.get_by_role("button", name="Trigger").first.click()
    expect(page.get_by_text("If a stream is active already").first).to_be_visible()
    picture(page, "trigger-form.png")


def answered_first(page: Page, url: str) -> None:
    """Assert that Airflow answers while sections of the page still wait for storage."""

    def first() -> bool:
        page.get_by_role("button", name="Refresh now").click()
        httpx.get(url, timeout=120, trust_env=False).raise_for_status()
        waiting = page.locator("[aria-busy]").count() > 0
        settled(page)
        return waiting

    eventually(first, what="an answer from Airflow before one from storage")


def images_are_there(frame: Frame) -> bool:
    """Whether all images in view are loaded."""
    return bool(frame.evaluate(_VISIBLE_IMAGES_ARE_LOADED))


def picture(page: Page, name: str) -> None:
    if PICTURES:
        page.set_viewport_size({"width": 1440, "height": 1400})
        # Prompts keep coming, so some image may always be on its way.
        with contextlib.suppress(pytest.fail.Exception):
            eventually(lambda: all(map(images_are_there, page.frames)), within_s=30)
        page.screenshot(path=Path(PICTURES) / name)
