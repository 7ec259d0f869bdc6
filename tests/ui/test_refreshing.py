"""A page that is kept open: it refreshes by itself, and takes nothing away from who reads it."""

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
    """Refresh without touching focus, as the clock does."""
    page.locator("#refresh-now").evaluate("button => button.click()")
    settled(page)


def hide(page: Page, hidden: bool) -> None:
    """Let the page believe that its tab was hidden or shown."""
    page.evaluate(
        """hidden => {
            Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def test_the_page_asks_again_every_thirty_seconds(
    site: Site, visit: Callable[..., Page], eventually: Callable[..., Any]
) -> None:
    page = visit(clock=True)
    assert {panel: site.seen[panel] for panel in samples.PANELS} == dict.fromkeys(samples.PANELS, 1)
    site.later(seconds=29)
    page.clock.run_for(29_000)
    assert site.seen["stream"] == 1

    site.data["stream"] = samples.stream("DOWN")
    site.later(seconds=2)
    page.clock.run_for(2_000)
    expect(page.locator(".badge .word")).to_have_text("DOWN")
    expect(page.locator("#refreshed")).to_have_text("Refreshed 15:05:31")
    settled(page)

    # From asking to asking: an answer that takes its time does not put the next one off.
    site.held["stream"] = threading.Event()
    page.clock.run_for(30_000)
    eventually(lambda: site.seen["stream"] == 3, what="a third look")
    page.clock.run_for(20_000)
    site.held["stream"].set()
    settled(page)
    page.clock.run_for(11_000)
    eventually(lambda: site.seen["stream"] == 4, what="a fourth look")


def test_ages_go_on_between_two_refreshes(site: Site, visit: Callable[..., Page]) -> None:
    page = visit(clock=True)
    expect(page.locator(".tile time").first).to_have_text("20 s ago")
    page.clock.run_for(20_000)

    expect(page.locator(".tile time").first).to_have_text("40 s ago")
    assert site.seen["images"] == 1


def test_ages_are_told_by_the_servers_clock(site: Site, visit: Callable[..., Page]) -> None:
    page = visit()  # whose own clock is far from the samples' day
    expect(page.locator(".looked")).to_have_text("Looked 2 min ago")

    # A moment ahead of it is no age at all.
    site.data["stream"] = samples.stream(looked_at=samples.iso(seconds=-30))
    refresh(page)
    expect(page.locator(".looked")).to_have_text("Looked just now")


def test_paused_it_asks_for_nothing_until_it_is_told_to(
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
    assert site.seen["stream"] == 1

    page.get_by_role("button", name="Refresh now").click()
    eventually(lambda: site.seen["stream"] == 2, what="the look asked for")
    settled(page)
    page.clock.run_for(60_000)
    assert site.seen["stream"] == 2
    switch.click()
    eventually(lambda: site.seen["stream"] == 3, what="a look at once")


def test_a_hidden_tab_rests_and_refreshes_when_it_is_seen_again(
    site: Site, visit: Callable[..., Page], eventually: Callable[..., Any]
) -> None:
    page = visit(clock=True)
    hide(page, True)
    settled(page)
    asked = site.seen["plots"]
    page.clock.run_for(300_000)
    assert site.seen["plots"] == asked
    hide(page, False)
    eventually(lambda: site.seen["plots"] == asked + 1, what="a look at once")
    settled(page)

    # Hidden while an answer is awaited: the end of that begins no new wait.
    site.held["plots"] = threading.Event()
    page.get_by_role("button", name="Refresh now").click()
    eventually(lambda: site.seen["plots"] == asked + 2, what="a question")
    hide(page, True)
    site.held["plots"].set()
    settled(page)
    page.clock.run_for(300_000)
    assert site.seen["plots"] == asked + 2


def test_a_refresh_keeps_scroll_focus_and_what_is_open(
    site: Site, visit: Callable[..., Page]
) -> None:
    page = visit()
    letters = page.locator("[data-reason=BLOCKED]")
    letters.locator("summary").click()
    table = page.locator(".by-hour")
    table.locator("summary").click()
    letters.locator("summary").focus()
    page.evaluate("window.scrollTo(0, 700)")
    before = page.evaluate("window.scrollY")
    page.evaluate("document.querySelector('.tile').sameAsBefore = true")

    # Also where what is focused and open has other content now.
    site.data["dead-letters"]["by_reason"][1]["count"] = 213
    site.data["stream"] = samples.stream("HEALTHY")
    refresh(page)

    expect(page.locator(".badge .word")).to_have_text("HEALTHY")
    expect(letters.locator("summary strong")).to_have_text("213")
    expect(letters).to_have_attribute("open", "")
    expect(letters.locator("summary")).to_be_focused()
    expect(table).to_have_attribute("open", "")
    assert page.evaluate("document.querySelector('.tile').sameAsBefore") is True
    # What is above may have changed its height; the eye stays where it is.
    assert abs(page.evaluate("window.scrollY") - before) < 150


def test_what_has_not_changed_is_not_touched(site: Site, visit: Callable[..., Page]) -> None:
    page = visit(still=True)
    page.evaluate(
        """() => {
            window.touched = [];
            const watch = new MutationObserver((all) => all.forEach((m) => touched.push(
                (m.target.id || m.target.className || m.target.nodeName).toString())));
            for (const id of ["images", "backfills", "dead-letters", "actions"]) {
                const body = document.querySelector(`#${id} .body`);
                watch.observe(body, {subtree: true, childList: true, characterData: true});
            }
        }"""
    )
    refresh(page)

    assert site.seen["images"] == 2
    assert page.evaluate("window.touched") == []


def test_a_part_that_fails_later_keeps_what_was_known_and_says_since_when(
    site: Site, visit: Callable[..., Page]
) -> None:
    page = visit()
    site.later(minutes=3)
    site.fail("stream", "images")
    refresh(page)

    trouble = page.locator("#stream .trouble")
    expect(trouble).to_contain_text("503 Service Unavailable")
    expect(trouble).to_contain_text("Below is what was known at 15:05.")
    expect(page.locator(".panel[data-old]")).to_have_count(2)
    expect(page.locator(".badge .word")).to_have_text("DEGRADED")
    expect(page.locator(".looked")).to_have_text("Looked 5 min ago")
    expect(page.locator(".tile").first).to_be_visible()

    site.errors.clear()
    refresh(page)
    expect(trouble).to_be_empty()
    expect(page.locator(".panel[data-old]")).to_have_count(0)


def test_what_is_gone_is_no_longer_shown(site: Site, visit: Callable[..., Page]) -> None:
    page = visit()
    site.empty()
    refresh(page)
    expect(page.locator("#stream .body")).to_be_hidden()
    expect(page.locator("#images > .empty")).to_be_visible()

    site.reset()
    refresh(page)
    expect(page.locator(".badge .word")).to_have_text("DEGRADED")
    expect(page.locator("#images > .empty")).to_be_hidden()


def test_a_part_that_is_slow_holds_up_no_other(site: Site, visit: Callable[..., Page]) -> None:
    site.held["plots"] = threading.Event()
    try:
        page = visit(wait=False)
        for panel in samples.PANELS:
            state = "loading" if panel == "plots" else "full"
            expect(page.locator(f"#{panel}")).to_have_attribute("data-state", state)
    finally:
        site.held["plots"].set()
    expect(page.locator("#plots")).to_have_attribute("data-state", "full")


def test_asked_again_while_an_answer_is_awaited_it_waits_for_that_one(
    site: Site, visit: Callable[..., Page]
) -> None:
    page = visit(still=True)
    site.held["plots"] = threading.Event()
    again = page.get_by_role("button", name="Refresh now")
    again.click()
    again.click()
    expect(again).to_have_attribute("aria-busy", "true")
    site.held["plots"].set()
    settled(page)

    assert site.seen["plots"] == 2


def test_an_answer_that_never_comes_is_waited_for_twenty_seconds(
    site: Site, visit: Callable[..., Page]
) -> None:
    page = visit(alone=True)
    # Seconds of a fortieth, so that nobody has to wait for them, until an answer is to come.
    page.add_init_script(
        "const real = AbortSignal.timeout; window.share = 1 / 40;"
        "AbortSignal.timeout = (ms) => real.call(AbortSignal, ms * window.share);"
    )
    site.held["stream"] = threading.Event()
    page.reload()
    expect(page.locator("#stream .trouble")).to_have_text(
        "Not known: the server has not answered within 20 s."
    )
    site.held.pop("stream").set()
    page.evaluate("window.share = 1")
    refresh(page)
    expect(page.locator("#stream .trouble")).to_be_empty()


def test_when_the_server_is_away_it_says_so_and_comes_back_by_itself(
    site: Site, visit: Callable[..., Page], watched: Watched
) -> None:
    watched.may_fail = True
    page = visit(still=True)
    page.context.set_offline(True)
    refresh(page)
    expect(page.locator("#stream .trouble")).to_contain_text(
        "Not known: the server cannot be reached."
    )
    expect(page.locator("#refreshed")).to_have_text(
        re.compile(r"^6 of 6 parts could not be read\. Refreshed 15:05:00$")
    )
    page.context.set_offline(False)
    refresh(page)
    expect(page.locator("#stream .trouble")).to_be_empty()


@pytest.mark.parametrize("status", [401, 302])
def test_when_the_login_has_ended_it_says_so_and_leads_to_a_new_one(
    site: Site, visit: Callable[..., Page], watched: Watched, status: int
) -> None:
    watched.may_fail = True
    page = visit()
    site.statuses = dict.fromkeys(samples.PANELS, status)
    refresh(page)

    banner = page.get_by_role("alert")
    expect(banner).to_contain_text("Your login has ended")
    expect(page.locator(".badge .word")).to_have_text("DEGRADED")
    link = banner.get_by_role("link", name="Log in again")
    expect(link).to_have_attribute("target", "_top")
    back = quote(f"{site.url}/imagen/", "")
    assert link.evaluate("a => a.href") == f"{site.url}/api/v2/auth/login?next={back}"
    expect(page.locator("#stream .trouble")).to_contain_text("Your login has ended. Below is")

    # Told once: a reader of screens is not interrupted every half minute.
    link.evaluate("link => { link.sameAsBefore = true }")
    refresh(page)
    assert link.evaluate("link => link.sameAsBefore") is True

    site.statuses = {}
    refresh(page)
    expect(banner).to_be_empty()


def test_who_may_not_look_is_told_which_permission_it_takes(
    site: Site, visit: Callable[..., Page], watched: Watched
) -> None:
    watched.may_fail = True
    site.statuses = dict.fromkeys(samples.PANELS, 403)
    page = visit()

    expect(page.get_by_role("alert")).to_contain_text(
        "the permission to read the DAG imagen_stream_health"
    )
    expect(page.locator("#images .trouble")).to_have_text("You may not see this.")
