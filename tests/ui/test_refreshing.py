"""A page that stays open: it refreshes by itself without disturbing its reader."""

import re
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from tests.browser import Watched
from tests.ui import samples
from tests.ui.site import Site

pytestmark = pytest.mark.slow


def settled(page: Page) -> None:
    expect(page.locator("[aria-busy]")).to_have_count(0)


def refresh(page: Page) -> None:
    """Refresh without moving the focus, as the timer does."""
    page.locator("#refresh-now").evaluate("button => button.click()")
    settled(page)


def hide(page: Page, hidden: bool) -> None:
    """Make the page believe that its tab was hidden or shown."""
    page.evaluate(
        """hidden => {
            Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def test_the_page_refreshes_every_thirty_seconds(
    site: Site, visit: Callable[..., Page], eventually: Callable[..., Any]
) -> None:
    page = visit(clock=True)
    assert {panel: site.requests[panel] for panel in samples.PANELS} == dict.fromkeys(
        samples.PANELS, 1
    )
    site.later(seconds=29)
    page.clock.run_for(29_000)
    assert site.requests["stream"] == 1

    site.data["stream"] = samples.stream("DOWN")
    site.later(seconds=2)
    page.clock.run_for(2_000)
    expect(page.locator(".badge .word")).to_have_text("DOWN")
    expect(page.locator("#refreshed")).to_have_text("Refreshed 15:05:31")
    settled(page)

    # The interval counts from request to request: a slow answer does not delay the next refresh.
    site.held["stream"] = threading.Event()
    page.clock.run_for(30_000)
    eventually(lambda: site.requests["stream"] == 3, what="a third refresh")
    page.clock.run_for(20_000)
    site.held["stream"].set()
    settled(page)
    page.clock.run_for(11_000)
    eventually(lambda: site.requests["stream"] == 4, what="a fourth refresh")


def test_ages_are_updated_between_refreshes(site: Site, visit: Callable[..., Page]) -> None:
    page = visit(clock=True)
    expect(page.locator(".tile time").first).to_have_text("20 s ago")
    page.clock.run_for(20_000)

    expect(page.locator(".tile time").first).to_have_text("40 s ago")
    assert site.requests["images"] == 1


def test_ages_are_measured_by_the_servers_clock(site: Site, visit: Callable[..., Page]) -> None:
    page = visit()  # whose own clock is far from the samples' day
    expect(page.locator(".checked")).to_have_text("Last health check 2 min ago.")

    # A time slightly in the future counts as now.
    site.data["stream"]["check"]["at"] = samples.iso(seconds=-30)
    refresh(page)
    expect(page.locator(".checked")).to_have_text("Last health check just now.")


def test_a_paused_page_requests_nothing_until_told_to(
    site: Site, visit: Callable[..., Page], eventually: Callable[..., Any]
) -> None:
    page = visit(clock=True)
    switch = page.get_by_role("switch", name="Refresh every 30 s")
    expect(switch).to_be_checked()
    switch.click()
    expect(switch).not_to_be_checked()
    expect(page.locator("#refreshed")).to_have_text("Refreshed 15:05:00, paused")
    page.clock.run_for(120_000)
    hide(page, True)
    hide(page, False)
    assert site.requests["stream"] == 1

    page.get_by_role("button", name="Refresh now").click()
    eventually(lambda: site.requests["stream"] == 2, what="the requested refresh")
    settled(page)
    page.clock.run_for(60_000)
    assert site.requests["stream"] == 2
    switch.click()
    eventually(lambda: site.requests["stream"] == 3, what="an immediate refresh")


def test_a_hidden_tab_does_not_refresh_until_it_is_visible_again(
    site: Site, visit: Callable[..., Page], eventually: Callable[..., Any]
) -> None:
    page = visit(clock=True)
    hide(page, True)
    settled(page)
    before = site.requests["plots"]
    page.clock.run_for(300_000)
    assert site.requests["plots"] == before
    hide(page, False)
    eventually(lambda: site.requests["plots"] == before + 1, what="an immediate refresh")
    settled(page)

    # Hidden during a request: its end does not schedule the next one.
    site.held["plots"] = threading.Event()
    page.get_by_role("button", name="Refresh now").click()
    eventually(lambda: site.requests["plots"] == before + 2, what="a request")
    hide(page, True)
    site.held["plots"].set()
    settled(page)
    page.clock.run_for(300_000)
    assert site.requests["plots"] == before + 2


def test_a_refresh_keeps_scroll_position_focus_and_open_details(
    site: Site, visit: Callable[..., Page]
) -> None:
    page = visit()
    letters = page.locator("[data-reason=BLOCKED]")
    told = page.locator(".more-of-it")
    told.locator("summary").click()
    table = page.locator(".by-hour")
    table.locator("summary").click()
    letters.locator("button").focus()
    page.evaluate("window.scrollTo(0, 700)")
    before = page.evaluate("window.scrollY")
    page.evaluate("document.querySelector('.tile').sameAsBefore = true")

    # Also for a focused element whose content changes.
    site.data["dead-letters"]["by_reason"][1]["count"] = 213
    site.data["stream"] = samples.stream("HEALTHY")
    refresh(page)

    expect(page.locator(".badge .word")).to_have_text("HEALTHY")
    expect(letters.locator("strong")).to_have_text("213")
    expect(letters.locator("button")).to_be_focused()
    expect(told).to_have_attribute("open", "")
    expect(table).to_have_attribute("open", "")
    assert page.evaluate("document.querySelector('.tile').sameAsBefore") is True
    # Content above may change its height, but the reader stays at the same place.
    assert abs(page.evaluate("window.scrollY") - before) < 150


def test_unchanged_elements_are_not_touched(site: Site, visit: Callable[..., Page]) -> None:
    page = visit(still=True)
    page.evaluate(
        """() => {
            window.touched = [];
            const watch = new MutationObserver((all) => all.forEach((m) => touched.push(
                (m.target.id || m.target.className || m.target.nodeName).toString())));
            for (const id of ["images", "backfills", "dead-letters", "actions", "stream", "done"]) {
                const body = document.querySelector(`#${id} .body`);
                watch.observe(body, {subtree: true, childList: true, characterData: true});
            }
        }"""
    )
    refresh(page)

    assert site.requests["images"] == 2
    assert page.evaluate("window.touched") == []


def test_a_section_that_fails_later_keeps_its_data_and_says_how_old_it_is(
    site: Site, visit: Callable[..., Page]
) -> None:
    page = visit()
    site.later(minutes=3)
    site.fail("stream", "images")
    refresh(page)

    trouble = page.locator("#stream .trouble")
    expect(trouble).to_contain_text("503 Service Unavailable")
    expect(trouble).to_contain_text("The data below is from 15:05.")
    expect(page.locator(".panel[data-old]")).to_have_count(2)
    expect(page.locator(".badge .word")).to_have_text("DEGRADED")
    expect(page.locator(".checked")).to_have_text("Last health check 5 min ago.")
    expect(page.locator(".tile").first).to_be_visible()

    site.errors.clear()
    refresh(page)
    expect(trouble).to_be_empty()
    expect(page.locator(".panel[data-old]")).to_have_count(0)


def test_data_that_is_gone_is_no_longer_shown(site: Site, visit: Callable[..., Page]) -> None:
    page = visit()
    site.empty()
    refresh(page)
    expect(page.locator("#stream .body")).to_be_hidden()
    expect(page.locator("#images > .empty")).to_be_visible()

    site.reset()
    refresh(page)
    expect(page.locator(".badge .word")).to_have_text("DEGRADED")
    expect(page.locator("#images > .empty")).to_be_hidden()


def test_a_slow_section_does_not_hold_up_the_others(site: Site, visit: Callable[..., Page]) -> None:
    site.held["plots"] = threading.Event()
    try:
        page = visit(wait=False)
        for panel in samples.PANELS:
            state = "loading" if panel == "plots" else "full"
            expect(page.locator(f"#{panel}")).to_have_attribute("data-state", state)
    finally:
        site.held["plots"].set()
    expect(page.locator("#plots")).to_have_attribute("data-state", "full")


def test_a_refresh_during_a_refresh_joins_it(site: Site, visit: Callable[..., Page]) -> None:
    page = visit(still=True)
    site.held["plots"] = threading.Event()
    again = page.get_by_role("button", name="Refresh now")
    again.click()
    again.click()
    expect(again).to_have_attribute("aria-busy", "true")
    site.held["plots"].set()
    settled(page)

    assert site.requests["plots"] == 2


def test_the_page_waits_twenty_seconds_for_an_answer(
    site: Site, visit: Callable[..., Page]
) -> None:
    page = visit(alone=True)
    # Shorten time-outs to a fortieth, so that the test is quick, until an answer is expected.
    page.add_init_script(
        "const real = AbortSignal.timeout; window.share = 1 / 40;"
        "AbortSignal.timeout = (ms) => real.call(AbortSignal, ms * window.share);"
    )
    site.held["stream"] = threading.Event()
    page.reload()
    expect(page.locator("#stream .trouble")).to_have_text(
        "Cannot load this section: the server has not answered within 20 s."
    )
    site.held.pop("stream").set()
    page.evaluate("window.share = 1")
    refresh(page)
    expect(page.locator("#stream .trouble")).to_be_empty()


def test_an_unreachable_server_is_reported_until_it_is_back(
    site: Site, visit: Callable[..., Page], watched: Watched
) -> None:
    watched.may_fail = True
    page = visit(still=True)
    page.context.set_offline(True)
    refresh(page)
    expect(page.locator("#stream .trouble")).to_contain_text(
        "Cannot load this section: the server cannot be reached."
    )
    every = len(samples.PANELS)
    expect(page.locator("#refreshed")).to_have_text(
        re.compile(rf"^{every} of {every} sections could not be loaded\. Refreshed 15:05:00$")
    )
    page.context.set_offline(False)
    refresh(page)
    expect(page.locator("#stream .trouble")).to_be_empty()


def test_a_busy_server_is_asked_again_after_the_time_it_names(
    site: Site, visit: Callable[..., Page], watched: Watched
) -> None:
    watched.may_fail = True
    site.statuses["plots"] = 503
    page = visit(clock=True)
    notice = page.locator("#plots .trouble")
    expect(notice).to_have_text("The server is busy, trying again in 3 s.")
    expect(notice).to_have_attribute("data-busy", "")
    expect(page.locator("#refreshed")).to_have_text("Refreshed 15:05:00")
    page.clock.run_for(3_000)
    expect(notice).to_have_text("The server is busy, trying again in 3 s.")

    site.statuses = {}
    page.clock.run_for(3_000)
    expect(page.locator("#plots")).to_have_attribute("data-state", "full")
    expect(notice).to_be_empty()
    assert site.requests["stream"] == 1


@pytest.mark.parametrize("status", [401, 302])
def test_an_expired_login_is_announced_with_a_link_to_log_in_again(
    site: Site, visit: Callable[..., Page], watched: Watched, status: int
) -> None:
    watched.may_fail = True
    page = visit()
    site.statuses = dict.fromkeys(samples.PANELS, status)
    refresh(page)

    banner = page.get_by_role("alert")
    expect(banner).to_contain_text("Your login has expired")
    expect(page.locator(".badge .word")).to_have_text("DEGRADED")
    link = banner.get_by_role("link", name="Log in again")
    expect(link).to_have_attribute("target", "_top")
    back = quote(f"{site.url}/imagen/", "")
    assert link.evaluate("a => a.href") == f"{site.url}/api/v2/auth/login?next={back}"
    expect(page.locator("#stream .trouble")).to_contain_text(
        "Your login has expired. The data below is"
    )

    # Announced once: a screen reader must not interrupt every 30 seconds.
    link.evaluate("link => { link.sameAsBefore = true }")
    refresh(page)
    assert link.evaluate("link => link.sameAsBefore") is True

    site.statuses = {}
    refresh(page)
    expect(banner).to_be_empty()


def test_a_user_without_access_is_told_which_permission_to_ask_for(
    site: Site, visit: Callable[..., Page], watched: Watched
) -> None:
    watched.may_fail = True
    site.statuses = dict.fromkeys(samples.PANELS, 403)
    page = visit()

    expect(page.get_by_role("alert")).to_contain_text(
        "Ask for permission to read the DAG imagen_stream_health"
    )
    expect(page.locator("#images .trouble")).to_have_text("You do not have access.")
