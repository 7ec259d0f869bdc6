"""The search box above the images: what it asks for, and how the address keeps it."""

from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.browser import faults, overflow, resize
from tests.ui import samples
from tests.ui.site import Site

pytestmark = pytest.mark.slow


def asked(address: str) -> dict[str, list[str]]:
    return parse_qs(urlsplit(address).query)


def test_a_search_shows_what_matches_by_page_and_the_address_keeps_it(
    site: Site, visit: Callable[..., Page]
) -> None:
    site.images = samples.images(400)
    page = visit(width=360)
    box, found = page.locator("#search").get_by_role("searchbox"), page.locator("#search .result")
    box.fill("fox snow")
    box.press("Enter")
    expect(found).to_have_text("50 prompts with 50 images, of 20,000 prompts back to 21 Oct 2026.")
    expect(page.locator("#images h2")).to_have_text("Images found")
    assert asked(page.url) == {"q": ["fox snow"]}
    before = page.locator(".tile").count()
    page.locator("#more").click()
    expect(page.locator(".tile")).to_have_count(2 * before)
    assert set(page.locator(".tile .prompt").all_text_contents()) == {"A fox in the snow"}

    # A refresh searches again, and a visit to the address does too.
    page.locator("#refresh-now").click()
    expect(page.locator("[aria-busy]")).to_have_count(0)
    assert site.searches[-1]["q"] == "fox snow"
    page.goto(f"{page.url}&model=gemini-3-pro-image&first=2026-11-02&last=2026-11-01&keep=1")
    expect(page.locator(".filters")).to_have_attribute("open", "")
    expect(found).to_contain_text("50 prompts")
    assert site.searches[-1]["model"] == "gemini-3-pro-image"
    page.get_by_role("button", name="Show the newest").click()
    expect(page.locator("#images h2")).to_have_text("Newest images")
    expect(box).to_have_value("")
    assert asked(page.url) == {"keep": ["1"]}


def test_in_airflows_frame_the_address_around_it_keeps_the_search(
    site: Site, visit: Callable[..., Page]
) -> None:
    page = visit(path="/?q=fox&theme=1", wait=False)
    frame = page.frame_locator("iframe")
    expect(frame.locator("#search .result")).to_contain_text("back to")
    frame.locator("#search").get_by_role("searchbox").fill("神社")
    frame.locator("#search").get_by_role("button", name="Search").click()
    expect(frame.locator(".tile .prompt").first).to_contain_text("神社")
    assert asked(page.url) == {"q": ["神社"], "theme": ["1"]}


def test_nothing_found_a_problem_and_what_is_still_read_are_said(
    site: Site, visit: Callable[..., Page]
) -> None:
    page = visit(path="/imagen/?q=.*%5B")
    found = page.locator("#search .result")
    expect(found).to_contain_text("No image matches. 20,000 prompts back to 21 Oct 2026 were")
    expect(page.locator(".tile")).to_have_count(0)

    site.searched["complete"] = False
    site.images = samples.images(3)
    page.locator("#search").get_by_role("searchbox").fill("fox")
    page.keyboard.press("Enter")
    expect(found).to_contain_text("Older ones are still being read.")

    site.problem = "the range ends (2026-11-01) before it begins (2026-11-02): exchange the days"
    page.locator(".filters summary").click()
    page.get_by_label("From (UTC)").fill("2026-11-02")
    page.locator("#search").get_by_role("button", name="Search").click()
    expect(found).to_have_text(f"T{site.problem[1:]}.")
    expect(page.locator(".tile")).to_have_count(0)
    assert faults(page, runOnly=["wcag2a", "wcag2aa"]) == []
    for width in (360, 2560):
        resize(page, width)
        assert overflow(page) == []
